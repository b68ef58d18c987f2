/* Who gets the next connection. Pure decisions on what server.h counts: no sockets, no clock. Any reactor may pick
 * from the same upstream at the same time.
 *
 *     struct tried tried = {0};
 *     while (balance_pick(upstream, key_hash, &tried, now_ms, &pick) == PICK_OK) {
 *         connect to pick.server->addr; health_on_attempt() with how it went;
 *         connected: relay, and server_give_slot(pick.server) when the connection has ended
 *         failed: server_give_slot(pick.server); tried_add(&tried, &pick); go on while retries are left
 *     }
 *
 * round_robin and least_connections take a short lock, because the turns of smooth weighting are one state: with a
 * state for each reactor, sixteen reactors with a connection each would all choose the same server. It is held for one
 * pass over the members, some ten nanoseconds for each, once a connection. hash and random_two take none. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/limits.h"
#include "base/macros.h"

struct server;
struct upstream;

enum pick_outcome {
    PICK_OK,
    PICK_BUSY, /* somebody could be used who has max_connections: one of them ending changes that */
    PICK_NONE, /* everybody is down, ejected, draining or was tried */
};

/* A slot on a server, which holds the server; ends with server_give_slot(). */
struct pick {
    struct server *server;
    uint32_t index;      /* of the member in this version of the upstream */
    bool is_trial;       /* the one connection that tries whether an ejected server works again, when that is due */
    bool is_last_resort; /* one to an ejected server before that, as there is no other */
};

/* Members a connection has tried already, by index; all zero at first, and again with another version. */
struct tried {
    uint64_t bits[UPSTREAM_SERVERS_MAX / 64];
};

static inline void tried_add_index(struct tried *tried, uint32_t index)
{
    tried->bits[index / 64] |= 1ULL << (index % 64);
}

static inline void tried_remove_index(struct tried *tried, uint32_t index)
{
    tried->bits[index / 64] &= ~(1ULL << (index % 64));
}

static inline bool tried_has(const struct tried *tried, uint32_t index)
{
    return tried->bits[index / 64] >> (index % 64) & 1;
}

static inline void tried_add(struct tried *tried, const struct pick *pick)
{
    tried_add_index(tried, pick->index);
}

/* Picks a server and takes a slot on it. Backups are looked at only when no primary can take the connection. key_hash:
 * for BALANCE_HASH (hash_bytes() of the key, or balance_hash_client()); ignored otherwise. *pick is written only with
 * PICK_OK. */
MUST_CHECK enum pick_outcome balance_pick(struct upstream *upstream, uint64_t key_hash, const struct tried *tried,
                                          uint64_t now_ms, struct pick *pick);

/* The same among those that are ejected alone: for who got PICK_NONE, as one of them may work again by now. */
MUST_CHECK enum pick_outcome balance_pick_ejected(struct upstream *upstream, uint64_t key_hash,
                                                  const struct tried *tried, uint64_t now_ms, struct pick *pick);

/* The key of a client that has no other: its address without the port, the same for IPv4 and IPv4 mapped into IPv6.
 * Clients on a unix socket have no names and share one key. */
uint64_t balance_hash_client(const struct addr *addr);
