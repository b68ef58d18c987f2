/* The normalised table of zerg.config as a struct config. Private to src/script/config.c. */
#pragma once

#include <lua.h>

#include "core/config.h"

/* Fills config from the table at the top of the stack. Raises a Lua error (call it protected) on what the checker
 * should not have let through, or without memory; config then holds what was read so far and wants config_free(). */
void config_read(lua_State *L, struct config *config);
