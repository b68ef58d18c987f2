/* Where the listeners and the routes of HTTP of one configuration forward to, in one reactor, and the upstreams that its scripts
 * may name. It holds the reactor's views of them: they are the same ones for each configuration that has the upstream.
 * Reactor thread only. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/macros.h"

struct config;
struct group_set;
struct group_view;
struct proxy;

struct routing {
    struct proxy *proxy;       /* borrowed */
    struct group_view **views; /* owned: holds, of the upstreams in the order of the set */
    uint32_t view_count;
    struct group_view **forwards; /* owned; NULL: that listener does not forward */
    uint32_t forward_count;
    struct group_view **routes; /* the same, of the routes of all listeners */
    uint32_t route_count;
};

/* Nothing of the configuration and the set is needed afterwards. set: NULL: it has no upstreams. 0, or a negative errno after
 * logging why. */
MUST_CHECK int routing_new(struct routing **out, struct proxy *proxy, const struct config *config,
                           const struct group_set *set);
/* Idle connections to upstreams that no other routing of the reactor has are closed; their views go when the last connection
 * has let go of them. NULL is ignored. */
void routing_free(struct routing *routing);

/* The upstream of that name, NULL: it has none. */
struct group_view *routing_find(const struct routing *routing, const char *name, size_t len);

/* Where a listener forwards to, by its index, and a route of HTTP, by its own. */
static inline struct group_view *routing_forward(const struct routing *routing, uint32_t listener)
{
    assert(listener < routing->forward_count);
    return routing->forwards[listener];
}

static inline struct group_view *routing_route(const struct routing *routing, uint32_t route)
{
    assert(route < routing->route_count);
    return routing->routes[route];
}
