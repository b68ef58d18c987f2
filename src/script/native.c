/* See native.h. */
#include "script/native.h"

#include <lauxlib.h>
#include <lua.h>

#include "script/api.h"
#include "script/runtime.h"
#include "script/task.h"

enum { SPAWN_VALUES_MAX = 250 };

/* Not limited in memory: an error raised in a coroutine that does not run has nowhere to go. */
static void move_values(struct runtime *runtime, lua_State *from, lua_State *to, int count)
{
    bool was_limited = runtime->heap.is_limited;

    runtime->heap.is_limited = false;
    luaL_checkstack(to, count, "too many arguments");
    runtime->heap.is_limited = was_limited;
    lua_xmove(from, to, count);
}

/* native.spawn(handle, fn, ...): starts a task that runs fn(...) from the ready queue, and fills handle, a cdata struct zerg_task. */
static int spawn(lua_State *L)
{
    struct runtime *runtime = runtime_current();
    struct zerg_task *handle = (struct zerg_task *)lua_topointer(L, 1);
    int values = lua_gettop(L) - 1;
    struct task *task;

    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (values > SPAWN_VALUES_MAX)
        return luaL_error(L, "zerg.spawn: more than %d arguments", SPAWN_VALUES_MAX - 1);
    if (runtime && runtime->is_retired) /* a finalizer that is late */
        return luaL_error(L, "zerg.spawn: the version of this script has ended");
    task = runtime ? task_new(runtime, L) : NULL;
    if (!task)
        return luaL_error(L, "zerg.spawn: no memory for another task");
    move_values(runtime, L, task->co, values);
    task_start_later(task, values - 1);
    handle->_task = task;
    handle->_generation = task->generation;
    return 0;
}

static int open_native(lua_State *L)
{
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, spawn);
    lua_setfield(L, -2, "spawn");
    return 1;
}

void native_install(lua_State *L)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, open_native);
    lua_setfield(L, -2, "zerg.native");
    lua_pop(L, 2);
}
