/* A reactor: one thread with one ring, one buffer ring, its connections and timers, and the loop that turns
 * completions into handler calls and staged work into SQEs.
 *
 * One turn: submit and wait (one system call) → drain the inbox → completions in order → due timers → what the layer above has
 * ready → settle: send what was staged, re-arm, return buffers in one publication, free what ended.
 * Nothing in it is locked; other threads reach it through its inbox alone. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/limits.h"
#include "base/list.h"
#include "core/accept.h"
#include "core/chunk.h"
#include "core/conn_table.h"
#include "core/inbox.h"
#include "core/lease.h"
#include "core/timer.h"
#include "core/watch.h"
#include "core/write_wait.h"
#include "uring/ring.h"

struct config;
struct conn;
struct conn_handler;
struct engine;
struct listen_socket;
struct listener;
struct proxy;
struct reactor;
struct version;
struct version_part;

enum {
    REACTOR_BUFFER_GROUP = 0,
    SEND_MESSAGES_MAX = 64, /* gathered sends of one submission */
};

/* What runs on a reactor: implemented by script/, which brings proxy/ along. All are called on the reactor's thread. */
struct reactor_app {
    const struct conn_handler *conn_handler;    /* of every accepted connection, */
    const struct conn_handler *forward_handler; /* but for those of listeners that forward; */
    const struct conn_handler *http_handler;    /* and those that speak HTTP; */
    /* before any of them, where a PROXY protocol header comes first: it ends with reactor_begin_serving(). */
    const struct conn_handler *proxy_accept_handler;
    /* What the reactors share (engine->shared): made before the first reactor starts, freed after the last has ended. Control
     * thread. 0, or a negative errno after logging why. NULL when they share nothing. */
    int (*open_shared)(struct engine *engine);
    void (*close_shared)(struct engine *engine);
    /* The same for the parts of one version (version->shared). It changes nothing that others use before apply_version(). NULL
     * when they share nothing. */
    int (*open_version)(struct version *version);
    void (*apply_version)(struct version *version);
    void (*close_version)(struct version *version);
    /* Of versions but the first: nobody needs its configuration any more. Control thread. */
    void (*free_config)(struct config *config);
    /* Before the first turn; reactor->app_data is the app's. 0, or a negative errno after logging why. */
    int (*open)(struct reactor *reactor);

    /* Makes part->app_data of a new part: on any thread, while the reactor turns, so it touches nothing of the reactor's. 0, or a
     * negative errno with part->problem. */
    int (*load)(struct version_part *part);
    /* The reactor's thread takes it over and begins to start it. 0, or a negative errno with part->problem. */
    int (*begin)(struct version_part *part);
    /* After begin() and between the turns that follow: 1 while it is not ready for connections yet, 0 when it is, a negative
     * errno with part->problem when it failed. */
    int (*starting)(struct version_part *part);
    /* It is current now; previous: the one before, which is not any more, NULL: there was none. */
    void (*on_switch)(struct version_part *part, struct version_part *previous);
    /* Ends what is left of its scripts, in the middle of something too, and frees part->app_data, or lets go of it and frees what
     * it was bit by bit (part_unload_later()). Of a part that was never begun, also one whose load() failed: any thread, and at
     * once. */
    void (*unload)(struct version_part *part);
    /* Of a part that was begun, after its last connection: lets go of what is not its scripts'. */
    void (*finish)(struct version_part *part);

    /* Once a turn, after completions and timers: runs what is ready. True when more is ready, so that the reactor must not sleep. */
    bool (*turn)(struct reactor *reactor);
    /* A message of a kind from REACTOR_APP on; its memory is the sender's business. */
    void (*on_message)(struct reactor *reactor, struct inbox_message *message);
    /* Draining begins: close the connections that only wait for further use, and make no new ones but for those that are
     * open. */
    void (*drain)(struct reactor *reactor);
    /* The reactor stops now: let go of every connection (unpin) without running anything more. */
    void (*abandon)(struct reactor *reactor);
    /* After the last turn. */
    void (*close)(struct reactor *reactor);
    /* After every part has been unloaded, those too that were still being loaded when the reactor ended: frees app_data. Control
     * thread. NULL when close() has done that. */
    void (*free)(struct reactor *reactor);
};

/* What other threads tell a reactor, through its inbox. */
enum reactor_message {
    REACTOR_ACCEPTED, /* struct accept_batch */
    REACTOR_RESUME_ACCEPT,
    REACTOR_DRAIN,      /* stop accepting; end when the last connection has ended */
    REACTOR_STOP,       /* end now */
    REACTOR_PART_BEGIN, /* struct version_part: see part.h */
    REACTOR_PART_SWITCH,
    REACTOR_PART_DROP,
    REACTOR_CALL, /* struct reactor_call */
    REACTOR_APP,  /* this and above: the app's own */
};

/* What is to become of a call: CALL_PENDING can be left once only, and the other two not at all. */
enum reactor_call_state { CALL_PENDING, CALL_RUNNING, CALL_CANCELLED };

/* Something that another thread wants a reactor to do between two completions, and to wait for. Lent to the reactor from
 * reactor_send_call() until is_done, cancelled or not, as it is in its inbox: the reactor wakes the control thread then. */
struct reactor_call {
    struct inbox_message message;
    void (*run)(struct reactor_call *call, struct reactor *reactor);
    /* enum reactor_call_state: both threads may change CALL_PENDING, the reactor to CALL_RUNNING just before it runs the call, who
     * sent it to CALL_CANCELLED. Whoever is first decides. */
    atomic_uint state;
    bool is_lost;        /* when it is done: it was not run, as the reactor had ended */
    atomic_bool is_done; /* it is who sent it's again, with all that run() wrote */
};

/* Sockets on their way from the acceptor; goes back to the acceptor's pool. */
struct accept_batch {
    struct inbox_message message;
    struct accept_batch *next_free;
    uint32_t count;
    struct {
        int fd;
        struct listen_socket *socket;
    } items[ACCEPT_BATCH_MAX];
};

enum reactor_state { REACTOR_RUNNING, REACTOR_DRAINING, REACTOR_STOPPING };

/* Read by other threads: the watchdog of the control thread. */
struct reactor_pulse {
    _Atomic uint64_t turns;   /* begun, and ended: odd within one */
    _Atomic uint64_t resumes; /* odd while a script runs */
};

struct reactor_stats {
    uint64_t accepted;
    uint64_t closed;
    uint64_t connects; /* connections of our own making, failed ones too */
    uint64_t connects_closed;
    uint64_t starved;   /* receives that met an empty buffer ring */
    uint64_t overflows; /* of the completion queue */
    uint64_t compacted; /* connections whose input was copied out because buffers ran out */
};

struct reactor {
    struct engine *engine; /* borrowed, shared */
    const struct reactor_app *app;
    void *app_data;           /* owned by the app */
    struct proxy *proxy;      /* owned by the app: what src/proxy keeps for this reactor, */
    struct http_server *http; /* and what src/http does */
    uint32_t index;
    enum reactor_state state;
    pthread_t thread;
    bool is_started; /* the thread was made and not joined yet: the control thread's */

    struct ring *ring;    /* owned */
    struct bufring *bufs; /* owned */
    struct chunk_pool chunks;
    struct lease_pool leases;
    struct conn_table conns;
    struct timer_wheel timers;
    struct watch_table watches;
    struct write_waits write_waits;
    struct accept_group accept; /* with ACCEPT_REUSEPORT */
    struct completion *batch;   /* owned, batch_max places */
    uint32_t batch_max;

    uint64_t now_ns; /* monotonic, read once a turn */
    uint64_t now_ms;
    uint64_t next_conn_id;

    struct list parts;            /* struct version_part, the newest first */
    struct version_part *current; /* borrowed: which new connections are served by; NULL until the first is ready */

    struct list live;          /* conns that are not free */
    struct list dirty;         /* conns to settle */
    struct list starved;       /* conns whose receive waits for buffers, first come first served, */
    struct list starved_again; /* but before them those whose turn it was when the buffers were gone again */
    struct list holding;       /* conns with unread bytes in provided buffers */
    bool has_ready;            /* the app has more to run: do not sleep */

    /* Descriptions of gathered sends: read by the kernel at submission, so reused after it. */
    struct msghdr messages[SEND_MESSAGES_MAX];
    struct iovec pieces[SEND_MESSAGES_MAX][SEND_PIECES_MAX];
    uint32_t messages_used;

    struct reactor_stats stats;
    struct inbox inbox;
    struct inbox_message resume_accept; /* sent by engine_on_room(); resume_sent guards it */
    struct inbox_message order;         /* REACTOR_DRAIN */
    struct inbox_message stop_order;    /* REACTOR_STOP */
    atomic_bool resume_sent;
    atomic_uint open; /* slots taken or promised */
    /* Its thread does nothing any more: who sends it a call has to see to that, by reactor_inbox_drop(). */
    atomic_bool has_ended;
    struct reactor_pulse pulse;
};

/* Starts the thread; ring, buffers and app are opened on it. 0 or a negative errno of pthread_create(3). The outcome of
 * opening comes through engine_report_start(). */
MUST_CHECK int reactor_start(struct reactor *reactor);
/* Waits for the thread's end. */
void reactor_join(struct reactor *reactor);

/* One turn without its thread: what the loop and tests call. wait_ns bounds the sleep. 0 or a negative errno the ring
 * does not survive. */
MUST_CHECK int reactor_turn(struct reactor *reactor, uint64_t wait_ns);
/* Sends a call; run is to be set. Any thread. */
void reactor_send_call(struct reactor *reactor, struct reactor_call *call);
/* True: it was not run and will not be, though it is lent until is_done all the same. False: it is being run, or was. Who sent it
 * only. */
MUST_CHECK bool reactor_cancel_call(struct reactor_call *call);
/* The parts of start and end around the loop, for tests: on the thread that turns. Open, its first part is still starting. */
MUST_CHECK int reactor_open(struct reactor *reactor);
void reactor_close(struct reactor *reactor);
/* A slot for a connection of our own making; NULL when all are taken or promised. */
MUST_CHECK struct conn *reactor_take_slot(struct reactor *reactor);
/* Takes over an accepted socket. False when there is no slot. */
MUST_CHECK bool reactor_adopt(struct reactor *reactor, struct listen_socket *socket, int fd);

/* Gives an accepted connection whose client is known to the handler that its listener is for, with what it has unread: it
 * may have ended when this returns, also because its client has too many (admission.h). */
void reactor_begin_serving(struct conn *conn);

/* For conn.c. */
uint64_t reactor_next_conn_id(struct reactor *reactor);
/* Room to describe SEND_PIECES_MAX pieces of one send, NULL when all of it is lent to the kernel: send one piece then, which
 * needs no description. */
struct iovec *reactor_send_pieces(struct reactor *reactor);
struct msghdr *reactor_send_message(struct reactor *reactor, uint32_t pieces);
/* Accounts for the buffer of a completion that nobody wants. */
void reactor_discard(struct reactor *reactor, const struct completion *completion);
void reactor_on_conn_closed(struct conn *conn);
void reactor_on_slot_free(struct reactor *reactor);
