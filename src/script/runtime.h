/* The scripts of one version of the configuration in one reactor: their lua_State, and the tasks that run them. Loaded by any
 * thread, while the reactor serves others; the reactor's thread only from runtime_begin() on. */
#pragma once

#include <lua.h>
#include <stdint.h>

#include "base/list.h"
#include "base/slab.h"
#include "core/reactor.h"
#include "core/timer.h"
#include "script/heap.h"

struct conn;
struct host;
struct http_watch;
struct task;
struct version_part;

struct pooled_coroutine {
    lua_State *co;
    int ref;
};

struct runtime {
    struct reactor *reactor;   /* borrowed */
    struct host *host;         /* borrowed */
    struct version_part *part; /* borrowed: whose app_data this is, or was when it is retired */
    struct list link;          /* host->runtimes, from runtime_begin() on, then host->retired */
    lua_State *L;              /* owned */
    struct heap heap;
    struct slab task_slab;
    struct slab scope_slab;
    struct slab conn_slab;
    struct slab connecting_slab;
    struct slab forward_slab;
    struct slab filtering_slab;
    struct slab transfer_slab;
    struct slab lookup_slab;
    struct slab http_forwarding_slab;
    struct slab http_watch_slab;
    struct list tasks; /* all */
    struct list ready;
    struct list outgoing;             /* script_conns of connections that scripts made */
    struct list ended;                /* script_conns whose on_close callbacks are due */
    struct http_watch **http_watches; /* owned: by slot, NULL: none was ever needed */
    struct list http_news;            /* struct http_watch of which Lua is to be told */
    struct task *running;             /* what Lua runs for, NULL: Lua is not running, or not for a task */
    bool is_calling;                  /* Lua runs for runtime_call() */
    uint64_t eval_until_ms;           /* when what an operator has it evaluate is ended; 0: it evaluates nothing */
    bool has_begun;                   /* the reactor's clock and timers may be used */
    struct task *hook_task;           /* runs the `start` or `stop` hooks, NULL once they have ended */
    bool start_failed;                /* one of them raised */
    bool is_retired;                  /* see retired.h */
    uint8_t cycles_left;              /* of the collector, for one that is retired */
    bool is_superseded;               /* a newer version is current */
    char *files;                      /* owned: what was loaded, a path on each line; NULL: nobody asks */
    bool *migrates;                   /* owned: by listener, whether its module has `migrate` */
    struct list migrants; /* struct script_conn: of a superseded one, those that are ready to go to the next version */
    uint32_t migrant_count;        /* those that are to go, */
    uint32_t ready_migrants;       /* and how many of them are ready */
    struct timer together;         /* while those that are ready wait for the others */
    struct timer again;            /* until those that could not go are tried again */
    bool is_migrating;             /* `migrate` runs, which cannot wait */
    bool is_closing;               /* no turn follows: nothing may be begun that needs one */
    struct pooled_coroutine *pool; /* owned, COROUTINE_POOL_MAX places */
    uint32_t pool_count;
    int module_ref; /* registry: the module zerg.runtime, and its functions serve, closed and serve_http */
    int serve_ref;
    int closed_ref;
    int serve_http_ref;
    const void *park_value;     /* what a parked coroutine yields */
    const void *canceled_value; /* what a cancelled one raises */
    uint8_t scratch[8];         /* of zerg_conn_front() */
    char pending_reason[160];   /* of zerg_pending_reason() */
    char forward_server[128];   /* of zerg_http_forward_finish() */
};

/* Whose Lua code this thread runs, or is about to or has just: from before a resume until its end was dealt with. NULL: none;
 * then tasks may be resumed. */
extern _Thread_local struct runtime *runtime_entered;

static inline struct runtime *runtime_current(void)
{
    return runtime_entered;
}

/* Around everything that may run Lua code; gives what runtime_leave() wants. */
static inline struct runtime *runtime_enter(struct runtime *runtime)
{
    struct runtime *before = runtime_entered;

    runtime_entered = runtime;
    return before;
}

static inline void runtime_leave(struct runtime *before)
{
    runtime_entered = before;
}

/* Of the version that a connection is served by. */
struct runtime *runtime_of(const struct conn *conn);

/* The files that the scripts of a part came from, a path on each line; NULL: its configuration does not ask. Borrowed until
 * unload(); any thread, once it was loaded. */
const char *runtime_files(const struct version_part *part);
/* See struct reactor_app. */
MUST_CHECK int runtime_load(struct version_part *part);
MUST_CHECK int runtime_begin(struct version_part *part);
int runtime_starting(struct version_part *part);
void runtime_unload(struct version_part *part);
/* Lets go of the Lua side's functions: none of them is called any more. */
void runtime_drop_refs(struct runtime *runtime);
/* Of one that has ended: frees all of it. */
void runtime_free(struct runtime *runtime);
/* Runs what is ready; once a turn. True when more is. */
bool runtime_turn(struct runtime *runtime);
/* Drops every task, and lets go of every connection. */
void runtime_abandon(struct runtime *runtime);

/* Pushes zerg.runtime[name] on a coroutine of it. */
void runtime_push(struct runtime *runtime, lua_State *co, const char *name);
/* Calls zerg.runtime[name] outside of any task, with the arguments that are on top of the stack; at most one result, which is on
 * top of it then. 0, or -EINVAL with the error and its traceback as text there. */
MUST_CHECK int runtime_call(struct runtime *runtime, const char *name, int arguments);

/* hook_task has ended. */
void runtime_on_hooks_done(struct runtime *runtime, bool is_success);
/* Makes one log entry of the error on top of co's stack, with a traceback of co. what: whose error it is. */
void runtime_log_error(struct runtime *runtime, lua_State *co, const char *what);
