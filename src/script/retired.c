/* See retired.h. */
#include "script/retired.h"

#include <lua.h>

#include "base/log.h"
#include "core/part.h"
#include "core/version.h"
#include "script/host.h"
#include "script/runtime.h"

/* KiB of allocation that one step of the collector keeps up with: some tenths of a millisecond. */
enum { STEP_KIB = 32 };
/* What was alive when a cycle began is found dead in the next. */
enum { CYCLES = 2 };

void retired_add(struct host *host, struct runtime *runtime)
{
    runtime->is_retired = true;
    part_unload_later(runtime->part);
    runtime->cycles_left = CYCLES;
    if (runtime_call(runtime, "forget", 0) < 0)
        log_error("reactor %u: %s", runtime->reactor->index, lua_tostring(runtime->L, -1));
    lua_settop(runtime->L, 0);
    runtime_drop_refs(runtime);
    list_move_tail(&host->retired, &runtime->link);
    host->reactor->has_ready = true; /* for retired_turn(), on a reactor that nobody else wakes */
}

static void free_retired(struct runtime *runtime)
{
    struct version_part *part = runtime->part;

    runtime_free(runtime);
    atomic_store_explicit(&part->memory, 0, memory_order_relaxed);
    part_on_unloaded(part);
}

/* Protected, as it runs finalizers of scripts. */
static int step(lua_State *L)
{
    struct runtime *runtime = lua_touserdata(L, 1);

    if (lua_gc(L, LUA_GCSTEP, STEP_KIB) != 0)
        runtime->cycles_left--;
    return 0;
}

bool retired_turn(struct host *host)
{
    struct runtime *runtime;
    struct runtime *before;

    if (LIKELY(list_is_empty(&host->retired)))
        return false;
    runtime = CONTAINER_OF(host->retired.next, struct runtime, link);
    before = runtime_enter(runtime);
    if (lua_cpcall(runtime->L, step, runtime) != 0)
        lua_pop(runtime->L, 1); /* a finalizer that failed with its version gone is nobody's concern */
    runtime_leave(before);
    atomic_store_explicit(&runtime->part->memory, runtime->heap.used, memory_order_relaxed);
    if (runtime->cycles_left == 0)
        free_retired(runtime);
    return !list_is_empty(&host->retired);
}

void retired_free_all(struct host *host)
{
    while (!list_is_empty(&host->retired))
        free_retired(CONTAINER_OF(host->retired.next, struct runtime, link));
}
