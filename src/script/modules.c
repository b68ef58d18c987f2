/* The searcher that finds linked-in modules by binary search in the generated table. */
#include "script/modules.h"

#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* lua-cjson's header is in a directory of its own in every distribution; these two are all of it that we call. */
int luaopen_cjson(lua_State *L);
int luaopen_cjson_safe(lua_State *L);

enum { PATH_BYTES = 1024 };

static int compare_name(const void *key, const void *element)
{
    const struct lua_module *module = element;

    return strcmp(key, module->name);
}

static bool is_ours(const char *name)
{
    return strcmp(name, "zerg") == 0 || strncmp(name, "zerg.", 5) == 0;
}

/* Pushes the chunk of `directory`/`name as a path``suffix` and returns true, or returns false when there is no such
 * file. Raises what is wrong with it. */
static bool load_file(lua_State *L, const char *directory, const char *name, const char *suffix)
{
    char path[PATH_BYTES];
    int length = snprintf(path, sizeof(path), "%s/%s%s", directory, luaL_gsub(L, name, ".", "/"), suffix);

    lua_pop(L, 1);
    if (length < 0 || (size_t)length >= sizeof(path) || access(path, R_OK) != 0)
        return false;
    if (luaL_loadfile(L, path) != 0)
        lua_error(L);
    return true;
}

static bool load_from_directory(lua_State *L, const char *name)
{
    const char *directory = getenv("ZERG_LUA_DIR");

    return directory && (load_file(L, directory, name, ".lua") || load_file(L, directory, name, "/init.lua"));
}

/* A searcher of package.loaders: gives the module's chunk, or the reason why not, or nothing for names of others. */
static int search(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    const struct lua_module *module;

    if (!is_ours(name))
        return 0;
    if (load_from_directory(L, name))
        return 1;
    module = bsearch(name, lua_modules, lua_module_count, sizeof(lua_modules[0]), compare_name);
    if (!module) {
        lua_pushfstring(L, "\n\tno module '%s' in this version of zerg", name);
        return 1;
    }
    if (luaL_loadbuffer(L, (const char *)module->code, module->len, module->name) != 0)
        return lua_error(L);
    return 1;
}

/* Inserts value (on top of the stack, popped) as the first item of the list below it. */
static void insert_first(lua_State *L)
{
    for (size_t i = lua_objlen(L, -2); i >= 1; i--) {
        lua_rawgeti(L, -2, (int)i);
        lua_rawseti(L, -3, (int)i + 1);
    }
    lua_rawseti(L, -2, 1);
}

void modules_install(struct lua_State *L)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "loaders");
    lua_pushcfunction(L, search);
    insert_first(L);
    lua_pop(L, 1);

    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, luaopen_cjson);
    lua_setfield(L, -2, "cjson");
    lua_pushcfunction(L, luaopen_cjson_safe);
    lua_setfield(L, -2, "cjson.safe");
    lua_pop(L, 2);
}

const char *modules_luajit_version(void)
{
    return &LUAJIT_VERSION[sizeof("LuaJIT ") - 1];
}
