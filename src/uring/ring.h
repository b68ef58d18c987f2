/* One io_uring instance: set-up with the best flags the kernel takes, SQEs for the operations zerg uses,
 * one submitting and waiting call, completions copied out as plain structs. No liburing type is seen above
 * this header, so tests (and another backend) can stand in for ring.c. One thread: the one that called
 * ring_open(). */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/macros.h"

struct ring; /* owned by its thread; opaque */

struct ring_options {
    uint32_t sq_entries;
    uint32_t cq_entries;
    bool sqpoll;         /* a kernel thread submits (SQPOLL): costs a core */
    int sq_cpu;          /* CPU of that thread, -1: any */
    uint32_t sq_idle_ms; /* it sleeps after this long without work */
};

/* What one completion says; liburing's struct without its types. */
struct completion {
    uint64_t user_data;
    int32_t result; /* >= 0 or a negative errno */
    uint32_t flags; /* COMPLETION_* below; bits 16.. are the buffer id */
};

enum {
    COMPLETION_BUFFER = 1u << 0,   /* carries a provided buffer (IORING_CQE_F_BUFFER) */
    COMPLETION_MORE = 1u << 1,     /* the multishot goes on (IORING_CQE_F_MORE) */
    COMPLETION_NONEMPTY = 1u << 2, /* the socket has more to read (IORING_CQE_F_SOCK_NONEMPTY) */
    COMPLETION_BUF_MORE = 1u << 4, /* the kernel goes on filling this buffer (IORING_CQE_F_BUF_MORE, 6.12) */
    COMPLETION_BUFFER_SHIFT = 16,
};

/* Opens a ring on the calling thread: SINGLE_ISSUER | DEFER_TASKRUN | SUBMIT_ALL | CQSIZE | CLAMP with the
 * ring fd registered, falling back to COOP_TASKRUN and then to plain where set-up is refused, and halving
 * the completion queue on ENOMEM. Returns 0 or a negative errno (-EPERM, -ENOSYS: io_uring is forbidden
 * here, see probe.h for the words). */
MUST_CHECK int ring_open(struct ring **out, const struct ring_options *options);
void ring_close(struct ring *ring);
/* The ring's file descriptor: what another ring's MSG_RING addresses. */
int ring_fd(const struct ring *ring);

/* Each ring_add_* queues one SQE; a full submission queue is submitted first, so they cannot fail. */
void ring_add_accept(struct ring *ring, uint64_t user_data, int listen_fd);               /* multishot; SOCK_CLOEXEC */
void ring_add_recv(struct ring *ring, uint64_t user_data, int fd, uint16_t buffer_group); /* multishot */
/* How long a send may wait. */
enum ring_send {
    RING_SEND_ALL, /* until the socket has taken everything (MSG_WAITALL) */
    RING_SEND_NOW, /* not at all: it completes with what the socket takes, or -EAGAIN (MSG_DONTWAIT) */
};
/* bytes at data are lent to the kernel until the completion. MSG_NOSIGNAL. */
void ring_add_send(struct ring *ring, uint64_t user_data, int fd, const void *data, uint32_t len, enum ring_send how);
/* The same, gathered. msg and its iovec must live until the next ring_submit*(); the bytes until the completion. */
void ring_add_sendmsg(struct ring *ring, uint64_t user_data, int fd, const struct msghdr *msg, enum ring_send how);
/* addr must live until the next ring_submit*(). A unix socket is connected at once, and completes with -EAGAIN when the
 * listener's queue is full: io_uring would wait for that in a kernel worker thread. */
void ring_add_connect(struct ring *ring, uint64_t user_data, int fd, const struct sockaddr *addr, socklen_t addr_len);
void ring_add_close(struct ring *ring, uint64_t user_data, int fd);
/* Completes once, as soon as one of the events (POLLIN, POLLOUT of poll(2)) is there, or an error; the result is what is
 * there. One whose descriptor is closed meanwhile is not ended by that. */
void ring_add_poll(struct ring *ring, uint64_t user_data, int fd, uint32_t events);
/* Cancels the operation that was queued with target_user_data. Two completions follow, in any order: this one's (0,
 * -ENOENT or -EALREADY) and the target's. */
void ring_add_cancel(struct ring *ring, uint64_t user_data, uint64_t target_user_data);
/* One 8-byte read of an eventfd into value, lent until the completion. */
void ring_add_eventfd_read(struct ring *ring, uint64_t user_data, int fd, uint64_t *value);
/* Posts a completion (target_user_data, result 0) on another ring (MSG_RING, 5.18). Completes here
 * (user_data) only when it failed, so that ringing does not wake the one who rings. */
void ring_add_doorbell(struct ring *ring, uint64_t user_data, int target_ring_fd, uint64_t target_user_data);

/* How long ring_submit_and_wait() may sleep. */
enum { RING_NO_WAIT = 0 };
#define RING_WAIT_FOREVER UINT64_MAX

/* Submits what is queued and sleeps until a completion is there or timeout_ns passed: one system call, none
 * when there is nothing to submit and completions are waiting. Returns 0 (also after a time-out, a signal,
 * or -EBUSY from an overflowed completion queue: reap, then come again) or a negative errno that the ring
 * does not survive. */
MUST_CHECK int ring_submit_and_wait(struct ring *ring, uint64_t timeout_ns);
/* Submits what is queued, never waits. */
MUST_CHECK int ring_submit(struct ring *ring);
/* True while SQEs wait that the kernel did not take with the last submission (no memory just then, say). */
bool ring_has_unsubmitted(const struct ring *ring);
/* Copies up to max completions out, oldest first, and gives their places back to the kernel. Returns how many. */
uint32_t ring_reap(struct ring *ring, struct completion *out, uint32_t max);
/* True when the completion queue overflowed since the last call (the kernel kept the completions on a list). */
bool ring_take_overflow(struct ring *ring);

/* One entry of a provided-buffer ring, as the kernel reads it (struct io_uring_buf). The last field is
 * unused but in entry 0, where it is the ring's tail. In incremental rings the kernel itself moves addr and
 * len of the entry it is filling. */
struct ring_buffer {
    uint64_t addr;
    uint32_t len;
    uint16_t bid;
    uint16_t tail;
};

/* Provided-buffer ring registration, used by bufring.c alone. memory: page-aligned, entries * sizeof(struct
 * ring_buffer). incremental: IOU_PBUF_RING_INC. 0 or a negative errno (-EINVAL: this kernel has no such
 * thing). */
MUST_CHECK int ring_register_buffers(struct ring *ring, void *memory, uint32_t entries, uint16_t group,
                                     bool incremental);
void ring_unregister_buffers(struct ring *ring, uint16_t group);

/* Which set-up flags the kernel took, for `zerg version`: "SINGLE_ISSUER DEFER_TASKRUN ...". Borrowed, static. */
const char *ring_flags_text(const struct ring *ring);
/* True with SINGLE_ISSUER | DEFER_TASKRUN: completions are made only inside ring_submit_and_wait(). */
bool ring_is_deferred(const struct ring *ring);
/* True when the ring's own descriptor is registered (5.18). */
bool ring_is_registered(const struct ring *ring);
