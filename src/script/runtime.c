/* See runtime.h. */
#include "script/runtime.h"

#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"
#include "core/config.h"
#include "core/conn.h"
#include "core/engine.h"
#include "http/http_conn.h"
#include "proxy/http_forward.h"
#include "proxy/proxy.h"
#include "proxy/proxy_accept.h"
#include "proxy/relay.h"
#include "proxy/shared.h"
#include "script/config.h"
#include "script/connecting.h"
#include "script/filtering.h"
#include "script/forward.h"
#include "script/http_forwarding.h"
#include "script/http_task.h"
#include "script/http_watch.h"
#include "script/lookup.h"
#include "script/modules.h"
#include "script/native.h"
#include "script/script_conn.h"
#include "script/task.h"
#include "script/transfer.h"

enum { TASKS_PER_BLOCK = 64, SCOPES_PER_BLOCK = 64, CONNS_PER_BLOCK = 64 };

#define MEMORY_ADVICE "\n(scripts of a reactor may use script_memory_max; see docs/configuration.md)"

static _Thread_local struct runtime *current;

struct runtime *runtime_current(void)
{
    return current;
}

struct runtime *runtime_of(const struct reactor *reactor)
{
    return reactor->app_data;
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

    lua_gc(L, LUA_GCSTOP, 0); /* no step now: a finalizer that raised would find nothing to catch it */
    if (push_traceback(runtime, co) != 0) {
        lua_pop(L, 1);
        luaL_traceback(L, co, lua_tostring(co, -1), 0);
    }
    text = lua_tostring(L, -1);
    log_error("%s: %s%s", what, text ? text : "(an error that is not a string)",
              text && strstr(text, "not enough memory") ? MEMORY_ADVICE : "");
    lua_pop(L, 1);
    lua_gc(L, LUA_GCRESTART, 0);
}

static int log_load_error(const struct runtime *runtime)
{
    const char *text = lua_tostring(runtime->L, -1);

    log_error("reactor %u: cannot load its scripts: %s", runtime->reactor->index, text ? text : "unknown error");
    return -EINVAL;
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

    if (require(L, "zerg.park") < 0)
        return log_load_error(runtime);
    runtime->park_value = field_identity(L, "PARK");
    runtime->canceled_value = field_identity(L, "CANCELED");
    lua_pop(L, 1);
    if (require(L, "zerg.runtime") < 0)
        return log_load_error(runtime);
    runtime->serve_ref = take_ref(L, "serve");
    runtime->closed_ref = take_ref(L, "closed");
    runtime->serve_http_ref = take_ref(L, "serve_http");
    runtime->module_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* zerg.runtime.load{ config = ..., directory = ..., lua_path = ... } → true, or nil and a message. */
static int load_scripts(struct runtime *runtime)
{
    const struct config *config = runtime->reactor->engine->config;
    lua_State *L = runtime->L;
    int top = lua_gettop(L);

    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->module_ref);
    lua_getfield(L, -1, "load");
    lua_createtable(L, 0, 3);
    if (config_push(L, config) < 0)
        return log_load_error(runtime);
    lua_setfield(L, -2, "config");
    lua_pushstring(L, config->directory);
    lua_setfield(L, -2, "directory");
    lua_pushstring(L, config->lua_path);
    lua_setfield(L, -2, "lua_path");
    if (lua_pcall(L, 1, 2, 0) != 0 || !lua_toboolean(L, -2))
        return log_load_error(runtime);
    lua_settop(L, top);
    return 0;
}

/* A task that runs zerg.runtime[hook]; the caller starts it. */
static struct task *new_hook_task(struct runtime *runtime, const char *hook)
{
    struct task *task = task_new(runtime, runtime->L);

    if (!task)
        return NULL;
    lua_rawgeti(task->co, LUA_REGISTRYINDEX, runtime->module_ref);
    lua_getfield(task->co, -1, hook);
    lua_remove(task->co, -2);
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
    return runtime->start_failed ? -EINVAL : 0;
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
    list_init(&runtime->tasks);
    list_init(&runtime->ready);
    list_init(&runtime->ended);
    list_init(&runtime->outgoing);
}

static int open_state(struct runtime *runtime)
{
    const struct config *config = runtime->reactor->engine->config;
    int rc;

    runtime->L = luaL_newstate();
    if (!runtime->L)
        return -ENOMEM;
    stall_init(&runtime->stall, runtime->L);
    heap_install(&runtime->heap, runtime->L, config->script_memory_max);
    luaL_openlibs(runtime->L);
    modules_install(runtime->L);
    native_install(runtime->L);
    rc = load_modules(runtime);
    if (rc < 0)
        return rc;
    heap_limit(&runtime->heap);
    rc = load_scripts(runtime);
    heap_unlimit(&runtime->heap);
    return rc;
}

static int open_runtime(struct reactor *reactor)
{
    struct runtime *runtime = calloc(1, sizeof(*runtime));
    int rc;

    if (!runtime)
        return -ENOMEM;
    runtime->reactor = reactor;
    init_lists(runtime);
    http_server_init(&runtime->http, reactor, &http_task_handler, &http_forward_handler);
    runtime->http.on_news = http_watch_on_news;
    reactor->app_data = runtime;
    current = runtime;
    runtime->pool = calloc(COROUTINE_POOL_MAX, sizeof(*runtime->pool));
    if (!runtime->pool || proxy_open(reactor) < 0)
        return -ENOMEM;
    /* Nothing that scripts set going while they load may be resumed before they are loaded. */
    runtime->is_resuming = true;
    rc = open_state(runtime);
    runtime->is_resuming = false;
    return rc < 0 ? rc : run_start_hooks(runtime);
}

/* ---- turning and closing ---- */

static void abandon(struct reactor *reactor)
{
    struct runtime *runtime = reactor->app_data;

    task_abandon_all(runtime);
    script_conn_let_go_all(runtime);
}

/* Whether an accepted connection is there, or the handler or an on_close callback of one. */
static bool serves_clients(const struct reactor *reactor)
{
    for (const struct list *node = reactor->live.next; node != &reactor->live; node = node->next) {
        if (CONTAINER_OF(node, struct conn, link)->listener)
            return true;
    }
    return false;
}

static bool turn(struct reactor *reactor)
{
    struct runtime *runtime = reactor->app_data;
    bool has_more = task_run_ready(runtime);

    /* What scripts still do for themselves does not hold the reactor up. */
    if (UNLIKELY(reactor->state == REACTOR_DRAINING) && !runtime->hook_task && !serves_clients(reactor))
        abandon(reactor);
    script_conn_announce_ends(runtime);
    http_watch_announce(runtime);
    runtime->is_resuming = true; /* finalizers may close connections: what that wakes is resumed later */
    heap_after_turn(&runtime->heap, runtime->L);
    runtime->is_resuming = false;
    return has_more || !list_is_empty(&runtime->ready) || !list_is_empty(&runtime->ended) ||
           http_watch_has_news(runtime);
}

static int starting(struct reactor *reactor)
{
    const struct runtime *runtime = reactor->app_data;

    if (runtime->start_failed)
        return -EINVAL;
    return runtime->hook_task != NULL;
}

static void close_runtime(struct reactor *reactor)
{
    struct runtime *runtime = reactor->app_data;

    runtime->is_closing = true;
    if (runtime->L) {
        if (runtime->module_ref)
            run_stop_hooks(runtime);
        task_abandon_all(runtime);
        task_free_pool(runtime);
        runtime->is_resuming = true;
        heap_uninstall(&runtime->heap, runtime->L);
        lua_close(runtime->L);
        stall_deinit(&runtime->stall);
    }
    proxy_close(reactor);
    http_server_deinit(&runtime->http);
    http_watch_deinit(runtime);
    slab_deinit(&runtime->http_forwarding_slab);
    slab_deinit(&runtime->lookup_slab);
    slab_deinit(&runtime->transfer_slab);
    slab_deinit(&runtime->forward_slab);
    slab_deinit(&runtime->filtering_slab);
    slab_deinit(&runtime->connecting_slab);
    slab_deinit(&runtime->conn_slab);
    slab_deinit(&runtime->scope_slab);
    slab_deinit(&runtime->task_slab);
    free(runtime->pool);
    free(runtime);
    current = NULL;
    reactor->app_data = NULL;
}

static void drain(struct reactor *reactor)
{
    proxy_drain(reactor);
    http_server_drain(reactor);
}

const struct reactor_app runtime_app = {
    .conn_handler = &script_conn_handler,
    .forward_handler = &relay_handler,
    .http_handler = &http_conn_handler,
    .proxy_accept_handler = &proxy_accept_handler,
    .open_shared = proxy_shared_open,
    .close_shared = proxy_shared_close,
    .open = open_runtime,
    .starting = starting,
    .turn = turn,
    .on_message = proxy_on_message,
    .drain = drain,
    .abandon = abandon,
    .close = close_runtime,
};
