/* A relay: two connections of one reactor, where what comes from one goes to the other, both ways.
 *
 * Received bytes move as leases from the input of one side to the output of the other and are sent from the receive buffer. A
 * side whose peer is slow stops the receiving of the other side at its write_buffer_max of staged bytes; receiving goes on
 * at half of it. The end of one side's stream is passed on after its last byte; when both have ended, both are closed. A
 * side that breaks (reset, error, time-out, no memory) ends the other: by a RST, behind the bytes that came before.
 *
 * Implements struct conn_handler: as it stands it forwards accepted connections to the address of their listener. Reactor
 * thread only. */
#pragma once

#include <stdbool.h>

#include "base/macros.h"

struct conn;
struct conn_handler;

/* Owned by its two connections (conn->owner); freed when both have ended. */
struct relay {
    struct conn *client; /* borrowed until its on_end, NULL then */
    struct conn *server; /* the same; NULL until there is one */
    bool is_connected;   /* bytes may move */
};

extern const struct conn_handler relay_handler;

/* Relays two open connections, whatever handled them before: they are the relay's now, with what they have unread. 0;
 * -EPIPE (one of them has ended) or -ENOMEM: then nothing has changed. */
MUST_CHECK int relay_join(struct conn *client, struct conn *server);
