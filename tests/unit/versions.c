/* See versions.h. */
#include "versions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/config.h"
#include "core/engine.h"
#include "core/listener.h"
#include "core/part.h"
#include "core/reactor.h"

static void make_socket(struct listen_socket *socket, const struct listener_config *config, uint32_t slot)
{
    if (socket->fds) /* another version listens there already */
        return;
    *socket = (struct listen_socket){.slot = slot, .addr = config->addr, .fd_count = 1};
    socket->max_connections = config->max_connections;
    snprintf(socket->where, sizeof(socket->where), "%s", config->name);
    socket->fds = calloc(1, sizeof(*socket->fds));
    assert_non_null(socket->fds);
    socket->fds[0] = VERSION_SOCKET_FD + (int)slot;
    assert_int_equal(listen_socket_limit_clients(socket, config), 0);
}

static void make_parts(struct version *version)
{
    uint32_t count = version->engine->reactor_count;

    version->parts = aligned_alloc(CACHE_LINE_BYTES, count * sizeof(*version->parts));
    assert_non_null(version->parts);
    memset(version->parts, 0, count * sizeof(*version->parts));
    version->part_count = count;
    for (uint32_t i = 0; i < count; i++) {
        version->parts[i].version = version;
        version->parts[i].reactor = &version->engine->reactors[i];
        version->parts[i].begin.kind = REACTOR_PART_BEGIN;
        version->parts[i].switch_to.kind = REACTOR_PART_SWITCH;
        version->parts[i].drop.kind = REACTOR_PART_DROP;
        list_init(&version->parts[i].link);
        part_init_timer(&version->parts[i]);
    }
}

struct version *version_by_hand(struct engine *engine, struct config *config, struct listen_socket *sockets)
{
    struct version *version = calloc(1, sizeof(*version));

    assert_non_null(version);
    version->engine = engine;
    version->config = config;
    version->number = engine->version ? engine->version->number + 1 : 1;
    version->listener_count = config->listener_count;
    version->socket_slots = config->listener_count;
    version->listeners = calloc(config->listener_count, sizeof(*version->listeners));
    version->listener_at = calloc(config->listener_count, sizeof(*version->listener_at));
    assert_true(version->listeners && version->listener_at);
    for (uint32_t i = 0; i < config->listener_count; i++) {
        make_socket(&sockets[i], &config->listeners[i], i);
        sockets[i].versions++;
        version->listener_at[i] = i + 1;
        version->listeners[i] =
            (struct listener){.config = &config->listeners[i], .index = i, .socket = &sockets[i], .version = version};
    }
    make_parts(version);
    return version;
}

static void let_go(struct listen_socket *socket)
{
    if (--socket->versions > 0)
        return;
    free(socket->fds);
    socket->fds = NULL;
}

void version_by_hand_remove(struct version *version, uint32_t index)
{
    struct listener *listeners = version->listeners;

    version->listener_at[listeners[index].socket->slot] = 0;
    let_go(listeners[index].socket);
    version->listener_count--;
    for (uint32_t i = index; i < version->listener_count; i++) {
        listeners[i] = listeners[i + 1];
        listeners[i].index = i;
        version->listener_at[listeners[i].socket->slot] = i + 1;
    }
}

void version_by_hand_free(struct version *version)
{
    for (uint32_t i = 0; i < version->part_count; i++)
        free(version->parts[i].problem);
    for (uint32_t i = 0; i < version->listener_count; i++)
        let_go(version->listeners[i].socket);
    free(version->parts);
    free(version->listener_at);
    free(version->listeners);
    free(version);
}
