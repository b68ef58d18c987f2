/* Bytes staged for sending on one connection: a queue of chunks, at most one send in flight. A chunk holds bytes that were
 * copied, or is a view of received bytes, which are then sent from the receive buffer; its lease ends when they are sent.
 *
 * Writers append at the end, also while a send is in flight: the kernel reads only the bytes it was given. A completion removes
 * what was sent from the front. An idle connection has no chunk. Invariant: staged is the sum of the chunks' bytes,
 * in_flight of them, from the front, are lent to the kernel, and views counts the views. Reactor thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/macros.h"
#include "core/chunk.h"

struct lease;

struct output {
    struct chunk *first; /* owned */
    struct chunk *last;
    uint32_t staged;    /* bytes, in flight included */
    uint32_t in_flight; /* bytes lent to the kernel */
    uint32_t reserved;  /* room promised at the end of last */
    uint32_t views;
};

void output_init(struct output *out);
/* Drops everything; nothing may be in flight. */
void output_deinit(struct output *out, struct chunk_pool *pool);

/* Copies len bytes to the end. 0 or -ENOMEM (nothing was appended). */
MUST_CHECK int output_append(struct output *out, struct chunk_pool *pool, const void *data, uint32_t len);
/* Puts received bytes at the end, without a copy. Takes over the lease. 0 or -ENOMEM (the lease is freed). */
MUST_CHECK int output_append_lease(struct output *out, struct chunk_pool *pool, struct lease *lease);
/* len bytes (1 to CHUNK_LARGE_BYTES) of room in one piece at the end, to be filled by the caller and then committed; the next
 * append or reserve forgets it. NULL without memory. */
MUST_CHECK uint8_t *output_reserve(struct output *out, struct chunk_pool *pool, uint32_t len);
/* Appends the first len bytes of what was reserved. 0, or -ERANGE when that is more than was reserved, or nothing was. */
MUST_CHECK int output_commit(struct output *out, uint32_t len);

/* Describes the staged bytes for one send, at most SEND_BYTES_MAX: fills up to max pieces and counts them as in flight. Nothing may be in flight
 * already. Returns the number of pieces, 0 when nothing is staged. */
uint32_t output_gather(struct output *out, struct iovec *pieces, uint32_t max);
/* The send ended: `sent` of the bytes in flight are gone, the rest is staged still. */
void output_on_sent(struct output *out, struct chunk_pool *pool, uint32_t sent);
/* Drops what is staged; bytes in flight stay until output_on_sent(). */
void output_drop(struct output *out, struct chunk_pool *pool);
