/* See http_task.h. */
#include "script/http_task.h"

#include <lauxlib.h>

#include "core/config.h"
#include "core/conn.h"
#include "http/http_exchange.h"
#include "http/http_reason.h"
#include "script/api.h"
#include "script/http_forwarding.h"
#include "script/runtime.h"
#include "script/script_conn.h"
#include "script/task.h"

/* runtime.serve_http(route, address of the exchange, generation): see lua/zerg/runtime.lua. */
static int push_serve(struct runtime *runtime, lua_State *co, const struct http_exchange *exchange)
{
    lua_rawgeti(co, LUA_REGISTRYINDEX, runtime->serve_http_ref);
    lua_pushinteger(co, (lua_Integer)exchange->route->index + 1);
    lua_pushnumber(co, (lua_Number)(uintptr_t)exchange);
    lua_pushnumber(co, exchange->generation);
    return 3;
}

static struct script_conn *new_script_conn(struct runtime *runtime, struct http_exchange *exchange)
{
    struct script_conn *sc = script_conn_new(runtime, exchange->conn);

    if (!sc)
        return NULL;
    sc->is_http = true;
    sc->exchange = exchange;
    return sc;
}

static void run(struct http_exchange *exchange, enum http_start start)
{
    struct conn *conn = exchange->conn;
    struct runtime *runtime = runtime_of(conn);
    struct script_conn *sc = new_script_conn(runtime, exchange);
    struct task *task = sc ? task_new(runtime, runtime->L) : NULL;
    int arguments;

    if (!task) {
        if (sc)
            slab_free(&runtime->conn_slab, sc);
        conn_kill(conn, CLOSE_NO_MEMORY); /* on_end() */
        return;
    }
    exchange->owner = sc;
    sc->handler_task = task;
    task->serves = sc;
    task_pin(task, conn);
    arguments = push_serve(runtime, task->co, exchange);
    if (start == HTTP_START_NOW)
        task_start(task, arguments);
    else
        task_start_later(task, arguments);
}

void http_task_ended(struct script_conn *sc)
{
    struct http_exchange *exchange = sc->exchange;
    struct runtime *runtime = sc->runtime;
    bool goes_on;

    if (sc->http_forwarding) /* of another task */
        http_forwarding_abandon(sc->http_forwarding);
    if (!exchange) { /* a relay has, or had, the connection */
        script_conn_dismiss_users(sc);
        slab_free(&runtime->conn_slab, sc);
        return;
    }
    goes_on = sc->has_returned || http_exchange_fail(exchange, STATUS_FAILED);
    exchange->generation++;
    script_conn_dismiss_users(sc);
    slab_free(&runtime->conn_slab, sc);
    http_exchange_done(exchange, goes_on);
}

/* ---- events ---- */

static void on_input(struct http_exchange *exchange)
{
    const struct script_conn *sc = exchange->owner;
    const struct conn *conn = exchange->conn;

    if (sc->http_forwarding)
        http_forwarding_on_input(sc->http_forwarding);
    else if (sc->reader && (conn->in.bytes >= sc->wanted || conn_ended(conn)))
        task_wake(sc->reader, ZERG_WAKE);
}

static void on_output(struct http_exchange *exchange)
{
    struct script_conn *sc = exchange->owner;

    if (sc->http_forwarding)
        http_forwarding_on_output(sc->http_forwarding);
    else if (!list_is_empty(&sc->writers) && !conn_is_full(exchange->conn))
        script_conn_wake_writers(sc);
}

static void on_read_timeout(struct http_exchange *exchange)
{
    const struct script_conn *sc = exchange->owner;

    if (sc->http_forwarding)
        http_forwarding_on_read_timeout(sc->http_forwarding);
    else if (sc->reader)
        task_wake(sc->reader, ZERG_WAKE_TIMEOUT);
}

static void on_end(struct http_exchange *exchange)
{
    struct script_conn *sc = exchange->owner;

    if (!sc) { /* no task was made for it */
        http_exchange_done(exchange, false);
        return;
    }
    if (sc->http_forwarding)
        http_forwarding_abandon(sc->http_forwarding);
    script_conn_tell_users(sc);
}

const struct http_handler http_task_handler = {
    .run = run,
    .on_input = on_input,
    .on_output = on_output,
    .on_read_timeout = on_read_timeout,
    .on_end = on_end,
};
