/* See group.h. */
#include "proxy/group.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/log.h"
#include "proxy/group_config.h"
#include "proxy/resolution.h"
#include "proxy/server.h"
#include "proxy/shared.h"
#include "proxy/upstream.h"

/* ---- making versions ---- */

/* The servers of a version to be, with the texts their names point to. */
struct roster {
    uint32_t count;
    uint32_t max;
    uint32_t left_out;              /* addresses past that */
    struct server_options *servers; /* owned */
    char (*names)[ADDR_TEXT_MAX];   /* owned */
};

static void roster_deinit(struct roster *roster)
{
    free(roster->servers);
    free(roster->names);
}

static int roster_init(struct roster *roster, uint32_t max)
{
    *roster = (struct roster){.max = max};
    roster->servers = calloc(max + 1, sizeof(*roster->servers));
    roster->names = calloc(max + 1, sizeof(*roster->names));
    if (roster->servers && roster->names)
        return 0;
    roster_deinit(roster);
    return -ENOMEM;
}

/* Adds the address unless it is there: two names may lead to the same one. */
static void roster_add(struct roster *roster, const struct addr *addr, const struct server_options *options)
{
    char *name = roster->names[roster->count]; /* there is one more than servers */

    addr_format(addr, name);
    for (uint32_t i = 0; i < roster->count; i++) {
        if (strcmp(roster->names[i], name) == 0)
            return;
    }
    if (roster->count == roster->max) {
        roster->left_out++;
        return;
    }
    roster->servers[roster->count] = *options;
    roster->servers[roster->count].name = name;
    roster->servers[roster->count].addr = *addr;
    roster->count++;
}

/* Of SRV records (RFC 2782) those of the lowest priority are to be used while they can be. */
static uint16_t lowest_priority(const struct source *source)
{
    uint16_t lowest = UINT16_MAX;

    for (uint32_t i = 0; i < source->found_count; i++) {
        if (source->found[i].priority < lowest)
            lowest = source->found[i].priority;
    }
    return lowest;
}

static void roster_add_source(struct roster *roster, const struct source *source, uint32_t index)
{
    struct server_options options = {
        .weight = source->weight,
        .max_connections = source->max_connections,
        .is_backup = source->is_backup,
        .source = index,
    };
    uint16_t first_priority = lowest_priority(source);

    if (source->target.kind == TARGET_ADDR) {
        roster_add(roster, &source->target.addr, &options);
        return;
    }
    for (uint32_t i = 0; i < source->found_count; i++) {
        const struct resolved *found = &source->found[i];
        struct server_options one = options;

        if (source->target.kind == TARGET_SRV) {
            one.weight = found->weight > 0 ? found->weight : 1;
            one.is_backup = options.is_backup || found->priority > first_priority;
        }
        roster_add(roster, &found->addr, &one);
    }
}

static struct health_limits health_limits_of(const struct upstream_config *config)
{
    return (struct health_limits){
        .max_fails = config->max_fails,
        .fail_timeout_ms = config->fail_timeout_ms,
        .slow_start_ms = config->slow_start_ms,
        .rise = config->check.rise ? config->check.rise : 1,
        .fall = config->check.fall ? config->check.fall : 1,
    };
}

enum publishing { PUBLISH_CHANGE, PUBLISH_ANEW };

/* With the lock held. */
static int make_version(struct group *group, const struct roster *roster, enum publishing publishing)
{
    const struct upstream_config *settings = &group->config->settings;
    struct upstream_options options = {
        .name = group->name,
        .config = group->config,
        .balance = settings->balance,
        .health = health_limits_of(settings),
        .servers = roster->servers,
        .server_count = roster->count,
        .random_seed = hash_mix(clock_now_ns() + (uintptr_t)group),
    };
    struct upstream *next;
    int rc;

    if (publishing == PUBLISH_CHANGE && group->current && upstream_is_made_of(group->current, &options))
        return 0;
    rc = upstream_new(&next, &options, group->current);
    if (rc < 0)
        return rc;
    if (group->current)
        upstream_release(group->current);
    group->current = next;
    atomic_fetch_add(&group->version, 1);
    return 0;
}

/* When the first of the names expires. With the lock held. */
static void update_expiry(struct group *group)
{
    uint64_t first_ms = UINT64_MAX;

    for (uint32_t i = 0; i < group->config->source_count; i++) {
        const struct source *source = &group->config->sources[i];

        if (source->target.kind != TARGET_ADDR && source->expires_ms < first_ms)
            first_ms = source->expires_ms;
    }
    atomic_store(&group->expires_ms, first_ms);
}

/* Once for each change. With the lock held. */
static void note_left_out(struct group *group, const struct roster *roster)
{
    if (roster->left_out > 0 && roster->left_out != group->left_out)
        log_warn("upstream %s: its names have %u more addresses than the %u that are used", group->name,
                 roster->left_out, roster->max);
    group->left_out = roster->left_out;
}

static int publish(struct group *group, enum publishing publishing)
{
    struct roster roster;
    int rc = roster_init(&roster, UPSTREAM_SERVERS_MAX);

    if (rc < 0)
        return rc;
    pthread_mutex_lock(&group->lock);
    for (uint32_t i = 0; i < group->config->source_count; i++)
        roster_add_source(&roster, &group->config->sources[i], i);
    rc = make_version(group, &roster, publishing);
    note_left_out(group, &roster);
    update_expiry(group); /* last: who sees it sees the version too */
    pthread_mutex_unlock(&group->lock);
    roster_deinit(&roster);
    return rc;
}

int group_publish(struct group *group)
{
    return publish(group, PUBLISH_CHANGE);
}

int group_publish_anew(struct group *group)
{
    return publish(group, PUBLISH_ANEW);
}

struct upstream *group_hold_current(struct group *group)
{
    struct upstream *upstream;

    pthread_mutex_lock(&group->lock);
    upstream = group->current;
    upstream_hold(upstream);
    pthread_mutex_unlock(&group->lock);
    return upstream;
}

/* ---- names ---- */

static int compare_found(const void *left, const void *right)
{
    const struct resolved *a = left;
    const struct resolved *b = right;

    if (a->priority != b->priority)
        return a->priority < b->priority ? -1 : 1;
    if (a->addr.len != b->addr.len)
        return a->addr.len < b->addr.len ? -1 : 1;
    return memcmp(&a->addr.sa, &b->addr.sa, a->addr.len);
}

/* Servers rotate their answers: a group that balances by itself takes them in one order, so that the same servers are the
 * same version. Those of a plain target are tried in the order that the resolver gives. With the lock held. */
static void take_found(const struct group *group, struct source *source, const struct resolution *resolution,
                       uint64_t now_ms)
{
    struct resolved *found = calloc(resolution->count, sizeof(*found));

    if (!found) {
        source->problem = "no memory";
        source->expires_ms = now_ms + RESOLVE_TTL_MIN_MS; /* the answer may be kept for long, this one may not */
        return;
    }
    memcpy(found, resolution->items, resolution->count * sizeof(*found));
    if (!group->is_plain)
        qsort(found, resolution->count, sizeof(*found), compare_found);
    free(source->found);
    source->found = found;
    source->found_count = resolution->count;
    source->problem = NULL;
}

static void take_answer(const struct group *group, struct source *source, const struct resolution *resolution,
                        uint64_t now_ms)
{
    source->expires_ms = now_ms + resolution->ttl_ms;
    if (!resolution->problem && resolution->count > 0)
        take_found(group, source, resolution, now_ms);
    else
        source->problem = resolution->problem ? resolution->problem : "no address";
}

void group_take_answer(struct group *group, const struct source *asked, const struct resolution *resolution,
                       uint64_t now_ms)
{
    pthread_mutex_lock(&group->lock);
    for (uint32_t i = 0; i < group->config->source_count; i++) {
        if (source_is_same_name(&group->config->sources[i], asked))
            take_answer(group, &group->config->sources[i], resolution, now_ms);
    }
    pthread_mutex_unlock(&group->lock);
}

bool group_has_expired(struct group *group, const struct source *source, uint64_t now_ms)
{
    bool has_expired;

    pthread_mutex_lock(&group->lock);
    has_expired = now_ms >= source->expires_ms;
    pthread_mutex_unlock(&group->lock);
    return has_expired;
}

const char *group_problem(struct group *group)
{
    const struct group_config *config;
    const char *problem = NULL;

    pthread_mutex_lock(&group->lock);
    config = group->config;
    for (uint32_t i = 0; i < config->source_count && !problem; i++)
        problem = config->sources[i].found_count == 0 ? config->sources[i].problem : NULL;
    pthread_mutex_unlock(&group->lock);
    return problem;
}

/* ---- another configuration ---- */

static void exchange_config(struct group *group, struct group_config *config)
{
    struct group_config *before = group->config;

    group_config_hold(config);
    pthread_mutex_lock(&group->lock);
    group_config_inherit(config, before);
    group->config = config;
    pthread_mutex_unlock(&group->lock);
    group_config_release(before);
}

void group_configure(struct group *group, struct group_config *config, struct ring *own_ring)
{
    if (group->config == config)
        return;
    exchange_config(group, config);
    waitline_set_max(&group->waitline, config->settings.queue);
    if (group_publish(group) < 0)
        log_error("upstream %s: no memory for its servers: they stay as they were", group->name);
    group_announce_change(group, own_ring);
}

void group_announce_change(struct group *group, struct ring *own_ring)
{
    struct proxy_shared *shared = group->waitline.shared;

    atomic_fetch_add(&group->changes, 1);
    waitline_call_all(&group->waitline, own_ring);
    if (shared)
        proxy_shared_wake_all(shared, own_ring);
}

/* ---- beginning and end ---- */

static void free_group(struct group *group)
{
    if (group->current)
        upstream_release(group->current);
    group_config_release(group->config);
    waitline_deinit(&group->waitline);
    pthread_mutex_destroy(&group->lock);
    free(group->name);
    free(group);
}

static int make(struct group **out, const char *name, size_t len, struct group_config *config)
{
    struct group *group = calloc(1, sizeof(*group));
    int rc;

    if (!group)
        return -ENOMEM;
    group_config_hold(config);
    group->config = config;
    atomic_init(&group->references, 1);
    atomic_init(&group->expires_ms, UINT64_MAX);
    pthread_mutex_init(&group->lock, NULL);
    waitline_init(&group->waitline, NULL, config->settings.queue);
    group->name = strndup(name, len);
    rc = group->name ? group_publish(group) : -ENOMEM;
    if (rc < 0)
        free_group(group);
    else
        *out = group;
    return rc;
}

int group_new(struct group **out, const char *name, struct group_config *config, struct proxy_shared *shared)
{
    int rc = make(out, name, strlen(name), config);

    if (rc == 0)
        (*out)->waitline.shared = shared;
    return rc;
}

int group_new_plain(struct group **out, const char *target, size_t len)
{
    struct group_config *config;
    int rc = group_config_new_plain(&config, target, len);

    if (rc < 0)
        return rc;
    rc = make(out, target, len, config);
    group_config_release(config);
    if (rc == 0)
        (*out)->is_plain = true;
    return rc;
}

void group_hold(struct group *group)
{
    unsigned int before = atomic_fetch_add_explicit(&group->references, 1, memory_order_relaxed);

    assert(before > 0);
}

void group_release(struct group *group)
{
    unsigned int before = atomic_fetch_sub_explicit(&group->references, 1, memory_order_acq_rel);

    assert(before > 0);
    if (before == 1)
        free_group(group);
}
