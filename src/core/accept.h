/* Accepting on one ring: multishot accepts on a set of listeners, and the rules for when not to. The acceptor thread has one
 * group for all reactors; with `accept = "reuseport"` every reactor has its own.
 *
 * Accepting pauses (the backlog keeps the clients) while a listener has max_connections, while no reactor has room, and
 * after EMFILE; it goes on when a connection ends anywhere in the process (engine_on_room()). Sockets that a multishot accept
 * delivers past a limit are held here, in order, until there is room. Thread of its ring only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "core/timer.h"
#include "uring/ring.h"

struct engine;
struct listen_socket;
struct version;

/* Accepting on one descriptor of a listening socket. */
struct accept_source {
    struct listen_socket *socket; /* borrowed; NULL: this place is free */
    int fd;                       /* borrowed */
    bool is_armed;
    bool is_cancelled; /* a cancel of the armed accept is on its way */
    bool is_leaving; /* nobody listens there any more: the place is free when the kernel and `held` are done with it */
    uint8_t operations;
    /* While stopping: how often it may still take who waits in the backlog; 0: that is not ours to do. */
    uint8_t sweeps_left;
    int *held; /* owned: accepted, waiting for room, oldest first */
    uint32_t held_first;
    uint32_t held_end;
    uint32_t held_capacity;
};

struct accept_group {
    struct engine *engine;
    struct ring *ring;          /* borrowed */
    struct timer_wheel *timers; /* borrowed */
    /* Where accepted sockets go. Takes over fd and returns true, or returns false when there is no room now. */
    bool (*take)(struct accept_group *group, struct listen_socket *socket, int fd);
    struct accept_source *sources; /* owned */
    uint32_t source_count;         /* places in use, free ones among them */
    uint32_t source_capacity;
    uint32_t index; /* of this group, */
    uint32_t count; /* and how many there are: they share the descriptors of a socket, see listen_socket_fd() */
    uint32_t operations;
    struct timer retry;       /* after EMFILE */
    bool is_starved;          /* EMFILE: out of descriptors */
    uint64_t report_again_ms; /* not before is it said in the log once more */
    bool is_waiting;          /* for the engine's word to begin, which is the first accept_resume() */
    bool is_stopping;
    bool is_dropping; /* and what the kernel still accepts is closed */
};

/* What becomes of connections that the kernel has accepted by the time that accepting stops. */
enum accept_rest { ACCEPT_SERVE_REST, ACCEPT_DROP_REST };

/* index: which one of `count` groups it is. Fields engine, ring, timers and take are set by the caller before; there are no sources
 * yet. */
void accept_init(struct accept_group *group, uint32_t index, uint32_t count);
/* Makes room for the sources of this version, so that accept_follow() cannot fail. 0 or -ENOMEM. */
MUST_CHECK int accept_reserve(struct accept_group *group, const struct version *version);
/* Accepts where this version listens, and nowhere else, from the next accept_settle() on. Room was made for its listeners. */
void accept_follow(struct accept_group *group, const struct version *version);
/* Closes what is held. No operation may be in flight. */
void accept_deinit(struct accept_group *group);
/* A completion of OP_ACCEPT (slot: source). */
void accept_on_completion(struct accept_group *group, const struct completion *completion);
/* A completion of a cancel of ours (OP_CANCEL_ACCEPT, slot: source). */
void accept_on_cancel(struct accept_group *group, const struct completion *completion);
/* Room may have been made: hand over what is held. */
void accept_resume(struct accept_group *group);
/* Arms and cancels as the limits say; once a turn. */
void accept_settle(struct accept_group *group);
/* Stops accepting for good; done when accept_is_stopped(), some turns later. Those that were held for want of room are closed, but
 * where another process accepts from now on, and the rest is to be served: there only what the reactors have no room for. */
void accept_stop(struct accept_group *group, enum accept_rest rest);
bool accept_is_stopped(const struct accept_group *group);
