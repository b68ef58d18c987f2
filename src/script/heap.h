/* The memory of one lua_State, counted and limited. LuaJIT's own allocator does the work.
 *
 * When a script passes the limit, the allocation still succeeds and a hook is set, which collects garbage and, if that
 * was not it, raises "not enough memory" in the script: LuaJIT cannot unwind safely when an allocation fails inside compiled code
 * (Debian's version gets the frame wrong and crashes). Compiled code leaves its trace at the latest when the collector ends a
 * cycle, and one is begun at once; so only far past the limit are allocations refused. The C side of
 * the bridge, where an error would have no handler, is not limited. One thread. */
#pragma once

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap {
    lua_Alloc allocate; /* LuaJIT's */
    void *allocate_data;
    lua_State *L; /* borrowed: the main state */
    size_t used;
    size_t max;
    size_t collect_at;           /* heap_after_turn() collects when more is used */
    uint32_t futile_collections; /* by the hook, in a row */
    uint64_t collect_again_ms;   /* not before does the hook collect, after several futile ones */
    bool is_limited;             /* a script runs */
    bool is_exceeded;            /* it passed the limit: the hook is set */
};

/* Takes over the allocator of a new state; heap must outlive it. max_bytes: limit. */
void heap_install(struct heap *heap, lua_State *L, size_t max_bytes);
/* Puts LuaJIT's allocator back: before lua_close(), which wants its own. */
void heap_uninstall(struct heap *heap, lua_State *L);
/* Around what makes values outside of any protected call: no step of the collector comes in between, as a finalizer that raised
 * would find nothing to catch it. */
void heap_hold(lua_State *L);
void heap_release(lua_State *L);
/* Around everything that runs scripts. */
void heap_limit(struct heap *heap);
void heap_unlimit(struct heap *heap);
/* From the hook, in the script that passed the limit (L): collects, and raises if that does not help. */
void heap_on_hook(struct heap *heap, lua_State *L);
/* Collects garbage when a good part of the limit is used: LuaJIT's collector by itself waits until the heap has doubled, which
 * may be past the limit. Between turns. */
void heap_after_turn(struct heap *heap, lua_State *L);
