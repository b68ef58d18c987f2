/* Making a version of an upstream, and its end. */
#include "proxy/upstream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/limits.h"
#include "proxy/group_config.h"
#include "proxy/maglev.h"
#include "proxy/server.h"

/* The server of the version before, held once more, or a new one. */
static struct server *find_or_make(const struct server_options *options, const struct upstream *previous)
{
    uint32_t count = previous ? upstream_member_count(previous) : 0;

    for (uint32_t i = 0; i < count; i++) {
        struct server *server = previous->members[i].server;

        if (strcmp(server->name, options->name) == 0 && addr_equals(&server->addr, &options->addr)) {
            server_hold(server);
            return server;
        }
    }
    return server_new(options->name, &options->addr);
}

static bool has_duplicates(const struct upstream_options *options)
{
    for (uint32_t i = 0; i < options->server_count; i++) {
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(options->servers[i].name, options->servers[j].name) == 0)
                return true;
        }
    }
    return false;
}

/* Appends the servers of a tier in the order they were given. */
static int add_tier(struct upstream *upstream, enum tier tier, const struct upstream_options *options,
                    const struct upstream *previous)
{
    for (uint32_t i = 0; i < options->server_count; i++) {
        const struct server_options *server = &options->servers[i];
        struct member *member = &upstream->members[upstream_member_count(upstream)];

        assert(server->weight > 0 && server->weight <= UPSTREAM_WEIGHT_MAX);
        if (server->is_backup != (tier == TIER_BACKUP))
            continue;
        member->server = find_or_make(server, previous);
        if (!member->server)
            return -ENOMEM;
        member->weight = server->weight;
        member->max_connections = server->max_connections;
        member->source = server->source;
        for (uint32_t later = tier; later < TIER_COUNT; later++)
            upstream->tier_end[later]++;
    }
    return 0;
}

static int make_slots(struct upstream *upstream, enum tier tier)
{
    const struct member *members = &upstream->members[upstream_tier_begin(upstream, tier)];
    uint32_t count = upstream_tier_count(upstream, tier);
    struct maglev_entry *entries;

    if (count == 0)
        return 0;
    entries = calloc(count, sizeof(*entries));
    if (!entries)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        entries[i].key = hash_bytes(members[i].server->name, strlen(members[i].server->name));
        entries[i].weight = server_full_weight(members[i].server, members[i].weight);
    }
    upstream->hash_slots[tier] = maglev_new(entries, count);
    free(entries);
    return upstream->hash_slots[tier] ? 0 : -ENOMEM;
}

static int fill_in(struct upstream *upstream, const struct upstream_options *options, const struct upstream *previous)
{
    upstream->name = strdup(options->name);
    if (!upstream->name)
        return -ENOMEM;
    for (enum tier tier = 0; tier < TIER_COUNT; tier++) {
        int status = add_tier(upstream, tier, options, previous);

        if (status == 0 && upstream->balance == BALANCE_HASH)
            status = make_slots(upstream, tier);
        if (status < 0)
            return status;
    }
    return 0;
}

int upstream_new(struct upstream **result, const struct upstream_options *options, const struct upstream *previous)
{
    struct upstream *upstream;
    int status;

    assert(options->health.max_fails <= UPSTREAM_MAX_FAILS_MAX);
    assert(options->health.rise > 0 && options->health.fall > 0);
    *result = NULL;
    if (options->server_count > UPSTREAM_SERVERS_MAX)
        return -E2BIG;
    if (has_duplicates(options))
        return -EEXIST;
    upstream = calloc(1, sizeof(*upstream) + options->server_count * sizeof(struct member));
    if (!upstream)
        return -ENOMEM;
    upstream->config = options->config;
    if (upstream->config)
        group_config_hold(upstream->config);
    upstream->balance = options->balance;
    upstream->health = options->health;
    atomic_init(&upstream->random, options->random_seed);
    atomic_init(&upstream->references, 1);
    pthread_mutex_init(&upstream->turn_lock, NULL);
    status = fill_in(upstream, options, previous);
    if (status < 0) {
        upstream_release(upstream);
        return status;
    }
    *result = upstream;
    return 0;
}

static bool member_is_made_of(const struct member *member, const struct server_options *options)
{
    return strcmp(member->server->name, options->name) == 0 && addr_equals(&member->server->addr, &options->addr) &&
           member->weight == options->weight && member->max_connections == options->max_connections &&
           member->source == options->source;
}

/* A config of its own says all of it; what was made without one is compared by what came of it. */
static bool is_set_up_as(const struct upstream *upstream, const struct upstream_options *options)
{
    return upstream->config == options->config && upstream->balance == options->balance &&
           memcmp(&upstream->health, &options->health, sizeof(options->health)) == 0;
}

bool upstream_is_made_of(const struct upstream *upstream, const struct upstream_options *options)
{
    uint32_t at[TIER_COUNT];

    if (upstream_member_count(upstream) != options->server_count || !is_set_up_as(upstream, options))
        return false;
    for (enum tier tier = 0; tier < TIER_COUNT; tier++)
        at[tier] = upstream_tier_begin(upstream, tier);
    for (uint32_t i = 0; i < options->server_count; i++) {
        enum tier tier = options->servers[i].is_backup ? TIER_BACKUP : TIER_PRIMARY;

        if (at[tier] == upstream->tier_end[tier] ||
            !member_is_made_of(&upstream->members[at[tier]++], &options->servers[i]))
            return false;
    }
    return true;
}

void upstream_hold(struct upstream *upstream)
{
    unsigned int before = atomic_fetch_add_explicit(&upstream->references, 1, memory_order_relaxed);

    assert(before > 0);
}

void upstream_release(struct upstream *upstream)
{
    unsigned int before = atomic_fetch_sub_explicit(&upstream->references, 1, memory_order_acq_rel);

    assert(before > 0);
    if (before > 1)
        return;
    for (uint32_t i = 0; i < upstream_member_count(upstream); i++)
        server_release(upstream->members[i].server);
    for (enum tier tier = 0; tier < TIER_COUNT; tier++)
        free(upstream->hash_slots[tier]);
    pthread_mutex_destroy(&upstream->turn_lock);
    if (upstream->config)
        group_config_release(upstream->config);
    free(upstream->name);
    free(upstream);
}
