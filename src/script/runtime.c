/* See runtime.h. */
#include "script/runtime.h"

#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"
#include "core/config.h"
#include "core/conn.h"
#include "core/part.h"
#include "core/version.h"
#include "script/config.h"
#include "script/connecting.h"
#include "script/filtering.h"
#include "script/forward.h"
#include "script/host.h"
#include "script/http_forwarding.h"
#include "script/http_watch.h"
#include "script/lookup.h"
#include "script/migrate.h"
#include "script/modules.h"
#include "script/native.h"
#include "script/retired.h"
#include "script/script_conn.h"
#include "script/task.h"
#include "script/transfer.h"

enum { TASKS_PER_BLOCK = 64, SCOPES_PER_BLOCK = 64, CONNS_PER_BLOCK = 64 };

#define MEMORY_ADVICE "\n(scripts of a reactor may use script_memory_max; see docs/configuration.md)"

_Thread_local struct runtime *runtime_entered;

struct runtime *runtime_of(const struct conn *conn)
{
    return part_of(conn)->app_data;
}

/* ---- errors ---- */

/* Pushes on L what zerg.runtime.traceback(co, error) makes of the error on top of co's stack. */
static int push_traceback(struct runtime *runtime, lua_State *co)
{
    lua_State *L = runtime->L;

    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->module_ref);
    lua_getfield(L, -1, "traceback");
    lua_remove(L, -2);
    lua_pushvalue(co, -1);
    lua_pushthread(co);
    lua_xmove(co, L, 1);
    lua_xmove(co, L, 1);
    return lua_pcall(L, 2, 1, 0);
}

void runtime_log_error(struct runtime *runtime, lua_State *co, const char *what)
{
    lua_State *L = runtime->L;
    const char *text;

    heap_hold(L);
    if (push_traceback(runtime, co) != 0) {
        lua_pop(L, 1);
        luaL_traceback(L, co, lua_tostring(co, -1), 0);
    }
    text = lua_tostring(L, -1);
    log_error("%s: %s%s", what, text ? text : "(an error that is not a string)",
              text && strstr(text, "not enough memory") ? MEMORY_ADVICE : "");
    lua_pop(L, 1);
    heap_release(L);
}

/* Of zerg itself, not of a script. The message on top of the stack is why. */
static int fail_to_load(const struct runtime *runtime)
{
    const char *text = lua_tostring(runtime->L, -1);

    if (asprintf(&runtime->part->problem, "cannot load its scripts: %s", text ? text : "unknown error") < 0)
        runtime->part->problem = NULL;
    return -EINVAL;
}

/* Of a script: the message on top of the stack begins with its file and line. */
static void note_problem(const struct runtime *runtime)
{
    runtime->part->problem = strdup(lua_tostring(runtime->L, -1));
}

/* ---- calls outside of tasks ---- */

static int add_traceback(lua_State *L)
{
    if (lua_type(L, 1) == LUA_TSTRING)
        luaL_traceback(L, L, lua_tostring(L, 1), 1);
    else
        lua_pushfstring(L, "(an error that is a %s)", luaL_typename(L, 1));
    return 1;
}

void runtime_push(struct runtime *runtime, lua_State *co, const char *name)
{
    lua_rawgeti(co, LUA_REGISTRYINDEX, runtime->module_ref);
    lua_getfield(co, -1, name);
    lua_remove(co, -2);
}

/* For the watchdog; a thread that loads scripts is not watched. */
static void beat(const struct runtime *runtime)
{
    struct reactor_pulse *pulse = &runtime->reactor->pulse;

    if (runtime->has_begun)
        atomic_store_explicit(&pulse->resumes, atomic_load_explicit(&pulse->resumes, memory_order_relaxed) + 1,
                              memory_order_relaxed);
}

int runtime_call(struct runtime *runtime, const char *name, int arguments)
{
    struct runtime *before = runtime_enter(runtime);
    lua_State *L = runtime->L;
    int base = lua_gettop(L) - arguments + 1;
    int status;

    heap_hold(L);
    lua_pushcfunction(L, add_traceback);
    lua_insert(L, base);
    runtime_push(runtime, L, name);
    lua_insert(L, base + 1);
    heap_release(L);
    beat(runtime);
    runtime->is_calling = true;
    heap_limit(&runtime->heap);
    status = lua_pcall(L, arguments, 1, base);
    heap_unlimit(&runtime->heap);
    runtime->is_calling = false;
    beat(runtime);
    lua_remove(L, base);
    runtime_leave(before);
    return status == 0 ? 0 : -EINVAL;
}

/* ---- opening ---- */

static int take_ref(lua_State *L, const char *field)
{
    lua_getfield(L, -1, field);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static const void *field_identity(lua_State *L, const char *field)
{
    const void *identity;

    lua_getfield(L, -1, field);
    identity = lua_topointer(L, -1);
    lua_pop(L, 1);
    return identity;
}

/* require(name) → on the stack; 0 or an error message there. */
static int require(lua_State *L, const char *name)
{
    lua_getglobal(L, "require");
    lua_pushstring(L, name);
    return lua_pcall(L, 1, 1, 0) == 0 ? 0 : -EINVAL;
}

static int load_modules(struct runtime *runtime)
{
    lua_State *L = runtime->L;

    if (require(L, "ffi") < 0)
        return fail_to_load(runtime);
    lua_setfield(L, LUA_REGISTRYINDEX,
                 "ffi"); /* LuaJIT keeps finalizers of cdata in a table that only its functions hold */
    if (require(L, "zerg.park") < 0)
        return fail_to_load(runtime);
    runtime->park_value = field_identity(L, "PARK");
    runtime->canceled_value = field_identity(L, "CANCELED");
    lua_pop(L, 1);
    if (require(L, "zerg.runtime") < 0)
        return fail_to_load(runtime);
    runtime->serve_ref = take_ref(L, "serve");
    runtime->closed_ref = take_ref(L, "closed");
    runtime->serve_http_ref = take_ref(L, "serve_http");
    runtime->module_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* What the protected part of load_scripts() works on. */
struct loading {
    struct runtime *runtime;
    bool is_refused; /* a script has a problem: part->problem */
};

/* zerg.runtime.load{ config = ..., directory = ..., lua_path = ... } → true, or nil and a message. */
static int load_protected(lua_State *L)
{
    struct loading *loading = lua_touserdata(L, 1);
    struct runtime *runtime = loading->runtime;
    const struct config *config = runtime->part->version->config;

    runtime_push(runtime, L, "load");
    lua_createtable(L, 0, 3);
    if (config_push(L, config) < 0)
        return lua_error(L);
    lua_setfield(L, -2, "config");
    lua_pushstring(L, config->directory);
    lua_setfield(L, -2, "directory");
    lua_pushstring(L, config->lua_path);
    lua_setfield(L, -2, "lua_path");
    lua_call(L, 1, 2);
    loading->is_refused = !lua_toboolean(L, -2);
    if (loading->is_refused)
        note_problem(runtime);
    return 0;
}

/* All of it is limited, and so anything in it that allocates may raise. */
static int load_scripts(struct runtime *runtime)
{
    struct loading loading = {.runtime = runtime};
    int status;

    heap_limit(&runtime->heap);
    status = lua_cpcall(runtime->L, load_protected, &loading);
    heap_unlimit(&runtime->heap);
    if (status != 0)
        return fail_to_load(runtime);
    return loading.is_refused ? -EINVAL : 0;
}

static int note_migrating_listeners(struct runtime *runtime)
{
    uint32_t count = runtime->part->version->listener_count;

    runtime->migrates = calloc(count + 1, sizeof(*runtime->migrates));
    if (!runtime->migrates)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        lua_pushinteger(runtime->L, (lua_Integer)i + 1);
        if (runtime_call(runtime, "migrates", 1) < 0)
            return fail_to_load(runtime);
        runtime->migrates[i] = lua_toboolean(runtime->L, -1);
        lua_pop(runtime->L, 1);
    }
    return 0;
}

/* All is loaded, or cannot be: then what was read until here is what must change. */
static void end_loading(struct runtime *runtime)
{
    if (!runtime->module_ref)
        return;
    if (runtime_call(runtime, "files", 0) == 0 && runtime->part->version->config->watches)
        runtime->files = strdup(lua_tostring(runtime->L, -1));
    lua_pop(runtime->L, 1);
}

const char *runtime_files(const struct version_part *part)
{
    const struct runtime *runtime = part->app_data;

    return runtime ? runtime->files : NULL;
}

/* A task that runs zerg.runtime[hook]; the caller starts it. */
static struct task *new_hook_task(struct runtime *runtime, const char *hook)
{
    struct task *task = task_new(runtime, runtime->L);

    if (!task)
        return NULL;
    runtime_push(runtime, task->co, hook);
    return task;
}

void runtime_on_hooks_done(struct runtime *runtime, bool is_success)
{
    runtime->hook_task = NULL;
    runtime->start_failed = !is_success;
}

static int run_start_hooks(struct runtime *runtime)
{
    struct task *task = new_hook_task(runtime, "start");

    if (!task)
        return -ENOMEM;
    runtime->hook_task = task;
    task_start(task, 0);
    return 0;
}

/* No turn follows: a hook that parks is dropped, and that is said. */
static void run_stop_hooks(struct runtime *runtime)
{
    struct task *task = new_hook_task(runtime, "stop");

    if (!task)
        return;
    runtime->hook_task = task;
    task_start(task, 0);
    if (runtime->hook_task)
        log_warn("reactor %u: a `stop` hook waits for something and is cut off there", runtime->reactor->index);
}

static void init_lists(struct runtime *runtime)
{
    slab_init(&runtime->task_slab, sizeof(struct task), TASKS_PER_BLOCK, 0);
    slab_init(&runtime->scope_slab, sizeof(struct task_scope), SCOPES_PER_BLOCK, 0);
    slab_init(&runtime->conn_slab, sizeof(struct script_conn), CONNS_PER_BLOCK, 0);
    connecting_init_slab(&runtime->connecting_slab);
    forward_init_slab(&runtime->forward_slab);
    filtering_init_slab(&runtime->filtering_slab);
    transfer_init_slab(&runtime->transfer_slab);
    lookup_init_slab(&runtime->lookup_slab);
    http_forwarding_init_slab(&runtime->http_forwarding_slab);
    http_watch_init(runtime);
    list_init(&runtime->link);
    list_init(&runtime->tasks);
    list_init(&runtime->ready);
    migrate_init(runtime);
    list_init(&runtime->ended);
    list_init(&runtime->outgoing);
}

static int open_state(struct runtime *runtime)
{
    const struct config *config = runtime->part->version->config;
    int rc;

    runtime->L = luaL_newstate();
    if (!runtime->L)
        return -ENOMEM;
    heap_install(&runtime->heap, runtime->L, config->script_memory_max);
    luaL_openlibs(runtime->L);
    modules_install(runtime->L);
    native_install(runtime->L);
    rc = load_modules(runtime);
    if (rc < 0)
        return rc;
    rc = load_scripts(runtime);
    return rc < 0 ? rc : note_migrating_listeners(runtime);
}

int runtime_load(struct version_part *part)
{
    struct runtime *runtime = calloc(1, sizeof(*runtime));
    struct runtime *before;
    int rc;

    if (!runtime)
        return -ENOMEM;
    part->app_data = runtime;
    runtime->part = part;
    runtime->reactor = part->reactor;
    runtime->host = part->reactor->app_data;
    init_lists(runtime);
    runtime->pool = calloc(COROUTINE_POOL_MAX, sizeof(*runtime->pool));
    if (!runtime->pool)
        return -ENOMEM;
    before = runtime_enter(runtime);
    rc = open_state(runtime);
    end_loading(runtime);
    runtime_leave(before);
    return rc;
}

int runtime_begin(struct version_part *part)
{
    struct runtime *runtime = part->app_data;

    runtime->has_begun = true;
    list_add_tail(&runtime->host->runtimes, &runtime->link);
    return run_start_hooks(runtime);
}

/* A hook may have used up the memory of its scripts: the failure is told all the same. */
static void note_start_problem(struct runtime *runtime)
{
    const char *text = NULL;

    if (runtime_call(runtime, "start_problem", 0) == 0)
        text = lua_tostring(runtime->L, -1);
    runtime->part->problem = strdup(text ? text : "a `start` hook failed");
    lua_pop(runtime->L, 1);
}

int runtime_starting(struct version_part *part)
{
    struct runtime *runtime = part->app_data;

    if (!runtime->start_failed)
        return runtime->hook_task != NULL;
    if (!part->problem)
        note_start_problem(runtime);
    return -EINVAL;
}

/* ---- turning and closing ---- */

bool runtime_turn(struct runtime *runtime)
{
    bool has_more = task_run_ready(runtime);
    struct runtime *before;

    script_conn_announce_ends(runtime);
    http_watch_announce(runtime);
    before = runtime_enter(runtime); /* finalizers may close connections: what that wakes is resumed later */
    heap_after_turn(&runtime->heap, runtime->L);
    runtime_leave(before);
    atomic_store_explicit(&runtime->part->memory, runtime->heap.used, memory_order_relaxed);
    return has_more || !list_is_empty(&runtime->ready) || !list_is_empty(&runtime->ended) ||
           http_watch_has_news(runtime);
}

void runtime_abandon(struct runtime *runtime)
{
    task_abandon_all(runtime);
    script_conn_let_go_all(runtime);
}

/* Whatever it still does ends here; no turn follows for it. */
static void end_scripts(struct runtime *runtime)
{
    runtime->is_closing = true;
    timer_stop(&runtime->reactor->timers, &runtime->together);
    timer_stop(&runtime->reactor->timers, &runtime->again);
    if (runtime->has_begun && runtime->module_ref) {
        runtime_abandon(runtime);
        script_conn_announce_ends(runtime); /* of the connections that were cut by that */
        http_watch_announce(runtime);
        run_stop_hooks(runtime);
    }
    runtime_abandon(runtime);
    task_free_pool(runtime);
    http_watch_deinit(runtime);
}

static void close_state(struct runtime *runtime)
{
    struct runtime *before = runtime_enter(runtime);

    heap_uninstall(&runtime->heap, runtime->L);
    lua_close(runtime->L);
    runtime_leave(before);
    stall_forget_traces(&runtime->host->stall, runtime);
}

void runtime_drop_refs(struct runtime *runtime)
{
    luaL_unref(runtime->L, LUA_REGISTRYINDEX, runtime->serve_ref);
    luaL_unref(runtime->L, LUA_REGISTRYINDEX, runtime->closed_ref);
    luaL_unref(runtime->L, LUA_REGISTRYINDEX, runtime->serve_http_ref);
    luaL_unref(runtime->L, LUA_REGISTRYINDEX, runtime->module_ref);
}

void runtime_free(struct runtime *runtime)
{
    if (runtime->L)
        close_state(runtime);
    list_del(&runtime->link);
    slab_deinit(&runtime->http_watch_slab);
    slab_deinit(&runtime->http_forwarding_slab);
    slab_deinit(&runtime->lookup_slab);
    slab_deinit(&runtime->transfer_slab);
    slab_deinit(&runtime->forward_slab);
    slab_deinit(&runtime->filtering_slab);
    slab_deinit(&runtime->connecting_slab);
    slab_deinit(&runtime->conn_slab);
    slab_deinit(&runtime->scope_slab);
    slab_deinit(&runtime->task_slab);
    free(runtime->files);
    free(runtime->migrates);
    free(runtime->pool);
    free(runtime);
}

void runtime_unload(struct version_part *part)
{
    struct runtime *runtime = part->app_data;

    if (runtime->L)
        end_scripts(runtime);
    part->app_data = NULL;
    if (runtime->has_begun && runtime->L)
        retired_add(runtime->host, runtime);
    else
        runtime_free(runtime);
}
