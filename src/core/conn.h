/* A connection: one socket, its received and its staged bytes, and the state machine between the ring and a handler.
 *
 *     accepted ─▶ OPEN, or of our own making (connect.h): CONNECTING ─▶ OPEN
 *     OPEN ──close──▶ FLUSHING ──all sent──▶ LINGERING ──peer's end, or time──▶ DYING ──no operation left──▶ DEAD ──no pin──▶ free
 *       └───────────── reset, time-out, abort, stop: from any of them straight to ────▶ DYING
 *
 * CONNECTING waits for the peer's answer; nothing can be staged yet, and closing it cancels that. FLUSHING sends what is staged; LINGERING has sent our FIN and discards what still comes, because closing a socket with
 * unread bytes would reset it and could cost the peer the end of our answer; DYING waits for the kernel to let go of every
 * operation and then closes the descriptor; DEAD waits for whoever still points at the slot. A slot is reused only after
 * that, under a new generation.
 *
 * Events and calls only change fields and mark the connection dirty; conn_settle(), once a turn, is the one place that
 * arms, cancels, sends, closes and frees. Reactor thread only. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/list.h"
#include "core/config.h"
#include "core/input.h"
#include "core/output.h"
#include "core/timer.h"
#include "uring/ring.h"

struct client;
struct conn;
struct listener;
struct reactor;

enum conn_state {
    CONN_FREE,
    CONN_CONNECTING,
    CONN_OPEN,
    CONN_FLUSHING,
    CONN_LINGERING,
    CONN_DYING,
    CONN_DEAD,
    CONN_STATE_COUNT
};

/* Why a connection ended; the first reason stays. close_reason_text() gives the word that scripts and logs see. */
enum close_reason {
    CLOSE_NONE,
    CLOSE_PEER,    /* end of stream from the peer */
    CLOSE_LOCAL,   /* closed by our side */
    CLOSE_ABORTED, /* reset by our side */
    CLOSE_RESET,   /* reset by the peer */
    CLOSE_TIMEOUT, /* connect, idle or write time-out, or TCP gave up */
    CLOSE_NO_MEMORY,
    CLOSE_SHUTDOWN,    /* the server stops */
    CLOSE_REFUSED,     /* nobody listens at the address we connect to, or it takes no more */
    CLOSE_UNREACHABLE, /* no way to that address */
    CLOSE_ERROR,       /* any other error of the socket */
    CLOSE_REASON_COUNT,
};

enum prefetch_step { PREFETCH_NEAR, PREFETCH_FAR };

/* What stands above a connection: a script, a relay, HTTP. All calls come from the reactor thread, none from
 * inside a call that the handler itself made, but for on_end. */
struct conn_handler {
    /* An accepted connection is open; the handler may set conn->owner, and pins it if it keeps pointers to it past on_end. */
    void (*on_open)(struct conn *conn);
    /* Bytes for conn will soon be delivered: asks the cache for what on_input() will need of conn->owner's, in two steps some
     * completions apart, as the second is found through the first. Only while conn->owner is set. NULL for handlers
     * that need nothing. */
    void (*prefetch)(const struct conn *conn, enum prefetch_step step);
    /* A connection of our own making is open: conn_connect() succeeded. NULL for handlers that make none. */
    void (*on_connected)(struct conn *conn);
    /* Bytes were added to conn->in, or no more will come (conn_ended()). */
    void (*on_input)(struct conn *conn);
    /* The kernel took staged bytes: conn->out.staged is smaller now. */
    void (*on_output)(struct conn *conn);
    /* conn_await_input()'s time passed. */
    void (*on_read_timeout)(struct conn *conn);
    /* Another version of the configuration is current now (part.h): an accepted connection that nothing of the old one stands
     * above calls part_catch_up(). NULL: the handler belongs to the version that it began with. */
    void (*on_newer_version)(struct conn *conn);
    /* The peer has gone or the connection was closed, or it could not be made: conn->reason is set. Once, before the slot is
     * freed, and the last call for this connection. May come from within a call of the handler (conn_close(), conn_kill()). */
    void (*on_end)(struct conn *conn);
};

/* What a proxy before us said of a connection in front of its first byte. The header stays as it came, for those who can
 * read it. */
struct proxied {
    struct addr source;      /* family AF_UNSPEC: it did not say */
    struct addr destination; /* the same */
    uint32_t header_bytes;
    uint8_t header[];
};

/* In the order of use: what every receive and every send touches is in the first three cache lines. */
struct conn {
    struct reactor *reactor;            /* borrowed: the reactor it belongs to for life */
    const struct conn_handler *handler; /* what stands above; called only while the socket lives */
    void *owner;                        /* the handler's own */
    uint32_t slot;
    uint32_t generation; /* of this use of the slot */
    int fd;
    uint16_t pins;      /* pointers to this slot that outlive an event; see conn_pin() */
    uint8_t state;      /* enum conn_state; changed by conn_set_state() alone */
    uint8_t reason;     /* enum close_reason */
    uint8_t operations; /* SQEs the kernel has not finished with */

    bool is_dirty : 1;    /* on reactor->dirty: to be settled */
    bool is_starved : 1;  /* on a list of the reactor's: its receive met an empty buffer ring */
    bool was_starved : 1; /* and has got nothing since it was armed again */
    bool is_paused : 1;   /* enough is unread: nothing is received for now */
    bool recv_armed : 1;
    bool recv_cancelled : 1; /* a cancel of the armed receive is on its way */
    bool send_cancelled : 1;
    bool sends_now : 1;   /* the send in flight does not wait for room: the peer has half-closed */
    bool is_blocked : 1;  /* it had no room: see write_wait.h */
    bool input_ended : 1; /* the peer's end of stream was seen */
    bool fin_wanted : 1;  /* half-close when everything staged is sent */
    bool fin_sent : 1;
    bool is_aborted : 1;   /* close with RST */
    bool end_reported : 1; /* on_end was called */
    bool connect_armed : 1;
    bool connect_cancelled : 1;
    struct list dirty_link;

    struct input in;
    uint32_t input_wanted;     /* bytes a parked reader asks for: the high-water mark rises to it */
    uint32_t write_buffer_max; /* staged bytes above which a writer should wait */

    struct output out;
    uint64_t bytes_in;
    uint64_t bytes_out; /* taken by the kernel */
    uint64_t active_ms; /* when a byte last moved either way */

    uint64_t read_deadline_ms; /* of conn_await_input(), 0: none */
    struct timeouts timeouts;
    uint64_t send_progress_ms; /* when bytes were last seen to leave, or the present send began */
    uint64_t send_sampled_ms;  /* when we last looked whether they do */
    uint64_t send_progress;    /* what we saw then: see kernel_progress() */
    uint64_t state_since_ms;
    struct timer timer; /* due no later than the earliest deadline */

    struct list holding_link; /* reactor->holding: has unread bytes in provided buffers */
    struct list starved_link;
    struct list link;          /* reactor->live, in the order of arrival; the free list when free */
    struct listener *listener; /* borrowed, shared; NULL: a connection of our own making */
    struct client *client;     /* borrowed until it is closed: whom it counts for (admission.h); NULL: for nobody */
    uint64_t id;               /* unique in the process */
    uint64_t began_ms;
    union {
        sa_family_t family; /* AF_UNSPEC: not known */
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
    } peer;                       /* who connected to us, or whom we connected to */
    struct proxied *proxied;      /* owned, of malloc(3), until the slot is free; NULL: no proxy said anything */
    struct addr *target;          /* owned, of malloc(3), until the slot is free: where to, if that is a unix socket */
    uint64_t connect_deadline_ms; /* 0: none */
} __attribute__((aligned(CACHE_LINE_BYTES)));

/* Starts a connection on a slot that conn_table_take() gave; takes over fd. Calls handler->on_open(). */
void conn_open(struct conn *conn, int fd, struct listener *listener, const struct conn_handler *handler);

/* Completions, dispatched by the reactor. */
void conn_on_recv(struct conn *conn, const struct completion *completion);
void conn_on_send(struct conn *conn, const struct completion *completion);
void conn_on_cancel(struct conn *conn, const struct completion *completion);

/* The one place that talks to the ring for this connection: sends, arms, cancels, closes, frees. At the end of a turn. */
void conn_settle(struct conn *conn);
/* Asks for conn_settle() at the end of this turn. */
void conn_mark_dirty(struct conn *conn);

/* True when no more bytes will be added to conn->in. */
bool conn_ended(const struct conn *conn);
/* True when the peer has ended its stream without a byte. */
bool conn_ended_silently(const struct conn *conn);
/* True while bytes can still be staged. */
bool conn_is_writable(const struct conn *conn);
/* True while more is staged than may be before writers wait. */
static inline bool conn_is_full(const struct conn *conn)
{
    return conn->out.staged > conn->write_buffer_max;
}

/* A reader waits until `bytes` unread bytes are there: lets them in, and starts the read time-out. */
void conn_await_input(struct conn *conn, uint32_t bytes);
void conn_stop_awaiting(struct conn *conn);
/* Unread bytes were consumed: receiving may go on. */
void conn_on_consumed(struct conn *conn);
/* Receives nothing more until conn_on_consumed() finds little enough unread. What is on its way still comes. */
void conn_pause_input(struct conn *conn);

/* Stages bytes. 0, -EPIPE (not writable), -ENOMEM. */
MUST_CHECK int conn_write(struct conn *conn, const void *data, uint32_t len);
/* Stages received bytes of any connection of this reactor without a copy; takes over the lease, which ends when they are
 * sent. 0, -EPIPE (not writable), -ENOMEM; the lease is freed then. */
MUST_CHECK int conn_write_lease(struct conn *conn, struct lease *lease);
/* Half-close after what is staged. */
void conn_shutdown(struct conn *conn);
/* Close after what is staged, with CLOSE_ABORTED by a RST behind it. Idempotent, keeps the first reason. One that is
 * CONNECTING is closed at once. */
void conn_close(struct conn *conn, enum close_reason reason);
/* Close at once, dropping what is staged; CLOSE_ABORTED sends a RST. Idempotent. */
void conn_kill(struct conn *conn, enum close_reason reason);

/* However it ends, or is ending: by a RST, so that the peer does not take what it got for all there was. */
void conn_end_by_reset(struct conn *conn);

/* Milliseconds, 0: none. Start to count now. */
void conn_set_timeouts(struct conn *conn, const struct timeouts *timeouts);

/* A pin keeps the slot from being reused. */
void conn_pin(struct conn *conn);
void conn_unpin(struct conn *conn);

/* Whom the connection is from (or goes to) and the address it came to, as a proxy said, else as the sockets have it.
 * Family AF_UNSPEC when it is not known. conn_local() may ask the kernel. */
void conn_remote(const struct conn *conn, struct addr *out);
void conn_local(const struct conn *conn, struct addr *out);
/* Who is at the other end of the socket, whatever a proxy said. */
void conn_peer(const struct conn *conn, struct addr *out);
/* "closed", "reset", "timeout", ...; NULL for CLOSE_NONE. Static. */
const char *close_reason_text(enum close_reason reason);
