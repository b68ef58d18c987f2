/* Received bytes of one connection: the queue of unread leases, and the list of leases the script borrowed.
 *
 * Bytes enter at the end of the queue as they were received. They leave it by being borrowed (take, next: the lease itself
 * moves) or skipped; a peek borrows clones and leaves the queue as it is. Everything borrowed ends together, when the script
 * reads again. When many small pieces wait, or buffers run out, the queue is compacted: its bytes are copied to chunks.
 * Invariant: the queue is compacted leases (in chunks) first, loose ones (in provided buffers) after them; bytes is the
 * sum of all lengths, loose the count of the loose ones. Reactor thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "core/lease.h"

struct input {
    struct lease *first; /* owned: unread, oldest first */
    struct lease *last;
    struct lease *borrowed_first; /* owned: handed to the script */
    struct lease *borrowed_last;
    uint32_t bytes;               /* unread */
    uint32_t loose;               /* unread pieces that hold a provided buffer */
    struct lease *compacted_last; /* last of the compacted ones, NULL: there are none */
    struct lease_count count;
};

void input_init(struct input *in, uint32_t generation);
/* Frees queue and borrowed list. */
void input_deinit(struct input *in);

/* Appends a lease on a provided buffer to the queue; takes it over. */
void input_append(struct input *in, struct lease *lease);
/* Ends everything borrowed. */
void input_end_borrow(struct input *in);
/* Moves the first unread lease to the borrowed list. NULL when nothing is unread. */
struct lease *input_next(struct input *in);
/* Takes the first unread lease off the queue: it is the caller's now. NULL when nothing is unread. */
struct lease *input_shift(struct input *in);
/* Moves exactly `bytes` (1 to in->bytes) to the borrowed list, splitting the last piece. Returns the first, NULL without memory
 * (nothing moved). */
MUST_CHECK struct lease *input_take(struct input *in, uint32_t bytes);
/* Borrows clones of the whole queue. Returns the first, NULL without memory. Not on an empty queue. */
MUST_CHECK struct lease *input_peek(struct input *in);
/* Drops the first `bytes` (at most in->bytes) of the queue. */
void input_skip(struct input *in, uint32_t bytes);
/* Copies len bytes from position from of the queue; the range is there. */
void input_copy(const struct input *in, uint32_t from, uint32_t len, uint8_t *out);
/* The bytes of the loose pieces. */
uint64_t input_loose_bytes(const struct input *in);
/* Copies loose bytes into chunks, so that their provided buffers go back to the kernel. Each byte is copied once,
 * however often this is called. 0 or -ENOMEM (what was not copied stays loose). */
MUST_CHECK int input_compact(struct input *in, struct lease_pool *pool);
/* Puts the first bytes of the queue into one piece, all of them or as many as a chunk holds: for parsers. Of what comes
 * piece by piece each byte is copied at most twice. 0 or -ENOMEM. */
MUST_CHECK int input_gather(struct input *in, struct lease_pool *pool);
