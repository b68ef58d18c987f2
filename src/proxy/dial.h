/* A dial: the way from "somebody of this group" to one connected connection. Names are looked up, a server is picked,
 * connecting to it tried, the next one when it fails; how it went is told to health. While all servers that could be used
 * have max_connections, the dial waits in the group's line. An address that fails, or does not answer within RACE_MS, gets
 * company, and the first to answer wins (RFC 8305): of a server of an upstream its host's other family, which is no further
 * server and so no further attempt, of a plain target the next address.
 *
 *     IDLE ─▶ RESOLVING ─▶ CONNECTING ◀─▶ QUEUED,  from each of them ─▶ ENDED
 *
 * Embedded by its owner. Reactor thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/list.h"
#include "base/macros.h"
#include "core/config.h"
#include "core/timer.h"
#include "proxy/balance.h"
#include "proxy/group_view.h"
#include "proxy/waitline.h"

struct conn;
struct proxy;

enum { DIAL_ATTEMPTS_MAX = 4 };

enum dial_state { DIAL_IDLE, DIAL_RESOLVING, DIAL_QUEUED, DIAL_CONNECTING, DIAL_ENDED };

enum dial_outcome {
    DIAL_WAITS,     /* on_done() will be called */
    DIAL_CONNECTED, /* there is a connection */
    DIAL_FAILED,
};

/* Why there is no connection. */
enum dial_failure {
    DIAL_NO_FAILURE,
    DIAL_NO_ADDRESS, /* the name could not be looked up: dial->problem */
    DIAL_NO_SERVER,  /* all are down or draining */
    DIAL_REFUSED,    /* the last one tried refused, reset, or could not be reached: dial->reason */
    DIAL_TIMEOUT,    /* it did not answer in time */
    DIAL_QUEUE_FULL,
    DIAL_QUEUE_TIMEOUT,
    DIAL_NO_ROOM,  /* no slot, descriptor or memory here */
    DIAL_GIVEN_UP, /* dial_limit(), or the server stops (dial->reason) */
};

struct dial_options {
    uint64_t key_hash;   /* for BALANCE_HASH */
    uint32_t connect_ms; /* for each attempt; for a plain target for all of them and the looking up. 0: no limit */
    uint32_t attempts;   /* how many servers may be tried, at least 1 */
    const struct tcp_options *tcp; /* borrowed until it is done */
    struct timeouts timeouts;      /* of the connection, once it is open */
    uint32_t write_buffer_max;
    uint64_t told;              /* what the owner tells the server before all else: see struct slot */
    const struct server *avoid; /* compared only: somebody else, if there is anybody; NULL: anybody */
    bool uses_pool;             /* an idle connection to the server that was picked will do, */
    bool takes_unseen; /* also one of which the kernel may know already that it is no good: the owner finds out */
};

/* Connecting to one server. */
struct attempt {
    struct dial *dial;
    struct conn *conn; /* NULL: this one is not under way */
    struct pick pick;
    bool is_rival; /* of one that was slow, or failed */
};

struct dial {
    struct group_view *view; /* in use until ENDED */
    struct dial_options options;
    /* After DIAL_WAITS, once, outside of any call of the owner's: connected (conn is set) or failed. */
    void (*on_done)(struct dial *dial);
    void *owner; /* on_done()'s */
    enum dial_state state;

    /* The outcome. A connection is open and has no handler of its own yet: the owner sets handler and owner at once, and
     * takes over the slot. */
    struct conn *conn;
    struct slot slot;
    bool is_reused; /* it was idle, and none of the attempts */
    enum dial_failure failure;
    uint8_t reason;             /* enum close_reason of the last attempt */
    const char *problem;        /* of DIAL_NO_ADDRESS and DIAL_NO_ROOM; static */
    char failed[ADDR_TEXT_MAX]; /* name of the server that was tried last and could not be connected to; "": none */

    struct upstream *upstream; /* owned: a hold on the version that `tried` is about */
    struct tried tried;
    uint32_t attempts_left;
    struct attempt attempts[DIAL_ATTEMPTS_MAX]; /* under way at the same time */
    struct timer limit;                         /* of the whole */
    struct timer step; /* of the state: the race while CONNECTING, the wait, or until a trial is due, while QUEUED */
    struct view_waiter view_waiter;
    struct waiter waiter;
    uint64_t queue_deadline_ms; /* 0: it was not in the line yet */
    bool has_asked;             /* for names, because none were known */
    bool was_called;            /* out of the line: its turn */
    bool is_limited;            /* by dial_limit() */
    bool was_queued;            /* it failed in the line, or at its door */
};

/* What a group's configuration says; the caller overrides what it likes. */
struct dial_options dial_defaults(struct group_view *view, uint64_t key_hash);
/* Begins. on_done is not called from within; with DIAL_CONNECTED or DIAL_FAILED it is not called at all. */
MUST_CHECK enum dial_outcome dial_start(struct dial *dial, struct group_view *view, const struct dial_options *options,
                                        void (*on_done)(struct dial *dial), void *owner);
/* Ends it at once, whatever it is at; on_done is not called. A connection that the owner took is not touched. Idempotent. */
void dial_cancel(struct dial *dial);
/* Nobody may be there any more to make use of it: gives up no later than ms from now. */
void dial_limit(struct dial *dial, uint32_t ms);
/* Looks which of a reactor's dials in the line were called. */
void dial_look_for_calls(struct proxy *proxy);
/* A sentence part for the log: "refused", "no server of it is up". Static. */
const char *dial_failure_text(const struct dial *dial);
