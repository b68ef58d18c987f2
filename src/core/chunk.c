/* Chunks of two classes, and views, on a slab each; see chunk.h. */
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
    VIEW_BLOCK_OBJECTS = 512,
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
    slab_init(&pool->views, sizeof(struct chunk), VIEW_BLOCK_OBJECTS, 0);
}

void chunk_pool_deinit(struct chunk_pool *pool)
{
    slab_deinit(&pool->small);
    slab_deinit(&pool->large);
    slab_deinit(&pool->views);
}

struct chunk *chunk_new(struct chunk_pool *pool, uint32_t min_bytes)
{
    assert(min_bytes <= LARGE_CAPACITY);
    bool is_small = min_bytes <= SMALL_CAPACITY;
    struct chunk *chunk = slab_new(is_small ? &pool->small : &pool->large);

    if (!chunk)
        return NULL;
    chunk->next = NULL;
    chunk->bytes = chunk->data;
    chunk->lease = NULL;
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
    assert(chunk->refs > 0 && !chunk->lease);
    assert(chunk->start <= chunk->end && chunk->end <= chunk->capacity);
    if (--chunk->refs > 0)
        return;
    slab_free(chunk->capacity == SMALL_CAPACITY ? &pool->small : &pool->large, chunk);
}

struct chunk *chunk_new_view(struct chunk_pool *pool, struct lease *lease, const uint8_t *bytes, uint32_t len)
{
    struct chunk *view = slab_new(&pool->views);

    assert(lease && len > 0);
    if (view)
        *view = (struct chunk){.bytes = bytes, .lease = lease, .end = len, .capacity = len, .refs = 1};
    return view;
}

struct lease *chunk_free_view(struct chunk_pool *pool, struct chunk *view)
{
    struct lease *lease = view->lease;

    assert(lease && view->refs == 1);
    slab_free(&pool->views, view);
    return lease;
}

uint32_t chunk_pool_out(const struct chunk_pool *pool)
{
    return pool->small.taken + pool->large.taken + pool->views.taken;
}

uint64_t chunk_pool_bytes_out(const struct chunk_pool *pool)
{
    return (uint64_t)pool->small.taken * SMALL_CAPACITY + (uint64_t)pool->large.taken * LARGE_CAPACITY;
}
