/* Waiting for a descriptor that a library owns: one-shot polls on the reactor's ring, armed again after each event, so that
 * what is not dealt with is reported again. The library may close its descriptor whenever it likes, if the watch is stopped
 * in the same turn: a completion names its watch by slot and generation, and that of a watch which was stopped is dropped,
 * whoever has the descriptor's number by then. Reactor thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"

struct completion;
struct fd_watch;
struct ring;

struct watch_slot {
    struct fd_watch *watch; /* borrowed while it watches; NULL: free */
    uint32_t generation;    /* of the newest poll; grows with every one that is given up */
};

struct watch_table {
    struct ring *ring;        /* borrowed */
    struct watch_slot *slots; /* owned, grows to WATCHES_MAX */
    uint32_t slot_count;
    uint32_t taken;
};

/* Embedded in its owner, who keeps it alive while it watches. All zero before its first use. */
struct fd_watch {
    struct watch_table *table; /* borrowed; NULL: it does not watch */
    /* events: what is there (POLLIN, POLLOUT, POLLERR, POLLHUP). POLLERR alone may also mean that polling failed; it is
     * not tried again before watch_change(). May change and stop any watch, and free its owner. */
    void (*on_ready)(struct fd_watch *watch, uint32_t events);
    int fd; /* borrowed */
    uint32_t events;
    uint32_t slot;
};

void watch_table_init(struct watch_table *table, struct ring *ring);
/* Asserts that every watch was stopped. */
void watch_table_deinit(struct watch_table *table);
void watch_on_completion(struct watch_table *table, const struct completion *completion);

/* Calls watch->on_ready with every turn in which one of the events (POLLIN, POLLOUT) is there, until it is stopped. 0;
 * -ENOMEM or -EBUSY (there are WATCHES_MAX): then nothing has changed. */
MUST_CHECK int watch_start(struct watch_table *table, struct fd_watch *watch, int fd, uint32_t events);
/* From now on other events. */
void watch_change(struct fd_watch *watch, uint32_t events);
/* on_ready is not called any more. Idempotent. */
void watch_stop(struct fd_watch *watch);
static inline bool watch_is_started(const struct fd_watch *watch)
{
    return watch->table;
}
