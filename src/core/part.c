/* See part.h. */
#include "core/part.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/log.h"
#include "core/config.h"
#include "core/conn.h"
#include "core/conn_internal.h"
#include "core/engine.h"
#include "core/listen_socket.h"
#include "core/listener.h"
#include "core/reactor.h"
#include "core/version.h"

/* ---- which part, which listener ---- */

struct version_part *part_of(const struct conn *conn)
{
    return &conn->listener->version->parts[conn->reactor->index];
}

void part_add_conn(const struct conn *conn)
{
    struct version_part *part = part_of(conn);
    unsigned int before = atomic_load_explicit(&part->connections, memory_order_relaxed);

    atomic_store_explicit(&part->connections, before + 1, memory_order_relaxed);
}

void part_remove_conn(const struct conn *conn)
{
    struct version_part *part = part_of(conn);
    unsigned int before = atomic_load_explicit(&part->connections, memory_order_relaxed);

    assert(before > 0);
    atomic_store_explicit(&part->connections, before - 1, memory_order_relaxed);
    if (UNLIKELY(part != part->reactor->current) && before == 1)
        part->reactor->has_ready = true; /* part_turn() sees to it */
}

struct listener *part_listener(const struct reactor *reactor, const struct listen_socket *socket)
{
    for (const struct list *node = reactor->parts.next; node != &reactor->parts; node = node->next) {
        const struct version_part *part = CONTAINER_OF(node, struct version_part, link);
        enum part_state state = atomic_load_explicit(&part->state, memory_order_relaxed);
        struct listener *listener = version_listener(part->version, socket);

        if (listener && state >= PART_CURRENT && !part->is_cut)
            return listener;
    }
    return NULL;
}

static bool is_for_the_same(const struct listener *a, const struct listener *b)
{
    return a->config->protocol == b->config->protocol && !a->config->forward == !b->config->forward;
}

struct listener *part_newer_listener(const struct conn *conn)
{
    const struct version *current = conn->reactor->current->version;
    struct listener *listener;

    if (LIKELY(conn->listener->version == current))
        return NULL;
    listener = version_listener(current, conn->listener->socket);
    return listener && is_for_the_same(listener, conn->listener) ? listener : NULL;
}

void part_move(struct conn *conn, struct listener *listener)
{
    part_remove_conn(conn);
    conn->listener = listener;
    part_add_conn(conn);
}

void part_catch_up(struct conn *conn)
{
    struct listener *listener = part_newer_listener(conn);

    if (!listener)
        return;
    part_move(conn, listener);
    conn->write_buffer_max = listener->config->write_buffer_max;
    conn->timeouts.write_ms = listener->config->timeouts.write_ms;
    conn->timeouts.idle_ms = listener->config->timeouts.idle_ms;
    conn_update_timer(conn);
}

bool part_is_draining(const struct conn *conn)
{
    const struct reactor *reactor = conn->reactor;

    if (UNLIKELY(reactor->state != REACTOR_RUNNING))
        return true;
    return UNLIKELY(part_of(conn) != reactor->current) && !part_newer_listener(conn);
}

/* ---- beginning ---- */

static void set_state(struct version_part *part, enum part_state state)
{
    atomic_store_explicit(&part->state, state, memory_order_release);
}

static void fail(struct version_part *part, const char *problem)
{
    if (!part->problem && asprintf(&part->problem, "%s", problem) < 0)
        part->problem = NULL;
}

/* The last thing that its reactor does with it. */
static void set_ended(struct version_part *part)
{
    struct engine *engine = part->reactor->engine;

    set_state(part, PART_ENDED);
    engine_wake_control(engine);
}

/* Nothing is served by it any more. */
static void end(struct version_part *part)
{
    assert(atomic_load(&part->connections) == 0);
    timer_stop(&part->reactor->timers, &part->timer);
    if (part->app_data)
        part->reactor->app->unload(part);
    part->reactor->app->finish(part);
    list_del(&part->link);
    if (part->is_unloading) {
        set_state(part, PART_ENDING);
        engine_wake_control(part->reactor->engine); /* which may wait for one that failed */
    } else {
        set_ended(part);
    }
}

void part_unload_later(struct version_part *part)
{
    part->is_unloading = true;
}

void part_on_unloaded(struct version_part *part)
{
    part->is_unloading = false;
    if (atomic_load_explicit(&part->state, memory_order_relaxed) == PART_ENDING)
        set_ended(part);
}

static void on_timer(struct timer *timer, uint64_t now_ms)
{
    struct version_part *part = CONTAINER_OF(timer, struct version_part, timer);

    (void)now_ms;
    part->is_cut = true;
}

void part_init_timer(struct version_part *part)
{
    timer_init(&part->timer, on_timer);
}

/* From here on it is its reactor's, to be ended by it. */
static int begin(struct version_part *part)
{
    struct reactor *reactor = part->reactor;

    list_add_tail(reactor->parts.next, &part->link); /* before the first */
    set_state(part, PART_STARTING);
    timer_start(&reactor->timers, &part->timer, reactor->now_ms + START_MS_MAX);
    return reactor->app->begin(part);
}

int part_open_first(struct version_part *part)
{
    int rc = part->reactor->app->load(part);

    if (rc == 0)
        rc = begin(part);
    if (rc < 0)
        end(part);
    return rc;
}

/* A part that starts beside the current one. */
static void on_begin(struct version_part *part)
{
    struct reactor *reactor = part->reactor;
    int rc = -ECANCELED;

    if (reactor->state != REACTOR_RUNNING)
        fail(part, "the server is shutting down");
    else if (reactor->accept.ring && accept_reserve(&reactor->accept, part->version) < 0)
        fail(part, "no memory for its listeners");
    else
        rc = 0;
    rc = rc < 0 ? rc : begin(part);
    if (rc < 0)
        end(part);
}

int part_starting(struct version_part *part)
{
    int rc = part->reactor->app->starting(part);

    if (rc <= 0 || !part->is_cut)
        return rc;
    fail(part, "its scripts did not start within a minute: a `start` hook still waits for something");
    return -ETIMEDOUT;
}

static void look_at_starting(struct version_part *part)
{
    int rc = part_starting(part);

    if (rc < 0)
        end(part);
    if (rc != 0)
        return;
    timer_stop(&part->reactor->timers, &part->timer);
    set_state(part, PART_READY);
    engine_wake_control(part->reactor->engine);
}

static_assert(START_MS_MAX == 60 * 1000, "what part_starting() says");

/* ---- switching ---- */

void part_make_current(struct version_part *part)
{
    struct reactor *reactor = part->reactor;
    struct version_part *previous = reactor->current;

    timer_stop(&reactor->timers, &part->timer);
    part->is_cut = false; /* it may have started in the very turn in which its time for that was over */
    reactor->current = part;
    set_state(part, PART_CURRENT);
    if (reactor->accept.ring)
        accept_follow(&reactor->accept, part->version);
    reactor->app->on_switch(part, previous);
}

/* What C alone does for requests may come to its end, unless nobody listens there any more. */
static void cut_connections(const struct version_part *part)
{
    struct reactor *reactor = part->reactor;

    for (struct list *node = reactor->live.next; node != &reactor->live; node = node->next) {
        struct conn *conn = CONTAINER_OF(node, struct conn, link);

        if (conn->listener && part_of(conn) == part && !part_newer_listener(conn))
            conn_kill(conn, CLOSE_SHUTDOWN);
    }
}

/* Those that were spared for a newer listener, which the newest version may not have. Their scripts have gone. */
static void cut_again(struct reactor *reactor)
{
    for (struct list *node = reactor->parts.next; node != &reactor->parts; node = node->next) {
        const struct version_part *part = CONTAINER_OF(node, struct version_part, link);

        if (atomic_load_explicit(&part->state, memory_order_relaxed) == PART_OLD && !part->app_data)
            cut_connections(part);
    }
}

/* Connections that nothing of the old version stands above go over at once. */
static void move_connections(struct reactor *reactor)
{
    for (struct list *node = reactor->live.next; node != &reactor->live; node = node->next) {
        struct conn *conn = CONTAINER_OF(node, struct conn, link);

        if (conn->listener && conn->state == CONN_OPEN && conn->handler->on_newer_version)
            conn->handler->on_newer_version(conn);
    }
}

static void on_switch(struct version_part *part)
{
    struct reactor *reactor = part->reactor;
    struct version_part *previous = reactor->current;

    if (atomic_load_explicit(&part->state, memory_order_relaxed) != PART_READY)
        return; /* the reactor stops */
    set_state(previous, PART_OLD);
    part_make_current(part);
    timer_start(&reactor->timers, &previous->timer, reactor->now_ms + part->version->config->drain_timeout_ms);
    move_connections(reactor);
    cut_again(reactor);
    engine_wake_control(reactor->engine);
}

static void on_drop(struct version_part *part)
{
    enum part_state state = atomic_load_explicit(&part->state, memory_order_relaxed);

    if (state == PART_STARTING || state == PART_READY)
        end(part);
}

static struct version_part *part_of_message(struct inbox_message *message)
{
    switch (message->kind) {
    case REACTOR_PART_BEGIN: return CONTAINER_OF(message, struct version_part, begin);
    case REACTOR_PART_SWITCH: return CONTAINER_OF(message, struct version_part, switch_to);
    default: return CONTAINER_OF(message, struct version_part, drop);
    }
}

void part_on_message(struct inbox_message *message)
{
    struct version_part *part = part_of_message(message);

    switch (message->kind) {
    case REACTOR_PART_BEGIN: on_begin(part); break;
    case REACTOR_PART_SWITCH: on_switch(part); break;
    default: on_drop(part);
    }
    version_on_message_done(part->version);
}

/* ---- ending ---- */

/* Its time is over. */
static void cut(struct version_part *part)
{
    struct reactor *reactor = part->reactor;
    uint32_t left = atomic_load_explicit(&part->connections, memory_order_relaxed);

    log_info("reactor %u: version %u had its time: %u connection%s of it may be cut", reactor->index,
             part->version->number, left, left == 1 ? "" : "s");
    reactor->app->unload(part);
    cut_connections(part);
}

static void look_at_old(struct version_part *part)
{
    bool is_unused = atomic_load_explicit(&part->connections, memory_order_relaxed) == 0;

    if (is_unused)
        end(part);
    else if (part->is_cut && part->app_data)
        cut(part);
}

void part_turn(struct reactor *reactor)
{
    struct list *next;

    for (struct list *node = reactor->parts.next; node != &reactor->parts; node = next) {
        struct version_part *part = CONTAINER_OF(node, struct version_part, link);
        enum part_state state = atomic_load_explicit(&part->state, memory_order_relaxed);

        next = node->next;
        if (state == PART_STARTING && reactor->current)
            look_at_starting(part);
        else if (state == PART_OLD)
            look_at_old(part);
    }
}

void part_stop_starting(struct reactor *reactor)
{
    struct list *next;

    for (struct list *node = reactor->parts.next; node != &reactor->parts; node = next) {
        struct version_part *part = CONTAINER_OF(node, struct version_part, link);
        enum part_state state = atomic_load_explicit(&part->state, memory_order_relaxed);

        next = node->next;
        if (reactor->current && (state == PART_STARTING || state == PART_READY)) {
            fail(part, "the server is shutting down");
            end(part);
        }
    }
}

void part_close_all(struct reactor *reactor)
{
    struct list *node;

    while ((node = list_pop(&reactor->parts)))
        end(CONTAINER_OF(node, struct version_part, link));
    reactor->current = NULL;
}
