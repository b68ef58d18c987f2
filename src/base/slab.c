/* Objects that were handed out before come from the free list; only when it is empty is the next untouched
 * object of the newest block taken, so memory that no load ever needed is never touched. */
#include "base/slab.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/assert.h"

static size_t block_bytes(const struct slab *slab)
{
    return (size_t)slab->object_bytes * slab->block_objects;
}

/* The free list runs through the first word of each free object. */
static void *pop_free(struct slab *slab)
{
    void *object = slab->free;

    slab->free = *(void **)object;
    return object;
}

static bool add_block(struct slab *slab)
{
    void **blocks = realloc(slab->blocks, (slab->block_count + 1) * sizeof(*blocks));
    void *block;

    if (!blocks)
        return false;
    slab->blocks = blocks;
    block = mmap(NULL, block_bytes(slab), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
        return false;
    slab->blocks[slab->block_count++] = block;
    slab->block_used = 0;
    return true;
}

static void *take_untouched(struct slab *slab)
{
    char *block;

    if (slab->block_used == slab->block_objects && !add_block(slab))
        return NULL;
    block = slab->blocks[slab->block_count - 1];
    return block + (size_t)slab->object_bytes * slab->block_used++;
}

static bool is_object_of(const struct slab *slab, const void *object)
{
    for (uint32_t i = 0; i < slab->block_count; i++) {
        size_t offset = (size_t)((const char *)object - (const char *)slab->blocks[i]);

        if (offset < block_bytes(slab))
            return offset % slab->object_bytes == 0;
    }
    return false;
}

void slab_init(struct slab *slab, size_t object_bytes, uint32_t block_objects, uint32_t taken_max)
{
    size_t rounded = (object_bytes + sizeof(void *) - 1) / sizeof(void *) * sizeof(void *);

    assert(object_bytes >= sizeof(void *) && rounded <= UINT32_MAX);
    assert(block_objects > 0);
    *slab = (struct slab){
        .object_bytes = (uint32_t)rounded,
        .block_objects = block_objects,
        .block_used = block_objects, /* as if a block before were used up: the first slab_new() maps one */
        .taken_max = taken_max ? taken_max : UINT32_MAX,
    };
}

void slab_deinit(struct slab *slab)
{
    assert(slab->taken == 0);
    for (uint32_t i = 0; i < slab->block_count; i++)
        munmap(slab->blocks[i], block_bytes(slab));
    free(slab->blocks);
    *slab = (struct slab){0};
}

void *slab_new(struct slab *slab)
{
    void *object;

    assert(slab->block_objects > 0); /* initialised */
    if (slab->taken == slab->taken_max)
        return NULL;
    object = slab->free ? pop_free(slab) : take_untouched(slab);
    if (object)
        slab->taken++;
    return object;
}

void slab_free(struct slab *slab, void *object)
{
    assert(object && slab->taken > 0);
    debug_assert(is_object_of(slab, object));
    *(void **)object = slab->free;
    slab->free = object;
    slab->taken--;
}
