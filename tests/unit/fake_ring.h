/* uring/ring.h without a kernel, for unit tests: link fake_ring.c instead of src/uring/ring.c. What the
 * code under test queues is written down; what "the kernel" answers is pushed by the test; nothing ever
 * waits.
 *
 *     struct bufring *bufs;  bufring_open(&bufs, ring, GROUP, &options);      the real bufring.c works on it
 *     conn_start(conn);                                                      code under test queues a receive
 *     const struct fake_sqe *recv = fake_ring_find(ring, FAKE_RECV, fd);     what it queued
 *     fake_ring_recv(ring, recv->user_data, "hello", 5, FAKE_MORE);          bytes arrive in the next published buffer
 *     reactor_turn(reactor);                                                 reaps the completion
 *     fake_ring_complete(ring, send->user_data, 5, 0);                       a send is done
 *
 * Operations and completions do not depend on each other: a test may complete what it likes, in any order,
 * also what was never queued (strays) or has ended. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "uring/ring.h"

enum fake_kind {
    FAKE_ACCEPT,
    FAKE_RECV,
    FAKE_SEND, /* ring_add_send() and ring_add_sendmsg(), see piece_count */
    FAKE_CONNECT,
    FAKE_CLOSE,
    FAKE_POLL,
    FAKE_CANCEL,
    FAKE_EVENTFD_READ,
    FAKE_DOORBELL,
};

enum { FAKE_PIECES_MAX = 1024 }; /* IOV_MAX: what the kernel takes in one sendmsg */

/* One operation that was queued. */
struct fake_sqe {
    enum fake_kind kind;
    uint64_t user_data;
    int fd;                      /* FAKE_DOORBELL: the target ring's; FAKE_CANCEL: -1 */
    uint64_t target_user_data;   /* FAKE_CANCEL, FAKE_DOORBELL */
    uint16_t buffer_group;       /* FAKE_RECV */
    uint64_t *value;             /* FAKE_EVENTFD_READ: where the value goes */
    struct iovec *pieces;        /* FAKE_SEND: a copy of the iovec; the bytes are still the sender's */
    uint32_t piece_count;        /* FAKE_SEND: 1 for ring_add_send() */
    size_t bytes;                /* FAKE_SEND: of all pieces */
    enum ring_send how;          /* FAKE_SEND */
    const struct sockaddr *addr; /* FAKE_CONNECT: borrowed */
    uint32_t events;             /* FAKE_POLL */
};

/* Whether a multishot operation goes on after a completion. */
enum fake_more { FAKE_LAST, FAKE_MORE };

/* Operations in the order they were queued, since the start or the last fake_ring_forget(). The first
 * fake_ring_submitted() of them are submitted, the rest still queued. A pointer is valid until the next
 * operation is queued. */
uint32_t fake_ring_queued(const struct ring *ring);
uint32_t fake_ring_submitted(const struct ring *ring);
const struct fake_sqe *fake_ring_sqe(const struct ring *ring, uint32_t index);
/* The last operation of that kind on fd (FAKE_CANCEL: fd -1), NULL when there is none. */
const struct fake_sqe *fake_ring_find(const struct ring *ring, enum fake_kind kind, int fd);
/* How many operations of that kind there are. */
uint32_t fake_ring_count(const struct ring *ring, enum fake_kind kind);
/* Copies up to max of the bytes that a FAKE_SEND would send; before its completion, while they are lent.
 * Returns how many. */
size_t fake_ring_gather(const struct fake_sqe *sqe, void *out, size_t max);
/* Forgets all operations, submitted or not. Completions and buffers stay. */
void fake_ring_forget(struct ring *ring);

/* Pushes one completion: ring_reap() gives it out as it is. */
void fake_ring_complete(struct ring *ring, uint64_t user_data, int32_t result, uint32_t flags);
/* Bytes arrive for a multishot receive: they are copied into published buffers of its group as the kernel
 * would do it, with one completion for each buffer used; all but the last have COMPLETION_MORE, the last
 * has it if `more` says so. When the buffers run out, the receive ends with -ENOBUFS instead. Returns how
 * many bytes were delivered (less than len then). */
size_t fake_ring_recv(struct ring *ring, uint64_t user_data, const void *bytes, size_t len, enum fake_more more);
/* The end of stream: result 0, no buffer, no COMPLETION_MORE. */
void fake_ring_recv_end(struct ring *ring, uint64_t user_data);
/* Completions pushed and not reaped yet. */
uint32_t fake_ring_pending(const struct ring *ring);
/* Buffers of a group that are published and not used up. */
uint32_t fake_ring_buffers(const struct ring *ring, uint16_t group);

/* ring_submit_and_wait(): how often it was called, and what the last call wanted to wait. ring_submit()
 * does not count. */
uint32_t fake_ring_waits(const struct ring *ring);
uint64_t fake_ring_last_timeout_ns(const struct ring *ring);
/* The next ring_submit_and_wait() returns that error (and submits nothing). */
void fake_ring_fail_wait(struct ring *ring, int error);
/* The next ring_take_overflow() says yes. */
void fake_ring_overflow(struct ring *ring);
/* The next ring_open() returns that error; 0: none. */
void fake_ring_fail_open(int error);
/* The next ring_register_buffers() of an incremental ring returns -EINVAL, as an old kernel's. */
void fake_ring_refuse_incremental(struct ring *ring);
/* Rings that are open: 0 at the end of a test. */
uint32_t fake_ring_open_count(void);
