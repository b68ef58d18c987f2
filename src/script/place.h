/* Where in a script a coroutine is. The thread that may run it only. */
#pragma once

#include <lua.h>
#include <stdbool.h>

enum { PLACE_MAX = 256 };

/* "file:line" of the innermost frame of a script's own code, skipping zerg's modules and C; false: there is none. */
bool place_find(lua_State *L, char out[PLACE_MAX]);
