/* The normalised table of zerg.config as a struct config. Private to src/script/config*.c. */
#pragma once

#include <lua.h>

#include "core/config.h"

/* Fills config from the table at the top of the stack. Raises a Lua error (call it protected) on what the checker
 * should not have let through, or without memory; config then holds what was read so far and wants config_free(). */
void config_read(lua_State *L, struct config *config);
/* Only where the control socket is, from a table that has nothing else. */
void config_read_control(lua_State *L, struct config *config);
/* The parts of that which are about forwarding, from the same table; the first is what `zerg proxy` was asked for. */
void config_read_proxy(lua_State *L, struct config *config);
void config_read_upstreams(lua_State *L, struct config *config);
void config_read_resolver(lua_State *L, struct resolver_config *resolver);
/* What HTTP needs of that listener; its routes are counted on. */
void config_read_http(lua_State *L, struct listener_config *listener, uint32_t *route_count);
/* Whose PROXY protocol headers that listener believes. */
void config_read_trusted(lua_State *L, struct listener_config *listener);
