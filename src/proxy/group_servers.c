/* See group_servers.h. */
#include "proxy/group_servers.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "base/limits.h"
#include "proxy/group.h"
#include "proxy/group_config.h"
#include "proxy/upstream.h"

static struct server_info info_of(const struct upstream *upstream, uint32_t index, uint64_t now_ms)
{
    const struct member *member = &upstream->members[index];
    const struct server *server = member->server;

    return (struct server_info){
        .name = server->name,
        .target = upstream->config->sources[member->source].text,
        .state = server_state(server, now_ms),
        .admin = server_admin(server),
        .is_backup = index >= upstream->tier_end[TIER_PRIMARY],
        .weight = server_full_weight(server, member->weight),
        .configured_weight = member->weight,
        .max_connections = member->max_connections,
        .open = server_open(server),
        .total = atomic_load_explicit(&server->total, memory_order_relaxed),
        .fails = atomic_load_explicit(&server->fails, memory_order_relaxed),
        .ejections = atomic_load_explicit(&server->ejections, memory_order_relaxed),
    };
}

void group_visit_servers(struct group *group, uint64_t now_ms,
                         void (*visit)(void *owner, const struct server_info *info), void *owner)
{
    struct upstream *upstream = group_hold_current(group);

    for (uint32_t i = 0; i < upstream_member_count(upstream); i++) {
        struct server_info info = info_of(upstream, i, now_ms);

        visit(owner, &info);
    }
    upstream_release(upstream);
}

/* Held once more for the caller; NULL: there is none. */
static struct server *hold_server(struct group *group, const char *name)
{
    struct upstream *upstream = group_hold_current(group);
    struct server *found = NULL;

    for (uint32_t i = 0; i < upstream_member_count(upstream) && !found; i++) {
        if (strcmp(upstream->members[i].server->name, name) == 0)
            found = upstream->members[i].server;
    }
    if (found)
        server_hold(found);
    upstream_release(upstream);
    return found;
}

int group_set_admin(struct group *group, const char *name, enum server_admin admin, struct ring *own_ring)
{
    struct server *server = hold_server(group, name);

    if (!server)
        return -ENOENT;
    server_set_admin(server, admin);
    server_release(server);
    group_announce_change(group, own_ring);
    return 0;
}

int group_set_weight(struct group *group, const char *name, uint32_t weight)
{
    struct server *server = hold_server(group, name);

    if (!server)
        return -ENOENT;
    if (weight <= UPSTREAM_WEIGHT_MAX)
        server_set_weight(server, weight);
    server_release(server);
    return weight <= UPSTREAM_WEIGHT_MAX ? group_publish_anew(group) : -EINVAL;
}
