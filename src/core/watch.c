/* See watch.h. A poll holds the file, not the descriptor: closing does not end it, so whoever stops a watch cancels its poll.
 * If the descriptor was closed before the poll reached the kernel, it meets nothing or somebody else's file; polling takes
 * nothing from that one, and the cancel follows in the same submission. */
#include "core/watch.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/limits.h"
#include "uring/op.h"
#include "uring/ring.h"

enum { SLOTS_AT_FIRST = 8 };

void watch_table_init(struct watch_table *table, struct ring *ring)
{
    *table = (struct watch_table){.ring = ring};
}

void watch_table_deinit(struct watch_table *table)
{
    assert(table->taken == 0);
    free(table->slots);
    table->slots = NULL;
    table->slot_count = 0;
}

static int grow(struct watch_table *table)
{
    uint32_t count = table->slot_count ? table->slot_count * 2 : SLOTS_AT_FIRST;
    struct watch_slot *slots;

    if (count > WATCHES_MAX)
        return -EBUSY;
    slots = reallocarray(table->slots, count, sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    for (uint32_t i = table->slot_count; i < count; i++)
        slots[i] = (struct watch_slot){0};
    table->slots = slots;
    table->slot_count = count;
    return 0;
}

/* There are few watches, and they are started far more rarely than they report: no list of free slots is kept. */
static uint32_t free_slot(const struct watch_table *table)
{
    uint32_t slot = 0;

    while (table->slots[slot].watch)
        slot++;
    return slot;
}

static uint64_t op_of(const struct fd_watch *watch)
{
    return op_pack(OP_WATCH, watch->slot, watch->table->slots[watch->slot].generation);
}

static void arm(const struct fd_watch *watch)
{
    ring_add_poll(watch->table->ring, op_of(watch), watch->fd, watch->events);
}

/* Also when none is armed, after an error: then the cancel finds nothing. */
static void disarm(const struct fd_watch *watch)
{
    ring_add_cancel(watch->table->ring, op_pack(OP_NONE, 0, 0), op_of(watch));
    watch->table->slots[watch->slot].generation++;
}

int watch_start(struct watch_table *table, struct fd_watch *watch, int fd, uint32_t events)
{
    int rc = table->taken == table->slot_count ? grow(table) : 0;

    assert(!watch->table && watch->on_ready && events);
    if (rc < 0)
        return rc;
    watch->table = table;
    watch->fd = fd;
    watch->events = events;
    watch->slot = free_slot(table);
    table->slots[watch->slot].watch = watch;
    table->taken++;
    arm(watch);
    return 0;
}

void watch_change(struct fd_watch *watch, uint32_t events)
{
    assert(watch->table && events);
    disarm(watch);
    watch->events = events;
    arm(watch);
}

void watch_stop(struct fd_watch *watch)
{
    struct watch_table *table = watch->table;

    if (!table)
        return;
    disarm(watch);
    table->slots[watch->slot].watch = NULL;
    table->taken--;
    watch->table = NULL;
}

/* NULL when the poll was given up. */
static struct fd_watch *find(const struct watch_table *table, uint64_t user_data)
{
    uint32_t slot = op_slot(user_data);

    if (slot >= table->slot_count)
        return NULL;
    if ((table->slots[slot].generation & OP_GENERATION_MASK) != op_generation(user_data))
        return NULL;
    return table->slots[slot].watch;
}

void watch_on_completion(struct watch_table *table, const struct completion *completion)
{
    struct fd_watch *watch = find(table, completion->user_data);
    bool has_failed = completion->result < 0;

    if (!watch)
        return;
    watch->on_ready(watch, has_failed ? POLLERR : (uint32_t)completion->result);
    watch = has_failed ? NULL : find(table, completion->user_data); /* it may be gone */
    if (watch)
        arm(watch);
}
