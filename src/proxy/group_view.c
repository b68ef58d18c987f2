/* See group_view.h. */
#include "proxy/group_view.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "core/reactor.h"
#include "proxy/group.h"
#include "proxy/group_config.h"
#include "proxy/proxy.h"
#include "proxy/resolution.h"
#include "proxy/resolver.h"
#include "proxy/server.h"
#include "proxy/upstream.h"

struct asked_name {
    struct resolve resolve;
    struct refresh *refresh;
    const struct source *source; /* of refresh->config */
    bool is_asked;
};

/* Questions about the names of a group. */
struct refresh {
    struct group_view *view;
    struct group_config *config; /* owned: a hold on that whose names they are */
    bool is_for_all;             /* it holds group->is_asking */
    uint32_t open;               /* answers to come */
    uint32_t count;
    struct asked_name names[];
};

/* The questions are over, whichever way. */
static void free_refresh(struct refresh *refresh)
{
    struct group_view *view = refresh->view;

    if (refresh->is_for_all)
        atomic_store(&view->group->is_asking, false);
    view->refresh = NULL;
    group_config_release(refresh->config);
    free(refresh);
}

static void drop_refresh(struct refresh *refresh)
{
    for (uint32_t i = 0; i < refresh->count; i++) {
        if (refresh->names[i].is_asked)
            resolver_cancel(&refresh->names[i].resolve);
    }
    free_refresh(refresh);
}

void group_view_init(struct group_view *view, struct group *group, struct reactor *reactor)
{
    *view = (struct group_view){.group = group, .reactor = reactor};
    group_hold(group);
    list_init(&view->waiting);
    list_init(&view->idle);
    list_init(&view->idle_link);
    list_init(&view->link);
    list_init(&view->bucket_link);
}

void group_view_deinit(struct group_view *view)
{
    assert(view->users == 0 && list_is_empty(&view->waiting));
    if (view->refresh)
        drop_refresh(view->refresh);
    if (view->upstream)
        upstream_release(view->upstream);
    group_release(view->group);
}

bool group_view_is_named(const struct group_view *view, const char *name, size_t len)
{
    return strlen(view->group->name) == len && memcmp(view->group->name, name, len) == 0;
}

void group_view_use(struct group_view *view)
{
    if (view->users++ == 0 && view->group->is_plain)
        list_del(&view->link);
}

void group_view_unuse(struct group_view *view)
{
    assert(view->users > 0);
    if (--view->users > 0)
        return;
    if (view->group->is_plain)
        list_add_tail(&view->reactor->proxy->plain_groups, &view->link);
    else if (view->holders == 0)
        proxy_look_for_unused(view->reactor->proxy);
}

struct upstream *group_view_upstream(struct group_view *view)
{
    uint32_t version = atomic_load(&view->group->version);

    if (UNLIKELY(!view->upstream || view->version != version)) {
        if (view->upstream)
            upstream_release(view->upstream);
        view->upstream = group_hold_current(view->group);
        view->version = version;
    }
    return view->upstream;
}

const struct upstream_config *group_view_settings(struct group_view *view)
{
    return &group_view_upstream(view)->config->settings;
}

/* ---- asking ---- */

static void tell_waiters(struct group_view *view)
{
    struct list told;
    struct list *node;

    list_init(&told);
    list_splice_tail(&told, &view->waiting);
    group_view_use(view); /* telling may end the last dial */
    while ((node = list_pop(&told))) {
        struct view_waiter *waiter = CONTAINER_OF(node, struct view_waiter, link);

        waiter->on_answered(waiter);
    }
    group_view_unuse(view);
}

static void publish(struct group_view *view)
{
    struct group *group = view->group;
    uint32_t before = atomic_load(&group->version);

    if (group_publish(group) < 0)
        log_warn("upstream %s: no memory for its new addresses", group->name);
    if (atomic_load(&group->version) != before) /* new servers have room */
        waitline_call_all(&group->waitline, view->reactor->ring);
}

static int start_refresh(struct group_view *view, bool is_for_all);

static void finish_refresh(struct refresh *refresh)
{
    struct group_view *view = refresh->view;
    bool is_outdated = refresh->config != group_view_upstream(view)->config;

    publish(view);
    free_refresh(refresh);
    /* Of other names than those that were asked about nothing may be known yet. */
    if (is_outdated && !list_is_empty(&view->waiting) && start_refresh(view, false) == 0)
        return;
    tell_waiters(view);
}

static void on_answer(struct resolve *resolve, const struct resolution *resolution)
{
    struct asked_name *name = CONTAINER_OF(resolve, struct asked_name, resolve);
    struct refresh *refresh = name->refresh;
    struct group *group = refresh->view->group;

    name->is_asked = false;
    if (resolution->problem)
        log_info("upstream %s: cannot look up %s: %s", group->name, name->source->target.host, resolution->problem);
    group_take_answer(group, name->source, resolution, refresh->view->reactor->now_ms);
    if (--refresh->open == 0)
        finish_refresh(refresh);
}

static void ask(struct refresh *refresh, const struct source *source)
{
    struct asked_name *name = &refresh->names[refresh->count++];
    struct group_view *view = refresh->view;
    const struct target *target = &source->target;
    enum resolve_kind kind = target->kind == TARGET_SRV ? RESOLVE_SRV : RESOLVE_HOST;
    int rc;

    *name = (struct asked_name){.resolve.on_done = on_answer, .refresh = refresh, .source = source};
    rc = resolver_start(view->reactor->proxy->resolver, &name->resolve, kind, target->host, target->port);
    if (rc < 0) {
        struct resolution none = {.problem = "cannot be asked for", .ttl_ms = RESOLVE_TTL_MIN_MS};

        group_take_answer(view->group, source, &none, view->reactor->now_ms);
        return;
    }
    name->is_asked = true;
    refresh->open++;
}

static struct refresh *new_refresh(struct group_view *view, bool is_for_all)
{
    struct group_config *config = group_view_upstream(view)->config;
    struct refresh *refresh = calloc(1, sizeof(*refresh) + config->source_count * sizeof(struct asked_name));

    if (!refresh)
        return NULL;
    refresh->view = view;
    refresh->config = config;
    refresh->is_for_all = is_for_all;
    group_config_hold(config);
    view->refresh = refresh;
    return refresh;
}

/* Asks about the names of the group: for all reactors about those that have expired, for this one that knows none about
 * every one. The answers come in later turns. */
static int start_refresh(struct group_view *view, bool is_for_all)
{
    struct refresh *refresh = new_refresh(view, is_for_all);

    if (!refresh)
        return -ENOMEM;
    for (uint32_t i = 0; i < refresh->config->source_count; i++) {
        const struct source *source = &refresh->config->sources[i];

        if (source->target.kind != TARGET_ADDR &&
            (!is_for_all || group_has_expired(view->group, source, view->reactor->now_ms)))
            ask(refresh, source);
    }
    if (refresh->open > 0)
        return 0;
    if (refresh->count > 0)
        publish(view); /* that none could be asked for is remembered as other failures are */
    free_refresh(refresh);
    return -ENOENT;
}

void group_view_refresh(struct group_view *view)
{
    struct group *group = view->group;

    if (LIKELY(!group_view_upstream(view)->config->has_names) ||
        view->reactor->now_ms < atomic_load(&group->expires_ms))
        return;
    if (view->refresh || atomic_exchange(&group->is_asking, true))
        return;
    if (start_refresh(view, true) == -ENOMEM)
        atomic_store(&group->is_asking, false);
}

int group_view_await(struct group_view *view, struct view_waiter *waiter)
{
    int rc = 0;

    if (!group_view_upstream(view)->config->has_names)
        return -ENOENT;
    if (!view->refresh)
        rc = start_refresh(view, false);
    if (rc == 0)
        list_add_tail(&view->waiting, &waiter->link);
    return rc;
}

void view_waiter_init(struct view_waiter *waiter, void (*on_answered)(struct view_waiter *waiter))
{
    waiter->on_answered = on_answered;
    list_init(&waiter->link);
}

void view_waiter_cancel(struct view_waiter *waiter)
{
    list_del(&waiter->link);
}

/* ---- slots ---- */

struct slot slot_of(struct group_view *view, struct server *server)
{
    group_view_use(view);
    return (struct slot){.view = view, .server = server};
}

void slot_release(struct group_view *view, struct server *server)
{
    server_give_slot(server);
    waitline_call_next(&view->group->waitline, view->reactor->ring);
}

void slot_give(struct slot *slot)
{
    struct slot given = *slot;

    if (!given.view)
        return;
    *slot = (struct slot){0};
    slot_release(given.view, given.server);
    group_view_unuse(given.view);
}
