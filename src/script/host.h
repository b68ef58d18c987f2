/* What runs on a reactor: the runtimes of its versions, HTTP, forwarding, and what the watchdog asks. Implements struct reactor_app.
 * Reactor thread only, but for `stall`, which scripts that another thread loads use too: so this outlives the reactor's thread. */
#pragma once

#include "base/list.h"
#include "base/macros.h"
#include "core/reactor.h"
#include "http/http_server.h"
#include "script/stall.h"

struct host {
    struct reactor *reactor; /* borrowed */
    struct http_server http;
    struct list runtimes; /* that have begun */
    struct list retired;  /* see retired.h */
    struct stall stall;
};

/* The reactor_app for engine_open(). */
extern const struct reactor_app host_app;

/* Evaluates code in the current version's state, outside of any task: JSON text as lua/zerg/repl.lua gives it, to be freed by the
 * caller; NULL without memory. */
MUST_CHECK char *host_eval(struct reactor *reactor, const char *code);
/* That of a reactor that runs; for the control thread (watchdog) too. */
struct host *host_of(const struct reactor *reactor);
