/* See api_common.h. */
#include "script/api_common.h"

#include <errno.h>

#include "base/clock.h"
#include "core/version.h"
#include "proxy/proxy.h"
#include "script/pending.h"

int api_end_with(struct runtime *runtime, const char *reason)
{
    pending_set_reason(runtime, reason);
    return ZERG_END;
}

int api_begin(struct task **out)
{
    *out = api_task();
    if (!*out)
        return ZERG_NO_TASK;
    if ((*out)->runtime->is_closing)
        return api_end_with((*out)->runtime, close_reason_text(CLOSE_SHUTDOWN));
    return ZERG_OK;
}

int api_find_group(const struct task *task, const char *target, uint32_t len, struct group_view **out)
{
    const struct runtime *runtime = task->runtime;

    switch (proxy_find_group(runtime->reactor->proxy, runtime->part->routing, target, len, out)) {
    case 0: return ZERG_OK;
    case -ENOMEM: return ZERG_NO_MEMORY;
    default: return ZERG_NO_TARGET;
    }
}

uint32_t api_ms(double seconds)
{
    double ms = seconds * (double)MS_PER_S;

    if (ms >= (double)UINT32_MAX)
        return UINT32_MAX;
    return ms > 0 && ms < 1 ? 1 : (uint32_t)ms;
}
