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
    if (!sc->is_migrant || sc->reader != sc->handler_task || list_is_linked(&sc->migrant_link))
        return;
    sc->migrates_again = false;
    list_add_tail(&sc->runtime->migrants, &sc->migrant_link);
    sc->runtime->ready_migrants++;
}

void migrate_withdraw(struct script_conn *sc)
{
    if (LIKELY(!list_is_linked(&sc->migrant_link)))
        return;
    list_del(&sc->migrant_link);
    sc->runtime->ready_migrants--;
}

void migrate_forget(struct script_conn *sc)
{
    migrate_withdraw(sc);
    if (sc->is_migrant)
        sc->runtime->migrant_count--;
    sc->is_migrant = false;
}

static void add(struct script_conn *sc)
{
    if (!sc->handler_task || sc->is_http || !sc->runtime->migrates[sc->conn->listener->index])
        return;
    sc->is_migrant = true;
    sc->runtime->migrant_count++;
    if (sc->reader)
        migrate_offer(sc);
}

/* The accepted connection of a link of reactor->live, if it is the runtime's; else NULL. */
static struct script_conn *served_by(const struct runtime *runtime, const struct list *link)
{
    const struct conn *conn = CONTAINER_OF(link, struct conn, link);
    bool is_script = conn->handler == &script_conn_handler && conn->listener && conn->owner;

    return is_script && runtime_of(conn) == runtime ? conn->owner : NULL;
}

static void on_again(struct timer *timer, uint64_t now_ms)
{
    const struct runtime *runtime = CONTAINER_OF(timer, struct runtime, again);
    const struct list *live = &runtime->reactor->live;

    (void)now_ms;
    for (const struct list *node = live->next; node != live; node = node->next) {
        struct script_conn *sc = served_by(runtime, node);

        if (sc && sc->migrates_again && sc->reader)
            migrate_offer(sc);
    }
}

/* The turn that it wakes does what is to be done. */
static void on_waited(struct timer *timer, uint64_t now_ms)
{
    (void)timer;
    (void)now_ms;
}

void migrate_init(struct runtime *runtime)
{
    list_init(&runtime->migrants);
    timer_init(&runtime->together, on_waited);
    timer_init(&runtime->again, on_again);
}

void migrate_supersede(struct runtime *runtime)
{
    const struct reactor *reactor = runtime->reactor;

    runtime->is_superseded = true;
    for (const struct list *node = reactor->live.next; node != &reactor->live; node = node->next) {
        struct script_conn *sc = served_by(runtime, node);

        if (sc)
            add(sc);
    }
    if (runtime->migrant_count > 0)
        timer_start(&runtime->reactor->timers, &runtime->together, reactor->now_ms + MIGRATE_TOGETHER_MS);
}

/* Its handler waits for input and nothing else happens to it. Tasks that wait to write, of others, have staged all they had. */
static bool is_ready(const struct script_conn *sc)
{
    const struct conn *conn = sc->conn;

    return conn->state == CONN_OPEN && conn->owner == sc && sc->handler_task && sc->reader == sc->handler_task &&
           !sc->is_partial && !sc->closed_by_script && !sc->close_announced && !sc->transfer && !sc->inflow &&
           !sc->forward && !sc->filtering && !conn->in.borrowed_first && conn->in.count.held == 0 &&
           conn->reactor->state == REACTOR_RUNNING;
}

/* The runtime that it would go to, NULL: there is none. */
static struct runtime *next_runtime(const struct script_conn *sc)
{
    const struct listener *listener = part_newer_listener(sc->conn);

    return listener && listener->config->handler ? sc->runtime->reactor->current->app_data : NULL;
}

/* ---- going ---- */

static const char next_cannot[] = "the next one cannot take it over: ";

static void report(struct script_conn *sc, const char *whose, const char *problem)
{
    char what[512];

    migrate_forget(sc);
    log_error("%s stays with version %u: %s%s", script_conn_describe(sc, what, sizeof(what)),
              sc->runtime->part->version->number, whose, problem);
}

/* Asks `migrate`: what it gave as a string on top of the stack of runtime->L; else false, and the stack is as it was. */
static bool ask(struct script_conn *sc)
{
    struct runtime *runtime = sc->runtime;
    lua_State *L = runtime->L;
    int rc;

    runtime->is_migrating = true;
    rc = runtime_call(runtime, "migrate", script_conn_push(L, sc->conn));
    runtime->is_migrating = false;
    if (rc < 0)
        report(sc, "", lua_tostring(L, -1));
    else if (lua_type(L, -1) == LUA_TSTRING && is_ready(sc))
        return true;
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

/* zerg.runtime.unpack(packed, len) of the next version, with what is on top of the old state's stack, and popped in any case.
 * True: what that gave is on top of the new one's. Until then nothing has been taken from the version before, as it may fail. */
static bool unpack(struct script_conn *old, struct runtime *next)
{
    lua_State *from = old->runtime->L;
    size_t len;
    const char *packed = lua_tolstring(from, -1, &len);
    int rc;

    lua_pushlightuserdata(next->L, (void *)(uintptr_t)packed);
    lua_pushnumber(next->L, (lua_Number)len);
    rc = runtime_call(next, "unpack", 2);
    lua_pop(from, 1);
    if (rc == 0)
        return true;
    report(old, next_cannot, lua_tostring(next->L, -1));
    lua_pop(next->L, 1);
    return false;
}

/* zerg.runtime.resume(listener, conn, ..., carried), with what is on top of the stack of next->L, which is popped. */
static int push_resume(struct runtime *next, lua_State *co, const struct conn *conn)
{
    int count;

    heap_hold(co);
    runtime_push(next, co, "resume");
    count = script_conn_push(co, conn);
    lua_xmove(next->L, co, 1);
    heap_release(co);
    return count + 1;
}

/* Nothing can fail from here on. sc and task: of the next version; what they begin with is on top of its state's stack. */
static void hand_over(struct script_conn *old, struct script_conn *sc, struct task *task)
{
    struct conn *conn = old->conn;
    int arguments;

    part_move(conn, part_newer_listener(conn));
    task_pin(task, conn);
    task->serves = sc;
    sc->handler_task = task;
    arguments = push_resume(sc->runtime, task->co, conn);
    leave(old);
    conn->owner = sc;
    task_start(task, arguments);
}

/* What is on top of the old state's stack goes along; it is popped in any case. */
static void move(struct script_conn *old, struct runtime *next)
{
    struct script_conn *sc;
    struct task *task;

    if (!unpack(old, next))
        return;
    sc = script_conn_new(next, old->conn);
    task = sc ? task_new(next, next->L) : NULL;
    if (task) {
        hand_over(old, sc, task);
        return;
    }
    lua_pop(next->L, 1);
    if (sc)
        slab_free(&next->conn_slab, sc);
    report(old, next_cannot, "no memory");
}

static void try_again_later(struct script_conn *sc)
{
    struct runtime *runtime = sc->runtime;

    sc->migrates_again = true;
    if (!timer_is_armed(&runtime->again))
        timer_start(&runtime->reactor->timers, &runtime->again, runtime->reactor->now_ms + MIGRATE_AGAIN_MS);
}

static void try_to_move(struct script_conn *sc)
{
    struct runtime *next = is_ready(sc) ? next_runtime(sc) : NULL;

    if (!next)
        try_again_later(sc);
    else if (ask(sc))
        move(sc, next);
}

/* Those that are not ready are offered again when they park anew; and after a while, as it may be something else that holds them
 * up: a view that another task keeps, or a version without their listener. */
static void move_all(struct runtime *runtime)
{
    struct list ready;
    struct list *node;

    list_init(&ready);
    list_splice_tail(&ready, &runtime->migrants);
    timer_stop(&runtime->reactor->timers, &runtime->together);
    while ((node = list_pop(&ready))) {
        runtime->ready_migrants--;
        try_to_move(CONTAINER_OF(node, struct script_conn, migrant_link));
    }
}

void migrate_ready(struct runtime *runtime)
{
    if (LIKELY(list_is_empty(&runtime->migrants)))
        return;
    if (!list_is_empty(&runtime->ready)) /* a task may have been given something, and is to have its turn with it */
        return;
    if (runtime->ready_migrants == runtime->migrant_count || !timer_is_armed(&runtime->together))
        move_all(runtime);
}
