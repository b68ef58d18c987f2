/* See shared.h. */
#include "proxy/shared.h"

#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "core/engine.h"
#include "core/reactor.h"
#include "proxy/group_set.h"
#include "proxy/proxy.h"

int proxy_shared_open(struct engine *engine)
{
    struct proxy_shared *shared = calloc(1, sizeof(*shared));

    if (!shared)
        return -ENOMEM;
    shared->engine = engine;
    engine->shared = shared;
    shared->wakes = calloc(engine->reactor_count, sizeof(*shared->wakes));
    if (!shared->wakes)
        return -ENOMEM;
    for (uint32_t i = 0; i < engine->reactor_count; i++) {
        shared->wakes[i].message.kind = REACTOR_PROXY_WAKE;
        pthread_mutex_init(&shared->wakes[i].lock, NULL);
        list_init(&shared->wakes[i].called);
    }
    return group_set_new(&shared->groups, engine->config, NULL, shared);
}

struct group_set *proxy_shared_groups(const struct engine *engine)
{
    const struct proxy_shared *shared = engine->shared;

    return shared ? shared->groups : NULL;
}

void proxy_shared_change(struct engine *engine, struct group_set *set, struct ring *own_ring)
{
    struct proxy_shared *shared = engine->shared;
    struct group_set *before = shared->groups;

    group_set_apply(set, own_ring);
    shared->groups = set;
    group_set_free(before);
}

void proxy_shared_close(struct engine *engine)
{
    struct proxy_shared *shared = engine->shared;

    group_set_free(shared->groups);
    for (uint32_t i = 0; shared->wakes && i < engine->reactor_count; i++) {
        assert(list_is_empty(&shared->wakes[i].called));
        pthread_mutex_destroy(&shared->wakes[i].lock);
    }
    free(shared->wakes);
    free(shared);
    engine->shared = NULL;
}

void proxy_shared_add_called(struct proxy_shared *shared, uint32_t reactor, struct list *link)
{
    struct proxy_wake *wake = &shared->wakes[reactor];

    pthread_mutex_lock(&wake->lock);
    list_add_tail(&wake->called, link);
    pthread_mutex_unlock(&wake->lock);
}

void proxy_shared_remove_called(struct proxy_shared *shared, uint32_t reactor, struct list *link)
{
    struct proxy_wake *wake = &shared->wakes[reactor];

    pthread_mutex_lock(&wake->lock);
    list_del(link);
    pthread_mutex_unlock(&wake->lock);
}

void proxy_shared_take_called(struct proxy_shared *shared, uint32_t reactor, struct list *out)
{
    struct proxy_wake *wake = &shared->wakes[reactor];

    pthread_mutex_lock(&wake->lock);
    list_splice_tail(out, &wake->called);
    pthread_mutex_unlock(&wake->lock);
}

void proxy_shared_wake(struct proxy_shared *shared, uint32_t reactor, struct ring *own_ring)
{
    struct proxy_wake *wake = &shared->wakes[reactor];

    if (!atomic_exchange(&wake->is_sent, true))
        inbox_send(&shared->engine->reactors[reactor].inbox, &wake->message, own_ring);
}

void proxy_shared_wake_all(struct proxy_shared *shared, struct ring *own_ring)
{
    for (uint32_t i = 0; i < shared->engine->reactor_count; i++)
        proxy_shared_wake(shared, i, own_ring);
}
