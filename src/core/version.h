/* One version of the configuration as it is served: its listeners, and the part that each reactor has in it. Several may be
 * there at once: one is current, which new connections are served by; a newer one may be on its way; older ones stay until
 * their last connection has ended.
 *
 *     NEW ─begin─▶ STARTING ─▶ READY ─switch─▶ CURRENT ─the next one's switch─▶ OLD ─last connection─▶ ENDING ─▶ ENDED
 *                     └──── failed, or dropped ─────────────────────────────────────────────────────────▲
 *
 * The control thread makes a version, has the app load its parts, gives them to their reactors when all are loaded, and makes
 * the switch when all are ready; what each reactor does is in part.h. The control thread frees a version when every part
 * has ended. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/list.h"
#include "base/macros.h"
#include "core/inbox.h"
#include "core/timer.h"

struct config;
struct engine;
struct listen_socket;
struct listener;
struct reactor;
struct routing;
struct version;

enum part_state { PART_NEW, PART_STARTING, PART_READY, PART_CURRENT, PART_OLD, PART_ENDING, PART_ENDED };

/* What one reactor has of a version. The reactor's own from STARTING to ENDING, which is until what its scripts had is freed too;
 * else the control thread's, or the one's that loads it. */
struct version_part {
    struct version *version;    /* borrowed: it ends after its parts */
    struct reactor *reactor;    /* borrowed */
    void *app_data;             /* owned by the app: from load() to unload(), NULL: nothing */
    struct routing *routing;    /* owned by the app: from begin() to finish(), where its listeners forward to */
    struct list link;           /* reactor->parts */
    struct timer timer;         /* STARTING: how long it may take; OLD: when what is left is cut */
    struct inbox_message begin; /* what the control thread wants, each once */
    struct inbox_message switch_to;
    struct inbox_message drop;
    bool is_cut;             /* OLD: its time is over */
    bool is_unloading;       /* see part_unload_later() */
    atomic_uint state;       /* enum part_state: written by its reactor, read by the control thread */
    atomic_uint connections; /* accepted ones whose slots are not free yet: written by its reactor alone */
    atomic_size_t memory;    /* of its scripts, bytes: the same */
    char *problem; /* owned, of malloc(3): why it failed, from ENDING on; NULL: it has not, or for want of memory */
} __attribute__((aligned(CACHE_LINE_BYTES)));

/* Shared read-only while a reactor has a part in it, but for what says otherwise. */
struct version {
    struct engine *engine;      /* borrowed */
    uint32_t number;            /* from 1, in the order in which they were made; no other has it, also when it fails */
    struct config *config;      /* owned, but for that of the first, which is the engine's */
    bool is_begun;              /* its parts were given to their reactors: the control thread's */
    bool is_over;               /* it was replaced, or dropped: the control thread's */
    atomic_uint messages;       /* of its own, that are on their way to other threads */
    uint64_t since_ms;          /* when it became current, 0: it has not: the control thread's */
    struct list link;           /* engine->versions: the control thread's */
    struct listener *listeners; /* owned, as many as in the configuration */
    uint32_t listener_count;
    uint32_t
        *listener_at; /* owned: by slot of a listening socket, 1 more than the index of the listener there, 0: none */
    uint32_t socket_slots; /* places of it */
    void *shared;          /* owned by the app: what its parts share; NULL: nothing */
    uint32_t part_count;
    struct version_part *parts;   /* owned: one per reactor */
    struct inbox_message reserve; /* for the acceptor, if there is one: to make room for its listeners, */
    struct inbox_message follow;  /* and to accept there */
    atomic_int reserved;          /* what came of the first: 0 or -ENOMEM; -EINPROGRESS: not known yet */
};

/* A version with sockets for all its listeners: those of versions before it that are bound as it wants, or new ones, which
 * nobody accepts from yet. Takes over the configuration, also when it fails. 0 and *out, or a negative errno with a sentence
 * in error (LISTEN_ERROR_MAX bytes). Control thread. */
MUST_CHECK int version_new(struct version **out, struct engine *engine, struct config *config, char *error);
/* Ends it, and the sockets that no other version has; its parts are NEW or ENDED. Control thread. */
void version_free(struct version *version);

/* Gives the loaded parts to their reactors. */
void version_begin(struct version *version);
/* READY when all parts are, and the acceptor is; CURRENT when all parts are, ENDED as soon as one comes to its end or the acceptor
 * cannot follow, else STARTING. */
enum part_state version_state(const struct version *version);
/* The first reactor whose part has not come past that state, -1: none. */
int version_reactor_behind(const struct version *version, enum part_state state);
/* Why a part failed. */
const char *version_problem(const struct version *version);
/* All parts are READY: new connections are this version's from now on. */
void version_switch(struct version *version);
/* It is not wanted after all: its parts end, if they were given to their reactors; else version_unload() and version_free(). */
void version_drop(struct version *version);
/* Whether any part was loaded, also in vain. Before version_begin(). */
bool version_is_loaded(const struct version *version);
/* Ends what was loaded of parts that no reactor has; scripts may have finalizers. Any thread, while no other uses the parts. */
void version_unload(struct version *version);
/* It will not serve, but cannot be freed yet: what it alone listens on is free for others. */
void version_stop_own_sockets(struct version *version);
/* The last thing that a thread does with a message of a version. */
void version_on_message_done(struct version *version);
/* True when it was replaced or dropped, every part has ended, and no message of it is on its way any more. */
bool version_has_ended(const struct version *version);

/* The listener of this version at a socket, NULL: it has none there. */
struct listener *version_listener(const struct version *version, const struct listen_socket *socket);
