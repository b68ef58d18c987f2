/* See heap.h. */
#include "script/heap.h"

#include <lauxlib.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/macros.h"
#include "script/hook.h"

enum {
    GC_PAUSE_MIN = 110,
    GC_PAUSE_DEFAULT = 200,
    HARD_LIMIT_FACTOR = 2, /* of max: here allocations fail */
    SLACK_DIVISOR = 16,    /* part of max that a collection must leave free, or else we would collect all the time */
    MIB = 1024 * 1024,
};

static void *allocate(void *data, void *block, size_t old_bytes, size_t new_bytes)
{
    struct heap *heap = data;
    size_t total = heap->used - old_bytes + new_bytes;
    void *moved;

    if (UNLIKELY(total > heap->max && heap->is_limited && new_bytes > old_bytes)) {
        if (total > HARD_LIMIT_FACTOR * heap->max)
            return NULL;
        if (!heap->is_exceeded)
            hook_arm(heap->L);
        heap->is_exceeded = true;
    }
    moved = heap->allocate(heap->allocate_data, block, old_bytes, new_bytes);
    if (LIKELY(moved || new_bytes == 0))
        heap->used = total;
    return moved;
}

void heap_install(struct heap *heap, lua_State *L, size_t max_bytes)
{
    *heap = (struct heap){.L = L, .max = max_bytes, .collect_at = max_bytes / 2};
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

void heap_limit(struct heap *heap)
{
    heap->is_limited = true;
}

void heap_unlimit(struct heap *heap)
{
    heap->is_limited = false;
    if (UNLIKELY(heap->is_exceeded)) { /* the script ended before the hook came: the rest is heap_after_turn()'s */
        heap->is_exceeded = false;
        hook_disarm(heap->L);
    }
}

void heap_on_hook(struct heap *heap, lua_State *L)
{
    size_t slack = heap->max / SLACK_DIVISOR;

    if (!heap->is_exceeded)
        return;
    /* When the last collection did not help, another one will not until about as much was allocated again. */
    if (heap->futile_at == 0 || heap->used > heap->futile_at + slack)
        lua_gc(L, LUA_GCCOLLECT, 0);
    heap->is_exceeded = false;
    heap->futile_at = heap->used > heap->max - slack ? heap->used : 0;
    if (heap->futile_at)
        luaL_error(L, "not enough memory (scripts of this reactor use %d MiB, script_memory_max is %d MiB)",
                   (int)(heap->used / MIB), (int)(heap->max / MIB));
}

void heap_after_turn(struct heap *heap, lua_State *L)
{
    size_t step;
    size_t pause;

    assert(!heap->is_limited);
    if (LIKELY(heap->used <= heap->collect_at))
        return;
    collect_protected(L);
    heap->futile_at = 0;
    /* Half of what is left may become garbage before we look again, but not so little that we would look all the time. */
    step = heap->max > heap->used ? (heap->max - heap->used) / 2 : 0;
    heap->collect_at = heap->used + (step > heap->max / SLACK_DIVISOR ? step : heap->max / SLACK_DIVISOR);
    if (heap->collect_at < heap->max / 2)
        heap->collect_at = heap->max / 2;
    /* The incremental collector by itself should be done before nine tenths of the limit. */
    pause = heap->max / 10 * 9 / (heap->used / 100 + 1);
    if (pause < GC_PAUSE_MIN)
        pause = GC_PAUSE_MIN;
    if (pause > GC_PAUSE_DEFAULT)
        pause = GC_PAUSE_DEFAULT;
    lua_gc(L, LUA_GCSETPAUSE, (int)pause);
}
