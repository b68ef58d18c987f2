/* See routing.h. */
#include "proxy/routing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "core/config.h"
#include "proxy/group.h"
#include "proxy/group_set.h"
#include "proxy/group_view.h"
#include "proxy/proxy.h"

static int hold_views(struct routing *routing, const struct group_set *set)
{
    for (uint32_t i = 0; set && i < set->count; i++) {
        struct group_view *view = proxy_hold_view(routing->proxy, set->items[i].group);

        if (!view)
            return -ENOMEM;
        routing->views[routing->view_count++] = view;
    }
    return 0;
}

/* *out stays NULL for no target. */
static int find(struct routing *routing, const struct listener_config *listener, const char *target,
                struct group_view **out)
{
    int rc;

    if (!target)
        return 0;
    rc = proxy_find_group(routing->proxy, routing, target, strlen(target), out);
    if (rc < 0)
        log_error("listener %s: cannot forward to %s: %s", listener->name, target, strerrordesc_np(-rc));
    else
        group_view_use(*out); /* a plain one would be forgotten; upstreams are held above */
    return rc;
}

static int find_forwards(struct routing *routing, const struct config *config)
{
    for (uint32_t i = 0; i < config->listener_count; i++) {
        const struct listener_config *listener = &config->listeners[i];
        int rc = find(routing, listener, listener->forward, &routing->forwards[i]);

        for (uint32_t j = 0; j < listener->route_count && rc == 0; j++) {
            const struct http_route *route = &listener->routes[j];

            rc = find(routing, listener, route->forward, &routing->routes[route->index]);
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

static struct group_view **new_array(uint32_t count)
{
    return calloc(count + 1, sizeof(struct group_view *)); /* never none, so that NULL is a failure */
}

int routing_new(struct routing **out, struct proxy *proxy, const struct config *config, const struct group_set *set)
{
    struct routing *routing = calloc(1, sizeof(*routing));
    int rc = -ENOMEM;

    *out = NULL;
    if (!routing)
        return -ENOMEM;
    routing->proxy = proxy;
    routing->forward_count = config->listener_count;
    routing->route_count = config->route_count;
    routing->views = new_array(set ? set->count : 0);
    routing->forwards = new_array(routing->forward_count);
    routing->routes = new_array(routing->route_count);
    if (routing->views && routing->forwards && routing->routes)
        rc = hold_views(routing, set);
    if (rc == 0)
        rc = find_forwards(routing, config);
    if (rc < 0)
        routing_free(routing);
    else
        *out = routing;
    return rc;
}

static void unuse(struct group_view **views, uint32_t count)
{
    for (uint32_t i = 0; views && i < count; i++) {
        if (views[i])
            group_view_unuse(views[i]);
    }
    free(views);
}

void routing_free(struct routing *routing)
{
    if (!routing)
        return;
    unuse(routing->forwards, routing->forward_count);
    unuse(routing->routes, routing->route_count);
    for (uint32_t i = 0; i < routing->view_count; i++)
        proxy_release_view(routing->proxy, routing->views[i]);
    free(routing->views);
    free(routing);
}

struct group_view *routing_find(const struct routing *routing, const char *name, size_t len)
{
    for (uint32_t i = 0; i < routing->view_count; i++) {
        if (group_view_is_named(routing->views[i], name, len))
            return routing->views[i];
    }
    return NULL;
}
