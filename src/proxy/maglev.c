/* Each entry has its own order of all slots (a start and a step, from its key) and in each round takes the first one
 * in it that is still free. Weights: an entry of the largest weight takes a slot in every round, one of half of it in
 * every second. */
#include "proxy/maglev.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"

enum { SLOT_FREE = UINT16_MAX };
static_assert((int)UPSTREAM_SERVERS_MAX < (int)SLOT_FREE, "an index fits a slot");
static_assert((int)UPSTREAM_SERVERS_MAX <= (int)MAGLEV_SLOTS, "everybody has a slot");

struct filler {
    uint64_t key;
    uint64_t due; /* rounds times weight at which it takes its next slot */
    uint32_t weight;
    uint32_t position; /* the next slot in its order */
    uint32_t step;
    uint16_t index;
};

static int compare_keys(const void *left, const void *right)
{
    uint64_t a = ((const struct filler *)left)->key;
    uint64_t b = ((const struct filler *)right)->key;

    return (a > b) - (a < b);
}

/* In the order of their keys, so that the order of the configuration does not matter. Returns the largest weight. */
static uint32_t prepare(struct filler *fillers, const struct maglev_entry *entries, uint32_t count)
{
    uint32_t largest = 0;

    for (uint32_t i = 0; i < count; i++) {
        assert(entries[i].weight > 0);
        fillers[i] = (struct filler){
            .key = entries[i].key,
            .weight = entries[i].weight,
            .position = maglev_slot(entries[i].key),
            .step = maglev_step(entries[i].key),
            .index = (uint16_t)i,
        };
        if (entries[i].weight > largest)
            largest = entries[i].weight;
    }
    qsort(fillers, count, sizeof(*fillers), compare_keys);
    return largest;
}

/* The first free slot in its order; there is one. */
static void take_slot(uint16_t *slots, struct filler *filler)
{
    while (slots[filler->position] != SLOT_FREE)
        filler->position = maglev_next_slot(filler->position, filler->step);
    slots[filler->position] = filler->index;
}

static void fill(uint16_t *slots, struct filler *fillers, uint32_t count, uint32_t largest)
{
    uint32_t left = MAGLEV_SLOTS;

    for (uint64_t round = 1; left > 0; round++) {
        for (uint32_t i = 0; i < count && left > 0; i++) {
            if (round * fillers[i].weight < fillers[i].due)
                continue;
            fillers[i].due += largest;
            take_slot(slots, &fillers[i]);
            left--;
        }
    }
}

uint16_t *maglev_new(const struct maglev_entry *entries, uint32_t count)
{
    struct filler *fillers = calloc(count, sizeof(*fillers));
    uint16_t *slots = malloc(MAGLEV_SLOTS * sizeof(*slots));

    assert(count > 0 && count <= UPSTREAM_SERVERS_MAX);
    if (fillers && slots) {
        uint32_t largest = prepare(fillers, entries, count);

        memset(slots, 0xff, MAGLEV_SLOTS * sizeof(*slots)); /* SLOT_FREE */
        fill(slots, fillers, count, largest);
    } else {
        free(slots);
        slots = NULL;
    }
    free(fillers);
    return slots;
}
