/* See migrate.h. */
#include "script/migrate.h"

#include <lua.h>
#include <stdbool.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "core/conn.h"
#include "core/listener.h"
#include "core/part.h"
#include "core/reactor.h"
#include "core/version.h"
#include "script/runtime.h"
#include "script/script_conn.h"
#include "script/task.h"

/* ---- who may go ---- */

void migrate_offer(struct script_conn *sc)
{
    if (!sc->handler_task || sc->is_http || sc->stays || list_is_linked(&sc->migrant_link) ||
        !sc->runtime->migrates[sc->conn->listener->index])
        return;
    list_add_tail(&sc->runtime->migrants, &sc->migrant_link);
}

void migrate_supersede(struct runtime *runtime)
{
    const struct reactor *reactor = runtime->reactor;

    runtime->is_superseded = true;
    for (struct list *node = reactor->live.next; node != &reactor->live; node = node->next) {
        struct conn *conn = CONTAINER_OF(node, struct conn, link);

        if (conn->handler == &script_conn_handler && conn->listener && conn->owner && runtime_of(conn) == runtime)
            migrate_offer(conn->owner);
    }
}

/* Its handler waits for input and nothing else happens to it; a later park, or the end of what is in the way, offers it again. */
static bool is_ready(const struct script_conn *sc)
{
    const struct conn *conn = sc->conn;

    return conn->state == CONN_OPEN && conn->owner == sc && sc->handler_task && sc->reader == sc->handler_task &&
           !sc->is_partial && !sc->closed_by_script && !sc->close_announced && list_is_empty(&sc->writers) &&
           !sc->transfer && !sc->inflow && !sc->forward && !sc->filtering && !conn->in.borrowed_first &&
           conn->in.count.held == 0 && conn->reactor->state == REACTOR_RUNNING;
}

/* The runtime that it would go to, NULL: there is none. */
static struct runtime *next_runtime(const struct script_conn *sc)
{
    const struct listener *listener = part_newer_listener(sc->conn);

    return listener && listener->config->handler ? sc->runtime->reactor->current->app_data : NULL;
}

/* ---- going ---- */

static int push_conn(lua_State *L, const struct conn *conn, const struct listener *listener)
{
    lua_pushinteger(L, (lua_Integer)listener->index + 1);
    lua_pushlightuserdata(L, (void *)(uintptr_t)conn);
    lua_pushnumber(L, conn->generation);
    lua_pushnumber(L, conn->slot);
    lua_pushnumber(L, (lua_Number)conn->id);
    return 5;
}

static void report(struct script_conn *sc, const char *problem)
{
    char what[512];

    sc->stays = true;
    log_error("%s stays with version %u: %s", script_conn_describe(sc, what, sizeof(what)),
              sc->runtime->part->version->number, problem);
}

/* Asks `migrate`: what it gave as a string on top of the stack of runtime->L; else false, and the stack is as it was. */
static bool ask(struct script_conn *sc)
{
    struct runtime *runtime = sc->runtime;
    lua_State *L = runtime->L;

    if (runtime_call(runtime, "migrate", push_conn(L, sc->conn, sc->conn->listener)) < 0) {
        report(sc, lua_tostring(L, -1));
    } else if (lua_type(L, -1) == LUA_TSTRING) {
        if (is_ready(sc))
            return true;
    }
    lua_pop(L, 1);
    return false;
}

/* The version before forgets the connection. */
static void leave(struct script_conn *sc)
{
    struct runtime *runtime = sc->runtime;

    lua_pushnumber(runtime->L, sc->conn->slot);
    lua_pushnumber(runtime->L, (lua_Number)sc->conn->id);
    if (runtime_call(runtime, "leave", 2) < 0)
        log_error("version %u: %s", runtime->part->version->number, lua_tostring(runtime->L, -1));
    lua_pop(runtime->L, 1);
    script_conn_leave(sc);
}

/* carried: on top of the old state's stack, and popped in any case. */
static void move(struct script_conn *old, struct runtime *next)
{
    struct conn *conn = old->conn;
    lua_State *from = old->runtime->L;
    struct script_conn *sc = script_conn_new(next, conn);
    struct task *task = sc ? task_new(next, next->L) : NULL;
    size_t len;
    const char *carried = lua_tolstring(from, -1, &len);

    if (!task) {
        if (sc)
            slab_free(&next->conn_slab, sc);
        report(old, "no memory");
        lua_pop(from, 1);
        return;
    }
    part_move(conn, part_newer_listener(conn));
    task_pin(task, conn);
    task->serves = sc;
    sc->handler_task = task;
    runtime_push(next, task->co, "resume");
    (void)push_conn(task->co, conn, conn->listener);
    lua_pushlstring(task->co, carried, len);
    lua_pop(from, 1);
    leave(old);
    conn->owner = sc;
    task_start(task, 6);
}

static void try_to_move(struct script_conn *sc)
{
    struct runtime *next = is_ready(sc) ? next_runtime(sc) : NULL;

    if (next && ask(sc))
        move(sc, next);
}

void migrate_offered(struct runtime *runtime)
{
    struct list offered;
    struct list *node;

    if (LIKELY(list_is_empty(&runtime->migrants)))
        return;
    list_init(&offered);
    list_splice_tail(&offered, &runtime->migrants);
    while ((node = list_pop(&offered)))
        try_to_move(CONTAINER_OF(node, struct script_conn, migrant_link));
}
