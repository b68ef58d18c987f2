/* The reverse proxy: one request goes to a server, and the server's answer to the client, both as they come. A server is dialled,
 * or an idle connection to it used; the head goes first (http_heads.h), bodies are passed on both ways at once (http_pass.h).
 *
 *     CONNECTS ─▶ AWAITS ──head of the answer──▶ (HELD ─▶) PASSES ─▶ ended
 *        ▲           │
 *        └── retry ──┘  while nothing of the answer has come, and the request can be made again
 *
 * What goes wrong before the answer has begun is answered: 502 (refused, broken, malformed), 503 (no server can be used), 504
 * (not in time). Later the client's connection is cut, so that nobody takes the part for the whole. A server's connection that
 * is in step with us at the end goes to the pool, any other is closed. 101 makes a relay of the two connections.
 *
 * Implements struct http_handler for the routes that forward. Reactor thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "core/timer.h"
#include "http/http_inflow.h"
#include "proto/http_head.h"
#include "proxy/group_view.h"
#include "proxy/http_heads.h"
#include "proxy/http_pass.h"
#include "proxy/relay.h"

struct dial;
struct http_exchange;
struct http_forward;

extern const struct http_handler http_forward_handler;

/* Who is told of a forward that a script began. Calls come from the reactor thread; those of on_end may come from within
 * http_forward_start() and http_forward_go_on(). */
struct http_forward_watch {
    /* The head of the answer is there, and waits for http_forward_go_on(). NULL: it goes on by itself. */
    void (*on_head)(struct http_forward *forward);
    /* Its exchange is about to be gone, as the client's connection does not speak HTTP any more; on_end follows when that
     * ends. */
    void (*on_tunnel)(struct http_forward *forward);
    /* It has ended, whichever way: forward->failure tells. The forward is gone afterwards. */
    void (*on_end)(struct http_forward *forward);
};

struct http_forward_options {
    struct http_change change; /* borrowed until it ends */
    uint64_t key_hash;         /* for BALANCE_HASH */
    uint32_t connect_ms;       /* for each attempt, 0: as long as the kernel tries */
    uint32_t read_ms;          /* longest wait for something of the answer, 0: none */
    uint32_t retries;
    const struct http_forward_watch *watch; /* NULL: it answers for what goes wrong itself */
    void *owner;                            /* of the watch */
};

enum http_forward_state {
    HTTP_FORWARD_CONNECTS,
    HTTP_FORWARD_AWAITS, /* the head of the answer */
    HTTP_FORWARD_HELD,   /* it is there */
    HTTP_FORWARD_PASSES, /* the rest of the answer */
    HTTP_FORWARD_TUNNELS /* another protocol: a relay has the connections */
};

struct http_forward {
    struct http_exchange *exchange; /* borrowed; NULL once a relay has its connection */
    struct group_view *view;        /* in use */
    struct dial *dial;              /* owned while CONNECTS */
    struct conn *server;            /* borrowed; NULL: there is none (any more) */
    struct slot slot;               /* on it */
    struct server *broken;          /* owned: a hold on one that broke, which is not asked again if there is another */
    struct http_forward_options options;
    struct timer gone; /* the client may be */
    uint64_t started_ms;
    uint8_t state;      /* enum http_forward_state */
    bool was_used;      /* the server's connection, by others before */
    bool is_fresh;      /* only a new one will do */
    bool upgrades;      /* the client wants another protocol */
    uint8_t method;     /* enum http_method, as the server sees it */
    uint8_t proxy_send; /* enum proxy_send: what its connection begins with, as of when it was looked for */
    struct http_pass up;
    struct http_pass down;
    struct http_inflow inflow; /* body of the answer */

    /* Once it has ended: why there is no (whole) answer, as a status and a word; 0: there is. */
    uint16_t failure;
    const char *failure_text;

    /* In TUNNELS. */
    struct conn *tunnel_client; /* borrowed: the relay's */
    bool is_forgotten;          /* nobody asks how it ends */
    struct relay_end tunnel;    /* once it has: how */

    uint64_t bytes_in_before; /* of the server's connection */
    uint64_t bytes_out_before;
    struct lease *head_lease; /* owned: keeps the bytes of the answer's head, from HELD on */
    struct http_head head;    /* of the answer; last: only those fields that were found are touched */
};

/* What a group and a listener say of requests that are forwarded. */
struct http_forward_options http_forward_defaults(struct group_view *view, const struct http_exchange *exchange);
/* A forward that has not begun; the exchange is its caller's, who passes events of it on to the functions below. NULL without
 * memory. */
MUST_CHECK struct http_forward *http_forward_new(struct http_exchange *exchange, struct group_view *view,
                                                 const struct http_forward_options *options);
/* Begins. May end it at once. */
void http_forward_start(struct http_forward *forward);
/* HELD goes on: what is to change of the answer's head may have been set in forward->options.change. May end it. */
void http_forward_go_on(struct http_forward *forward);
/* Ends it at once: the server's connection is closed, and the client's as well, by a reset, where its answer has begun. on_end is
 * not called. */
void http_forward_cancel(struct http_forward *forward);

/* Events of the exchange, as in struct http_handler. */
void http_forward_on_input(struct http_forward *forward);
void http_forward_on_output(struct http_forward *forward);
void http_forward_on_read_timeout(struct http_forward *forward);

/* The server's name in its upstream, "" while there is none. */
const char *http_forward_server(const struct http_forward *forward);
