/* The memory that output is written to: chunks of two sizes from a pool of one reactor. A connection has
 * chunks only while it has unsent bytes. LIFO, so that the chunk written next is the one still in the
 * cache. One thread. */
#pragma once

#include <stdint.h>

#include "base/limits.h"
#include "base/macros.h"
#include "base/slab.h"

/* Owned by whoever holds a reference; the bytes from start to end are valid. Writers append at end while
 * end < capacity; the queue that a chunk is on uses next and start. */
struct chunk {
    struct chunk *next;
    uint32_t start;
    uint32_t end;
    uint32_t capacity; /* at least the bytes of its class, CHUNK_SMALL_BYTES or CHUNK_LARGE_BYTES */
    uint32_t refs;
    uint8_t data[];
};

struct chunk_pool {
    struct slab small;
    struct slab large;
};

/* Maps nothing yet. */
void chunk_pool_init(struct chunk_pool *pool);
/* Unmaps everything; asserts that all chunks came back. */
void chunk_pool_deinit(struct chunk_pool *pool);

/* An empty chunk with one reference and room for min_bytes (at most CHUNK_LARGE_BYTES): a small one when
 * that is enough. NULL when the kernel gives no memory. */
MUST_CHECK struct chunk *chunk_new(struct chunk_pool *pool, uint32_t min_bytes);
void chunk_retain(struct chunk *chunk);
/* Gives one reference back; with the last one the chunk goes back to the pool. */
void chunk_release(struct chunk_pool *pool, struct chunk *chunk);

/* Chunks out, of both sizes. */
uint32_t chunk_pool_out(const struct chunk_pool *pool);
/* The capacity of the chunks that are out, in bytes. */
uint64_t chunk_pool_bytes_out(const struct chunk_pool *pool);

static inline uint32_t chunk_bytes(const struct chunk *chunk) /* bytes it holds */
{
    return chunk->end - chunk->start;
}

static inline uint32_t chunk_room(const struct chunk *chunk) /* bytes that can still be appended */
{
    return chunk->capacity - chunk->end;
}
