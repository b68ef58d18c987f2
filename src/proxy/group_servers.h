/* The servers of a group as their operator sees them, and what he may say of them. That is kept in the servers, so it holds for as
 * long as a server stays, over answers about names and over configurations. Any thread, at any time. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "proxy/server.h"

struct group;
struct ring;

/* Strings are borrowed during the call that gives it. */
struct server_info {
    const char *name;   /* its address */
    const char *target; /* what is configured, which may be a name that several servers have */
    enum server_state state;
    enum server_admin admin;
    bool is_backup;
    uint32_t weight;            /* in force, */
    uint32_t configured_weight; /* and without what the operator says */
    uint32_t max_connections;   /* 0: no limit */
    uint32_t open;              /* connections now, idle ones and attempts at one among them */
    uint64_t total;
    uint64_t fails;
    uint64_t ejections;
};

/* Shows those of the present version, primaries first. */
void group_visit_servers(struct group *group, uint64_t now_ms,
                         void (*visit)(void *owner, const struct server_info *info), void *owner);
/* name: as server_info has it. Connections that are under way go on; idle ones to a server that is taken out of use are closed, and
 * those who wait in line are called. own_ring: of the calling thread, NULL: it has none. 0 or -ENOENT: there is no such server. */
MUST_CHECK int group_set_admin(struct group *group, const char *name, enum server_admin admin, struct ring *own_ring);
/* weight: in place of the configured one; 0: that again. 0, -ENOENT, -EINVAL: more than UPSTREAM_WEIGHT_MAX, or -ENOMEM: it holds,
 * but not for consistent hashing yet. */
MUST_CHECK int group_set_weight(struct group *group, const char *name, uint32_t weight);
