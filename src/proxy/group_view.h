/* A group as one reactor sees it: the version it uses, the questions about names that it asks, and who waits for their
 * answers. Names are asked for when somebody wants to connect and they have expired: an idle server asks nothing. While old
 * addresses are known they are used, and one reactor asks for all; a reactor that knows none asks for itself. Reactor
 * thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/macros.h"

struct group;
struct proxy;
struct reactor;
struct refresh;
struct server;
struct upstream;
struct upstream_config;

struct group_view {
    struct group *group; /* owned: a hold */
    struct reactor *reactor;
    struct upstream *upstream; /* owned: a hold; NULL until first looked at */
    uint32_t version;          /* of the group, that it was */
    uint32_t holders;          /* of upstreams: routings that have it */
    uint32_t users;            /* dials and slots that point here */
    struct refresh *refresh;   /* owned: questions under way, NULL: none */
    struct list waiting;       /* struct view_waiter */
    struct list idle;          /* struct idle_conn of pool.c: connections that wait to be used again, */
    struct list idle_link;     /* and pool->views while there are some */
    uint32_t changes;          /* of the group, as of when these were looked at */
    struct list
        link; /* of upstreams: proxy->views; of plain groups: proxy->plain_groups while nobody uses it, the one used last
                         at the end, */
    struct list bucket_link; /* and proxy->plain_buckets */
};

/* Told once when the questions under way have been answered. */
struct view_waiter {
    struct list link;
    void (*on_answered)(struct view_waiter *waiter);
};

/* A taken slot on a server. Embedded by who uses it; ends with slot_give(). */
struct slot {
    struct group_view *view; /* NULL: none is held */
    struct server *server;   /* held by the slot */
    uint64_t told;           /* what its connection was told before all else: a hash of the header, 0: nothing */
};

/* Holds the group. */
void group_view_init(struct group_view *view, struct group *group, struct reactor *reactor);
/* Lets go of the group and its version, and drops what was asked; nobody uses it any more. */
void group_view_deinit(struct group_view *view);

bool group_view_is_named(const struct group_view *view, const char *name, size_t len);

/* Somebody uses it from now on, or no more. One that nobody uses, nor holds, may be gone with the next turn or when that of
 * another plain target is made. */
void group_view_use(struct group_view *view);
void group_view_unuse(struct group_view *view);

/* The version to use now; borrowed until the next call. */
struct upstream *group_view_upstream(struct group_view *view);
/* What is configured of it now; borrowed until the next call of this or the function above. */
const struct upstream_config *group_view_settings(struct group_view *view);
/* Asks for those names that have expired, unless another reactor does already. */
void group_view_refresh(struct group_view *view);
/* Asks for all of them in any case, unless this reactor does, and tells the waiter when that has been answered. -ENOMEM, or -ENOENT: there are no
 * names to ask for. */
MUST_CHECK int group_view_await(struct group_view *view, struct view_waiter *waiter);
void view_waiter_init(struct view_waiter *waiter, void (*on_answered)(struct view_waiter *waiter));
void view_waiter_cancel(struct view_waiter *waiter); /* idempotent */

/* The slot of a server that was picked for this view. */
struct slot slot_of(struct group_view *view, struct server *server);
/* Gives the slot back, and calls who waits for one. Idempotent. */
void slot_give(struct slot *slot);
/* The same for one that is no struct slot yet. */
void slot_release(struct group_view *view, struct server *server);
