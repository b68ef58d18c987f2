/* The engine: listeners, acceptor and reactors of one process, started and stopped together. The control thread owns it. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/macros.h"
#include "core/config.h"
#include "uring/probe.h"

struct acceptor;
struct inherited;
struct listen_socket;
struct reactor;
struct reactor_app;
struct ring;
struct version;

struct engine {
    /* Borrowed, shared read-only: of the first version; what only a restart changes is this one's. */
    struct config *config;
    const struct reactor_app *app;
    struct probe probe; /* read-only after engine_open() */
    /* The control thread's, once the reactors run: */
    struct listen_socket **sockets; /* owned: by slot, NULL: free */
    uint32_t socket_count;
    struct inherited *inherited; /* borrowed: sockets that are there already; NULL: none */
    struct list versions;        /* owned, the newest last */
    struct version *version;     /* borrowed: the current one */
    uint32_t last_number;        /* of the versions that were made */
    struct reactor *reactors;    /* owned */
    uint32_t reactor_count;
    struct acceptor *acceptor;   /* owned, NULL with ACCEPT_REUSEPORT */
    void *shared;                /* owned by the app: what its reactors share */
    atomic_bool room_awaited;    /* some accept group waits for a connection to end */
    atomic_uint running;         /* reactor threads that have not ended */
    int control_eventfd;         /* owned: readable when a reactor thread has ended, or the watchdog is to look again */
    atomic_bool watchdog_sleeps; /* the control thread wants to know when a reactor turns again */

    pthread_mutex_t start_lock;
    pthread_cond_t start_changed;
    uint32_t started; /* threads that reported */
    int start_error;  /* the first negative errno reported */
};

/* Probes the kernel and opens the listeners; inherited: sockets that are there already, borrowed until engine_close(). 0 or a
 * negative errno after logging what to do. */
MUST_CHECK int engine_open(struct engine *engine, struct config *config, const struct reactor_app *app,
                           struct inherited *inherited);
/* Starts reactors, then the acceptor; returns when all are ready. 0 or a negative errno after logging why; nothing runs then. */
MUST_CHECK int engine_start(struct engine *engine);
/* Gives inherited sockets the options of the configuration, which they have for everybody who shares them, and so not while another
 * process serves with them that this one may fail to replace. Before engine_own_sockets(). */
void engine_configure_inherited(struct engine *engine);
/* The process that had them before makes way: what was inherited from it is shut down at the end, as all others are. */
void engine_own_sockets(struct engine *engine);
/* Stops accepting and lets connections end by themselves; the control eventfd tells when a reactor has. Returns at once. */
void engine_drain(struct engine *engine);
/* Ends everything now. Returns at once. */
void engine_stop(struct engine *engine);
/* True when every reactor has ended. */
bool engine_has_ended(const struct engine *engine);
/* Connections that are open, all reactors. */
uint32_t engine_open_connections(const struct engine *engine);
/* Joins the threads and frees everything; after engine_has_ended(), or when nothing was started. */
void engine_close(struct engine *engine);

/* From a thread that has opened, or failed to. */
void engine_report_start(struct engine *engine, int error);
/* From a reactor thread, last thing. */
void engine_report_end(struct engine *engine);
/* An accept group has no room: it wants accept_resume() when a connection ends. Any thread. */
void engine_await_room(struct engine *engine);
/* Frees versions whose parts have all ended, and closes sockets that nobody uses. Control thread, when it was woken. */
void engine_collect(struct engine *engine);
/* Closes the sockets that no version has and no thread uses. */
void engine_close_sockets(struct engine *engine);
/* Any thread: something has changed that the control thread waits for. */
void engine_wake_control(const struct engine *engine);
/* From a reactor thread, when watchdog_sleeps: wakes the control thread. */
void engine_wake_watchdog(struct engine *engine);
/* A connection has ended: wakes the accept groups that wait. Any thread; own_ring: of the calling thread. */
void engine_on_room(struct engine *engine, struct ring *own_ring);
/* A thread with a ring has made its last turn: doorbells that it had queued did not leave any more, and as it was to ring, nobody
 * else would. Wakes all reactors, and the acceptor. */
void engine_wake_all(struct engine *engine);
/* A doorbell to the inbox of that id failed: wakes its thread by the eventfd. Any thread. */
void engine_wake(struct engine *engine, uint32_t inbox_id);
