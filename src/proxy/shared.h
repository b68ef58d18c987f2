/* What forwarding shares between the reactors of a process: the configured upstreams, and a way to wake a reactor that has
 * somebody waiting for a server. Made before the first reactor starts, freed after the last has ended. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/list.h"
#include "base/macros.h"
#include "core/inbox.h"

struct engine;
struct group_set;
struct ring;

/* Wakes one reactor: those of its dials that were called go on, and its idle connections make way for those in line. */
struct proxy_wake {
    struct inbox_message message; /* the reactor's inbox owns it while is_sent */
    atomic_bool is_sent;
    pthread_mutex_t lock;
    struct list called; /* guarded by lock: struct waiter of this reactor that were called, in order */
};

/* engine->shared. */
struct proxy_shared {
    struct engine *engine;    /* borrowed */
    struct group_set *groups; /* owned: those in use; after the start for the control thread alone */
    struct proxy_wake *wakes; /* owned, one for each reactor */
};

/* Makes engine->shared. 0 or a negative errno after logging why. */
MUST_CHECK int proxy_shared_open(struct engine *engine);
void proxy_shared_close(struct engine *engine);
/* The upstreams in use; NULL: there are none, in tests. Control thread, and reactors while they are opened. */
struct group_set *proxy_shared_groups(const struct engine *engine);
/* Applies a set that was made to follow the one in use, which is freed, and takes it over. Reactors make their routings of it
 * before or after. Control thread; own_ring: of that, NULL: it has none. */
void proxy_shared_change(struct engine *engine, struct group_set *set, struct ring *own_ring);
/* A waiter of a reactor was called (its link); proxy_shared_wake() is to follow. Any thread. */
void proxy_shared_add_called(struct proxy_shared *shared, uint32_t reactor, struct list *link);
/* It is not called any more. Its reactor's thread. */
void proxy_shared_remove_called(struct proxy_shared *shared, uint32_t reactor, struct list *link);
/* All that were called until now go to the end of a list. The reactor's thread. */
void proxy_shared_take_called(struct proxy_shared *shared, uint32_t reactor, struct list *out);
/* Makes a reactor look for dials that were called. Any thread; own_ring: of the calling thread, NULL: it has none. */
void proxy_shared_wake(struct proxy_shared *shared, uint32_t reactor, struct ring *own_ring);
/* The same for all. */
void proxy_shared_wake_all(struct proxy_shared *shared, struct ring *own_ring);
