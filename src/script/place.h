/* Where in a script a coroutine is. The thread that may run it only. */
#pragma once

#include <lua.h>
#include <stdbool.h>

enum { PLACE_MAX = 256, PLACE_CALL_MAX = 64 };

/* "file:line" of the innermost frame of a script's own code, skipping zerg's modules and C; false: there is none. */
bool place_find(lua_State *L, char out[PLACE_MAX]);
/* What of zerg's that line calls, as the script names it: "sleep", with a colon behind its kind where it is a method:
 * "queue:get"; false: it is in nothing of zerg's, or called by something that is no Lua. */
bool place_find_call(lua_State *L, char out[PLACE_CALL_MAX]);
