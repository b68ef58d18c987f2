/* What floor.c and load.c share of io_uring: a ring with the flags a reactor uses, SQEs that never run out, and a
 * provided-buffer ring, plain or incremental. Header only, so that each program is one file and one compiler call.
 *
 * Not a part of zerg, and on purpose not built on src/uring: what zerg is measured against must not change with it.
 * A failure of set-up ends the program with a message; one thread. */
#pragma once

#include <errno.h>
#include <liburing.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum {
    BENCH_SQ_ENTRIES = 4096,
    BENCH_CQ_ENTRIES = 32768, /* a turn of 10,000 connections does not overflow it */
    BENCH_GROUP = 0,
    BENCH_PBUF_RING_INC = 2,       /* IOU_PBUF_RING_INC, newer than liburing 2.3 */
    BENCH_CQE_F_BUF_MORE = 1 << 4, /* IORING_CQE_F_BUF_MORE, the same */
};

/* struct io_uring_buf_reg with the name its field has since 6.8 (liburing 2.3 still calls it `pad`). */
struct bench_buf_reg {
    uint64_t ring_addr;
    uint32_t ring_entries;
    uint16_t bgid;
    uint16_t flags;
    uint64_t resv[3];
};

/* One provided buffer, by its id. */
struct bench_buf {
    uint32_t offset; /* incremental: where the kernel writes next */
    uint32_t leases; /* pieces of it that are in use here */
    bool with_kernel;
};

struct bench_bufs {
    struct io_uring_buf_ring *ring; /* shared with the kernel */
    uint8_t *memory;                /* entries * bytes, in one mapping */
    struct bench_buf *bufs;
    uint32_t entries;
    uint32_t bytes;
    uint32_t staged; /* added to the ring since the last publication */
    bool incremental;
};

/* Received bytes inside a buffer: one lease on it. */
struct bench_piece {
    uint8_t *data;
    uint32_t len;
    uint16_t bid;
};

__attribute__((noreturn, format(printf, 1, 2))) static inline void bench_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(2);
}

/* Raises the soft limit of open files to the hard one; returns it. */
static inline uint32_t bench_raise_nofile(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        bench_die("getrlimit: %s", strerror(errno));
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        bench_die("setrlimit: %s", strerror(errno));
    return limit.rlim_max > (1 << 20) ? 1 << 20 : (uint32_t)limit.rlim_max;
}

static inline void bench_ring_open(struct io_uring *ring)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
        .cq_entries = BENCH_CQ_ENTRIES,
    };
    int ret = io_uring_queue_init_params(BENCH_SQ_ENTRIES, ring, &params);
    if (ret < 0)
        bench_die("io_uring: %s (needs Linux 6.1, and a container that allows it)", strerror(-ret));
    ret = io_uring_register_ring_fd(ring);
    if (ret < 0)
        bench_die("io_uring ring fd: %s", strerror(-ret));
}

/* A zeroed SQE; a full queue is submitted first. */
static inline struct io_uring_sqe *bench_sqe(struct io_uring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    while (sqe == NULL) {
        int ret = io_uring_submit(ring);
        if (ret < 0 && ret != -EINTR && ret != -EAGAIN && ret != -EBUSY)
            bench_die("io_uring submit: %s", strerror(-ret));
        sqe = io_uring_get_sqe(ring);
    }
    return sqe;
}

/* Submits and sleeps until there is a completion: the one system call of a turn. */
static inline void bench_submit_and_wait(struct io_uring *ring)
{
    int ret = io_uring_submit_and_wait(ring, 1);
    if (ret < 0 && ret != -EINTR && ret != -EAGAIN && ret != -EBUSY)
        bench_die("io_uring wait: %s", strerror(-ret));
}

/* Puts a buffer back into the ring; the kernel sees it after bench_bufs_publish(). */
static inline void bench_bufs_add(struct bench_bufs *bufs, uint16_t bid)
{
    struct bench_buf *buf = &bufs->bufs[bid];
    buf->offset = 0;
    buf->with_kernel = true;
    io_uring_buf_ring_add(bufs->ring, bufs->memory + (size_t)bid * bufs->bytes, bufs->bytes, bid,
                          (int)(bufs->entries - 1), (int)bufs->staged++);
}

/* One tail store for all that was returned in this turn. Returns how many buffers that were. */
static inline uint32_t bench_bufs_publish(struct bench_bufs *bufs)
{
    uint32_t count = bufs->staged;
    if (count > 0) {
        io_uring_buf_ring_advance(bufs->ring, (int)count);
        bufs->staged = 0;
    }
    return count;
}

static inline void *bench_map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        bench_die("mmap of %zu bytes: %s", bytes, strerror(errno));
    return memory;
}

static inline void bench_bufs_open(struct bench_bufs *bufs, struct io_uring *ring, uint32_t entries, uint32_t bytes,
                                   bool incremental)
{
    *bufs = (struct bench_bufs){.entries = entries, .bytes = bytes, .incremental = incremental};
    bufs->ring = bench_map(entries * sizeof(struct io_uring_buf));
    bufs->memory = bench_map((size_t)entries * bytes);
    bufs->bufs = calloc(entries, sizeof(*bufs->bufs));
    if (bufs->bufs == NULL)
        bench_die("out of memory");
    io_uring_buf_ring_init(bufs->ring);
    struct bench_buf_reg reg = {
        .ring_addr = (uint64_t)(uintptr_t)bufs->ring,
        .ring_entries = entries,
        .bgid = BENCH_GROUP,
        .flags = incremental ? BENCH_PBUF_RING_INC : 0,
    };
    _Static_assert(sizeof(reg) == sizeof(struct io_uring_buf_reg), "the same layout");
    /* By the real descriptor: liburing 2.3 knows no registration through the registered one. */
    int ret = io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_PBUF_RING, &reg, 1);
    if (ret < 0)
        bench_die("buffer ring: %s%s", strerror(-ret), incremental ? " (incremental needs Linux 6.12)" : "");
    for (uint32_t bid = 0; bid < entries; bid++)
        bench_bufs_add(bufs, (uint16_t)bid);
    bench_bufs_publish(bufs);
}

/* Ends one lease; the last one sends a buffer that the kernel has let go of back to it. */
static inline void bench_bufs_release(struct bench_bufs *bufs, uint16_t bid)
{
    struct bench_buf *buf = &bufs->bufs[bid];
    buf->leases--;
    if (buf->leases == 0 && !buf->with_kernel)
        bench_bufs_add(bufs, bid);
}

/* Accounts for the buffer of a completion, whatever its result. True: piece holds bytes and one lease. */
static inline bool bench_bufs_take(struct bench_bufs *bufs, const struct io_uring_cqe *cqe, struct bench_piece *piece)
{
    if (!(cqe->flags & IORING_CQE_F_BUFFER))
        return false;
    uint16_t bid = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
    struct bench_buf *buf = &bufs->bufs[bid];
    uint32_t len = cqe->res > 0 ? (uint32_t)cqe->res : 0;
    *piece = (struct bench_piece){bufs->memory + (size_t)bid * bufs->bytes + buf->offset, len, bid};
    buf->offset += len;
    buf->leases++;
    buf->with_kernel = bufs->incremental && (cqe->flags & BENCH_CQE_F_BUF_MORE);
    if (len > 0)
        return true;
    bench_bufs_release(bufs, bid);
    return false;
}
