/* Maglev's table for consistent hashing (Eisenbud and others, "Maglev: A Fast and Reliable Software Network Load
 * Balancer", NSDI 2016, section 3.4): every slot belongs to one entry, entries have slots in proportion to their
 * weights, and when one leaves, few slots but its own change hands. Made off the hot path, read-only then. */
#pragma once

#include <stdint.h>

#include "base/hash.h"
#include "base/macros.h"

/* Prime, so that every step visits all slots, and the same for any number of entries: a size that grew with them
 * would, where it changes, move nearly every key. 128 slots for each of UPSTREAM_SERVERS_MAX entries. */
enum { MAGLEV_SLOTS = 65537 };

struct maglev_entry {
    uint64_t key; /* a hash of what identifies it; distinct */
    uint32_t weight;
};

/* The slots, each the index of an entry (there is at least one; each has at least one slot). The caller frees it;
 * NULL without memory. Depends on the set of entries only, not on their order, but for the indices. */
MUST_CHECK uint16_t *maglev_new(const struct maglev_entry *entries, uint32_t count);

/* The slot of a key. */
static inline uint32_t maglev_slot(uint64_t key_hash)
{
    return (uint32_t)(key_hash % MAGLEV_SLOTS);
}

/* How far it is to the next slot when the entry of one cannot be used. Each key has its own step: an entry's slots lie a
 * constant apart, so that the slots just behind them are mostly those of one or two others, which would inherit all. */
static inline uint32_t maglev_step(uint64_t key_hash)
{
    return (uint32_t)(hash_mix(key_hash + HASH_STEP) % (MAGLEV_SLOTS - 1)) + 1;
}

/* The slot a step further, round the end; after MAGLEV_SLOTS steps all have been visited. */
static inline uint32_t maglev_next_slot(uint32_t slot, uint32_t step)
{
    return (slot + step) % MAGLEV_SLOTS;
}
