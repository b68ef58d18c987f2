/* Fields of the Lua table at the top of the stack as C values. What is not as it should be raises a Lua error: call
 * these protected. Each leaves the stack as it was, but for field_enter() and field_leave(). */
#pragma once

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"

/* "not enough memory" as a Lua error. */
NORETURN void field_out_of_memory(lua_State *L);

double field_number(lua_State *L, const char *name);
uint32_t field_u32(lua_State *L, const char *name);
/* "auto" is 0. */
uint32_t field_u32_or_auto(lua_State *L, const char *name);
/* Seconds to milliseconds; what is not zero does not become zero. */
uint32_t field_ms(lua_State *L, const char *name);
/* nil is false. */
bool field_bool(lua_State *L, const char *name);
bool field_is_auto(lua_State *L, const char *name);
/* The string is owned by the caller; NULL when the field is nil. */
char *field_string(lua_State *L, const char *name);
/* Position of the field's string in choices, which NULL ends. */
int field_choice(lua_State *L, const char *name, const char *const choices[]);

/* Pushes the table that the field is; field_leave() pops it. */
void field_enter(lua_State *L, const char *name);
void field_leave(lua_State *L);
