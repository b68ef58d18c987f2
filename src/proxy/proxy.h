/* What forwarding keeps for each reactor: its view of the upstreams, connections under way, relays, idle connections. Opened
 * and closed by the reactor's app, on the reactor's thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/macros.h"
#include "base/slab.h"
#include "core/reactor.h"
#include "core/timer.h"
#include "proxy/group_view.h"
#include "proxy/pool.h"

struct checks;
struct group;
struct inbox_message;
struct resolver;
struct routing;
struct version;
struct version_part;

/* Messages between the reactors of this layer. */
enum proxy_wakeup {
    REACTOR_PROXY_WAKE =
        REACTOR_APP, /* some of your dials were called, or want idle connections closed: struct proxy_wake */
};

enum { PLAIN_BUCKETS = 256 };

struct proxy {
    struct reactor *reactor; /* borrowed */
    struct resolver *resolver;
    struct slab relays;
    struct slab dials;
    struct list views;        /* struct group_view, owned: of upstreams, while a routing, or anybody else, needs them */
    struct timer unused;      /* due when some may be needed no more */
    struct slab plain_views;  /* struct group_view */
    struct list plain_groups; /* struct group_view, owned: those that nobody uses */
    uint32_t plain_group_count;
    struct list plain_buckets[PLAIN_BUCKETS]; /* by name */
    struct pool pool;
    uint64_t request_seed; /* of the ids that requests get, */
    uint64_t next_request; /* and where they are */
    struct slab http_forwards;
    struct checks *checks; /* owned; NULL on all reactors but the first */
};

/* Makes reactor->proxy. 0, or a negative errno after logging why. */
MUST_CHECK int proxy_open(struct reactor *reactor);
/* After the last connection has ended; asserts that every relay has. Idempotent. */
void proxy_close(struct reactor *reactor);
/* For struct reactor_app: what a version shares, and a part has, of forwarding. */
MUST_CHECK int proxy_open_version(struct version *version);
void proxy_apply_version(struct version *version);
void proxy_close_version(struct version *version);
MUST_CHECK int proxy_begin_part(struct version_part *part);
void proxy_switch_part(struct version_part *part);
void proxy_finish_part(struct version_part *part);
void proxy_on_message(struct reactor *reactor, struct inbox_message *message);
void proxy_drain(struct reactor *reactor);

/* The group that a target names: an upstream of the routing, or what a plain target amounts to, which is one for all routings.
 * 0, -EINVAL (neither), -ENOMEM. */
MUST_CHECK int proxy_find_group(struct proxy *proxy, const struct routing *routing, const char *target, size_t len,
                                struct group_view **out);
/* The reactor's view of an upstream, for a routing, which releases it; NULL without memory. */
MUST_CHECK struct group_view *proxy_hold_view(struct proxy *proxy, struct group *group);
/* After the last one idle connections are closed, and the view is gone when nobody uses it any more. */
void proxy_release_view(struct proxy *proxy, struct group_view *view);
/* Some view is held and used by nobody any more: it goes soon, but not within this call. */
void proxy_look_for_unused(struct proxy *proxy);
