/* Slots, references and what can be read off a server's counters. */
#include "proxy/server.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"

static_assert((uint64_t)UPSTREAM_WEIGHT_MAX * WEIGHT_UNIT <= UINT32_MAX, "a scaled weight fits 32 bits");
static_assert(sizeof(struct server) % CACHE_LINE_BYTES == 0, "what aligned_alloc() asks for");

struct server *server_new(const char *name, const struct addr *addr)
{
    struct server *server = aligned_alloc(CACHE_LINE_BYTES, sizeof(*server));

    if (!server)
        return NULL;
    memset(server, 0, sizeof(*server));
    server->name = strdup(name);
    if (!server->name) {
        free(server);
        return NULL;
    }
    server->addr = *addr;
    atomic_init(&server->references, 1);
    return server;
}

void server_hold(struct server *server)
{
    unsigned int before = atomic_fetch_add_explicit(&server->references, 1, memory_order_relaxed);

    assert(before > 0);
}

void server_release(struct server *server)
{
    /* Released: what this thread did with the server; acquired: what all others did, before it is freed. */
    unsigned int before = atomic_fetch_sub_explicit(&server->references, 1, memory_order_acq_rel);

    assert(before > 0);
    if (before > 1)
        return;
    assert(server_open(server) == 0);
    free(server->name);
    free(server);
}

/* Counted only below the limit, so that no reactor ever sees more. */
static bool count_below(atomic_uint *open, uint32_t max)
{
    unsigned int seen = atomic_load_explicit(open, memory_order_relaxed);

    do {
        if (seen >= max)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(open, &seen, seen + 1, memory_order_relaxed, memory_order_relaxed));
    return true;
}

bool server_take_slot(struct server *server, uint32_t max)
{
    if (max == 0)
        atomic_fetch_add_explicit(&server->open, 1, memory_order_relaxed);
    else if (!count_below(&server->open, max))
        return false;
    server_hold(server);
    atomic_fetch_add_explicit(&server->total, 1, memory_order_relaxed);
    return true;
}

void server_uncount(struct server *server)
{
    atomic_fetch_sub_explicit(&server->total, 1, memory_order_relaxed);
}

void server_give_slot(struct server *server)
{
    unsigned int before = atomic_fetch_sub_explicit(&server->open, 1, memory_order_relaxed);

    assert(before > 0);
    server_release(server);
}

enum server_state server_state(const struct server *server, uint64_t now_ms)
{
    uint64_t until_ms;

    switch (server_admin(server)) {
    case SERVER_ADMIN_NONE: break;
    case SERVER_ADMIN_UP: return SERVER_UP;
    case SERVER_ADMIN_DOWN: return SERVER_DOWN;
    case SERVER_ADMIN_DRAIN: return SERVER_DRAINING;
    }
    if (atomic_load_explicit(&server->is_down, memory_order_relaxed))
        return SERVER_DOWN;
    until_ms = atomic_load_explicit(&server->ejected_until_ms, memory_order_relaxed);
    if (LIKELY(until_ms == 0))
        return SERVER_UP;
    return now_ms < until_ms ? SERVER_EJECTED : SERVER_TRIAL_DUE;
}

bool server_claim_trial(struct server *server, uint64_t now_ms, uint64_t next_ms)
{
    uint64_t until_ms = atomic_load_explicit(&server->ejected_until_ms, memory_order_relaxed);

    assert(next_ms > 0);
    if (until_ms == 0 || now_ms < until_ms)
        return false; /* somebody was faster */
    return atomic_compare_exchange_strong_explicit(&server->ejected_until_ms, &until_ms, now_ms + next_ms,
                                                   memory_order_relaxed, memory_order_relaxed);
}

void server_set_admin(struct server *server, enum server_admin admin)
{
    atomic_store_explicit(&server->admin, admin, memory_order_relaxed);
}

void server_set_weight(struct server *server, uint32_t weight)
{
    assert(weight <= UPSTREAM_WEIGHT_MAX);
    atomic_store_explicit(&server->admin_weight, weight, memory_order_relaxed);
}

uint32_t server_weight(const struct server *server, uint32_t weight, uint32_t slow_start_ms, uint64_t now_ms)
{
    uint32_t full = server_full_weight(server, weight) * WEIGHT_UNIT;
    uint64_t since_ms, part;

    if (LIKELY(slow_start_ms == 0))
        return full;
    since_ms = atomic_load_explicit(&server->recovered_ms, memory_order_relaxed);
    if (since_ms == 0 || now_ms >= since_ms + slow_start_ms)
        return full;
    if (now_ms <= since_ms) /* before, when another reactor's clock reading is newer than ours */
        return 1;
    part = full * (now_ms - since_ms) / slow_start_ms;
    return part > 0 ? (uint32_t)part : 1;
}
