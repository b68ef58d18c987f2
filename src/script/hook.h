/* The one debug hook of a reactor's lua_State. It is set when something is to be done inside a running script and fires at the next
 * instruction that is interpreted (compiled code runs on until it leaves its trace): for the watchdog's question where the
 * script is, and for raising when script_memory_max is passed. */
#pragma once

#include <lua.h>

/* Makes the hook fire. Safe in a signal handler and inside an allocation, where LuaJIT's own interpreter does the same. */
void hook_arm(lua_State *L);
void hook_disarm(lua_State *L);
