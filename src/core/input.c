/* See input.h. */
#include "core/input.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"

void input_init(struct input *in, uint32_t generation)
{
    *in = (struct input){.count = {.generation = generation}};
}

void input_deinit(struct input *in)
{
    input_end_borrow(in);
    input_skip(in, in->bytes);
    assert(!in->first && in->loose == 0);
}

void input_append(struct input *in, struct lease *lease)
{
    assert(lease->len > 0 && !lease->next);
    if (in->last)
        in->last->next = lease;
    else
        in->first = lease;
    in->last = lease;
    in->bytes += lease->len;
    in->loose++;
}

void input_end_borrow(struct input *in)
{
    lease_free_chain(in->borrowed_first);
    in->borrowed_first = NULL;
    in->borrowed_last = NULL;
}

static void borrow(struct input *in, struct lease *lease)
{
    lease->next = NULL;
    if (in->borrowed_last)
        in->borrowed_last->next = lease;
    else
        in->borrowed_first = lease;
    in->borrowed_last = lease;
    lease_hold(lease, &in->count);
}

static struct lease *pop(struct input *in)
{
    struct lease *lease = in->first;

    in->first = lease->next;
    if (!in->first)
        in->last = NULL;
    if (in->compacted_last == lease)
        in->compacted_last = NULL;
    if (!lease->chunk)
        in->loose--;
    in->bytes -= lease->len;
    return lease;
}

struct lease *input_next(struct input *in)
{
    struct lease *lease = in->first;

    if (lease)
        borrow(in, pop(in));
    return lease;
}

struct lease *input_shift(struct input *in)
{
    struct lease *lease = in->first ? pop(in) : NULL;

    if (lease)
        lease->next = NULL;
    return lease;
}

/* Shortens the first piece by its first len bytes. */
static void trim_front(struct input *in, uint32_t len)
{
    in->first->data += len;
    in->first->len -= len;
    in->bytes -= len;
}

struct lease *input_take(struct input *in, uint32_t bytes)
{
    struct lease *first = NULL;
    struct lease *tail = NULL;
    struct lease *piece = in->first;
    uint32_t left = bytes;

    assert(bytes > 0 && bytes <= in->bytes);
    /* The split needs memory: get it first, so that failure changes nothing. */
    while (left >= piece->len) {
        left -= piece->len;
        if (left == 0)
            break;
        piece = piece->next;
    }
    if (left > 0) {
        tail = lease_clone(piece, 0, left);
        if (!tail)
            return NULL;
    }
    for (uint32_t whole = bytes - left; whole > 0;) {
        struct lease *lease = pop(in);

        whole -= lease->len;
        borrow(in, lease);
        first = first ? first : lease;
    }
    if (tail) {
        trim_front(in, left);
        borrow(in, tail);
        first = first ? first : tail;
    }
    return first;
}

struct lease *input_peek(struct input *in)
{
    struct lease *first = NULL;
    struct lease **link = &first;

    assert(in->first);
    for (const struct lease *lease = in->first; lease; lease = lease->next) {
        *link = lease_clone(lease, 0, lease->len);
        if (!*link) {
            lease_free_chain(first);
            return NULL;
        }
        link = &(*link)->next;
    }
    for (struct lease *lease = first; lease;) {
        struct lease *next = lease->next;

        borrow(in, lease);
        lease = next;
    }
    return first;
}

void input_skip(struct input *in, uint32_t bytes)
{
    assert(bytes <= in->bytes);
    while (bytes > 0) {
        if (bytes < in->first->len) {
            trim_front(in, bytes);
            return;
        }
        bytes -= in->first->len;
        lease_free(pop(in));
    }
}

void input_copy(const struct input *in, uint32_t from, uint32_t len, uint8_t *out)
{
    const struct lease *lease = in->first;

    while (len > 0) {
        if (from >= lease->len) {
            from -= lease->len;
        } else {
            uint32_t part = lease->len - from < len ? lease->len - from : len;

            memcpy(out, lease->data + from, part);
            out += part;
            len -= part;
            from = 0;
        }
        lease = lease->next;
    }
}

uint64_t input_loose_bytes(const struct input *in)
{
    const struct lease *lease = in->compacted_last ? in->compacted_last->next : in->first;
    uint64_t bytes = 0;

    for (; lease; lease = lease->next)
        bytes += lease->len;
    return bytes;
}

/* The chunk lease at the end of the compacted part, with room in its chunk; a new one when there is none. */
static struct lease *compacted_tail(struct input *in, struct lease_pool *pool, uint32_t bytes_left)
{
    struct lease *tail = in->compacted_last;
    struct chunk *chunk;

    if (tail && chunk_room(tail->chunk) > 0)
        return tail;
    chunk = chunk_new(pool->chunks, bytes_left < CHUNK_LARGE_BYTES ? bytes_left : CHUNK_LARGE_BYTES);
    if (!chunk)
        return NULL;
    tail = lease_new_chunk(pool, chunk, chunk->data, 0);
    chunk_release(pool->chunks, chunk); /* the lease has its own reference */
    if (!tail)
        return NULL;
    if (in->compacted_last)
        in->compacted_last->next = tail;
    else
        in->first = tail;
    in->compacted_last = tail;
    in->last = tail;
    return tail;
}

/* Copies one loose lease behind the compacted part, trimming it as its bytes move. Bytes past a chunk's end belong to
 * nobody yet, so leases on its earlier bytes are not disturbed. */
static int absorb(struct input *in, struct lease_pool *pool, struct lease *loose, uint32_t bytes_left)
{
    while (loose->len > 0) {
        struct lease *tail = compacted_tail(in, pool, bytes_left);
        struct chunk *chunk;
        uint32_t room;
        uint32_t part;

        if (!tail)
            return -ENOMEM;
        chunk = tail->chunk;
        room = chunk_room(chunk);
        part = loose->len < room ? loose->len : room;
        memcpy(chunk->data + chunk->end, loose->data, part);
        chunk->end += part;
        tail->len += part;
        loose->data += part;
        loose->len -= part;
    }
    return 0;
}

int input_compact(struct input *in, struct lease_pool *pool)
{
    struct lease *loose = in->compacted_last ? in->compacted_last->next : in->first;
    struct lease *loose_last = in->last;
    uint32_t bytes_left = in->bytes;

    in->last = in->compacted_last;
    if (in->last)
        in->last->next = NULL;
    else
        in->first = NULL;
    while (loose) {
        struct lease *next = loose->next;
        uint32_t len = loose->len;

        if (absorb(in, pool, loose, bytes_left) < 0)
            goto fail;
        bytes_left -= len;
        in->loose--;
        lease_free(loose);
        loose = next;
    }
    return 0;
fail:
    if (in->last)
        in->last->next = loose;
    else
        in->first = loose;
    in->last = loose_last;
    return -ENOMEM;
}

static void push_front(struct input *in, struct lease *lease)
{
    lease->next = in->first;
    in->first = lease;
    if (!in->last)
        in->last = lease;
    if (!in->compacted_last)
        in->compacted_last = lease;
    in->bytes += lease->len;
}

/* Copies the first bytes to a large chunk, where what follows finds room. */
static int move_to_large(struct input *in, struct lease_pool *pool)
{
    uint32_t len = in->bytes < CHUNK_LARGE_BYTES ? in->bytes : CHUNK_LARGE_BYTES;
    struct chunk *chunk = chunk_new(pool->chunks, CHUNK_LARGE_BYTES);
    struct lease *lease;

    if (!chunk)
        return -ENOMEM;
    input_copy(in, 0, len, chunk->data);
    chunk->end = len;
    lease = lease_new_chunk(pool, chunk, chunk->data, len);
    chunk_release(pool->chunks, chunk); /* the lease has its own reference */
    if (!lease)
        return -ENOMEM;
    input_skip(in, len);
    push_front(in, lease);
    return 0;
}

int input_gather(struct input *in, struct lease_pool *pool)
{
    if (!in->first || !in->first->next)
        return 0;
    if (input_compact(in, pool) < 0)
        return -ENOMEM;
    if (!in->first || !in->first->next || in->first->len >= CHUNK_LARGE_BYTES)
        return 0;
    return move_to_large(in, pool);
}
