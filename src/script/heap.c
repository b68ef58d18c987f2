/* See heap.h. */
#include "script/heap.h"

#include <lauxlib.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/macros.h"

enum { GC_PAUSE_MIN = 110, GC_PAUSE_DEFAULT = 200 };

static void *allocate(void *data, void *block, size_t old_bytes, size_t new_bytes)
{
    struct heap *heap = data;
    void *moved;

    if (UNLIKELY(heap->is_limited && new_bytes > old_bytes && heap->used - old_bytes + new_bytes > heap->max))
        return NULL;
    moved = heap->allocate(heap->allocate_data, block, old_bytes, new_bytes);
    if (moved || new_bytes == 0)
        heap->used += new_bytes - old_bytes;
    return moved;
}

void heap_install(struct heap *heap, lua_State *L, size_t max_bytes)
{
    *heap = (struct heap){.max = max_bytes, .collect_at = max_bytes / 2};
    heap->allocate = lua_getallocf(L, &heap->allocate_data);
    heap->used = (size_t)lua_gc(L, LUA_GCCOUNT, 0) * 1024 + (size_t)lua_gc(L, LUA_GCCOUNTB, 0);
    lua_setallocf(L, allocate, heap);
}

void heap_uninstall(struct heap *heap, lua_State *L)
{
    lua_setallocf(L, heap->allocate, heap->allocate_data);
}

static int collect(lua_State *L)
{
    lua_gc(L, LUA_GCCOLLECT, 0);
    return 0;
}

/* Protected, because it runs the finalizers of scripts, and what one raises comes through here. The others run with the next
 * collection. */
static void collect_protected(lua_State *L)
{
    if (lua_cpcall(L, collect, NULL) == 0)
        return;
    log_error("a finalizer failed: %s", lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, -1));
    lua_pop(L, 1);
}

void heap_after_turn(struct heap *heap, lua_State *L)
{
    size_t pause;

    assert(!heap->is_limited);
    if (LIKELY(heap->used <= heap->collect_at))
        return;
    collect_protected(L);
    /* Half of what is left may become garbage before we look again, and the incremental collector must be done before
     * nine tenths of the limit. */
    heap->collect_at = heap->used + (heap->max > heap->used ? (heap->max - heap->used) / 2 : heap->max / 16);
    if (heap->collect_at < heap->max / 2)
        heap->collect_at = heap->max / 2;
    pause = heap->max / 10 * 9 / (heap->used / 100 + 1);
    if (pause < GC_PAUSE_MIN)
        pause = GC_PAUSE_MIN;
    if (pause > GC_PAUSE_DEFAULT)
        pause = GC_PAUSE_DEFAULT;
    lua_gc(L, LUA_GCSETPAUSE, (int)pause);
}
