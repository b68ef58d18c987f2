/* Moving received bytes from one connection to another of the same reactor: they go as leases, and are sent from the buffer
 * they were received in. Small pieces, those past a full send, and all while buffers are scarce are copied: a peer that does
 * not read must not keep buffers from the others. Reactor thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"

struct conn;
struct lease;

/* Moves unread bytes of `from` to the output of `to` (both open), at most `limit`, until it holds its write_buffer_max; receiving on
 * `from` pauses and goes on accordingly. Returns how many went; -ENOMEM: those that could not be staged are lost, so that
 * nothing may follow them. */
MUST_CHECK int64_t pump_move(struct conn *from, struct conn *to, uint64_t limit);
/* The same of all of `bytes`, which are there, however full `to` is. */
MUST_CHECK int64_t pump_move_whole(struct conn *from, struct conn *to, uint64_t bytes);
/* All unread bytes of `from`, which receives no more, however full `to` is: no more than one turn can bring. As pump_move(). */
MUST_CHECK int64_t pump_move_rest(struct conn *from, struct conn *to);
/* Stages len bytes of a lease, from `offset`, on `to`; the lease stays as it is. 0, -EPIPE (not writable), -ENOMEM. */
MUST_CHECK int pump_pass(const struct lease *lease, uint32_t offset, uint32_t len, struct conn *to);
/* `to` has sent some: true when that is reason enough to move more. */
MUST_CHECK bool pump_is_due(const struct conn *from, const struct conn *to);
