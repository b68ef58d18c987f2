/* See heap.h. */
#include "script/heap.h"

#include "base/assert.h"
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

void heap_after_turn(struct heap *heap, lua_State *L)
{
    size_t pause;

    assert(!heap->is_limited);
    if (LIKELY(heap->used <= heap->collect_at))
        return;
    lua_gc(L, LUA_GCCOLLECT, 0);
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
