/* The memory that output is written to: chunks of two sizes from a pool of one reactor. A connection has
 * chunks only while it has unsent bytes. LIFO, so that the chunk written next is the one still in the
 * cache. A third kind, the view, has no memory of its own: it lets received bytes stand in a queue of chunks
 * where they are. One thread. */
#pragma once

#include <stdint.h>

#include "base/limits.h"
#include "base/macros.h"
#include "base/slab.h"

struct lease;

/* Owned by whoever holds a reference; the bytes from start to end are valid. Writers append at end while
 * end < capacity; the queue that a chunk is on uses next and start. A view is always full. */
struct chunk {
    struct chunk *next;
    const uint8_t *bytes; /* where start counts from: data, or the leased bytes of a view */
    struct lease *lease;  /* owned: what keeps a view's bytes in place, NULL: no view */
    uint32_t start;
    uint32_t end;
    uint32_t capacity; /* at least the bytes of its class, CHUNK_SMALL_BYTES or CHUNK_LARGE_BYTES */
    uint32_t refs;
    uint8_t data[];
};

struct chunk_pool {
    struct slab small;
    struct slab large;
    struct slab views;
};

/* Maps nothing yet. */
void chunk_pool_init(struct chunk_pool *pool);
/* Unmaps everything; asserts that all chunks came back. */
void chunk_pool_deinit(struct chunk_pool *pool);

/* An empty chunk with one reference and room for min_bytes (at most CHUNK_LARGE_BYTES): a small one when
 * that is enough. NULL when the kernel gives no memory. */
MUST_CHECK struct chunk *chunk_new(struct chunk_pool *pool, uint32_t min_bytes);
void chunk_retain(struct chunk *chunk);
/* Gives one reference back; with the last one the chunk goes back to the pool. Not for views. */
void chunk_release(struct chunk_pool *pool, struct chunk *chunk);

/* A view of len leased bytes; takes over the lease. NULL without memory (the lease is still the caller's). */
MUST_CHECK struct chunk *chunk_new_view(struct chunk_pool *pool, struct lease *lease, const uint8_t *bytes,
                                        uint32_t len);
/* Gives a view back to the pool and its lease to the caller. */
struct lease *chunk_free_view(struct chunk_pool *pool, struct chunk *view);

/* Chunks out, of all kinds. */
uint32_t chunk_pool_out(const struct chunk_pool *pool);
/* The capacity of the chunks that are out, in bytes; a view has none. */
uint64_t chunk_pool_bytes_out(const struct chunk_pool *pool);

static inline uint32_t chunk_bytes(const struct chunk *chunk) /* bytes it holds */
{
    return chunk->end - chunk->start;
}

static inline uint32_t chunk_room(const struct chunk *chunk) /* bytes that can still be appended */
{
    return chunk->capacity - chunk->end;
}
