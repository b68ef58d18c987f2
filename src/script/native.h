/* The module zerg.native: what Lua asks of C that FFI cannot do, because it needs a lua_State. */
#pragma once

struct lua_State;

/* Puts zerg.native into package.preload. */
void native_install(struct lua_State *L);
