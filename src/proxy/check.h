/* One active check of one server, once: connects and, where an answer is wanted, asks for it and reads its status line.
 * Whom to check when, and what follows from the results, is said in checks.h. Implements struct conn_handler. Reactor thread
 * only. */
#pragma once

#include "base/macros.h"
#include "core/timer.h"
#include "proxy/health.h"

struct addr;
struct conn;
struct group_config;
struct reactor;

enum check_outcome {
    CHECK_JUDGED,  /* result and problem say how the server did */
    CHECK_NO_ROOM, /* we lacked memory, a descriptor or a slot: nothing is known of the server */
    CHECK_CUT_OFF, /* the reactor stops */
};

struct check_end {
    enum check_outcome outcome;
    enum check_result result;
    const char *problem; /* why it failed ("refused", "status 503"), or what we lacked; borrowed during the call */
};

/* Embedded in its owner, who keeps it alive until on_done or check_cancel(). */
struct check {
    struct reactor *reactor; /* borrowed */
    /* Called once for each check_start() that returned 0, never from within it. May start the next one. */
    void (*on_done)(struct check *check, const struct check_end *end);
    struct group_config *config; /* owned while it is under way: a hold on what says how it is done */
    const char *host;            /* borrowed while it is under way */
    struct conn *conn;           /* borrowed; NULL: it is not under way */
    struct timer limit;          /* of connecting and answering together */
};

void check_init(struct check *check, struct reactor *reactor,
                void (*on_done)(struct check *check, const struct check_end *end));
/* Starts to check the server at an address, as that is configured. host: of the HTTP request, if there is one; borrowed until
 * the end, as is the address. 0, or a negative errno (-EBUSY, -EMFILE, -ENOMEM, ...): we lacked something, and the check has
 * not begun. */
MUST_CHECK int check_start(struct check *check, struct group_config *config, const struct addr *addr, const char *host);
/* Gives up what is under way: on_done is not called any more. Idempotent. */
void check_cancel(struct check *check);
