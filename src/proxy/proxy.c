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
#include "core/version.h"
#include "proxy/checks.h"
#include "proxy/dial.h"
#include "proxy/group.h"
#include "proxy/group_set.h"
#include "proxy/http_forward.h"
#include "proxy/relay.h"
#include "proxy/resolver.h"
#include "proxy/routing.h"
#include "proxy/shared.h"

enum { RELAYS_PER_BLOCK = 64, DIALS_PER_BLOCK = 16, VIEWS_PER_BLOCK = 16 };

/* ---- groups ---- */

static struct list *bucket_of(struct proxy *proxy, const char *target, size_t len)
{
    return &proxy->plain_buckets[hash_bytes(target, len) % PLAIN_BUCKETS];
}

static struct group_view *find_plain(struct proxy *proxy, const char *target, size_t len)
{
    struct list *bucket = bucket_of(proxy, target, len);

    for (struct list *node = bucket->next; node != bucket; node = node->next) {
        struct group_view *view = CONTAINER_OF(node, struct group_view, bucket_link);

        if (group_view_is_named(view, target, len))
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

int proxy_find_group(struct proxy *proxy, const struct routing *routing, const char *target, size_t len,
                     struct group_view **out)
{
    struct group_view *view = routing_find(routing, target, len);

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

/* ---- views of upstreams ---- */

struct group_view *proxy_hold_view(struct proxy *proxy, struct group *group)
{
    struct group_view *view;

    for (struct list *node = proxy->views.next; node != &proxy->views; node = node->next) {
        view = CONTAINER_OF(node, struct group_view, link);
        if (view->group == group) {
            view->holders++;
            return view;
        }
    }
    view = calloc(1, sizeof(*view));
    if (!view)
        return NULL;
    group_view_init(view, group, proxy->reactor);
    view->holders = 1;
    list_add_tail(&proxy->views, &view->link);
    return view;
}

void proxy_release_view(struct proxy *proxy, struct group_view *view)
{
    assert(view->holders > 0);
    if (--view->holders > 0)
        return;
    pool_drop_all_of(view);
    proxy_look_for_unused(proxy);
}

void proxy_look_for_unused(struct proxy *proxy)
{
    /* Later: who has let go of a view may still be looking at it. */
    timer_start(&proxy->reactor->timers, &proxy->unused, proxy->reactor->now_ms);
}

static void forget_unused(struct proxy *proxy)
{
    struct list *next;

    for (struct list *node = proxy->views.next; node != &proxy->views; node = next) {
        struct group_view *view = CONTAINER_OF(node, struct group_view, link);

        next = node->next;
        if (view->holders > 0 || view->users > 0)
            continue;
        list_del(&view->link);
        group_view_deinit(view);
        free(view);
    }
}

static void on_unused(struct timer *timer, uint64_t now_ms)
{
    (void)now_ms;
    forget_unused(CONTAINER_OF(timer, struct proxy, unused));
}

/* ---- opening and closing ---- */

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
    list_init(&proxy->views);
    timer_init(&proxy->unused, on_unused);
    list_init(&proxy->plain_groups);
    for (uint32_t i = 0; i < PLAIN_BUCKETS; i++)
        list_init(&proxy->plain_buckets[i]);
    rc = resolver_open(&proxy->resolver, reactor, &engine->config->resolver);
    if (rc == 0)
        rc = checks_open(&proxy->checks, proxy);
    return rc;
}

static void close_groups(struct proxy *proxy)
{
    struct list *node;

    while ((node = list_pop(&proxy->plain_groups)))
        forget_plain(proxy, CONTAINER_OF(node, struct group_view, link));
    forget_unused(proxy);
    assert(list_is_empty(&proxy->views));
    timer_stop(&proxy->reactor->timers, &proxy->unused);
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
    free(proxy);
    reactor->proxy = NULL;
}

/* ---- versions ---- */

/* The groups of the first version are made with what the reactors share. */
int proxy_open_version(struct version *version)
{
    struct engine *engine = version->engine;
    struct group_set *set = NULL;
    int rc = 0;

    if (engine->version)
        rc = group_set_new(&set, version->config, proxy_shared_groups(engine), engine->shared);
    version->shared = set;
    return rc;
}

void proxy_apply_version(struct version *version)
{
    proxy_shared_change(version->engine, version->shared, NULL);
    version->shared = NULL;
}

void proxy_close_version(struct version *version)
{
    group_set_free(version->shared);
}

int proxy_begin_part(struct version_part *part)
{
    const struct version *version = part->version;
    const struct group_set *set = version->shared ? version->shared : proxy_shared_groups(version->engine);

    return routing_new(&part->routing, part->reactor->proxy, version->config, set);
}

void proxy_switch_part(struct version_part *part)
{
    resolver_configure(part->reactor->proxy->resolver, &part->version->config->resolver);
    if (checks_configure(part->reactor->proxy->checks, part->routing) < 0)
        log_error("no memory to check all servers of version %u", part->version->number);
}

void proxy_finish_part(struct version_part *part)
{
    routing_free(part->routing);
    part->routing = NULL;
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
        pool_drop_useless(&reactor->proxy->pool);
        break;
    }
}

void proxy_drain(struct reactor *reactor)
{
    checks_stop(reactor->proxy->checks);
    pool_clear(&reactor->proxy->pool);
}
