/* See field.h. */
#include "script/field.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void field_out_of_memory(lua_State *L)
{
    luaL_error(L, "not enough memory");
    __builtin_unreachable(); /* luaL_error() does not return, but is not declared so */
}

double field_number(lua_State *L, const char *name)
{
    double value;

    lua_getfield(L, -1, name);
    if (lua_type(L, -1) != LUA_TNUMBER)
        luaL_error(L, "%s: expected a number, got %s", name, luaL_typename(L, -1));
    value = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return value;
}

uint32_t field_u32(lua_State *L, const char *name)
{
    double value = field_number(L, name);

    if (value < 0 || value > UINT32_MAX)
        luaL_error(L, "%s: out of range", name);
    return (uint32_t)value;
}

uint32_t field_ms(lua_State *L, const char *name)
{
    double exact = field_number(L, name) * 1000.0;
    double nearest = round(exact);
    /* 0.013 s times 1000 is a little more than 13, which must not make it 14. */
    double ms = nearest > 0 && fabs(exact - nearest) < 1e-6 ? nearest : ceil(exact);

    if (ms < 0 || ms > UINT32_MAX)
        luaL_error(L, "%s: out of range", name);
    return (uint32_t)ms;
}

bool field_bool(lua_State *L, const char *name)
{
    bool value;

    lua_getfield(L, -1, name);
    value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

bool field_is_auto(lua_State *L, const char *name)
{
    bool is_auto;

    lua_getfield(L, -1, name);
    is_auto = lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "auto") == 0;
    lua_pop(L, 1);
    return is_auto;
}

uint32_t field_u32_or_auto(lua_State *L, const char *name)
{
    return field_is_auto(L, name) ? 0 : field_u32(L, name);
}

char *field_string(lua_State *L, const char *name)
{
    char *copy = NULL;

    lua_getfield(L, -1, name);
    if (!lua_isnil(L, -1)) {
        copy = strdup(luaL_checkstring(L, -1));
        if (!copy)
            field_out_of_memory(L);
    }
    lua_pop(L, 1);
    return copy;
}

int field_choice(lua_State *L, const char *name, const char *const choices[])
{
    int choice;

    lua_getfield(L, -1, name);
    choice = luaL_checkoption(L, lua_gettop(L), NULL, choices);
    lua_pop(L, 1);
    return choice;
}

void field_enter(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    luaL_checktype(L, -1, LUA_TTABLE);
}

void field_leave(lua_State *L)
{
    lua_pop(L, 1);
}
