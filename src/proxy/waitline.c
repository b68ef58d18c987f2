/* See waitline.h. */
#include "proxy/waitline.h"

#include <errno.h>

#include "base/assert.h"
#include "base/limits.h"
#include "proxy/shared.h"

void waitline_init(struct waitline *line, struct proxy_shared *shared, uint32_t max)
{
    *line = (struct waitline){.shared = shared, .max = max};
    pthread_mutex_init(&line->lock, NULL);
    list_init(&line->list);
}

void waitline_set_max(struct waitline *line, uint32_t max)
{
    atomic_store(&line->max, max);
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
    list_init(&waiter->called_link);
}

/* With the lock held. */
static void take_out(struct waitline *line, struct waiter *waiter)
{
    list_del(&waiter->link);
    atomic_fetch_sub(&line->waiting, 1);
}

/* With the lock held: the first node whose ticket is higher, or the list. */
static struct list *node_behind(struct waitline *line, uint64_t ticket)
{
    struct list *node = line->list.next;

    /* Few are passed: who goes back is one of the first. */
    while (node != &line->list && CONTAINER_OF(node, struct waiter, link)->ticket <= ticket)
        node = node->next;
    return node;
}

int waitline_join(struct waitline *line, struct waiter *waiter, enum waitline_place place)
{
    int rc = -EBUSY;

    pthread_mutex_lock(&line->lock);
    assert(!list_is_linked(&waiter->link) && !atomic_load(&waiter->is_called));
    if (place == WAITLINE_BACK || atomic_load(&line->waiting) < atomic_load(&line->max)) {
        if (place == WAITLINE_LAST)
            waiter->ticket = line->tickets++;
        /* Before a node is behind the one before it. */
        list_add_tail(place == WAITLINE_LAST ? &line->list : node_behind(line, waiter->ticket), &waiter->link);
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
    was_called = atomic_exchange(&waiter->is_called, false);
    if (was_called && line->shared)
        proxy_shared_remove_called(line->shared, waiter->reactor, &waiter->called_link);
    if (list_is_linked(&waiter->link))
        take_out(line, waiter);
    pthread_mutex_unlock(&line->lock);
    return was_called;
}

bool waitline_take_call(struct waitline *line, struct waiter *waiter)
{
    bool was_called;

    if (!atomic_load(&waiter->is_called))
        return false;
    pthread_mutex_lock(&line->lock);
    was_called = atomic_exchange(&waiter->is_called, false);
    pthread_mutex_unlock(&line->lock);
    return was_called;
}

/* With the lock held; the waiter may be gone as soon as it is not. */
static uint32_t call(struct waitline *line, struct waiter *waiter)
{
    uint32_t reactor = waiter->reactor;

    take_out(line, waiter);
    atomic_store(&waiter->is_called, true);
    if (line->shared)
        proxy_shared_add_called(line->shared, reactor, &waiter->called_link);
    return reactor;
}

/* A reactor looks for those of its own who were called. */
static void wake(struct waitline *line, uint32_t reactor, struct ring *own_ring)
{
    if (line->shared)
        proxy_shared_wake(line->shared, reactor, own_ring);
}

/* behind: whose place it is that somebody is called behind, NULL: the first. */
static void call_one(struct waitline *line, const struct waiter *behind, struct ring *own_ring)
{
    struct list *node;
    uint32_t reactor = 0;
    bool is_one;

    pthread_mutex_lock(&line->lock);
    node = behind ? node_behind(line, behind->ticket) : line->list.next;
    is_one = node != &line->list;
    if (is_one)
        reactor = call(line, CONTAINER_OF(node, struct waiter, link));
    pthread_mutex_unlock(&line->lock);
    if (is_one)
        wake(line, reactor, own_ring);
}

void waitline_call_next(struct waitline *line, struct ring *own_ring)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (UNLIKELY(atomic_load(&line->waiting) > 0))
        call_one(line, NULL, own_ring);
}

bool waitline_call_own(struct waitline *line, uint32_t reactor, struct ring *own_ring)
{
    struct waiter *first = NULL;

    pthread_mutex_lock(&line->lock);
    if (!list_is_empty(&line->list))
        first = CONTAINER_OF(line->list.next, struct waiter, link);
    if (first && first->reactor != reactor)
        first = NULL;
    if (first)
        call(line, first);
    pthread_mutex_unlock(&line->lock);
    if (first)
        wake(line, reactor, own_ring);
    return first != NULL;
}

void waitline_call_behind(struct waitline *line, const struct waiter *waiter, struct ring *own_ring)
{
    call_one(line, waiter, own_ring);
}

void waitline_call_all(struct waitline *line, struct ring *own_ring)
{
    bool has_called[REACTORS_MAX] = {false};

    atomic_thread_fence(memory_order_seq_cst);
    if (LIKELY(atomic_load(&line->waiting) == 0))
        return;
    pthread_mutex_lock(&line->lock);
    while (!list_is_empty(&line->list))
        has_called[call(line, CONTAINER_OF(line->list.next, struct waiter, link))] = true;
    pthread_mutex_unlock(&line->lock);
    for (uint32_t i = 0; i < REACTORS_MAX; i++) {
        if (has_called[i])
            wake(line, i, own_ring);
    }
}
