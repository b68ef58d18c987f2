/* See script_conn.h. */
#include "script/script_conn.h"

#include <lua.h>
#include <stdio.h>

#include "base/addr.h"
#include "base/assert.h"
#include "core/conn.h"
#include "core/listener.h"
#include "core/reactor.h"
#include "http/http_exchange.h"
#include "proxy/pool.h"
#include "proxy/proxy.h"
#include "proxy/server.h"
#include "script/api.h"
#include "script/filtering.h"
#include "script/forward.h"
#include "script/http_task.h"
#include "script/migrate.h"
#include "script/pending.h"
#include "script/runtime.h"
#include "script/task.h"
#include "script/transfer.h"

/* ---- starting ---- */

int script_conn_push(lua_State *L, const struct conn *conn)
{
    lua_pushinteger(L, (lua_Integer)conn->listener->index + 1);
    lua_pushlightuserdata(L, (void *)(uintptr_t)conn);
    lua_pushnumber(L, conn->generation);
    lua_pushnumber(L, conn->slot);
    lua_pushnumber(L, (lua_Number)conn->id);
    return 5;
}

static int push_serve(const struct runtime *runtime, lua_State *co, const struct conn *conn)
{
    lua_rawgeti(co, LUA_REGISTRYINDEX, runtime->serve_ref);
    return script_conn_push(co, conn);
}

struct script_conn *script_conn_new(struct runtime *runtime, struct conn *conn)
{
    struct script_conn *sc = slab_new(&runtime->conn_slab);

    if (!sc)
        return NULL;
    *sc = (struct script_conn){.conn = conn, .runtime = runtime};
    list_init(&sc->writers);
    list_init(&sc->ended_link);
    list_init(&sc->migrant_link);
    list_init(&sc->outgoing_link);
    return sc;
}

static void on_open(struct conn *conn)
{
    struct runtime *runtime = runtime_of(conn);
    struct script_conn *sc = script_conn_new(runtime, conn);
    struct task *task = sc ? task_new(runtime, runtime->L) : NULL;

    if (!task) {
        if (sc)
            slab_free(&runtime->conn_slab, sc);
        conn_kill(conn, CLOSE_NO_MEMORY);
        return;
    }
    conn->owner = sc;
    sc->handler_task = task;
    task->serves = sc;
    task_pin(task, conn);
    task_start(task, push_serve(runtime, task->co, conn));
}

/* ---- events ---- */

static void announce_end(struct script_conn *sc)
{
    if (!sc->is_watched || sc->close_announced)
        return;
    sc->close_announced = true;
    conn_pin(sc->conn);
    list_add_tail(&sc->runtime->ended, &sc->ended_link);
}

void script_conn_wake_writers(struct script_conn *sc)
{
    struct list woken;
    struct list *node;

    list_init(&woken);
    list_splice_tail(&woken, &sc->writers);
    while ((node = list_pop(&woken)))
        task_wake_later(CONTAINER_OF(node, struct task, link), ZERG_WAKE);
}

static void prefetch(const struct conn *conn, enum prefetch_step step)
{
    const struct script_conn *sc = conn->owner;

    if (!sc->reader)
        return;
    if (step == PREFETCH_NEAR)
        __builtin_prefetch(sc->reader);
    else
        __builtin_prefetch(sc->reader->co);
}

static void on_input(struct conn *conn)
{
    struct script_conn *sc = conn->owner;

    if (conn->input_ended)
        announce_end(sc);
    if (UNLIKELY(sc->transfer != NULL))
        transfer_move(sc->transfer);
    else if (UNLIKELY(sc->forward != NULL))
        forward_on_client_input(sc->forward);
    else if (LIKELY(sc->reader != NULL) && (conn->in.bytes >= sc->wanted || conn_ended(conn)))
        task_wake(sc->reader, ZERG_WAKE);
}

static void on_output(struct conn *conn)
{
    struct script_conn *sc = conn->owner;

    if (UNLIKELY(sc->inflow != NULL))
        transfer_on_room(sc->inflow);
    if (!list_is_empty(&sc->writers) && (conn->out.staged == 0 || conn->out.staged <= conn->write_buffer_max))
        script_conn_wake_writers(sc);
}

static void on_read_timeout(struct conn *conn)
{
    struct script_conn *sc = conn->owner;

    if (sc->reader)
        task_wake(sc->reader, ZERG_WAKE_TIMEOUT);
}

/* Tells all who wait for something of it. */
void script_conn_tell_users(struct script_conn *sc)
{
    if (sc->transfer)
        transfer_on_end(sc->transfer, sc->conn);
    if (sc->inflow)
        transfer_on_end(sc->inflow, sc->conn);
    if (sc->forward)
        forward_on_client_end(sc->forward);
    if (sc->reader)
        task_wake_later(sc->reader, ZERG_WAKE);
    script_conn_wake_writers(sc);
}

static void on_end(struct conn *conn)
{
    struct script_conn *sc = conn->owner;

    if (!sc)
        return;
    announce_end(sc);
    script_conn_tell_users(sc);
}

const struct conn_handler script_conn_handler = {
    .on_open = on_open,
    .prefetch = prefetch,
    .on_input = on_input,
    .on_output = on_output,
    .on_read_timeout = on_read_timeout,
    .on_end = on_end,
};

/* ---- for tasks and the API ---- */

void script_conn_set_reader(struct script_conn *sc, struct task *task, uint32_t wanted)
{
    assert(!sc->reader);
    sc->reader = task;
    sc->wanted = wanted;
    conn_await_input(sc->conn, wanted);
    if (UNLIKELY(sc->runtime->is_superseded))
        migrate_offer(sc);
}

void script_conn_reader_left(struct script_conn *sc)
{
    sc->reader = NULL;
    conn_stop_awaiting(sc->conn);
    migrate_withdraw(sc);
}

int script_conn_claim_input(struct script_conn *sc)
{
    struct task *task = sc->runtime->running;

    if (sc->reader && sc->reader != task)
        return ZERG_BUSY;
    if (sc->reader)
        task_forget_park(task);
    if (task &&
        ((sc->transfer && transfer_is_of(sc->transfer, task)) || (sc->forward && forward_is_of(sc->forward, task))))
        pending_drop(task);
    if (sc->transfer)
        return ZERG_BUSY;
    return sc->forward ? ZERG_FORWARDED : ZERG_OK;
}

/* Its connection has ended, at times long before, while bytes that had come were still being moved: nobody waits for it
 * any more. */
void script_conn_dismiss_users(struct script_conn *sc)
{
    script_conn_tell_users(sc);
    if (sc->reader) /* the running task, which could not yield where it wanted to park */
        task_forget_park(sc->reader);
}

static void free_when_unused(struct script_conn *sc)
{
    struct conn *conn = sc->conn;

    if (!sc->handler_ended)
        return;
    if (conn->owner == sc) /* and not the pool, or a relay. No handle leads here any more. */
        conn->owner = NULL;
    if (list_is_linked(&sc->ended_link))
        return;
    assert(!sc->reader && list_is_empty(&sc->writers) && !sc->transfer && !sc->inflow && !sc->forward);
    slab_free(&sc->runtime->conn_slab, sc);
}

void script_conn_handler_ended(struct script_conn *sc)
{
    if (sc->is_http) {
        http_task_ended(sc);
        return;
    }
    sc->handler_ended = true;
    sc->handler_task = NULL;
    migrate_forget(sc);
    conn_close(sc->conn, CLOSE_LOCAL);
    script_conn_dismiss_users(sc);
    if (sc->filtering)
        filtering_lose(sc);
    input_end_borrow(&sc->conn->in);
    free_when_unused(sc);
}

void script_conn_leave(struct script_conn *sc)
{
    struct task *task = sc->handler_task;

    migrate_forget(sc);
    task->serves = NULL;
    task_drop(task);
    script_conn_wake_writers(sc); /* all of what they wrote is staged */
    assert(!sc->reader && list_is_empty(&sc->writers) && !list_is_linked(&sc->ended_link) && !sc->transfer);
    slab_free(&sc->runtime->conn_slab, sc);
}

void script_conn_close(struct script_conn *sc, bool is_abort)
{
    struct task *task = sc->runtime->running;

    if (!sc->closed_by_script && task) {
        sc->closer = task;
        sc->closer_generation = task->generation;
    }
    sc->closed_by_script = true;
    if (is_abort)
        conn_kill(sc->conn, CLOSE_ABORTED);
    else
        conn_close(sc->conn, CLOSE_LOCAL);
}

int script_conn_closed_result(const struct script_conn *sc)
{
    const struct task *task = sc->runtime->running;

    if (task != sc->closer || (task && task->generation != sc->closer_generation))
        return ZERG_END;
    return ZERG_CLOSED;
}

bool script_conn_watch(struct script_conn *sc)
{
    if (conn_ended(sc->conn))
        return false;
    sc->is_watched = true;
    return true;
}

/* runtime.closed(slot, generation, is_over): see lua/zerg/runtime.lua. */
void script_conn_start_closed(struct runtime *runtime, struct conn *conn, bool is_over)
{
    struct task *task = task_new(runtime, runtime->L);

    if (!task)
        return;
    task_pin(task, conn);
    lua_rawgeti(task->co, LUA_REGISTRYINDEX, runtime->closed_ref);
    lua_pushnumber(task->co, conn->slot);
    lua_pushnumber(task->co, conn->generation);
    lua_pushboolean(task->co, is_over);
    task_start(task, 3);
}

void script_conn_announce_ends(struct runtime *runtime)
{
    struct list *node;

    while ((node = list_pop(&runtime->ended))) {
        struct script_conn *sc = CONTAINER_OF(node, struct script_conn, ended_link);
        struct conn *conn = sc->conn;

        free_when_unused(sc);
        if (runtime->reactor->state != REACTOR_STOPPING)
            script_conn_start_closed(runtime, conn, false);
        conn_unpin(conn);
    }
}

/* As much as fits. */
static void describe_request(const struct http_exchange *exchange, char *out, size_t out_bytes)
{
    const struct http_head *head = &exchange->head;
    const char *bytes = (const char *)exchange->head_bytes;

    snprintf(out, out_bytes, ", %.*s %.*s", (int)http_span_len(head->method_text), bytes + head->method_text.at,
             (int)http_span_len(head->target.all), bytes + head->target.all.at);
}

const char *script_conn_describe(const struct script_conn *sc, char *out, size_t out_bytes)
{
    struct addr addr;
    char text[ADDR_TEXT_MAX];
    int len;

    conn_remote(sc->conn, &addr);
    assert(sc->conn->listener); /* it has a handler */
    len = snprintf(out, out_bytes, "conn %llu from %s on listener %s", (unsigned long long)sc->conn->id,
                   addr_format(&addr, text), sc->conn->listener->config->name);
    if (sc->exchange && len > 0 && (size_t)len < out_bytes)
        describe_request(sc->exchange, out + len, out_bytes - (size_t)len);
    return out;
}

/* ---- connections that the script made ---- */

struct script_conn *script_conn_adopt(struct runtime *runtime, struct conn *conn, struct slot *slot)
{
    struct script_conn *sc = script_conn_new(runtime, conn);

    if (!sc)
        return NULL;
    sc->is_outgoing = true;
    sc->slot = *slot;
    *slot = (struct slot){0};
    sc->bytes_in_before = conn->bytes_in;
    sc->bytes_out_before = conn->bytes_out;
    list_add_tail(&runtime->outgoing, &sc->outgoing_link);
    conn->handler = &script_conn_handler;
    conn->owner = sc;
    conn_pin(conn);
    return sc;
}

void script_conn_fill_handle(struct script_conn *sc, struct zerg_conn *handle)
{
    struct conn *conn = sc->conn;

    *handle = (struct zerg_conn){
        ._conn = conn,
        ._generation = conn->generation,
        ._slot = conn->slot,
        ._id = (double)conn->id,
        ._owned = sc,
        ._bytes_in_before = (double)sc->bytes_in_before,
        ._bytes_out_before = (double)sc->bytes_out_before,
    };
    sc->handle = handle;
}

/* What every way of letting go ends with; the connection is closed, or somebody else's. */
static void forget(struct script_conn *sc)
{
    struct conn *conn = sc->conn;

    assert(sc->is_outgoing);
    script_conn_dismiss_users(sc);
    if (sc->filtering)
        filtering_lose(sc);
    if (sc->handle)
        sc->handle->_owned = NULL;
    sc->handle = NULL;
    list_del(&sc->outgoing_link);
    sc->handler_ended = true;
    slot_give(&sc->slot);
    free_when_unused(sc);
    conn_unpin(conn);
}

void script_conn_let_go(struct script_conn *sc)
{
    conn_close(sc->conn, CLOSE_LOCAL);
    input_end_borrow(&sc->conn->in);
    forget(sc);
}

void script_conn_let_go_all(struct runtime *runtime)
{
    struct list *node;

    while ((node = list_pop(&runtime->outgoing))) {
        struct script_conn *sc = CONTAINER_OF(node, struct script_conn, outgoing_link);

        assert(!sc->is_lent); /* forwards end with their tasks */
        script_conn_let_go(sc);
    }
}

bool script_conn_give_to_pool(struct script_conn *sc, uint32_t max, uint32_t idle_ms)
{
    struct conn *conn = sc->conn;
    bool is_kept;

    input_end_borrow(&conn->in);
    pool_checkin(&conn->reactor->proxy->pool, conn, &sc->slot, max, idle_ms);
    is_kept = conn->state == CONN_OPEN;
    if (!is_kept)
        announce_end(sc);
    else if (sc->handle)
        sc->handle->_generation = conn->generation - 1; /* it must not reach whoever uses the connection next */
    forget(sc);
    return is_kept;
}

void script_conn_lend(struct script_conn *sc)
{
    script_conn_wake_writers(sc);
    sc->is_lent = sc->is_outgoing;
}

void script_conn_carry(struct script_conn *sc, struct filtering *filtering)
{
    script_conn_wake_writers(sc);
    sc->filtering = filtering;
}

void script_conn_forward_ended(struct script_conn *sc)
{
    announce_end(sc);
    if (sc->is_lent)
        forget(sc);
}
