/* A ring on liburing. Set-up and the preparation of SQEs are liburing's; entering the kernel is done here, since
 * liburing's waiting calls may enter twice for one wait. */
#include "uring/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sched.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/clock.h"

static_assert(COMPLETION_BUFFER == IORING_CQE_F_BUFFER, "the kernel's bits");
static_assert(COMPLETION_MORE == IORING_CQE_F_MORE, "the kernel's bits");
static_assert(COMPLETION_NONEMPTY == IORING_CQE_F_SOCK_NONEMPTY, "the kernel's bits");
#ifdef IORING_CQE_F_BUF_MORE /* liburing 2.8 */
static_assert(COMPLETION_BUF_MORE == IORING_CQE_F_BUF_MORE, "the kernel's bits");
#endif
static_assert((int)COMPLETION_BUFFER_SHIFT == (int)IORING_CQE_BUFFER_SHIFT, "the kernel's bits");
static_assert(sizeof(struct ring_buffer) == sizeof(struct io_uring_buf), "the kernel's layout");
static_assert(offsetof(struct ring_buffer, bid) == offsetof(struct io_uring_buf, bid), "the kernel's layout");
static_assert(offsetof(struct ring_buffer, tail) == offsetof(struct io_uring_buf_ring, tail), "the kernel's layout");

enum {
    PBUF_RING_INCREMENTAL = 2, /* IOU_PBUF_RING_INC: Linux 6.12, liburing 2.8 */
    ROOM_TRIES_MAX = 1000,     /* attempts to empty a full submission queue before the ring counts as broken */
};

/* Not NO_SQARRAY: liburing 2.3 writes the array without knowing that flag, over the heads and tails of the ring. */
enum { SETUP_BASE = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP };

struct setup {
    unsigned flags;
    const char *text;
};

/* Best first. TASKRUN_FLAG lets the ring see without a system call that entering the kernel would yield
 * completions. */
static const struct setup setups[] = {
    {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
     "SINGLE_ISSUER DEFER_TASKRUN TASKRUN_FLAG SUBMIT_ALL"},
    {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
     "SINGLE_ISSUER COOP_TASKRUN TASKRUN_FLAG SUBMIT_ALL"},
    {IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, "COOP_TASKRUN TASKRUN_FLAG SUBMIT_ALL"},
    {0, "SUBMIT_ALL"},
};

/* The kernel refuses all flags about task work together with SQPOLL (io_uring_create()). */
static const struct setup sqpoll_setups[] = {
    {IORING_SETUP_SQPOLL | IORING_SETUP_SINGLE_ISSUER, "SQPOLL SINGLE_ISSUER SUBMIT_ALL"},
    {IORING_SETUP_SQPOLL, "SQPOLL SUBMIT_ALL"},
};

/* struct io_uring_buf_reg, whose field flags is still called pad in liburing 2.3. */
struct buffers_registration {
    uint64_t memory;
    uint32_t entries;
    uint16_t group;
    uint16_t flags;
    uint64_t reserved[3];
};
static_assert(sizeof(struct buffers_registration) == sizeof(struct io_uring_buf_reg), "the kernel's layout");
static_assert(offsetof(struct buffers_registration, group) == offsetof(struct io_uring_buf_reg, bgid),
              "the kernel's layout");

struct ring {
    struct io_uring uring;
    const struct setup *setup; /* which flags the kernel took */
    bool is_registered;
    bool is_sqpoll;
    bool has_borrowed;           /* SQPOLL: an SQE points at a msghdr or an address that is still the caller's */
    bool overflowed;             /* seen since the last ring_take_overflow() */
    int error;                   /* the ring is broken: what ring_submit_and_wait() will say */
    struct io_uring_sqe nowhere; /* what a broken ring gives out instead of a place in its queue */
};

static int init_any(struct ring *ring, const struct ring_options *options);
static int init_with(struct io_uring *uring, const struct ring_options *options, unsigned flags);
static struct io_uring_sqe *take_sqe(struct ring *ring);
static struct io_uring_sqe *take_sqe_of_full(struct ring *ring);
static unsigned publish_sqes(struct ring *ring);
static unsigned sqes_unread(const struct ring *ring);
static bool sq_flag(const struct ring *ring, unsigned flags);
static bool has_completions(const struct ring *ring);
static int enter(struct ring *ring, unsigned to_submit, unsigned flags);
static int enter_and_wait(struct ring *ring, unsigned to_submit, uint64_t timeout_ns);
static int call_enter(struct ring *ring, unsigned to_submit, unsigned min_complete, unsigned flags,
                      struct io_uring_getevents_arg *arg);
static void wait_until_read(struct ring *ring);

int ring_open(struct ring **out, const struct ring_options *options)
{
    struct ring *ring;
    int rc;

    assert(options->sq_entries > 0 && options->cq_entries >= options->sq_entries);
    ring = calloc(1, sizeof(*ring));
    if (!ring)
        return -ENOMEM;
    ring->is_sqpoll = options->sqpoll;
    rc = init_any(ring, options);
    if (rc < 0) {
        free(ring);
        return rc;
    }
    /* Saves the kernel from looking up the descriptor with every call; nothing is lost where it is refused. */
    ring->is_registered = io_uring_register_ring_fd(&ring->uring) == 1;
    *out = ring;
    return 0;
}

void ring_close(struct ring *ring)
{
    io_uring_queue_exit(&ring->uring);
    free(ring);
}

int ring_fd(const struct ring *ring)
{
    return ring->uring.ring_fd;
}

void ring_add_accept(struct ring *ring, uint64_t user_data, int listen_fd)
{
    struct io_uring_sqe *sqe = take_sqe(ring);

    io_uring_prep_multishot_accept(sqe, listen_fd, NULL, NULL, SOCK_CLOEXEC);
    sqe->user_data = user_data;
}

void ring_add_recv(struct ring *ring, uint64_t user_data, int fd, uint16_t buffer_group)
{
    struct io_uring_sqe *sqe = take_sqe(ring);

    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = buffer_group;
    sqe->user_data = user_data;
}

static unsigned int send_flags(enum ring_send how)
{
    return MSG_NOSIGNAL | (how == RING_SEND_ALL ? MSG_WAITALL : MSG_DONTWAIT);
}

void ring_add_send(struct ring *ring, uint64_t user_data, int fd, const void *data, uint32_t len, enum ring_send how)
{
    struct io_uring_sqe *sqe = take_sqe(ring);

    io_uring_prep_send(sqe, fd, data, len, (int)send_flags(how));
    sqe->user_data = user_data;
}

void ring_add_sendmsg(struct ring *ring, uint64_t user_data, int fd, const struct msghdr *msg, enum ring_send how)
{
    struct io_uring_sqe *sqe = take_sqe(ring);

    io_uring_prep_sendmsg(sqe, fd, msg, send_flags(how));
    sqe->user_data = user_data;
    ring->has_borrowed = ring->is_sqpoll;
}

/* connect(2) to a unix socket, which waits for nothing but room in the listener's queue: not for that. 0 or a negative
 * errno; -EAGAIN: there is no room. */
static int connect_at_once(int fd, const struct sockaddr *addr, socklen_t addr_len)
{
    int flags = fcntl(fd, F_GETFL);
    int rc;

    (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    rc = connect(fd, addr, addr_len) < 0 ? -errno : 0;
    (void)fcntl(fd, F_SETFL, flags);
    return rc;
}

/* A completion of our own making: a message to our own ring, which completes by itself only when it failed. */
static void prepare_post(struct ring *ring, struct io_uring_sqe *sqe, uint64_t user_data, int result)
{
    io_uring_prep_msg_ring(sqe, ring->uring.ring_fd, (unsigned int)result, user_data, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = user_data;
}

/* The kernel copies the address when it starts the operation (io_connect_prep(), io_connect() before 6.8). */
void ring_add_connect(struct ring *ring, uint64_t user_data, int fd, const struct sockaddr *addr, socklen_t addr_len)
{
    struct io_uring_sqe *sqe = take_sqe(ring);

    if (addr->sa_family == AF_UNIX) {
        prepare_post(ring, sqe, user_data, connect_at_once(fd, addr, addr_len));
        return;
    }
    io_uring_prep_connect(sqe, fd, addr, addr_len);
    sqe->user_data = user_data;
    ring->has_borrowed = ring->is_sqpoll;
}

void ring_add_close(struct ring *ring, uint64_t user_data, int fd)
{
    struct io_uring_sqe *sqe = take_sqe(ring);

    io_uring_prep_close(sqe, fd);
    sqe->user_data = user_data;
}

void ring_add_poll(struct ring *ring, uint64_t user_data, int fd, uint32_t events)
{
    struct io_uring_sqe *sqe = take_sqe(ring);

    io_uring_prep_poll_add(sqe, fd, events);
    sqe->user_data = user_data;
}

void ring_add_cancel(struct ring *ring, uint64_t user_data, uint64_t target_user_data)
{
    struct io_uring_sqe *sqe = take_sqe(ring);

    io_uring_prep_cancel64(sqe, target_user_data, 0);
    sqe->user_data = user_data;
}

void ring_add_eventfd_read(struct ring *ring, uint64_t user_data, int fd, uint64_t *value)
{
    struct io_uring_sqe *sqe = take_sqe(ring);

    io_uring_prep_read(sqe, fd, value, sizeof(*value), 0);
    sqe->user_data = user_data;
}

void ring_add_doorbell(struct ring *ring, uint64_t user_data, int target_ring_fd, uint64_t target_user_data)
{
    struct io_uring_sqe *sqe = take_sqe(ring);

    io_uring_prep_msg_ring(sqe, target_ring_fd, 0, target_user_data, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = user_data;
}

int ring_submit_and_wait(struct ring *ring, uint64_t timeout_ns)
{
    bool is_ready = has_completions(ring);
    unsigned to_submit = publish_sqes(ring);
    bool must_submit = to_submit > 0 && (!ring->is_sqpoll || sq_flag(ring, IORING_SQ_NEED_WAKEUP));
    int rc = 0;

    if (ring->error)
        return ring->error;
    if (!is_ready && timeout_ns != RING_NO_WAIT)
        rc = enter_and_wait(ring, to_submit, timeout_ns);
    else if (must_submit || (!is_ready && sq_flag(ring, IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)))
        rc = enter(ring, to_submit, IORING_ENTER_GETEVENTS);
    wait_until_read(ring);
    return rc;
}

int ring_submit(struct ring *ring)
{
    unsigned to_submit = publish_sqes(ring);
    int rc = 0;

    if (ring->error)
        return ring->error;
    if (to_submit > 0 && (!ring->is_sqpoll || sq_flag(ring, IORING_SQ_NEED_WAKEUP)))
        rc = enter(ring, to_submit, 0);
    wait_until_read(ring);
    return rc;
}

uint32_t ring_reap(struct ring *ring, struct completion *out, uint32_t max)
{
    struct io_uring_cq *cq = &ring->uring.cq;
    unsigned mask = *cq->kring_mask;
    unsigned head = *cq->khead;
    uint32_t count = io_uring_smp_load_acquire(cq->ktail) - head;

    if (count > max)
        count = max;
    for (uint32_t i = 0; i < count; i++) {
        const struct io_uring_cqe *cqe = &cq->cqes[(head + i) & mask];

        out[i] = (struct completion){.user_data = cqe->user_data, .result = cqe->res, .flags = cqe->flags};
    }
    if (count > 0)
        io_uring_smp_store_release(cq->khead, head + count);
    return count;
}

bool ring_take_overflow(struct ring *ring)
{
    bool overflowed = ring->overflowed;

    ring->overflowed = false;
    return overflowed;
}

int ring_register_buffers(struct ring *ring, void *memory, uint32_t entries, uint16_t group, bool incremental)
{
    struct buffers_registration registration = {
        .memory = (uintptr_t)memory,
        .entries = entries,
        .group = group,
        .flags = incremental ? PBUF_RING_INCREMENTAL : 0,
    };

    return io_uring_register((unsigned)ring->uring.ring_fd, IORING_REGISTER_PBUF_RING, &registration, 1);
}

void ring_unregister_buffers(struct ring *ring, uint16_t group)
{
    int rc = io_uring_unregister_buf_ring(&ring->uring, group);

    assert(rc == 0);
}

const char *ring_flags_text(const struct ring *ring)
{
    return ring->setup->text;
}

bool ring_is_deferred(const struct ring *ring)
{
    return ring->setup->flags & IORING_SETUP_DEFER_TASKRUN;
}

bool ring_is_registered(const struct ring *ring)
{
    return ring->is_registered;
}

/* Kernels answer -EINVAL to a set-up flag they do not know: the next choice is tried. */
static int init_any(struct ring *ring, const struct ring_options *options)
{
    const struct setup *choices = options->sqpoll ? sqpoll_setups : setups;
    size_t count = options->sqpoll ? COUNT_OF(sqpoll_setups) : COUNT_OF(setups);
    int rc = -EINVAL;

    for (size_t i = 0; i < count && rc == -EINVAL; i++) {
        ring->setup = &choices[i];
        rc = init_with(&ring->uring, options, SETUP_BASE | choices[i].flags);
    }
    return rc;
}

/* Before 6.10 a ring is one contiguous piece of memory, which a fragmented machine may not have: smaller, then. */
static int init_with(struct io_uring *uring, const struct ring_options *options, unsigned flags)
{
    uint32_t cq_entries = options->cq_entries;
    int rc;

    if (options->sqpoll && options->sq_cpu >= 0)
        flags |= IORING_SETUP_SQ_AFF;
    for (;;) {
        struct io_uring_params params = {.flags = flags, .cq_entries = cq_entries};

        if (options->sqpoll) {
            params.sq_thread_cpu = options->sq_cpu >= 0 ? (unsigned)options->sq_cpu : 0;
            params.sq_thread_idle = options->sq_idle_ms;
        }
        rc = io_uring_queue_init_params(options->sq_entries, uring, &params);
        if (rc != -ENOMEM || cq_entries / 2 < options->sq_entries)
            return rc;
        cq_entries /= 2;
    }
}

static struct io_uring_sqe *take_sqe(struct ring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

    return LIKELY(sqe) ? sqe : take_sqe_of_full(ring);
}

/* The kernel empties the queue with one call, unless it is out of memory; then it may help to let it finish
 * something. */
static struct io_uring_sqe *take_sqe_of_full(struct ring *ring)
{
    unsigned flags = IORING_ENTER_GETEVENTS | (ring->is_sqpoll ? IORING_ENTER_SQ_WAIT : 0);
    struct io_uring_sqe *sqe = NULL;

    for (int tries = 0; !sqe && !ring->error && tries < ROOM_TRIES_MAX; tries++) {
        ring->error = enter(ring, publish_sqes(ring), flags);
        sqe = io_uring_get_sqe(&ring->uring);
    }
    if (sqe)
        return sqe;
    if (!ring->error)
        ring->error = -EBUSY;
    return &ring->nowhere;
}

/* Makes the queued SQEs visible to the kernel; returns how many it has not read yet. */
static unsigned publish_sqes(struct ring *ring)
{
    struct io_uring_sq *sq = &ring->uring.sq;

    if (sq->sqe_head != sq->sqe_tail) {
        sq->sqe_head = sq->sqe_tail;
        io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
    }
    /* SQPOLL: the tail must be visible before we look whether the kernel thread sleeps (it does both the
     * other way). */
    if (ring->is_sqpoll)
        io_uring_smp_mb();
    return sqes_unread(ring);
}

bool ring_has_unsubmitted(const struct ring *ring)
{
    return sqes_unread(ring) > 0 || ring->uring.sq.sqe_tail != ring->uring.sq.sqe_head;
}

static unsigned sqes_unread(const struct ring *ring)
{
    return ring->uring.sq.sqe_head - io_uring_smp_load_acquire(ring->uring.sq.khead);
}

static bool sq_flag(const struct ring *ring, unsigned flags)
{
    return IO_URING_READ_ONCE(*ring->uring.sq.kflags) & flags;
}

static bool has_completions(const struct ring *ring)
{
    return io_uring_smp_load_acquire(ring->uring.cq.ktail) != *ring->uring.cq.khead;
}

static int enter(struct ring *ring, unsigned to_submit, unsigned flags)
{
    return call_enter(ring, to_submit, 0, flags, NULL);
}

static int enter_and_wait(struct ring *ring, unsigned to_submit, uint64_t timeout_ns)
{
    struct __kernel_timespec ts = {
        .tv_sec = (long long)(timeout_ns / NS_PER_S),
        .tv_nsec = (long long)(timeout_ns % NS_PER_S),
    };
    struct io_uring_getevents_arg arg = {.ts = (uintptr_t)&ts};

    if (timeout_ns == RING_WAIT_FOREVER)
        return call_enter(ring, to_submit, 1, IORING_ENTER_GETEVENTS, NULL);
    return call_enter(ring, to_submit, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &arg);
}

static int call_enter(struct ring *ring, unsigned to_submit, unsigned min_complete, unsigned flags,
                      struct io_uring_getevents_arg *arg)
{
    unsigned fd = (unsigned)ring->uring.enter_ring_fd;
    int rc;

    if (ring->is_registered)
        flags |= IORING_ENTER_REGISTERED_RING;
    if (ring->is_sqpoll && sq_flag(ring, IORING_SQ_NEED_WAKEUP))
        flags |= IORING_ENTER_SQ_WAKEUP;
    rc = io_uring_enter2(fd, to_submit, min_complete, flags, (sigset_t *)(void *)arg, arg ? sizeof(*arg) : 0);
    ring->overflowed |= sq_flag(ring, IORING_SQ_CQ_OVERFLOW);
    /* Time-out, signal, overflowed completion queue, no memory just now: the caller looks at what there is
     * and comes again. What was not submitted is still in the queue. */
    if (rc >= 0 || rc == -ETIME || rc == -EINTR || rc == -EBUSY || rc == -EAGAIN)
        return 0;
    return rc;
}

/* With SQPOLL the kernel thread reads a msghdr or an address some time after the SQE was published; our callers
 * reuse theirs as soon as we return. */
static void wait_until_read(struct ring *ring)
{
    int rc = 0;

    while (ring->has_borrowed && rc == 0 && sqes_unread(ring) > 0) {
        if (sq_flag(ring, IORING_SQ_NEED_WAKEUP))
            rc = enter(ring, 0, 0);
        sched_yield();
    }
    ring->has_borrowed = false;
}
