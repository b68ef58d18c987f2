/* See hook.h. */
#include "script/hook.h"

#include "script/eval_limit.h"
#include "script/heap.h"
#include "script/host.h"
#include "script/runtime.h"

static void on_hook(lua_State *L, lua_Debug *record)
{
    struct runtime *runtime = runtime_current();

    (void)record;
    hook_disarm(L);
    if (!runtime)
        return;
    stall_on_hook(&runtime->host->stall, L);
    heap_on_hook(&runtime->heap, L); /* these may raise; memory first, as it gets short */
    eval_limit_on_hook(runtime, L);
}

void hook_arm(lua_State *L)
{
    lua_sethook(L, on_hook, LUA_MASKCOUNT, 1);
}

void hook_disarm(lua_State *L)
{
    const struct runtime *runtime = runtime_current();
    int instructions = runtime ? eval_limit_instructions(runtime) : 0;

    if (instructions > 0)
        lua_sethook(L, on_hook, LUA_MASKCOUNT, instructions);
    else
        lua_sethook(L, NULL, 0, 0);
}
