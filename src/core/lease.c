/* See lease.h. */
#include "core/lease.h"

#include <string.h>

#include "base/assert.h"
#include "base/limits.h"

enum { LEASES_PER_BLOCK = 512 };

void lease_pool_init(struct lease_pool *pool, struct bufring *bufs, struct chunk_pool *chunks)
{
    *pool = (struct lease_pool){.bufs = bufs, .chunks = chunks};
    slab_init(&pool->slab, sizeof(struct lease), LEASES_PER_BLOCK, 0);
}

void lease_pool_deinit(struct lease_pool *pool)
{
    assert(pool->held == 0);
    slab_deinit(&pool->slab);
}

static struct lease *lease_take(struct lease_pool *pool, const uint8_t *data, uint32_t len)
{
    struct lease *lease = slab_new(&pool->slab);

    if (!lease)
        return NULL;
    lease->data = data;
    lease->len = len;
    lease->next = NULL;
    lease->pool = pool;
    lease->chunk = NULL;
    lease->count = NULL;
    return lease;
}

struct lease *lease_new(struct lease_pool *pool, const struct buf_piece *piece)
{
    struct lease *lease = lease_take(pool, piece->data, piece->len);

    if (lease)
        lease->bid = piece->bid;
    else
        bufring_release(pool->bufs, piece->bid);
    return lease;
}

struct lease *lease_new_chunk(struct lease_pool *pool, struct chunk *chunk, const uint8_t *data, uint32_t len)
{
    struct lease *lease = lease_take(pool, data, len);

    if (lease) {
        lease->chunk = chunk;
        chunk_retain(chunk);
    }
    return lease;
}

struct lease *lease_clone(const struct lease *lease, uint32_t from, uint32_t len)
{
    struct lease *clone;

    assert(lease->data && from <= lease->len && len <= lease->len - from);
    if (lease->chunk)
        return lease_new_chunk(lease->pool, lease->chunk, lease->data + from, len);
    clone = lease_take(lease->pool, lease->data + from, len);
    if (clone) {
        clone->bid = lease->bid;
        bufring_retain(lease->pool->bufs, lease->bid);
    }
    return clone;
}

static bool is_past_share(const struct lease *lease)
{
    uint32_t entries = bufring_entries(lease->pool->bufs);

    return lease->pool->held >= entries / HELD_SHARE_OF_ALL ||
           (lease->count && lease->count->held >= entries / HELD_SHARE_OF_CONN);
}

static struct lease *copy_out(const struct lease *lease, uint32_t from, uint32_t len)
{
    struct chunk *chunk = chunk_new(lease->pool->chunks, len);
    struct lease *copy;

    if (!chunk)
        return NULL;
    memcpy(chunk->data, lease->data + from, len);
    chunk->end = len;
    copy = lease_new_chunk(lease->pool, chunk, chunk->data, len);
    chunk_release(lease->pool->chunks, chunk); /* the lease has its own reference */
    return copy;
}

struct lease *lease_retain(const struct lease *lease, uint32_t from, uint32_t len)
{
    bool is_copied = !lease->chunk && len <= CHUNK_LARGE_BYTES && is_past_share(lease);
    struct lease *own = is_copied ? copy_out(lease, from, len) : lease_clone(lease, from, len);

    if (own && lease->count)
        lease_hold(own, lease->count);
    return own;
}

void lease_hold(struct lease *lease, struct lease_count *count)
{
    assert(!lease->count);
    lease->count = count;
    lease->count_generation = count->generation;
    count->held++;
    lease->pool->held++;
}

void lease_drop(struct lease *lease)
{
    if (!lease->data)
        return;
    if (lease->chunk)
        chunk_release(lease->pool->chunks, lease->chunk);
    else
        bufring_release(lease->pool->bufs, lease->bid);
    if (lease->count) {
        lease->pool->held--;
        if (lease->count->generation == lease->count_generation)
            lease->count->held--;
    }
    lease->data = NULL;
    lease->generation++;
}

void lease_free(struct lease *lease)
{
    lease_drop(lease);
    slab_free(&lease->pool->slab, lease);
}

void lease_free_chain(struct lease *first)
{
    while (first) {
        struct lease *next = first->next;

        lease_free(first);
        first = next;
    }
}
