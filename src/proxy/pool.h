/* Connections of one reactor that are open to a server and wait for somebody to use them again. One that got bytes, was
 * closed or grew too old while it waited is never handed out. Each keeps its slot on the server, so that max_connections holds
 * for those that wait too; so that they keep no slot from who needs it,
 *
 * - a dial that finds all servers full uses one of them, or its slot (dial.c);
 * - one that is given back while others stand in its group's line stays only when the first of them is on this reactor, which is
 *   called to take it;
 * - who joins a line while reactors keep connections to that group has all reactors close theirs (pool_make_way()).
 *
 * All together they are at most one in POOL_SHARE_OF_CONNS of a reactor's connections. Reactor thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/macros.h"
#include "base/slab.h"

struct addr;
struct conn;
struct group_view;
struct reactor;
struct slot;

enum { POOL_BUCKETS = 256 };

struct pool {
    struct reactor *reactor;           /* borrowed */
    uint32_t max;                      /* in all */
    struct slab idle;                  /* struct idle_conn */
    struct list buckets[POOL_BUCKETS]; /* by group and address, the one checked in last at the end */
    struct list by_age;                /* all, the same way */
    struct list views;                 /* struct group_view that have some */
};

void pool_init(struct pool *pool, struct reactor *reactor);
/* After pool_clear(), and the turns in which its connections ended. */
void pool_deinit(struct pool *pool);
/* Closes all. */
void pool_clear(struct pool *pool);

/* Takes over a connection on which nothing is staged or unread, and its slot; idle_ms: how long it may wait (0: for ever). Of
 * each group and address at most `max` wait: the oldest one goes. One that cannot wait is closed, as is one to an upstream that no
 * routing has any more. */
void pool_checkin(struct pool *pool, struct conn *conn, struct slot *slot, uint32_t max, uint32_t idle_ms);
/* The connection of this group to this address that was checked in last, with its slot; NULL: there is none. told: only one
 * that was told the same first (see struct slot). looks: whether the kernel is asked if the peer has sent or closed since the last
 * completion that we saw; who does not have it asked finds out for itself. Its handler is still the pool's, and its owner NULL: the caller sets both
 * at once. */
MUST_CHECK struct conn *pool_checkout(struct pool *pool, struct group_view *view, const struct addr *addr,
                                      uint64_t told, bool looks, struct slot *slot);
/* Whether it waits here. */
bool pool_has(const struct conn *conn);
/* Closes the oldest one of this group to this address, for its slot; false: there is none. */
bool pool_drop_one(struct pool *pool, struct group_view *view, const struct addr *addr);
/* Closes all of this group, and of this reactor. */
void pool_drop_all_of(struct group_view *view);
/* Closes those to servers that their operator or a configuration has taken out of use. */
void pool_drop_useless(struct pool *pool);
/* Somebody needs a connection of this reactor: closes the oldest one when few are left. Its place is free some turns later. */
void pool_spare(struct pool *pool);
/* Closes those of groups that somebody waits for in line. */
void pool_make_way(struct pool *pool);
