/* The line of those who wait for a server that has max_connections: first come, first served, over all reactors. A slot
 * that becomes free calls the first one, who then tries to pick again on its own reactor. Who was called in vain goes back
 * to its place.
 *
 * No call is lost: who joins looks once more for a server afterwards, and who gives a slot back looks at the line
 * afterwards (one of the two sees the other). Who was called and has no use for it passes the call on: to the first, or
 * when it stays in the line to those behind it. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/macros.h"

struct proxy_shared;
struct ring;

/* Shared by all reactors. */
struct waitline {
    struct proxy_shared *shared; /* borrowed: knows how to wake a reactor; NULL in tests that have none */
    atomic_uint max;
    atomic_uint waiting; /* on the list */
    pthread_mutex_t lock;
    struct list list; /* guarded by lock, as are the waiters' fields; by ticket */
    uint64_t tickets; /* given out; guarded by lock */
};

/* Embedded by its owner, on one reactor. */
struct waiter {
    struct list link;
    struct list called_link; /* see struct proxy_wake */
    uint64_t ticket;         /* lower ones come first */
    uint32_t reactor;
    atomic_bool is_called;
};

enum waitline_place {
    WAITLINE_LAST,
    WAITLINE_BACK, /* where it was, for who was called in vain */
};

void waitline_init(struct waitline *line, struct proxy_shared *shared, uint32_t max);
/* Who is in the line already stays there. Any thread. */
void waitline_set_max(struct waitline *line, uint32_t max);
/* Asserts that nobody waits. */
void waitline_deinit(struct waitline *line);

void waiter_init(struct waiter *waiter, uint32_t reactor);
/* 0, or -EBUSY when `max` wait already (never for who goes back). */
MUST_CHECK int waitline_join(struct waitline *line, struct waiter *waiter, enum waitline_place place);
/* Takes the waiter out, or gives up its call: true when it had been called, so that the next one should be. Idempotent. */
bool waitline_leave(struct waitline *line, struct waiter *waiter);
/* True once when the waiter was called; it is out of the line then. Where reactors are woken, called_link must have been taken off its
 * list before. */
bool waitline_take_call(struct waitline *line, struct waiter *waiter);
/* Calls the first one, if anybody waits: for who has given a slot back, which is seen by who joins from now on (a full
 * fence). own_ring: of the calling thread, NULL: it has none. */
void waitline_call_next(struct waitline *line, struct ring *own_ring);
/* Calls the first one if it is on this reactor, which is the caller's: there is something that only it can use. */
bool waitline_call_own(struct waitline *line, uint32_t reactor, struct ring *own_ring);
/* Calls the first one behind the place of a waiter, who cannot use what others may. */
void waitline_call_behind(struct waitline *line, const struct waiter *waiter, struct ring *own_ring);
/* Calls all: there may be room for many. A full fence, as above. */
void waitline_call_all(struct waitline *line, struct ring *own_ring);
