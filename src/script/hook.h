/* The one debug hook of a reactor's lua_State. It is set when something is to be done inside a running script and fires at the next
 * instruction that is interpreted (compiled code runs on until it leaves its trace): for the watchdog's question where the
 * script is, and for raising when script_memory_max is passed. While an operator's code is evaluated, it fires every so often. */
#pragma once

#include <lua.h>

/* Makes the hook fire. Safe in a signal handler and inside an allocation, where LuaJIT's own interpreter does the same. */
void hook_arm(lua_State *L);
/* Until then, and while code is evaluated (see eval_limit.h) for its sake alone. */
void hook_disarm(lua_State *L);
