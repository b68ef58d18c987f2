/* Chunks of two classes on two slabs; see chunk.h. */
#include "core/chunk.h"

#include "base/assert.h"

enum {
    LINE_BYTES = 64,
    /* Header and payload, rounded up by whole cache lines to an odd number of them: with a power of two as
     * distance the beginnings of all chunks would compete for the same few cache sets. */
    SMALL_OBJECT_BYTES = CHUNK_SMALL_BYTES + LINE_BYTES,
    LARGE_OBJECT_BYTES = CHUNK_LARGE_BYTES + LINE_BYTES,
    /* Mapped at a time: some 260 KiB of either class. */
    SMALL_BLOCK_OBJECTS = 64,
    LARGE_BLOCK_OBJECTS = 4,
};

static_assert(sizeof(struct chunk) <= LINE_BYTES, "the header fits into what is added to the payload");
static_assert(SMALL_OBJECT_BYTES / LINE_BYTES % 2 == 1, "an odd number of lines");
static_assert(LARGE_OBJECT_BYTES / LINE_BYTES % 2 == 1, "an odd number of lines");

enum {
    SMALL_CAPACITY = SMALL_OBJECT_BYTES - sizeof(struct chunk),
    LARGE_CAPACITY = LARGE_OBJECT_BYTES - sizeof(struct chunk),
};

void chunk_pool_init(struct chunk_pool *pool)
{
    slab_init(&pool->small, SMALL_OBJECT_BYTES, SMALL_BLOCK_OBJECTS, 0);
    slab_init(&pool->large, LARGE_OBJECT_BYTES, LARGE_BLOCK_OBJECTS, 0);
}

void chunk_pool_deinit(struct chunk_pool *pool)
{
    slab_deinit(&pool->small);
    slab_deinit(&pool->large);
}

struct chunk *chunk_new(struct chunk_pool *pool, uint32_t min_bytes)
{
    assert(min_bytes <= LARGE_CAPACITY);
    bool is_small = min_bytes <= SMALL_CAPACITY;
    struct chunk *chunk = slab_new(is_small ? &pool->small : &pool->large);

    if (!chunk)
        return NULL;
    chunk->next = NULL;
    chunk->start = 0;
    chunk->end = 0;
    chunk->capacity = is_small ? SMALL_CAPACITY : LARGE_CAPACITY;
    chunk->refs = 1;
    return chunk;
}

void chunk_retain(struct chunk *chunk)
{
    assert(chunk->refs > 0 && chunk->refs < UINT32_MAX);
    chunk->refs++;
}

void chunk_release(struct chunk_pool *pool, struct chunk *chunk)
{
    assert(chunk->refs > 0);
    assert(chunk->start <= chunk->end && chunk->end <= chunk->capacity);
    if (--chunk->refs > 0)
        return;
    slab_free(chunk->capacity == SMALL_CAPACITY ? &pool->small : &pool->large, chunk);
}

uint32_t chunk_pool_out(const struct chunk_pool *pool)
{
    return pool->small.taken + pool->large.taken;
}

uint64_t chunk_pool_bytes_out(const struct chunk_pool *pool)
{
    return (uint64_t)pool->small.taken * SMALL_CAPACITY + (uint64_t)pool->large.taken * LARGE_CAPACITY;
}
