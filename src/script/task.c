/* See task.h. */
#include "script/task.h"

#include <lauxlib.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"
#include "core/conn.h"
#include "core/reactor.h"
#include "script/api.h"
#include "script/pending.h"
#include "script/runtime.h"
#include "script/script_conn.h"

enum { SCOPE_DEPTH_MAX = 16, COROUTINE_TRIES = 16 };

/* ---- coroutines ---- */

static int make_coroutine(lua_State *L)
{
    struct pooled_coroutine *made = lua_touserdata(L, 1);

    made->co = lua_newthread(L);
    made->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* Protected: a new thread is occasion for a step of the garbage collector, which runs finalizers of scripts, and they may raise.
 * Each runs once, so it is worth another try. False without memory. */
static bool new_coroutine(struct runtime *runtime, lua_State *L, struct pooled_coroutine *made)
{
    for (int tries = 0; tries < COROUTINE_TRIES; tries++) {
        struct runtime *before = runtime_enter(runtime);
        int status = lua_cpcall(L, make_coroutine, made);

        runtime_leave(before);
        if (status == 0)
            return true;
        if (status != LUA_ERRMEM)
            log_error("a finalizer failed: %s",
                      lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, -1));
        lua_pop(L, 1);
        if (status == LUA_ERRMEM)
            return false;
    }
    return false;
}

static bool take_coroutine(struct runtime *runtime, struct task *task, lua_State *L)
{
    struct pooled_coroutine coroutine;

    if (runtime->pool_count > 0)
        coroutine = runtime->pool[--runtime->pool_count];
    else if (!new_coroutine(runtime, L, &coroutine))
        return false;
    task->co = coroutine.co;
    task->coroutine_ref = coroutine.ref;
    return true;
}

/* One that raised, or was left in the middle of something, is never used again. */
static void give_coroutine(struct runtime *runtime, struct task *task, bool is_reusable)
{
    if (is_reusable && runtime->pool_count < COROUTINE_POOL_MAX) {
        lua_settop(task->co, 0);
        runtime->pool[runtime->pool_count++] = (struct pooled_coroutine){.co = task->co, .ref = task->coroutine_ref};
    } else {
        luaL_unref(runtime->L, LUA_REGISTRYINDEX, task->coroutine_ref);
    }
    task->co = NULL;
}

void task_free_pool(struct runtime *runtime)
{
    while (runtime->pool_count > 0)
        luaL_unref(runtime->L, LUA_REGISTRYINDEX, runtime->pool[--runtime->pool_count].ref);
}

/* ---- life ---- */

static void on_timer(struct timer *timer, uint64_t now_ms)
{
    (void)now_ms;
    task_wake(CONTAINER_OF(timer, struct task, timer), ZERG_WAKE_TIMEOUT);
}

struct task *task_new(struct runtime *runtime, lua_State *L)
{
    struct task *task = slab_new(&runtime->task_slab);
    uint32_t generation;

    if (!task)
        return NULL;
    generation = task->generation;
    *task = (struct task){.runtime = runtime, .wait = TASK_STARTING, .generation = generation};
    if (!take_coroutine(runtime, task, L)) {
        slab_free(&runtime->task_slab, task);
        return NULL;
    }
    list_init(&task->link);
    list_init(&task->all);
    list_add_tail(&runtime->tasks, &task->all);
    timer_init(&task->timer, on_timer);
    return task;
}

static void leave_wait(struct task *task)
{
    switch (task->wait) {
    case TASK_READING: script_conn_reader_left(task->awaited); break;
    case TASK_WAITING: timer_stop(&task->runtime->reactor->timers, &task->timer); break;
    default: list_del(&task->link);
    }
    task->awaited = NULL;
}

/* True when its time had passed. */
static bool leave_innermost(struct task *task)
{
    struct task_scope *scope = task->scopes;
    bool has_passed = scope->has_passed;

    task->scopes = scope->outer;
    timer_stop(&task->runtime->reactor->timers, &scope->timer);
    slab_free(&task->runtime->scope_slab, scope);
    return has_passed;
}

static void end_task(struct task *task, bool is_reusable)
{
    struct runtime *runtime = task->runtime;
    struct script_conn *served = task->serves;
    struct conn *pinned = task->pinned;

    leave_wait(task);
    pending_drop_all(task);
    assert(!timer_is_armed(&task->timer));
    while (task->scopes)
        leave_innermost(task);
    if (task == runtime->hook_task)
        runtime_on_hooks_done(runtime, is_reusable);
    give_coroutine(runtime, task, is_reusable);
    task->generation++;
    list_del(&task->all);
    slab_free(&runtime->task_slab, task);
    if (served)
        script_conn_handler_ended(served);
    if (pinned)
        conn_unpin(pinned);
}

void task_pin(struct task *task, struct conn *conn)
{
    assert(!task->pinned);
    task->pinned = conn;
    conn_pin(conn);
}

void task_drop(struct task *task)
{
    end_task(task, false);
}

void task_abandon_all(struct runtime *runtime)
{
    struct list *node;

    while ((node = runtime->tasks.next) != &runtime->tasks)
        end_task(CONTAINER_OF(node, struct task, all), false);
}

/* ---- resuming ---- */

static void log_failure(struct task *task)
{
    char what[512];

    if (lua_topointer(task->co, -1) == task->runtime->canceled_value && task->is_cancelled)
        return; /* it ended as asked */
    if (task->serves)
        script_conn_describe(task->serves, what, sizeof(what));
    else
        snprintf(what, sizeof(what), "task");
    runtime_log_error(task->runtime, task->co, what);
}

/* A yield that is not a park: the script called coroutine.yield() outside of any coroutine of its own. */
static void fail_foreign_yield(struct task *task)
{
    lua_settop(task->co, 0);
    heap_hold(task->co);
    lua_pushliteral(task->co,
                    "attempt to yield from a handler or task: coroutine.yield() works only inside a coroutine "
                    "that the script created itself");
    heap_release(task->co);
    log_failure(task);
    end_task(task, false);
}

static void on_yield(struct task *task)
{
    if (UNLIKELY(task->wait == TASK_RUNNING || lua_topointer(task->co, -1) != task->runtime->park_value)) {
        fail_foreign_yield(task);
        return;
    }
    lua_settop(task->co, 0);
    if (UNLIKELY(task->is_woken))
        task_wake_later(task, task->wake_code);
}

static void resume(struct task *task, int arguments)
{
    struct runtime *runtime = task->runtime;
    struct reactor_pulse *pulse = &runtime->reactor->pulse;
    uint64_t resumes = atomic_load_explicit(&pulse->resumes, memory_order_relaxed);
    struct runtime *before = runtime_enter(runtime);
    int status;

    assert(!before);
    runtime->running = task;
    task->wait = TASK_RUNNING;
    atomic_store_explicit(&pulse->resumes, resumes + 1, memory_order_relaxed);
    heap_limit(&runtime->heap);
    status = lua_resume(task->co, arguments);
    heap_unlimit(&runtime->heap);
    atomic_store_explicit(&pulse->resumes, resumes + 2, memory_order_relaxed);
    runtime->running = NULL;
    if (status == LUA_YIELD) {
        on_yield(task);
    } else {
        if (status != 0)
            log_failure(task);
        end_task(task, status == 0);
    }
    runtime_leave(before);
}

void task_start(struct task *task, int arguments)
{
    assert(task->wait == TASK_STARTING);
    resume(task, arguments);
}

void task_start_later(struct task *task, int arguments)
{
    assert(task->wait == TASK_STARTING);
    task->arguments = arguments;
    list_add_tail(&task->runtime->ready, &task->link);
}

/* Whatever it was in the middle of reading, an error makes it leave. */
static void forget_partial(struct task *task)
{
    if (task->serves)
        task->serves->is_partial = false;
}

static void resume_woken(struct task *task)
{
    if (task->wake_code == ZERG_WAKE) { /* by far the most frequent one, and nil says as much */
        resume(task, 0);
        return;
    }
    if (task->wake_code == ZERG_WAKE_CANCEL)
        forget_partial(task);
    lua_pushinteger(task->co, task->wake_code);
    resume(task, 1);
}

void task_wake_later(struct task *task, int code)
{
    if (task->wait < TASK_READING)
        return;
    if (task == task->runtime->running) { /* it has not yielded yet: resume() sees to it when it has */
        task->is_woken = true;
        task->wake_code = (uint8_t)code;
        return;
    }
    leave_wait(task);
    task->wake_code = (uint8_t)code;
    task->wait = TASK_READY;
    list_add_tail(&task->runtime->ready, &task->link);
}

void task_wake(struct task *task, int code)
{
    if (runtime_current()) {
        task_wake_later(task, code);
    } else if (task->wait >= TASK_READING) {
        leave_wait(task);
        task->wake_code = (uint8_t)code;
        resume_woken(task);
    }
}

static void resume_ready(struct task *task)
{
    if (task->wait == TASK_STARTING)
        resume(task, task->arguments);
    else
        resume_woken(task);
}

bool task_run_ready(struct runtime *runtime)
{
    for (uint32_t budget = READY_BUDGET; budget > 0; budget--) {
        struct list *node = list_pop(&runtime->ready);

        if (!node)
            return false;
        resume_ready(CONTAINER_OF(node, struct task, link));
    }
    return !list_is_empty(&runtime->ready);
}

/* ---- parking ---- */

void task_forget_park(struct task *task)
{
    if (UNLIKELY(task->wait != TASK_RUNNING)) {
        leave_wait(task);
        task->wait = TASK_RUNNING;
    }
    task->is_woken = false;
}

/* Every park begins here. OK, or CANCELED when it must raise. */
static int begin_park(struct task *task)
{
    task_forget_park(task);
    if (LIKELY(!task->is_cancelled && (!task->scopes || task_scope_passed(task) == 0)))
        return ZERG_OK;
    forget_partial(task);
    return ZERG_CANCELED;
}

int task_park_reading(struct task *task, struct script_conn *conn)
{
    if (begin_park(task) != ZERG_OK)
        return ZERG_CANCELED;
    task->wait = TASK_READING;
    task->awaited = conn;
    return ZERG_PARK;
}

int task_park_writing(struct task *task, struct script_conn *conn)
{
    if (begin_park(task) != ZERG_OK)
        return ZERG_CANCELED;
    task->wait = TASK_WRITING;
    task->awaited = conn;
    list_add_tail(&conn->writers, &task->link);
    return ZERG_PARK;
}

int task_park(struct task *task, uint64_t timeout_ms)
{
    struct reactor *reactor = task->runtime->reactor;

    if (begin_park(task) != ZERG_OK)
        return ZERG_CANCELED;
    task->wait = TASK_WAITING;
    if (timeout_ms != UINT64_MAX)
        timer_start(&reactor->timers, &task->timer, reactor->now_ms + timeout_ms);
    return ZERG_PARK;
}

void task_cancel(struct task *task)
{
    task->is_cancelled = true;
    task_wake_later(task, ZERG_WAKE_CANCEL);
}

/* ---- deadlines ---- */

static void on_scope_timer(struct timer *timer, uint64_t now_ms)
{
    struct task_scope *scope = CONTAINER_OF(timer, struct task_scope, timer);

    (void)now_ms;
    scope->has_passed = true;
    task_wake(scope->task, ZERG_WAKE_CANCEL);
}

int task_scope_enter(struct task *task, uint64_t ms)
{
    struct reactor *reactor = task->runtime->reactor;
    uint32_t depth = task->scopes ? task->scopes->depth + 1 : 1;
    struct task_scope *scope;

    if (depth > SCOPE_DEPTH_MAX)
        return ZERG_RANGE;
    scope = slab_new(&task->runtime->scope_slab);
    if (!scope)
        return ZERG_NO_MEMORY;
    *scope = (struct task_scope){.task = task, .outer = task->scopes, .depth = depth};
    task->scopes = scope;
    timer_init(&scope->timer, on_scope_timer);
    timer_start(&reactor->timers, &scope->timer, reactor->now_ms + ms);
    return (int)depth;
}

bool task_scope_leave(struct task *task, uint32_t depth)
{
    while (task->scopes && task->scopes->depth > depth)
        leave_innermost(task);
    return task->scopes && task->scopes->depth == depth && leave_innermost(task);
}

uint32_t task_scope_passed(const struct task *task)
{
    uint32_t depth = 0;

    for (const struct task_scope *scope = task->scopes; scope; scope = scope->outer) {
        if (scope->has_passed)
            depth = scope->depth;
    }
    return depth;
}
