/* Runs zerg.starter in a Lua state of its own. */
#include "script/starter.h"

#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdbool.h>
#include <stdio.h>

#include "script/modules.h"

/* What the protected part works on. */
struct starting {
    const char *directory;
    void (*on_file)(const char *path);
    bool exists; /* something of that name is there already */
};

/* Runs zerg.starter.write(directory); raises its message when it wrote nothing. */
static int write_protected(lua_State *L)
{
    struct starting *starting = lua_touserdata(L, 1);

    luaL_openlibs(L);
    modules_install(L);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "zerg.starter");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "write");
    lua_pushstring(L, starting->directory);
    lua_call(L, 1, 3);
    if (lua_isnil(L, -3)) {
        starting->exists = lua_toboolean(L, -1);
        lua_pop(L, 1);
        return lua_error(L);
    }
    lua_pop(L, 2);
    for (int i = 1; i <= (int)lua_objlen(L, -1); i++) {
        lua_rawgeti(L, -1, i);
        starting->on_file(lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    return 0;
}

int starter_write(const char *directory, void (*on_file)(const char *path), char *message, size_t message_bytes)
{
    struct starting starting = {.directory = directory, .on_file = on_file};
    lua_State *L = luaL_newstate();
    int lua_status;

    if (!L) {
        snprintf(message, message_bytes, "not enough memory");
        return -ENOMEM;
    }
    lua_status = lua_cpcall(L, write_protected, &starting);
    if (lua_status != 0) {
        const char *text = lua_tostring(L, -1);

        snprintf(message, message_bytes, "%s", text ? text : "unknown error");
    }
    lua_close(L);
    if (lua_status == 0)
        return 0;
    return starting.exists ? -EEXIST : -EIO;
}
