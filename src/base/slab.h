/* Fixed-size objects in blocks that are mapped once, grown on demand up to a bound and never given back, so a stale
 * pointer to a freed object still points at an object of that type (generations rely on it). One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

struct slab {
    void *free;    /* owned, LIFO: the hottest object is handed out next */
    void **blocks; /* owned */
    uint32_t block_count;
    uint32_t block_objects; /* objects in one block */
    uint32_t block_used;    /* objects of the newest block that were handed out at least once; the rest is untouched */
    uint32_t object_bytes;
    uint32_t taken;     /* objects out */
    uint32_t taken_max; /* bound on `taken` */
};

/* object_bytes: size of one object, at least that of a pointer; block_objects: objects mapped at a time;
 * taken_max: most objects out at once (0: UINT32_MAX). Maps nothing yet. */
void slab_init(struct slab *slab, size_t object_bytes, uint32_t block_objects, uint32_t taken_max);
/* Unmaps everything; asserts that all objects came back. */
void slab_deinit(struct slab *slab);
/* One object, zeroed when it is handed out for the first time and as it was left otherwise (but its first pointer-sized
 * word, which the free list used); NULL at the bound or when the kernel gives no memory. */
MUST_CHECK void *slab_new(struct slab *slab);
void slab_free(struct slab *slab, void *object);
