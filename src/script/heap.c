/* See heap.h. */
#include "script/heap.h"

#include <lauxlib.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/macros.h"
#include "script/hook.h"

enum {
    GC_PAUSE_MIN = 110,
    GC_PAUSE_DEFAULT = 200,
    GC_STEPMUL_DEFAULT = 200,
    GC_STEPMUL_UNBOUNDED = 0,
    FUTILE_COLLECTIONS_MAX = 2,
    HARD_LIMIT_FACTOR = 4, /* of max: here allocations fail */
    SLACK_DIVISOR = 16,    /* part of max that a collection must leave free, or else we would collect all the time */
};

/* Makes compiled code leave its trace at its next look at the collector: it does so when a cycle comes to its atomic phase, so a cycle
 * is begun now, and a step multiplier of 0 does all its marking in one step. Called again while the excess lasts, as the first
 * step may merely end the cycle before. All three only set fields, so they are safe inside an allocation. */
static void enter_excess(struct heap *heap)
{
    if (!heap->is_exceeded) {
        hook_arm(heap->L);
        lua_gc(heap->L, LUA_GCSETSTEPMUL, GC_STEPMUL_UNBOUNDED);
    }
    heap->is_exceeded = true;
    lua_gc(heap->L, LUA_GCRESTART, 0);
}

static void leave_excess(struct heap *heap)
{
    heap->is_exceeded = false;
    lua_gc(heap->L, LUA_GCSETSTEPMUL, GC_STEPMUL_DEFAULT);
}

static void *allocate(void *data, void *block, size_t old_bytes, size_t new_bytes)
{
    struct heap *heap = data;
    size_t total = heap->used - old_bytes + new_bytes;
    void *moved;

    if (UNLIKELY(total > heap->max && heap->is_limited && new_bytes > old_bytes)) {
        if (total > HARD_LIMIT_FACTOR * heap->max)
            return NULL;
        enter_excess(heap);
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

void heap_hold(lua_State *L)
{
    lua_gc(L, LUA_GCSTOP, 0);
}

void heap_release(lua_State *L)
{
    lua_gc(L, LUA_GCRESTART, 0);
}

void heap_limit(struct heap *heap)
{
    heap->is_limited = true;
}

void heap_unlimit(struct heap *heap)
{
    heap->is_limited = false;
    if (UNLIKELY(heap->is_exceeded)) { /* the script ended before the hook came: the rest is heap_after_turn()'s */
        leave_excess(heap);
        hook_disarm(heap->L);
    }
}

static bool is_full(const struct heap *heap)
{
    return heap->used > heap->max - heap->max / SLACK_DIVISOR;
}

/* A large heap takes long to collect. When that did not help, and did not after an error had been raised either, scripts that go
 * on allocating get their error at once for a while, so that collecting takes at most a quarter of the time. */
static void collect_in_script(struct heap *heap, lua_State *L)
{
    uint64_t begin_ms = clock_now_ms();
    uint64_t end_ms;

    if (heap->futile_collections >= FUTILE_COLLECTIONS_MAX && begin_ms < heap->collect_again_ms)
        return;
    lua_gc(L, LUA_GCCOLLECT, 0);
    end_ms = clock_now_ms();
    heap->collect_again_ms = end_ms + 3 * (end_ms - begin_ms);
    heap->futile_collections = is_full(heap) ? heap->futile_collections + 1 : 0;
}

void heap_on_hook(struct heap *heap, lua_State *L)
{
    if (!heap->is_exceeded)
        return;
    leave_excess(heap);
    collect_in_script(heap, L);
    if (!is_full(heap))
        return;
    lua_pushliteral(L, "not enough memory"); /* the words of LuaJIT's own error */
    lua_error(L);
}

void heap_after_turn(struct heap *heap, lua_State *L)
{
    size_t step;
    size_t pause;

    assert(!heap->is_limited);
    if (LIKELY(heap->used <= heap->collect_at))
        return;
    collect_protected(L);
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
