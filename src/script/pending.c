/* See pending.h. */
#include "script/pending.h"

#include <stdio.h>

#include "core/conn.h"
#include "proxy/dial.h"
#include "script/api.h"
#include "script/runtime.h"
#include "script/task.h"

void pending_begin(struct pending *pending, struct task *task, void (*drop)(struct pending *pending))
{
    pending_drop(task);
    *pending = (struct pending){.task = task, .drop = drop};
    task->pending = pending;
}

void pending_end(struct pending *pending)
{
    if (pending->task)
        pending->task->pending = NULL;
    pending->task = NULL;
}

void pending_drop(struct task *task)
{
    struct pending *pending = task->pending;

    if (pending)
        pending->drop(pending);
}

void pending_drop_all(struct task *task)
{
    do {
        pending_unshelve(task);
    } while (task->pending);
}

void pending_shelve(struct task *task)
{
    if (!task->pending)
        return;
    task->pending->below = task->shelved;
    task->shelved = task->pending;
    task->pending = NULL;
}

void pending_unshelve(struct task *task)
{
    pending_drop(task);
    task->pending = task->shelved;
    if (task->shelved)
        task->shelved = task->shelved->below;
}

struct pending *pending_of(const struct task *task, void (*drop)(struct pending *pending))
{
    return task->pending && task->pending->drop == drop ? task->pending : NULL;
}

int pending_park(struct task *task)
{
    return task_park(task, UINT64_MAX);
}

void pending_wake(struct pending *pending)
{
    if (pending->task)
        task_wake_later(pending->task, ZERG_WAKE);
}

void pending_set_reason(struct runtime *runtime, const char *reason)
{
    snprintf(runtime->pending_reason, sizeof(runtime->pending_reason), "%s", reason);
}

void pending_set_dial_reason(struct runtime *runtime, const struct dial *dial)
{
    pending_format_dial_reason(runtime->pending_reason, sizeof(runtime->pending_reason), dial);
}

void pending_format_dial_reason(char *out, size_t size, const struct dial *dial)
{
    switch (dial->failure) {
    case DIAL_NO_ADDRESS: snprintf(out, size, "dns: %s", dial_failure_text(dial)); break;
    case DIAL_NO_SERVER: snprintf(out, size, "refused: %s", dial_failure_text(dial)); break;
    case DIAL_QUEUE_FULL:
    case DIAL_QUEUE_TIMEOUT: snprintf(out, size, "busy: %s", dial_failure_text(dial)); break;
    case DIAL_NO_ROOM: snprintf(out, size, "limit: %s", dial_failure_text(dial)); break;
    case DIAL_TIMEOUT: snprintf(out, size, "timeout"); break;
    case DIAL_GIVEN_UP: snprintf(out, size, "%s", dial->reason == CLOSE_SHUTDOWN ? "shutdown" : "closed"); break;
    default: snprintf(out, size, "%s", close_reason_text(dial->reason));
    }
}
