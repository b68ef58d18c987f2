/* Something that a task waits for beside bytes and times: a connection, the end of a forward. It must not outlive its task,
 * and a task has at most one, but for those that it has shelved while a function of the script's runs in the middle of them.
 * Reactor thread only. */
#pragma once

#include <stddef.h>

#include "base/macros.h"

struct dial;
struct runtime;
struct task;

/* Embedded in what is under way. */
struct pending {
    struct task *task;     /* borrowed: dropped before the task ends */
    struct pending *below; /* shelved before this one was */
    void (*drop)(struct pending *pending);
};

/* Under way for the task from now on; what was before is dropped. */
void pending_begin(struct pending *pending, struct task *task, void (*drop)(struct pending *pending));
/* Over, or taken: the task has nothing under way. */
void pending_end(struct pending *pending);
/* Drops what the task has under way, if anything; what is shelved stays. */
void pending_drop(struct task *task);
/* The same, and what is shelved. */
void pending_drop_all(struct task *task);
/* What the task has under way goes on, but is not its own until pending_unshelve(), which drops what came in its place. A wake
 * of it may come meanwhile. */
void pending_shelve(struct task *task);
void pending_unshelve(struct task *task);
/* The task's, if it is of the kind that is dropped so; else NULL. */
MUST_CHECK struct pending *pending_of(const struct task *task, void (*drop)(struct pending *pending));
/* Parks the task until pending_wake(). ZERG_PARK, or ZERG_CANCELED. */
MUST_CHECK int pending_park(struct task *task);
/* Makes it ready, unless it does not wait any more. */
void pending_wake(struct pending *pending);

/* What zerg_pending_reason() gives next: a word, with detail behind a colon. To be set by the task that it is for, when it
 * takes its outcome: what others do in between must not change it. */
void pending_set_reason(struct runtime *runtime, const char *reason);
/* Why a dial has no connection, set so or written to out. */
void pending_set_dial_reason(struct runtime *runtime, const struct dial *dial);
void pending_format_dial_reason(char *out, size_t size, const struct dial *dial);
