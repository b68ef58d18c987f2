/* See shared.h. */
#include "proxy/shared.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "core/config.h"
#include "core/engine.h"
#include "core/reactor.h"
#include "proxy/group.h"
#include "proxy/group_config.h"
#include "proxy/proxy.h"

static int open_group(struct group **out, const struct upstream_config *upstream, struct proxy_shared *shared)
{
    struct group_config *config;
    int rc = group_config_new(&config, upstream);

    if (rc < 0)
        return rc;
    rc = group_new(out, upstream->name, config, shared);
    group_config_release(config);
    return rc;
}

static int open_groups(struct proxy_shared *shared, const struct config *config)
{
    shared->groups = calloc(config->upstream_count + 1, sizeof(*shared->groups));
    if (!shared->groups)
        return -ENOMEM;
    for (uint32_t i = 0; i < config->upstream_count; i++) {
        int rc = open_group(&shared->groups[i], &config->upstreams[i], shared);

        if (rc < 0) {
            log_error("upstream %s: %s", config->upstreams[i].name, strerror(-rc));
            return rc;
        }
        shared->group_count = i + 1;
    }
    return 0;
}

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
    return open_groups(shared, engine->config);
}

void proxy_shared_close(struct engine *engine)
{
    struct proxy_shared *shared = engine->shared;

    for (uint32_t i = 0; i < shared->group_count; i++)
        group_release(shared->groups[i]);
    free(shared->groups);
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
