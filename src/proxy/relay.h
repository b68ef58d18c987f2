/* A relay: two connections of one reactor, where what comes from one goes to the other, both ways.
 *
 * Received bytes move as leases (pump.h). A side whose peer is slow stops the receiving of the other side at its
 * write_buffer_max of staged bytes; receiving goes on at half of it. The end of one side's stream is passed on after its
 * last byte; when both have ended, both are closed. A side that breaks (reset, error, time-out, no memory) ends the other: by a
 * RST, behind the bytes that came before. Each relay ends with a record (session.h).
 *
 * Implements struct conn_handler: as it stands it forwards accepted connections to where their listener forwards. Reactor
 * thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "core/conn.h"
#include "core/timer.h"
#include "proxy/group_view.h"

struct dial;
struct proxy;

/* How a relay went. */
struct relay_end {
    uint64_t bytes_up;        /* from the client */
    uint64_t bytes_down;      /* to the client */
    uint64_t total_ms;        /* since the server was asked for */
    enum close_reason reason; /* of the side that ended first; CLOSE_PEER: both have said all they had */
    const char *server;       /* borrowed during the call */
};

/* How two open connections become a relay. */
struct relay_options {
    struct slot slot;    /* on the server: the relay's from now on. A zeroed one: there is none */
    const char *group;   /* the upstream or target, for the record; borrowed while the relay lives */
    uint64_t started_ms; /* when the server was asked for */
    uint32_t total_ms;   /* how long all may last from then on, 0: for ever */
    void (*on_end)(void *context, const struct relay_end *end); /* when both sides have ended; NULL: nobody asks */
    void *context;
};

/* Owned by its two connections (conn->owner), and ended by the first of them that ends. */
struct relay {
    struct conn *client; /* borrowed until the end */
    struct conn *server; /* the same; NULL while dialling */
    struct dial *dial;   /* owned: NULL when there is a server */
    uint64_t bytes_up;
    uint64_t bytes_down;
    uint64_t connected_ms;
    struct relay_options options;
    struct timer total;
    bool is_complete; /* both sides have said all they had, and it was passed on */
    bool is_overdue;  /* total_ms have passed */
};

extern const struct conn_handler relay_handler;

/* Relays two open connections, whatever handled them before: they are the relay's now, with what they have unread. May end
 * at once, and call on_end from within. 0; -EPIPE (one of them has ended, or was shut down by us) or -ENOMEM: then nothing has changed, and the slot
 * is the caller's still. */
MUST_CHECK int relay_join(struct conn *client, struct conn *server, const struct relay_options *options);
