/* See version.h. */
#include "core/version.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/acceptor.h"
#include "core/config.h"
#include "core/engine.h"
#include "core/listen_socket.h"
#include "core/listener.h"
#include "core/part.h"
#include "core/reactor.h"

/* ---- sockets ---- */

/* One that stays lent is never shut down, so it can be used as long as it is there. */
static bool is_open(const struct listen_socket *socket)
{
    return socket->stays_lent || (socket->versions > 0 && !socket->is_stopped);
}

static struct listen_socket *find_socket(const struct engine *engine, const struct listener_config *config)
{
    for (uint32_t i = 0; i < engine->socket_count; i++) {
        struct listen_socket *socket = engine->sockets[i];

        if (socket && is_open(socket) && listen_socket_is_for(socket, config))
            return socket;
    }
    return NULL;
}

static int add_socket(struct engine *engine, struct listen_socket *socket)
{
    struct listen_socket **sockets;

    for (uint32_t i = 0; i < engine->socket_count; i++) {
        if (!engine->sockets[i]) {
            socket->slot = i;
            engine->sockets[i] = socket;
            return 0;
        }
    }
    sockets = realloc(engine->sockets, (engine->socket_count + 1) * sizeof(struct listen_socket *));
    if (!sockets)
        return -ENOMEM;
    socket->slot = engine->socket_count;
    engine->sockets = sockets;
    engine->sockets[engine->socket_count++] = socket;
    return 0;
}

static const struct listen_socket *find_overlap(const struct engine *engine, const struct listener_config *config)
{
    for (uint32_t i = 0; i < engine->socket_count; i++) {
        const struct listen_socket *socket = engine->sockets[i];

        if (socket && !socket->is_stopped && listen_socket_overlaps(socket, config))
            return socket;
    }
    return NULL;
}

static bool has_listener_at(const struct config *config, const struct listen_socket *socket)
{
    for (uint32_t i = 0; i < config->listener_count; i++) {
        if (listen_socket_is_for(socket, &config->listeners[i]))
            return true;
    }
    return false;
}

/* An address is in use: by another program, as error says, unless it is by ourselves. */
static void explain_overlap(const struct version *version, const struct listener_config *config, char *error)
{
    const struct listen_socket *socket = find_overlap(version->engine, config);
    bool has_listener = socket && has_listener_at(version->config, socket);
    char where[ADDR_TEXT_MAX];

    if (!socket || (socket->stays_lent && !has_listener)) /* error says that it does not go */
        return;
    addr_format(&config->addr, where);
    if (has_listener)
        snprintf(error, LISTEN_ERROR_MAX,
                 "cannot listen on %s: another listener is on %s, which overlaps it: choose another port", where,
                 socket->where);
    else
        snprintf(
            error, LISTEN_ERROR_MAX,
            "cannot listen on %s: this server itself listens on %s, which overlaps it: restart it, or reload twice, "
            "the first time with another port",
            where, socket->where);
}

/* The socket for a listener, held for its version. */
static int take_socket(const struct version *version, const struct listener_config *config, struct listen_socket **out,
                       char *error)
{
    struct engine *engine = version->engine;
    uint32_t fd_count = engine->config->accept == ACCEPT_REUSEPORT ? engine->config->reactors : 1;
    struct listen_socket *socket = find_socket(engine, config);
    int rc = 0;

    if (!socket) {
        rc = listen_socket_open(&socket, config, fd_count, engine->inherited, error);
        if (rc == -EADDRINUSE)
            explain_overlap(version, config, error);
        if (rc < 0)
            return rc;
        rc = add_socket(engine, socket);
        if (rc < 0) {
            listen_socket_free(socket);
            return rc;
        }
    }
    socket->versions++;
    *out = socket;
    return listen_socket_limit_clients(socket, config);
}

static int open_listeners(struct version *version, char *error)
{
    const struct config *config = version->config;

    version->listeners = calloc(config->listener_count, sizeof(*version->listeners));
    if (!version->listeners)
        return -ENOMEM;
    for (uint32_t i = 0; i < config->listener_count; i++) {
        struct listener *listener = &version->listeners[i];
        int rc;

        *listener = (struct listener){.config = &config->listeners[i], .index = i, .version = version};
        rc = take_socket(version, listener->config, &listener->socket, error);
        version->listener_count += listener->socket != NULL;
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int index_listeners(struct version *version)
{
    version->socket_slots = version->engine->socket_count;
    version->listener_at = calloc(version->socket_slots, sizeof(*version->listener_at));
    if (!version->listener_at)
        return -ENOMEM;
    for (uint32_t i = 0; i < version->listener_count; i++)
        version->listener_at[version->listeners[i].socket->slot] = i + 1;
    return 0;
}

struct listener *version_listener(const struct version *version, const struct listen_socket *socket)
{
    uint32_t at = socket->slot < version->socket_slots ? version->listener_at[socket->slot] : 0;

    return at > 0 ? &version->listeners[at - 1] : NULL;
}

/* ---- beginning and end ---- */

static int make_parts(struct version *version)
{
    uint32_t count = version->engine->reactor_count;

    version->parts = aligned_alloc(CACHE_LINE_BYTES, count * sizeof(*version->parts));
    if (!version->parts)
        return -ENOMEM;
    memset(version->parts, 0, count * sizeof(*version->parts));
    version->part_count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct version_part *part = &version->parts[i];

        part->version = version;
        part->reactor = &version->engine->reactors[i];
        part->begin.kind = REACTOR_PART_BEGIN;
        part->switch_to.kind = REACTOR_PART_SWITCH;
        part->drop.kind = REACTOR_PART_DROP;
        list_init(&part->link);
        part_init_timer(part);
    }
    return 0;
}

int version_new(struct version **out, struct engine *engine, struct config *config, char *error)
{
    struct version *version = calloc(1, sizeof(*version));
    int rc = -ENOMEM;

    snprintf(error, LISTEN_ERROR_MAX, "no memory for another version");
    if (!version) {
        if (config != engine->config)
            engine->app->free_config(config);
        return -ENOMEM;
    }
    *version = (struct version){.engine = engine, .config = config};
    version->number = ++engine->last_number;
    version->reserve.kind = ACCEPTOR_RESERVE;
    version->follow.kind = ACCEPTOR_FOLLOW;
    list_init(&version->link);
    rc = open_listeners(version, error);
    if (rc == 0)
        rc = index_listeners(version);
    if (rc == 0)
        rc = make_parts(version);
    if (rc == 0 && engine->app->open_version)
        rc = engine->app->open_version(version);
    if (rc < 0) {
        version_free(version);
        return rc;
    }
    list_add_tail(&engine->versions, &version->link);
    *out = version;
    return 0;
}

void version_free(struct version *version)
{
    struct engine *engine = version->engine;

    if (version->shared)
        engine->app->close_version(version);
    for (uint32_t i = 0; i < version->listener_count; i++)
        version->listeners[i].socket->versions--;
    version_unload(version);
    for (uint32_t i = 0; i < version->part_count; i++)
        free(version->parts[i].problem);
    engine_close_sockets(engine);
    list_del(&version->link);
    free(version->parts);
    free(version->listener_at);
    free(version->listeners);
    if (version->config != engine->config)
        engine->app->free_config(version->config);
    free(version);
}

/* ---- the control thread's orders ---- */

static enum part_state state_of(const struct version_part *part)
{
    return (enum part_state)atomic_load_explicit(&part->state, memory_order_acquire);
}

static void tell(struct version *version, struct inbox *inbox, struct inbox_message *message)
{
    atomic_fetch_add(&version->messages, 1);
    inbox_send(inbox, message, NULL);
}

void version_on_message_done(struct version *version)
{
    const struct engine *engine = version->engine;

    if (atomic_fetch_sub(&version->messages, 1) == 1)
        engine_wake_control(engine); /* which may have freed it by now */
}

void version_begin(struct version *version)
{
    version->is_begun = true;
    if (version->engine->acceptor) {
        atomic_store(&version->reserved, -EINPROGRESS);
        tell(version, &version->engine->acceptor->inbox, &version->reserve);
    }
    for (uint32_t i = 0; i < version->part_count; i++)
        tell(version, &version->parts[i].reactor->inbox, &version->parts[i].begin);
}

enum part_state version_state(const struct version *version)
{
    int reserved = atomic_load_explicit(&version->reserved, memory_order_acquire);
    uint32_t ready = 0;
    uint32_t switched = 0;

    if (reserved < 0 && reserved != -EINPROGRESS)
        return PART_ENDED;
    for (uint32_t i = 0; i < version->part_count; i++) {
        enum part_state state = state_of(&version->parts[i]);

        if (state >= PART_ENDING)
            return PART_ENDED;
        ready += state == PART_READY;
        switched += state == PART_CURRENT;
    }
    if (switched == version->part_count)
        return PART_CURRENT;
    return ready == version->part_count && reserved == 0 ? PART_READY : PART_STARTING;
}

int version_reactor_behind(const struct version *version, enum part_state state)
{
    for (uint32_t i = 0; i < version->part_count; i++) {
        if (state_of(&version->parts[i]) <= state)
            return (int)i;
    }
    return -1;
}

const char *version_problem(const struct version *version)
{
    for (uint32_t i = 0; i < version->part_count; i++) {
        if (state_of(&version->parts[i]) >= PART_ENDING && version->parts[i].problem)
            return version->parts[i].problem;
    }
    return "no memory";
}

/* That of a service manager cannot be shut down: its clients are not refused. */
static void warn_of_dropped_lent_sockets(const struct version *from, const struct version *to)
{
    for (uint32_t i = 0; i < from->listener_count; i++) {
        const struct listen_socket *socket = from->listeners[i].socket;

        if (socket->stays_lent && !version_listener(to, socket))
            log_warn("no listener is for the socket at %s any more, which the process was started with: who connects "
                     "there waits for a reload that brings one",
                     socket->where);
    }
}

void version_switch(struct version *version)
{
    struct engine *engine = version->engine;

    warn_of_dropped_lent_sockets(engine->version, version);
    for (uint32_t i = 0; i < version->listener_count; i++)
        listen_socket_configure(version->listeners[i].socket, version->listeners[i].config);
    if (engine->app->apply_version)
        engine->app->apply_version(version);
    version->since_ms = clock_now_ms();
    engine->version->is_over = true;
    engine->version = version;
    for (uint32_t i = 0; i < version->part_count; i++)
        tell(version, &version->parts[i].reactor->inbox, &version->parts[i].switch_to);
    /* Behind the reactors, so that they know of a new listener before they get its connections. */
    if (engine->acceptor)
        tell(version, &engine->acceptor->inbox, &version->follow);
    engine_on_room(engine, NULL); /* listeners may let in more than before */
}

void version_drop(struct version *version)
{
    version->is_over = true;
    for (uint32_t i = 0; version->is_begun && i < version->part_count; i++)
        tell(version, &version->parts[i].reactor->inbox, &version->parts[i].drop);
}

bool version_is_loaded(const struct version *version)
{
    for (uint32_t i = 0; i < version->part_count; i++) {
        if (version->parts[i].app_data)
            return true;
    }
    return false;
}

void version_unload(struct version *version)
{
    for (uint32_t i = 0; i < version->part_count; i++) {
        if (version->parts[i].app_data) /* no reactor has come to begin it */
            version->engine->app->unload(&version->parts[i]);
    }
}

void version_stop_own_sockets(struct version *version)
{
    for (uint32_t i = 0; i < version->listener_count; i++) {
        if (version->listeners[i].socket->versions == 1)
            listen_socket_stop(version->listeners[i].socket);
    }
}

bool version_has_ended(const struct version *version)
{
    if (!version->is_over || atomic_load(&version->messages) > 0)
        return false;
    for (uint32_t i = 0; i < version->part_count; i++) {
        if (state_of(&version->parts[i]) != PART_ENDED)
            return false;
    }
    return true;
}
