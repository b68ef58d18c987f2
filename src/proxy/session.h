/* What there is to say about a relayed connection when it has ended: one record for each, given to whoever keeps the access log;
 * without one it is a line of the log at level debug. */
#pragma once

#include <stdint.h>

#include "base/addr.h"

/* Who ended a session, and what it was at: the two letters that HAProxy puts into its logs ("Session state at
 * disconnection", section 8.5 of its configuration manual). */
enum session_cause {
    SESSION_NORMAL = '-',
    SESSION_CLIENT_ABORTED = 'C',
    SESSION_SERVER_ABORTED = 'S', /* or refused */
    SESSION_CLIENT_TIMEOUT = 'c', /* it sent or took nothing for too long */
    SESSION_SERVER_TIMEOUT = 's',
    SESSION_PROXY_LIMIT = 'P', /* by what is configured here */
    SESSION_NO_RESOURCE = 'R', /* memory, descriptors, slots, room in the line */
    SESSION_INTERNAL = 'I',    /* a script raised */
    SESSION_KILLED = 'K',      /* by the operator, or as the server stops */
};

enum session_phase {
    SESSION_DONE = '-',
    SESSION_QUEUED = 'Q',     /* waited for a server */
    SESSION_CONNECTING = 'C', /* to the server */
    SESSION_DATA = 'D',
    SESSION_LAST_DATA = 'L', /* the server had said all, and the client was still taking it */
};

/* Strings and addresses are borrowed during the call. */
struct session_record {
    uint64_t conn_id;
    struct addr client;   /* family AF_UNSPEC: it has none */
    const char *listener; /* "" for connections of scripts */
    const char *group;    /* the upstream, or the plain target */
    const char *server;   /* "" when none was reached */
    uint64_t bytes_up;    /* from the client */
    uint64_t bytes_down;  /* to the client */
    uint64_t connect_ms;  /* until there was a server, or none */
    uint64_t total_ms;
    enum session_cause cause;
    enum session_phase phase;
};

/* Who takes records from now on, of all reactors and on their threads; NULL: the log again. Before the reactors start. */
void session_set_sink(void (*sink)(const struct session_record *record));
/* Hands a record over. Any thread. */
void session_report(const struct session_record *record);
