/* See waitline.h. */
#include "proxy/waitline.h"

#include <errno.h>

#include "base/assert.h"
#include "proxy/shared.h"

void waitline_init(struct waitline *line, struct proxy_shared *shared, uint32_t max)
{
    *line = (struct waitline){.shared = shared, .max = max};
    pthread_mutex_init(&line->lock, NULL);
    list_init(&line->list);
}

void waitline_deinit(struct waitline *line)
{
    assert(list_is_empty(&line->list));
    pthread_mutex_destroy(&line->lock);
}

void waiter_init(struct waiter *waiter, uint32_t reactor)
{
    *waiter = (struct waiter){.reactor = reactor};
    list_init(&waiter->link);
}

/* With the lock held. */
static void take_out(struct waitline *line, struct waiter *waiter)
{
    list_del(&waiter->link);
    atomic_fetch_sub(&line->waiting, 1);
}

int waitline_join(struct waitline *line, struct waiter *waiter, enum waitline_end end)
{
    int rc = -EBUSY;

    pthread_mutex_lock(&line->lock);
    assert(!list_is_linked(&waiter->link) && !waiter->is_called);
    if (end == WAITLINE_FIRST || atomic_load(&line->waiting) < line->max) {
        /* Before the first node is behind the head. */
        list_add_tail(end == WAITLINE_FIRST ? line->list.next : &line->list, &waiter->link);
        atomic_fetch_add(&line->waiting, 1);
        rc = 0;
    }
    pthread_mutex_unlock(&line->lock);
    return rc;
}

bool waitline_leave(struct waitline *line, struct waiter *waiter)
{
    bool was_called;

    pthread_mutex_lock(&line->lock);
    was_called = waiter->is_called;
    waiter->is_called = false;
    if (list_is_linked(&waiter->link))
        take_out(line, waiter);
    pthread_mutex_unlock(&line->lock);
    return was_called;
}

bool waitline_take_call(struct waitline *line, struct waiter *waiter)
{
    bool was_called;

    pthread_mutex_lock(&line->lock);
    was_called = waiter->is_called;
    waiter->is_called = false;
    pthread_mutex_unlock(&line->lock);
    return was_called;
}

void waitline_call_next(struct waitline *line, struct ring *own_ring)
{
    struct waiter *waiter = NULL;
    uint32_t reactor = 0;

    if (LIKELY(atomic_load(&line->waiting) == 0))
        return;
    pthread_mutex_lock(&line->lock);
    if (!list_is_empty(&line->list)) {
        waiter = CONTAINER_OF(line->list.next, struct waiter, link);
        take_out(line, waiter);
        waiter->is_called = true;
        reactor = waiter->reactor;
    }
    pthread_mutex_unlock(&line->lock);
    /* The waiter may be gone by now; its reactor looks for those who were called. */
    if (waiter && line->shared)
        proxy_shared_wake(line->shared, reactor, own_ring);
}
