/* The script side of one reactor: its lua_State with the handlers in it, and the tasks that run them. Implements
 * struct reactor_app. Reactor thread only, but for `stall`. */
#pragma once

#include <lua.h>
#include <stdint.h>

#include "base/list.h"
#include "base/slab.h"
#include "core/reactor.h"
#include "http/http_server.h"
#include "script/heap.h"
#include "script/stall.h"

struct http_watch;
struct task;

struct pooled_coroutine {
    lua_State *co;
    int ref;
};

struct runtime {
    struct reactor *reactor; /* borrowed */
    lua_State *L;            /* owned */
    struct heap heap;
    struct http_server http;
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
    bool is_resuming;                 /* from before a resume until its end was dealt with */
    struct task *hook_task;           /* runs the `start` or `stop` hooks, NULL once they have ended */
    bool start_failed;                /* one of them raised */
    bool is_closing;                  /* no turn follows: nothing may be begun that needs one */
    struct pooled_coroutine *pool;    /* owned, COROUTINE_POOL_MAX places */
    uint32_t pool_count;
    int module_ref; /* registry: the module zerg.runtime, and its functions serve, closed and serve_http */
    int serve_ref;
    int closed_ref;
    int serve_http_ref;
    const void *park_value;     /* what a parked coroutine yields */
    const void *canceled_value; /* what a cancelled one raises */
    struct stall stall;
    uint8_t scratch[8];       /* of zerg_conn_front() */
    char pending_reason[160]; /* of zerg_pending_reason() */
    char forward_server[128]; /* of zerg_http_forward_finish() */
};

/* The reactor_app for engine_open(). */
extern const struct reactor_app runtime_app;

/* The runtime of the calling reactor thread, NULL on any other. */
struct runtime *runtime_current(void);
/* The same for a reactor, from the control thread (watchdog) while it runs. */
struct runtime *runtime_of(const struct reactor *reactor);
/* hook_task has ended. */
void runtime_on_hooks_done(struct runtime *runtime, bool is_success);
/* Makes one log entry of the error on top of co's stack, with a traceback of co. what: whose error it is. */
void runtime_log_error(struct runtime *runtime, lua_State *co, const char *what);
