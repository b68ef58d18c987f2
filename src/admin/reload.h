/* Reloading: another version of the configuration and its scripts takes the place of the current one, or nothing changes.
 *
 *     IDLE ──▶ READ: zerg.lua ──▶ LOAD: the scripts of every reactor ──▶ START: `start` hooks ──▶ SWITCHING ──▶ IDLE
 *                   (a thread)                (a thread)                    (the reactors)
 *
 * What is wrong anywhere ends it: what was made is dropped, and the message goes to who asked for it and to the log. A thread of
 * its own reads and loads, and ends what was loaded in vain, which may run finalizers (DROP, before IDLE), so that neither the
 * reactors nor the control thread wait for that (reload_work.h). One that does not come back, as a script never returns, holds up
 * all further reloads, which are refused then; what it was at comes to nothing. A reactor that a script holds is not waited for
 * either: before the switch the version is dropped, and behind it that reactor follows when it turns again. Functions: control
 * thread only. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/list.h"
#include "base/macros.h"

struct config;
struct config_request;
struct engine;
struct version;

/* A check reads everything, runs the scripts and their self-tests, and changes nothing. */
enum reload_kind { RELOAD_SWITCH, RELOAD_CHECK };

/* Who wants to know how a reload went. Embedded in its owner. */
struct reload_waiter {
    struct list link;
    enum reload_kind kind;
    /* Once. version: the number of the one that is current now; or 0, and problem: why nothing has changed, in one or several
     * lines, borrowed for the call. With both, the problem is what keeps some reactor from it for now. */
    void (*on_done)(struct reload_waiter *waiter, uint32_t version, const char *problem);
};

enum reload_stage { RELOAD_IDLE, RELOAD_READ, RELOAD_LOAD, RELOAD_START, RELOAD_SWITCHING, RELOAD_DROP };

/* The thread's are the control thread's too while there is none, and once is_done. */
struct reload {
    struct engine *engine;                /* borrowed */
    const struct config_request *request; /* borrowed: where the configuration comes from; shared read-only */

    /* The control thread's: */
    void (*on_end)(void *context);
    void *context; /* borrowed: on_end's */
    enum reload_stage stage;
    bool is_wanted;    /* once more, when the one under way has ended */
    bool is_announced; /* the service manager knows that one has begun: who clears it tells it that all is over */
    bool is_held;      /* none begins until reload_release() */
    const char *forbidden_why; /* borrowed for ever: why none is begun any more */
    struct list asked;         /* struct reload_waiter: for the one under way, */
    struct list asking;        /* and for the next */
    pthread_t thread;          /* of READ, LOAD and DROP */
    uint64_t began_ms;         /* when the stage was begun */
    char *files; /* owned: those of the last one that failed, or the one under way, as far as it is; NULL: unknown */
    struct timespec read_from; /* when that last read was begun to be read, CLOCK_REALTIME as files have it */

    /* Set by the control thread before the thread begins, and read by both; the parts are the thread's meanwhile: */
    enum reload_kind kind;   /* of the one under way */
    struct version *version; /* borrowed from the engine: what is being made; NULL: nothing */

    /* Written by one, read by the other at any time: */
    atomic_bool is_forbidden; /* by the control thread: the server is shutting down, or forbidden_why says why else */
    atomic_bool is_stuck;     /* the same: the thread is late, so nobody waits for it any more */
    atomic_bool is_done;      /* by the thread: it has done its part */

    /* The thread's: */
    int result;            /* 0 or a negative errno */
    char *problem;         /* owned; NULL: none */
    struct config *config; /* owned: what was read, until a version has it */
    char *read;            /* owned: the files that were read, a path on each line */
};

/* on_end, of context: one has ended, which nobody has been told yet. */
void reload_init(struct reload *reload, struct engine *engine, const struct config_request *request,
                 void (*on_end)(void *context), void *context);
/* Begins one, or another one once that under way has ended. waiter: NULL: nobody waits for a switch. */
void reload_begin(struct reload *reload, struct reload_waiter *waiter);
/* Goes on, if there is something to go on with: whenever the control thread was woken, and when reload_left_ms() have passed. */
void reload_look(struct reload *reload, uint64_t now_ms);
/* Milliseconds until reload_look() is to be called anyway, -1: no time is set. */
int reload_left_ms(const struct reload *reload, uint64_t now_ms);
/* One is under way, and somebody waits for what comes of it, or for the next. */
bool reload_is_busy(const struct reload *reload);
/* None is under way that anybody waits for, and none is begun from now on: they wait for reload_release(). */
void reload_hold(struct reload *reload);
void reload_release(struct reload *reload);
/* Whether one that is held back is asked for by nobody who waits for an answer: by a signal, or for a file that has changed. */
bool reload_is_due(const struct reload *reload);
/* No reload is begun any more, and the one under way comes to nothing. why, for those who wait: a text that stays. */
void reload_forbid(struct reload *reload, const char *why);
/* Waits for the thread, at most that long; false: it is still at work. */
MUST_CHECK bool reload_join(struct reload *reload, uint32_t wait_ms);
/* After the engine has ended and the thread was joined: frees what was not used. */
void reload_deinit(struct reload *reload);
