/* See output.h. */
#include "core/output.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "core/lease.h"

void output_init(struct output *out)
{
    *out = (struct output){0};
}

void output_deinit(struct output *out, struct chunk_pool *pool)
{
    assert(out->in_flight == 0);
    output_drop(out, pool);
}

static void link_last(struct output *out, struct chunk *chunk)
{
    chunk->next = NULL;
    if (out->last)
        out->last->next = chunk;
    else
        out->first = chunk;
    out->last = chunk;
}

/* Links a new chunk with room for at least len bytes (what fits one chunk) at the end. */
static struct chunk *add_chunk(struct output *out, struct chunk_pool *pool, uint32_t len)
{
    struct chunk *chunk = chunk_new(pool, len < CHUNK_LARGE_BYTES ? len : CHUNK_LARGE_BYTES);

    if (chunk)
        link_last(out, chunk);
    return chunk;
}

/* Gives back a chunk that was taken off the queue, and with a view its lease. */
static void free_chunk(struct output *out, struct chunk_pool *pool, struct chunk *chunk)
{
    if (LIKELY(!chunk->lease)) {
        chunk_release(pool, chunk);
        return;
    }
    out->views--;
    lease_free(chunk_free_view(pool, chunk));
}

/* Takes back the chunks and bytes that an append added before memory ran out. */
static void undo_append(struct output *out, struct chunk_pool *pool, struct chunk *last, uint32_t end, uint32_t staged)
{
    struct chunk *chunk = last ? last->next : out->first;

    while (chunk) {
        struct chunk *next = chunk->next;

        chunk_release(pool, chunk);
        chunk = next;
    }
    out->last = last;
    out->staged = staged;
    if (last) {
        last->next = NULL;
        last->end = end;
    } else {
        out->first = NULL;
    }
}

/* The last chunk if it has room, else a new one. */
static struct chunk *chunk_with_room(struct output *out, struct chunk_pool *pool, uint32_t len)
{
    if (LIKELY(out->last && chunk_room(out->last) > 0))
        return out->last;
    return add_chunk(out, pool, len);
}

int output_append(struct output *out, struct chunk_pool *pool, const void *data, uint32_t len)
{
    struct chunk *last = out->last;
    const uint8_t *from = data;
    uint32_t end = last ? last->end : 0;
    uint32_t staged = out->staged;

    if (UNLIKELY(len > UINT32_MAX - staged))
        return -ENOMEM;
    out->reserved = 0;
    while (len > 0) {
        struct chunk *chunk = chunk_with_room(out, pool, len);
        uint32_t part;

        if (!chunk)
            goto fail;
        part = len < chunk_room(chunk) ? len : chunk_room(chunk);
        memcpy(chunk->data + chunk->end, from, part);
        chunk->end += part;
        out->staged += part;
        from += part;
        len -= part;
    }
    return 0;
fail:
    undo_append(out, pool, last, end, staged);
    return -ENOMEM;
}

int output_append_lease(struct output *out, struct chunk_pool *pool, struct lease *lease)
{
    struct chunk *view = NULL;

    assert(lease->data && lease->len > 0);
    if (LIKELY(lease->len <= UINT32_MAX - out->staged))
        view = chunk_new_view(pool, lease, lease->data, lease->len);
    if (UNLIKELY(!view)) {
        lease_free(lease);
        return -ENOMEM;
    }
    out->reserved = 0;
    link_last(out, view);
    out->staged += lease->len;
    out->views++;
    return 0;
}

uint8_t *output_reserve(struct output *out, struct chunk_pool *pool, uint32_t len)
{
    struct chunk *chunk = out->last;

    assert(len > 0 && len <= CHUNK_LARGE_BYTES);
    if (!chunk || chunk_room(chunk) < len)
        chunk = add_chunk(out, pool, len);
    if (!chunk)
        return NULL;
    out->reserved = len;
    return chunk->data + chunk->end;
}

int output_commit(struct output *out, uint32_t len)
{
    if (out->reserved == 0 || len > out->reserved)
        return -ERANGE;
    out->reserved = 0;
    out->last->end += len;
    out->staged += len;
    return 0;
}

uint32_t output_gather(struct output *out, struct iovec *pieces, uint32_t max)
{
    uint32_t room = SEND_BYTES_MAX;
    uint32_t count = 0;

    assert(out->in_flight == 0);
    for (struct chunk *chunk = out->first; chunk && count < max && room > 0; chunk = chunk->next) {
        uint32_t len = chunk_bytes(chunk) < room ? chunk_bytes(chunk) : room;

        if (len == 0)
            continue;
        pieces[count++] = (struct iovec){.iov_base = (void *)(uintptr_t)(chunk->bytes + chunk->start), .iov_len = len};
        room -= len;
    }
    out->in_flight = SEND_BYTES_MAX - room;
    return count;
}

void output_on_sent(struct output *out, struct chunk_pool *pool, uint32_t sent)
{
    assert(sent <= out->in_flight);
    out->in_flight = 0;
    out->staged -= sent;
    while (out->first) {
        struct chunk *chunk = out->first;
        uint32_t part = chunk_bytes(chunk) < sent ? chunk_bytes(chunk) : sent;

        chunk->start += part;
        sent -= part;
        if (chunk_bytes(chunk) > 0)
            return;
        /* A reservation at the end of the last chunk is still being written to. */
        if (chunk == out->last && out->reserved > 0)
            return;
        out->first = chunk->next;
        if (!out->first)
            out->last = NULL;
        free_chunk(out, pool, chunk);
    }
}

void output_drop(struct output *out, struct chunk_pool *pool)
{
    struct chunk *chunk = out->first;

    if (out->in_flight > 0) { /* the kernel still reads from the front: on_sent comes and frees it */
        out->reserved = 0;
        return;
    }
    while (chunk) {
        struct chunk *next = chunk->next;

        free_chunk(out, pool, chunk);
        chunk = next;
    }
    assert(out->views == 0);
    output_init(out);
}
