/* Leases: what the engine and scripts hold instead of raw pointers into received bytes.
 *
 * A lease stands for a stretch of bytes in a provided buffer (or in a chunk they were copied to) and keeps that buffer
 * from going back to the kernel. Leases come from a slab whose memory stays mapped while the reactor lives, and a lease's
 * generation changes when it ends: so whoever remembers (lease, generation) can always find out that it is gone.
 * Reactor thread only. */
#pragma once

#include <stdint.h>

#include "base/macros.h"
#include "base/slab.h"
#include "core/chunk.h"
#include "uring/bufring.h"

struct lease_pool {
    struct slab slab;
    struct bufring *bufs;      /* borrowed until lease_pool_deinit() */
    struct chunk_pool *chunks; /* borrowed until lease_pool_deinit() */
    uint32_t held;             /* leases that scripts hold, all connections */
};

/* Leases that scripts hold of one connection; its generation tells whether it is still that connection. */
struct lease_count {
    uint32_t generation;
    uint32_t held;
};

struct lease {
    /* The first four fields are read by Lua: struct zerg_lease of script/api.h. */
    const uint8_t *data; /* NULL once it was dropped while it is still linked */
    uint32_t len;
    uint32_t generation;
    struct lease *next; /* in the queue, the borrowed list or the retained sequence that owns it */

    struct lease_pool *pool;
    struct chunk *chunk;       /* what holds the bytes, NULL: provided buffer `bid` */
    struct lease_count *count; /* whom `held` is counted for, NULL: no script holds it */
    uint32_t count_generation;
    uint16_t bid;
};

void lease_pool_init(struct lease_pool *pool, struct bufring *bufs, struct chunk_pool *chunks);
/* Asserts that every lease came back. */
void lease_pool_deinit(struct lease_pool *pool);

/* Takes over the lease that `piece` holds. NULL without memory (the piece is then released). */
MUST_CHECK struct lease *lease_new(struct lease_pool *pool, const struct buf_piece *piece);
/* A lease on bytes of a chunk; takes one more reference on it. */
MUST_CHECK struct lease *lease_new_chunk(struct lease_pool *pool, struct chunk *chunk, const uint8_t *data,
                                         uint32_t len);
/* Another lease on len bytes, from offset `from`, of the same buffer. */
MUST_CHECK struct lease *lease_clone(const struct lease *lease, uint32_t from, uint32_t len);
/* lease_clone() for a script that keeps it as long as it likes, counted as held like the lease itself. Past the share of the
 * buffer ring that retained bytes may pin (limits.h) they are copied, unless they are more than a chunk holds, so that what
 * one connection keeps does not stop the others from receiving. */
MUST_CHECK struct lease *lease_retain(const struct lease *lease, uint32_t from, uint32_t len);
/* Counts the lease as held by a script, for a connection. */
void lease_hold(struct lease *lease, struct lease_count *count);
/* Gives the buffer back and ends the generation, but leaves the struct linked where it is. Idempotent. */
void lease_drop(struct lease *lease);
/* lease_drop(), and the struct goes back to the pool. */
void lease_free(struct lease *lease);
/* lease_free() for a whole chain. */
void lease_free_chain(struct lease *first);
