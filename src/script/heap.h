/* The memory of one lua_State, counted and limited. LuaJIT's own allocator does the work; a request past the limit is refused
 * while a script runs, which LuaJIT turns into the error "not enough memory" in that script. Outside of scripts (the C side of the
 * bridge, where such an error would have no handler) nothing is refused. One thread. */
#pragma once

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

struct heap {
    lua_Alloc allocate; /* LuaJIT's */
    void *allocate_data;
    size_t used;
    size_t max;
    size_t collect_at; /* heap_after_turn() collects when more is used */
    bool is_limited;   /* a script runs */
};

/* Takes over the allocator of a new state; heap must outlive it. max_bytes: limit. */
void heap_install(struct heap *heap, lua_State *L, size_t max_bytes);
/* Puts LuaJIT's allocator back: before lua_close(), which wants its own. */
void heap_uninstall(struct heap *heap, lua_State *L);
/* Collects garbage when a good part of the limit is used: LuaJIT's collector by itself waits until the heap has doubled, which
 * may be past the limit. Between turns. */
void heap_after_turn(struct heap *heap, lua_State *L);
