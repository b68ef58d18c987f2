/* One server of an upstream: where it is, how loaded it is, whether it may be used. Shared by all reactors and by
 * successive versions of an upstream, so that a reload or a new DNS answer forgets neither open connections nor
 * health. When its health changes is said in health.h, who gets the next connection in balance.h.
 *
 * Everything that changes is an atomic, read and written relaxed: each field stands for itself, and a reactor that
 * sees one a moment late makes a decision that was right a moment ago. Only the checks' streak is one thread's. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/macros.h"

/* Weights are handled in fractions of this, so that a weight of 1 can ramp up too. */
enum { WEIGHT_UNIT = 1024 };

enum server_state {
    SERVER_UP,
    SERVER_TRIAL_DUE, /* its ejection has run out: one connection may try it */
    SERVER_EJECTED,   /* too many connections failed */
    SERVER_DOWN,      /* active checks say so, or the operator */
    SERVER_DRAINING,  /* the operator wants no new connections on it */
};

/* What the operator says of a server, which goes before what is found out about it. */
enum server_admin {
    SERVER_ADMIN_NONE,
    SERVER_ADMIN_UP,    /* it is used, whatever checks and failures say */
    SERVER_ADMIN_DOWN,  /* it is not */
    SERVER_ADMIN_DRAIN, /* the same: it gets no new connections, those that it has go on */
};

struct server {
    char *name;       /* owned; unique in an upstream, and what consistent hashing goes by */
    struct addr addr; /* read-only */
    atomic_uint references;
    uint32_t check_streak; /* checks in a row that contradict is_down; only the thread that checks */

    /* Written with every connection: off the line of what is only read. */
    _Alignas(CACHE_LINE_BYTES) atomic_uint open; /* slots taken: connections, and attempts at one */
    atomic_bool is_down;
    atomic_uint admin;                 /* enum server_admin */
    atomic_uint admin_weight;          /* in place of the one it is configured with; 0: there is none */
    _Atomic uint64_t ejected_until_ms; /* 0: not ejected */
    _Atomic uint64_t recent_fails;     /* since when, and how many: health.c packs them */
    _Atomic uint64_t recovered_ms;     /* when slow start began, 0: never */
    _Atomic uint64_t total;            /* slots ever taken and used */
    _Atomic uint64_t fails;            /* attempts that failed */
    _Atomic uint64_t ejections;
};

/* A server that is up, with one reference; NULL without memory. name is copied. */
MUST_CHECK struct server *server_new(const char *name, const struct addr *addr);
void server_hold(struct server *server);
/* Frees it with the last reference. */
void server_release(struct server *server);

/* Takes a slot, which also holds the server; false when `max` are taken (0: no limit). */
MUST_CHECK bool server_take_slot(struct server *server, uint32_t max);
/* A slot that was taken and then not used is none that was ever taken; it is still to be given back. */
void server_uncount(struct server *server);
/* Gives it back, when the connection (or the attempt) has ended. The server may be gone afterwards. */
void server_give_slot(struct server *server);

/* What holds at this time, the strongest reason first. */
enum server_state server_state(const struct server *server, uint64_t now_ms);
/* The trial of a server whose ejection has run out. One caller gets it (true); to all others the server is ejected
 * for another next_ms, so a trial that is never decided is followed by another one. */
MUST_CHECK bool server_claim_trial(struct server *server, uint64_t now_ms, uint64_t next_ms);
/* When the server may be tried again, 0: it is not ejected. */
static inline uint64_t server_trial_ms(const struct server *server)
{
    return atomic_load_explicit(&server->ejected_until_ms, memory_order_relaxed);
}
/* From now on. Any thread. */
void server_set_admin(struct server *server, enum server_admin admin);
static inline enum server_admin server_admin(const struct server *server)
{
    return (enum server_admin)atomic_load_explicit(&server->admin, memory_order_relaxed);
}
/* Whether the operator lets it have new connections. */
static inline bool server_is_wanted(const struct server *server)
{
    return server_admin(server) < SERVER_ADMIN_DOWN;
}
/* weight: up to UPSTREAM_WEIGHT_MAX, 0: as it is configured. Any thread; tables of consistent hashing know it once they are made
 * anew. */
void server_set_weight(struct server *server, uint32_t weight);
/* Its weight in force, where it is configured with this one. */
static inline uint32_t server_full_weight(const struct server *server, uint32_t weight)
{
    uint32_t admin_weight = atomic_load_explicit(&server->admin_weight, memory_order_relaxed);

    return admin_weight > 0 ? admin_weight : weight;
}

/* The same in WEIGHT_UNITs: while slow_start_ms since it recovered have not passed, the part of it that has, at
 * least 1. */
uint32_t server_weight(const struct server *server, uint32_t weight, uint32_t slow_start_ms, uint64_t now_ms);
/* Connections now. */
static inline uint32_t server_open(const struct server *server)
{
    return atomic_load_explicit(&server->open, memory_order_relaxed);
}
