/* The Lua modules that are linked into the program as bytecode. The table is generated at build time from lua/ by
 * scripts/bytecode; each name is what require() is asked for ("zerg.conn"). Read-only. */
#pragma once

#include <stddef.h>

struct lua_State;

struct lua_module {
    const char *name;
    const unsigned char *code; /* what luaL_loadbuffer() takes */
    size_t len;
};

extern const struct lua_module lua_modules[]; /* sorted by name, as strcmp(3) orders */
extern const size_t lua_module_count;

/* Lets require() in L find the modules of the table before anything on disk (a configuration is called zerg.lua too),
 * and cjson and cjson.safe. A directory in ZERG_LUA_DIR goes before the table, for work on lua/ without a build. L
 * has its standard libraries open. May raise a Lua error for want of memory. */
void modules_install(struct lua_State *L);
/* "2.1.0-beta3". Static. */
const char *modules_luajit_version(void);
