/* The provided-buffer ring of one reactor: equal buffers in one mapping, lent to the kernel, taken back
 * with bytes in them, returned when the last lease on them ends.
 *
 * Plain: a buffer comes back with every receive. Incremental (IOU_PBUF_RING_INC, 6.12): consecutive
 * receives of any connection fill one buffer at growing offsets; it is free when the kernel has let go of
 * it and no lease is left.
 *
 * Invariant: free + published + held == entries; a buffer is on the free stack only with no leases and not
 * with the kernel. Only as many buffers as traffic needs are published (the free stack is LIFO), so that
 * memory that no load ever needed is never touched; running dry doubles that number. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "uring/ring.h"

struct bufring; /* owned by its reactor; opaque */

struct bufring_options {
    uint32_t buffer_bytes; /* power of two, 1 KiB to 1 MiB */
    uint32_t entries;      /* power of two, 1 to 32768 */
    bool incremental;
};

/* A piece of received bytes in a buffer: one lease on it. */
struct buf_piece {
    const uint8_t *data;
    uint32_t len;
    uint16_t bid;
};

/* Maps the buffers (not touched), registers the ring as `group` and publishes the first buffers. 0 or a
 * negative errno. */
MUST_CHECK int bufring_open(struct bufring **out, struct ring *ring, uint16_t group,
                            const struct bufring_options *options);
/* Unregisters and unmaps; asserts that no lease is left. */
void bufring_close(struct bufring *bufs);

/* Accounts for the buffer of a completion that has COMPLETION_BUFFER, whatever its result; call it in
 * completion order. With a positive result fills piece, which holds one lease, and returns true; else
 * returns false (no lease). */
bool bufring_take(struct bufring *bufs, const struct completion *completion, struct buf_piece *piece);
/* One more lease on the same buffer. */
void bufring_retain(struct bufring *bufs, uint16_t bid);
/* Ends one lease; the last one makes the buffer free (the kernel gets it with the next bufring_publish()). */
void bufring_release(struct bufring *bufs, uint16_t bid);
/* Hands free buffers to the kernel, up to the present target, in one tail store. Returns how many were
 * handed over. */
uint32_t bufring_publish(struct bufring *bufs);
/* A receive ended with -ENOBUFS: the target doubles (up to all buffers; of large incremental ones 4 MiB). */
void bufring_on_empty(struct bufring *bufs);

uint32_t bufring_entries(const struct bufring *bufs);
uint32_t bufring_buffer_bytes(const struct bufring *bufs);
bool bufring_is_incremental(const struct bufring *bufs);
uint32_t bufring_free(const struct bufring *bufs);      /* buffers with neither kernel nor lease */
uint32_t bufring_held(const struct bufring *bufs);      /* buffers that only leases keep from being free */
uint32_t bufring_published(const struct bufring *bufs); /* buffers the kernel has, those partly filled included */
uint32_t bufring_leases(const struct bufring *bufs);    /* leases out */
