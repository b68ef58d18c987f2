/* Tasks: coroutines that the reactor resumes. Every connection handler is one, and everything that a script spawns.
 *
 * A running task that must wait records here what it awaits (task_park*) and then yields, in Lua; an event wakes it
 * (task_wake), which resumes it at once, or puts it in the ready queue when another task is running. So a resume never happens inside
 * another, and FFI functions never enter Lua. Coroutines of tasks that ended without an error are pooled. Reactor thread only. */
#pragma once

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/macros.h"
#include "core/timer.h"

struct conn;
struct pending;
struct runtime;
struct script_conn;
struct task;

enum task_wait {
    TASK_STARTING, /* never resumed yet */
    TASK_RUNNING,
    TASK_READY,   /* in the ready queue */
    TASK_READING, /* in a read of task->conn */
    TASK_WRITING, /* for room in, or the flush of, task->conn's output */
    TASK_WAITING, /* for zerg_task_wake() or a time */
};

/* A deadline around a part of what a task does. */
struct task_scope {
    struct task *task;
    struct task_scope *outer; /* owned by the task, innermost first */
    struct timer timer;
    uint32_t depth; /* 1: the outermost */
    bool has_passed;
};

/* In the order of use, and a cache line aligned: a wake and a park touch the first line alone. */
struct task {
    struct list link; /* the ready queue, or the writers of a connection */
    struct runtime *runtime;
    lua_State *co;               /* anchored by coroutine_ref; NULL once the task has ended */
    struct script_conn *awaited; /* of READING and WRITING */
    struct task_scope *scopes;   /* innermost */
    uint32_t generation;
    uint8_t wait;      /* enum task_wait */
    uint8_t wake_code; /* enum zerg_wake, for the resume */
    bool is_cancelled;
    bool is_woken; /* between a park and its yield */

    struct list all; /* runtime->tasks */
    int coroutine_ref;
    int arguments;              /* on its stack, for the first resume */
    struct script_conn *serves; /* the connection whose handler this is, NULL: none */
    struct conn *pinned;        /* its slot must outlive the task, NULL: none */
    struct pending *pending;    /* owned: what it has under way, NULL: nothing */
    struct pending *shelved;    /* borrowed: see pending.h; NULL: nothing */
    double relay_moved;         /* by its last conn:relay() */
    struct timer timer;         /* of WAITING */
} __attribute__((aligned(CACHE_LINE_BYTES)));

/* A new task whose coroutine is empty: the caller pushes a function and its arguments on task->co and then calls
 * task_start() or task_start_later(). L: the state that calls us, runtime->L outside of Lua. NULL without memory. */
MUST_CHECK struct task *task_new(struct runtime *runtime, lua_State *L);
/* Resumes it for the first time now (no task may be running), or from the ready queue. arguments: values on its stack above
 * the function. */
void task_start(struct task *task, int arguments);
void task_start_later(struct task *task, int arguments);

/* Keeps the slot of a connection from being reused while the task lives. */
void task_pin(struct task *task, struct conn *conn);

/* The running task is about to yield. ZERG_PARK, or ZERG_CANCELED when it was cancelled or a deadline has passed. */
int task_park_reading(struct task *task, struct script_conn *conn);
int task_park_writing(struct task *task, struct script_conn *conn);
/* timeout_ms: UINT64_MAX for none. */
int task_park(struct task *task, uint64_t timeout_ms);

/* Undoes a park of the running task that was recorded without a yield: where Lua cannot yield (a callback of string.gsub, a finalizer)
 * it raises instead, and the script may have caught that. Every park begins with it. */
void task_forget_park(struct task *task);

/* Ends a wait; code is what yield returns: resumes the task at once, or from the ready queue when another is running. No effect
 * on a task that is not waiting. */
void task_wake(struct task *task, int code);
/* The same, always from the ready queue: for callers that are in the middle of something. */
void task_wake_later(struct task *task, int code);
/* Every park from now on raises, the present one included. */
void task_cancel(struct task *task);
/* Resumes what is ready, at most a bounded number. True when more is left. */
bool task_run_ready(struct runtime *runtime);
/* Drops a task where it is parked, without running it. */
void task_drop(struct task *task);
/* Drops every task without running it: they let go of their connections. */
void task_abandon_all(struct runtime *runtime);
/* Frees the coroutine pool. */
void task_free_pool(struct runtime *runtime);

/* Deadlines: see zerg_scope_* in api.h. */
int task_scope_enter(struct task *task, uint64_t ms);
/* Leaves the scope of that depth and all within it; true when its time had passed. */
bool task_scope_leave(struct task *task, uint32_t depth);
/* Depth of the outermost scope that has passed, 0: none. */
uint32_t task_scope_passed(const struct task *task);
