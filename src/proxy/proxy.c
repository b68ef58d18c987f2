/* See proxy.h. */
#include "proxy/proxy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/log.h"
#include "core/config.h"
#include "core/engine.h"
#include "proxy/checks.h"
#include "proxy/dial.h"
#include "proxy/group.h"
#include "proxy/http_forward.h"
#include "proxy/relay.h"
#include "proxy/resolver.h"
#include "proxy/shared.h"

enum { RELAYS_PER_BLOCK = 64, DIALS_PER_BLOCK = 16, VIEWS_PER_BLOCK = 16 };

/* ---- groups ---- */

static struct list *bucket_of(struct proxy *proxy, const char *target, size_t len)
{
    return &proxy->plain_buckets[hash_bytes(target, len) % PLAIN_BUCKETS];
}

static bool is_named(const struct group_view *view, const char *target, size_t len)
{
    return strlen(view->group->name) == len && memcmp(view->group->name, target, len) == 0;
}

static struct group_view *find_upstream(const struct proxy *proxy, const char *target, size_t len)
{
    for (uint32_t i = 0; i < proxy->view_count; i++) {
        if (is_named(&proxy->views[i], target, len))
            return &proxy->views[i];
    }
    return NULL;
}

static struct group_view *find_plain(struct proxy *proxy, const char *target, size_t len)
{
    struct list *bucket = bucket_of(proxy, target, len);

    for (struct list *node = bucket->next; node != bucket; node = node->next) {
        struct group_view *view = CONTAINER_OF(node, struct group_view, bucket_link);

        if (is_named(view, target, len))
            return view;
    }
    return NULL;
}

static void forget_plain(struct proxy *proxy, struct group_view *view)
{
    list_del(&view->link);
    list_del(&view->bucket_link);
    proxy->plain_group_count--;
    group_view_deinit(view);
    slab_free(&proxy->plain_views, view);
}

/* Scripts may name any number of targets: those that nobody uses are forgotten, the oldest first. */
static void forget_oldest(struct proxy *proxy)
{
    for (struct list *node = proxy->plain_groups.next; node != &proxy->plain_groups; node = node->next) {
        struct group_view *view = CONTAINER_OF(node, struct group_view, link);

        if (!view->refresh) {
            forget_plain(proxy, view);
            return;
        }
    }
}

static int make_plain(struct proxy *proxy, const char *target, size_t len, struct group_view **out)
{
    struct group_view *view = slab_new(&proxy->plain_views);
    struct group *group;
    int rc;

    if (!view)
        return -ENOMEM;
    rc = group_new_plain(&group, target, len);
    if (rc < 0) {
        slab_free(&proxy->plain_views, view);
        return rc;
    }
    if (proxy->plain_group_count >= PLAIN_GROUPS_MAX)
        forget_oldest(proxy);
    group_view_init(view, group, proxy->reactor);
    group_release(group);
    list_add_tail(bucket_of(proxy, target, len), &view->bucket_link);
    list_add_tail(&proxy->plain_groups, &view->link);
    proxy->plain_group_count++;
    *out = view;
    return 0;
}

int proxy_find_group(struct proxy *proxy, const char *target, size_t len, struct group_view **out)
{
    struct group_view *view = find_upstream(proxy, target, len);

    if (!view) {
        view = find_plain(proxy, target, len);
        if (!view)
            return make_plain(proxy, target, len, out);
        if (list_is_linked(&view->link))
            list_move_tail(&proxy->plain_groups, &view->link);
    }
    *out = view;
    return 0;
}

/* ---- opening and closing ---- */

static int open_views(struct proxy *proxy, const struct proxy_shared *shared)
{
    if (!shared) /* an engine without upstreams: that of a test */
        return 0;
    proxy->views = calloc(shared->group_count + 1, sizeof(*proxy->views));
    if (!proxy->views)
        return -ENOMEM;
    for (uint32_t i = 0; i < shared->group_count; i++)
        group_view_init(&proxy->views[i], shared->groups[i], proxy->reactor);
    proxy->view_count = shared->group_count;
    return 0;
}

/* In use from now on; NULL for no target. */
static int open_forward(struct proxy *proxy, const struct listener_config *listener, const char *target,
                        struct group_view **out)
{
    int rc;

    *out = NULL;
    if (!target)
        return 0;
    rc = proxy_find_group(proxy, target, strlen(target), out);
    if (rc < 0)
        log_error("listener %s: cannot forward to %s: %s", listener->name, target, strerror(-rc));
    else
        group_view_use(*out);
    return rc;
}

/* Where the listeners and their routes forward to, looked up once. */
static int open_forwards(struct proxy *proxy, const struct config *config)
{
    proxy->forwards = calloc(config->listener_count, sizeof(struct group_view *));
    proxy->routes = calloc(config->route_count + 1, sizeof(struct group_view *));
    if (!proxy->forwards || !proxy->routes)
        return -ENOMEM;
    for (uint32_t i = 0; i < config->listener_count; i++) {
        const struct listener_config *listener = &config->listeners[i];
        int rc = open_forward(proxy, listener, listener->forward, &proxy->forwards[i]);

        for (uint32_t j = 0; j < listener->route_count && rc == 0; j++) {
            const struct http_route *route = &listener->routes[j];

            rc = open_forward(proxy, listener, route->forward, &proxy->routes[route->index]);
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* So that no two reactors or processes give requests the same ids. */
static void seed_requests(struct proxy *proxy)
{
    uint64_t seeds[2] = {clock_now_ns(), (uintptr_t)proxy};

    (void)!getrandom(seeds, sizeof(seeds), 0);
    proxy->request_seed = seeds[0];
    proxy->next_request = seeds[1];
}

int proxy_open(struct reactor *reactor)
{
    const struct engine *engine = reactor->engine;
    struct proxy *proxy = calloc(1, sizeof(*proxy));
    int rc;

    if (!proxy)
        return -ENOMEM;
    reactor->proxy = proxy;
    proxy->reactor = reactor;
    slab_init(&proxy->relays, sizeof(struct relay), RELAYS_PER_BLOCK, 0);
    slab_init(&proxy->http_forwards, sizeof(struct http_forward), RELAYS_PER_BLOCK, 0);
    slab_init(&proxy->plain_views, sizeof(struct group_view), VIEWS_PER_BLOCK, 0);
    slab_init(&proxy->dials, sizeof(struct dial), DIALS_PER_BLOCK, 0);
    pool_init(&proxy->pool, reactor);
    seed_requests(proxy);
    list_init(&proxy->plain_groups);
    for (uint32_t i = 0; i < PLAIN_BUCKETS; i++)
        list_init(&proxy->plain_buckets[i]);
    rc = resolver_open(&proxy->resolver, reactor, &engine->config->resolver);
    if (rc == 0)
        rc = open_views(proxy, engine->shared);
    if (rc == 0)
        rc = open_forwards(proxy, engine->config);
    if (rc == 0)
        rc = checks_open(&proxy->checks, proxy);
    return rc;
}

static void unuse(struct group_view **views, uint32_t count)
{
    for (uint32_t i = 0; views && i < count; i++) {
        if (views[i])
            group_view_unuse(views[i]);
    }
}

static void close_groups(struct proxy *proxy)
{
    struct list *node;
    const struct config *config = proxy->reactor->engine->config;

    unuse(proxy->forwards, config->listener_count);
    unuse(proxy->routes, config->route_count);
    while ((node = list_pop(&proxy->plain_groups)))
        forget_plain(proxy, CONTAINER_OF(node, struct group_view, link));
    for (uint32_t i = 0; i < proxy->view_count; i++)
        group_view_deinit(&proxy->views[i]);
}

void proxy_close(struct reactor *reactor)
{
    struct proxy *proxy = reactor->proxy;

    if (!proxy)
        return;
    checks_close(proxy->checks);
    close_groups(proxy);
    resolver_close(proxy->resolver);
    pool_deinit(&proxy->pool);
    slab_deinit(&proxy->plain_views);
    slab_deinit(&proxy->dials);
    slab_deinit(&proxy->relays);
    slab_deinit(&proxy->http_forwards);
    free(proxy->views);
    free(proxy->forwards);
    free(proxy->routes);
    free(proxy);
    reactor->proxy = NULL;
}

/* ---- events ---- */

void proxy_on_message(struct reactor *reactor, struct inbox_message *message)
{
    switch ((enum proxy_wakeup)message->kind) {
    case REACTOR_PROXY_WAKE:
        /* First: who is called from now on sends another one. */
        atomic_store(&CONTAINER_OF(message, struct proxy_wake, message)->is_sent, false);
        dial_look_for_calls(reactor->proxy);
        pool_make_way(&reactor->proxy->pool); /* behind: who was called may use one */
        break;
    }
}

void proxy_drain(struct reactor *reactor)
{
    checks_stop(reactor->proxy->checks);
    pool_clear(&reactor->proxy->pool);
}
