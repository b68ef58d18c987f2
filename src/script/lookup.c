/* See lookup.h. */
#include "script/lookup.h"

#include <stdio.h>

#include "base/slab.h"
#include "core/reactor.h"
#include "proxy/proxy.h"
#include "proxy/resolver.h"
#include "proxy/target.h"
#include "script/api.h"
#include "script/pending.h"
#include "script/runtime.h"
#include "script/task.h"

enum { LOOKUPS_PER_BLOCK = 4, PROBLEM_BYTES_MAX = 128 };

struct lookup {
    struct pending pending;
    struct resolve resolve;
    const char *problem; /* why there are none; static */
    uint32_t count;
    bool is_done;
    struct addr addrs[RESOLVE_ADDRS_MAX];
};

void lookup_init_slab(struct slab *slab)
{
    slab_init(slab, sizeof(struct lookup), LOOKUPS_PER_BLOCK, 0);
}

static void drop(struct pending *pending)
{
    struct lookup *lookup = CONTAINER_OF(pending, struct lookup, pending);
    struct runtime *runtime = pending->task->runtime;

    pending_end(pending);
    resolver_cancel(&lookup->resolve);
    slab_free(&runtime->lookup_slab, lookup);
}

/* END, with that as the reason. */
static int fail(struct task *task, const char *problem)
{
    char reason[PROBLEM_BYTES_MAX];

    snprintf(reason, sizeof(reason), "dns: %s", problem);
    pending_set_reason(task->runtime, reason);
    return ZERG_END;
}

static void on_answer(struct resolve *resolve, const struct resolution *resolution)
{
    struct lookup *lookup = CONTAINER_OF(resolve, struct lookup, resolve);

    lookup->is_done = true;
    for (uint32_t i = 0; i < resolution->count; i++)
        lookup->addrs[i] = resolution->items[i].addr;
    lookup->count = resolution->count;
    lookup->problem = resolution->problem;
    pending_wake(&lookup->pending);
}

int lookup_begin(struct task *task, const char *name, size_t len)
{
    struct runtime *runtime = task->runtime;
    struct target target;
    struct lookup *lookup;

    if (target_parse_host(&target, name, len) < 0)
        return ZERG_NO_TARGET;
    lookup = slab_new(&runtime->lookup_slab);
    if (!lookup)
        return ZERG_NO_MEMORY;
    lookup->resolve = (struct resolve){.on_done = on_answer};
    lookup->problem = NULL;
    lookup->count = 0;
    lookup->is_done = false;
    pending_begin(&lookup->pending, task, drop);
    if (resolver_start(runtime->reactor->proxy->resolver, &lookup->resolve, RESOLVE_HOST, target.host, 0) == 0)
        return pending_park(task);
    drop(&lookup->pending);
    return fail(task, "it cannot be asked for just now");
}

int lookup_finish(struct task *task)
{
    struct pending *pending = pending_of(task, drop);
    const struct lookup *lookup;
    const char *problem;

    if (!pending)
        return ZERG_END;
    lookup = CONTAINER_OF(pending, struct lookup, pending);
    if (!lookup->is_done)
        return pending_park(task) == ZERG_PARK ? ZERG_LOOKUP_PARK : ZERG_CANCELED;
    if (lookup->count > 0)
        return (int)lookup->count;
    problem = lookup->problem ? lookup->problem : "no address";
    drop(pending);
    return fail(task, problem);
}

const char *lookup_address(const struct task *task, uint32_t place)
{
    static _Thread_local char text[ADDR_TEXT_MAX];
    struct pending *pending = pending_of(task, drop);
    const struct lookup *lookup = pending ? CONTAINER_OF(pending, struct lookup, pending) : NULL;

    if (!lookup || place >= lookup->count)
        return "";
    return addr_format_host(&lookup->addrs[place], text);
}
