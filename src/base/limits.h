/* Every bound of the program, in one place, with the relations between them. What an operator may set has its
 * default here and its range in lua/zerg/config/schema.lua. */
#pragma once

#include "base/assert.h"

enum {
    REACTORS_MAX = 256,
    LISTENERS_MAX = 1024,
    ROUTES_MAX = 1024, /* of one listener */

    /* Input. A connection stops receiving at the high-water mark of unread bytes and starts again at half of it. */
    INPUT_HIGH_BYTES = 256 * 1024,
    INPUT_WANT_BYTES_MAX = 1024 * 1024 * 1024, /* largest peek(n): the mark rises to n */
    HELD_SHARE_OF_ALL = 2,                     /* scripts may retain one in so many buffers of a ring in all, */
    HELD_SHARE_OF_CONN = 4,                    /* and of one connection; past that retaining copies */
    INPUT_LEASES_MAX = 16,                     /* unread pieces of one connection before they are copied together, */
    INPUT_CRUMB_BYTES = 4 * 1024,              /* unless they are larger than this, on average */

    /* Output. */
    CHUNK_SMALL_BYTES = 4 * 1024,
    CHUNK_LARGE_BYTES = 64 * 1024,
    RESERVE_BYTES_MAX = 64 * 1024,   /* conn:reserve(n) */
    WRITE_BUFFER_BYTES = 256 * 1024, /* staged bytes above which a writer parks */
    SEND_PIECES_MAX = 64,            /* pieces gathered into one sendmsg, */
    /* and their bytes: a send that has to wait for a slow peer more than 128 times (APOLL_MAX_RETRY, Linux 6.x) would go to
     * a kernel worker thread. */
    SEND_BYTES_MAX = 512 * 1024,

    /* After close(): how long we wait for the peer to take the rest, and then for its end of stream. */
    CLOSE_FLUSH_MS = 60 * 1000,
    LINGER_MS = 2 * 1000,

    /* Relays. Bytes go on in the buffer they were received in, but small pieces, those past a full send, and all while buffers
     * are scarce are copied: a peer that does not read must not keep buffers from the others. */
    RELAY_COPY_BYTES = 512,
    RELAY_SHARE_OF_ALL = 3, /* copied, once more than one in so many buffers is held */
    RELAY_GONE_MS = 1000,   /* connecting may take this long when the client has ended its stream without a byte */

    /* Accept. */
    ACCEPT_BATCH_MAX = 64,       /* sockets in one message to a reactor */
    ACCEPT_REPORT_MS = 10000,    /* between two log entries about EMFILE */
    ACCEPT_RETRY_MS = 1000,      /* after EMFILE, if no connection of ours ends before */
    ADMISSION_REPORT_MS = 10000, /* between two log entries about clients with too many connections */

    /* PROXY protocol: longest header that is read or made. Newer versions of nginx have the same bound. */
    PROXY_HEADER_BYTES_MAX = 4 * 1024,
    TRUSTED_MAX = 1024, /* address ranges of one listener */

    /* HTTP/1. */
    HTTP_HEAD_BYTES_MAX = 65535,          /* what an operator may allow at most */
    HTTP_FIELDS_MAX = 128,                /* in one head, or in the trailers of one message */
    HTTP_METHOD_BYTES_MAX = 32,           /* a longer one is not implemented (RFC 9112 section 3) */
    HTTP_CONNECTION_OPTIONS_MAX = 16,     /* in all Connection fields of one head */
    HTTP_CHUNK_EXTENSION_BYTES = 4096,    /* of one message: senders could hide work in them */
    HTTP_DRAIN_BYTES = 256 * 1024,        /* of a body that no handler wanted, read for the sake of the next request */
    HTTP_DRAIN_MS = 5000,                 /* and the longest wait for more of it */
    HTTP_LAST_REQUEST_MS = 1000,          /* for one more request on a connection that is to end as the server drains */
    HTTP_RESPONSE_HEAD_BYTES = 32 * 1024, /* of a server's answer */
    HTTP_BURST = 64,                      /* pipelined requests of one connection that are handled in one go */
    HTTP_ANSWER_FIELDS_BYTES = 60 * 1024, /* header lines of one answer that a script sets */

    /* Names. */
    HOST_NAME_BYTES_MAX = 253, /* RFC 1035 section 2.3.4, as text without the last dot */
    HOST_LABEL_BYTES_MAX = 63,

    /* Upstreams. */
    UPSTREAMS_MAX = 1024,
    UPSTREAM_SERVERS_MAX = 512,  /* of one upstream; which of them were tried is one cache line of bits */
    UPSTREAM_WEIGHT_MAX = 65535, /* what a DNS SRV record can say */
    UPSTREAM_MAX_FAILS_MAX = 1000,
    CHECK_PATH_BYTES_MAX = 1024, /* of an HTTP request that checks a server */
    CHECK_HOST_BYTES_MAX = 255,
    CHECK_REPORT_MS = 60 * 1000, /* between two log entries about checks that we have no room for */
    RESOLVER_SERVERS_MAX = 16,

    /* Looking names up. */
    WATCHES_MAX = 1024,           /* descriptors of libraries, on one reactor */
    RESOLVE_QUESTIONS_MAX = 1024, /* of one reactor at a time */
    RESOLVE_TARGETS_MAX = 64,     /* servers that an SRV answer names; further ones are left out */
    RESOLVE_TARGETS_AT_ONCE = 8,  /* of them, whose addresses are asked for at a time */
    RESOLVE_ADDRS_MAX = 128,      /* in one answer */
    RESOLVE_TTL_MIN_MS = 1000,
    RESOLVE_TTL_MAX_MS = 3600 * 1000,
    RESOLVE_TTL_FAILED_MS = 3000, /* how long a failure is remembered */

    /* Plain targets ("db.internal:5432") of scripts and listeners. */
    PLAIN_KEEPALIVE = 64,     /* idle connections kept to one, for each reactor */
    PLAIN_CONNECT_MS = 5000,  /* unless the caller says otherwise */
    PLAIN_READ_MS = 30000,    /* the same, for an answer of HTTP */
    PLAIN_GROUPS_MAX = 1024,  /* that a reactor remembers */
    POOL_IDLE_MS = 60 * 1000, /* how long an idle connection is kept, unless a script says otherwise */
    POOL_SHARE_OF_CONNS = 2,  /* of a reactor's connections one in so many may be an idle one to a server; */
    POOL_SPARE_OF_CONNS = 16, /* the oldest of them go when fewer than one in so many are free for new ones */
    RACE_MS = 250,            /* before another family is tried beside the first (RFC 8305 section 8) */

    /* Scripts. */
    START_MS_MAX = 60 * 1000, /* for a version's scripts to load, and then for their `start` hooks */
    ORDER_MS_MAX = 5000,      /* for a reactor to take an order about a version: past that a script holds it */
    ACCEPT_SWEEPS_MAX = 32,   /* through the backlog of a socket that another process goes on with */
    INQUIRY_MS_MAX = 5000,    /* for a reactor to answer a question of its operator */
    INQUIRIES_MAX = 32,       /* that a reactor has before it; those that were given up too, until it turns to them */
    EVAL_MS_MAX = 1000,       /* that code of its operator may run */
    INSPECT_BATCH = 128,      /* connections that it tells of in one go */
    STOP_MS_MAX = 3000,       /* for reactors to end once they were told to */
    START_LOOK_MS = 100,
    COROUTINE_POOL_MAX = 1024, /* idle coroutines kept per reactor */
    MIGRATE_TOGETHER_MS = 20,  /* that connections wait for each other to go to the next version in one turn */
    MIGRATE_AGAIN_MS = 1000,   /* after which those that could not go are tried again */
    READY_BUDGET = 4096,       /* ready tasks resumed in one turn */
    SCRIPT_STALL_MS = 1000,    /* a handler that runs longer is reported */

    /* The control thread, and who asks it things. */
    LOOP_SOURCES_MAX = 64,                 /* descriptors it waits for */
    CONTROL_CLIENTS_MAX = 32,              /* connected at once */
    CONTROL_REQUEST_BYTES_MAX = 64 * 1024, /* of one line */
    CONTROL_WORDS_MAX = 16,                /* in it */
    CONTROL_WAITING_BYTES = 1024 * 1024,   /* of answers: who does not read them is dropped when more is to be said */
    CONTROL_FLUSH_MS = 1000,               /* for the last of them to be read, at the end */
    CONTROL_PROGRESS_MS = 1000,            /* between two reports on how far something is */
    STOP_WAITS_MAX = 64,                   /* requests to stop that wait for the end */
    REPL_HISTORY_LINES = 1000,             /* that `zerg repl` remembers */
    CONTROL_LOCK_MS = 1000,                /* for another server that begins at the same path right now */
};

static_assert(RESERVE_BYTES_MAX <= CHUNK_LARGE_BYTES, "a reservation fits one chunk");
static_assert(WRITE_BUFFER_BYTES >= CHUNK_LARGE_BYTES, "a full chunk can always be staged");
static_assert(PROXY_HEADER_BYTES_MAX <= CHUNK_SMALL_BYTES, "a PROXY protocol header that we send fits one chunk");
static_assert(HTTP_HEAD_BYTES_MAX <= CHUNK_LARGE_BYTES, "a head can be put into one piece");
static_assert(CONTROL_CLIENTS_MAX + 16 <= LOOP_SOURCES_MAX, "what is no client of the control socket has room too");
static_assert(INQUIRIES_MAX >= CONTROL_CLIENTS_MAX, "every client may ask the same reactor at once");
static_assert(EVAL_MS_MAX < INQUIRY_MS_MAX, "who has code evaluated hears how it ended");
static_assert(HTTP_ANSWER_FIELDS_BYTES + 1024 <= RESERVE_BYTES_MAX, "the head of an answer is written in one piece");
/* c-ares looks for a free message id by trying: most of the 65536 must be. A host is two questions, A and AAAA. */
static_assert(RESOLVE_QUESTIONS_MAX * RESOLVE_TARGETS_AT_ONCE * 2 <= 65536 / 4, "message ids stay easy to find");
