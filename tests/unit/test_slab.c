/* slab: order, zeroing, bounds, and that memory stays where it is. */
#include "base/slab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct thing {
    void *link; /* the word that the free list uses */
    uint64_t generation;
    uint32_t number;
};

enum { PER_BLOCK = 4 };

static struct slab slab;

static int open_slab(void **state)
{
    (void)state;
    slab_init(&slab, sizeof(struct thing), PER_BLOCK, 0);
    return 0;
}

static int close_slab(void **state)
{
    (void)state;
    slab_deinit(&slab);
    return 0;
}

static struct thing *take(void)
{
    struct thing *thing = slab_new(&slab);

    assert_non_null(thing);
    return thing;
}

static void init_maps_nothing(void **state)
{
    (void)state;
    assert_int_equal(slab.block_count, 0);
    assert_null(slab.blocks);
}

static void first_use_of_an_object_finds_it_zeroed(void **state)
{
    struct thing *things[2 * PER_BLOCK];
    const struct thing zeroed = {0};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(things); i++) {
        things[i] = take();
        assert_memory_equal(things[i], &zeroed, sizeof(zeroed));
        memset(things[i], 0xff, sizeof(zeroed));
    }
    for (size_t i = 0; i < COUNT_OF(things); i++)
        slab_free(&slab, things[i]);
}

static void freed_object_keeps_its_content_but_the_first_word(void **state)
{
    struct thing *thing = take();

    (void)state;
    thing->generation = 7;
    thing->number = 9;
    slab_free(&slab, thing);
    assert_int_equal(thing->generation, 7); /* what a stale pointer sees */
    assert_ptr_equal(take(), thing);
    assert_int_equal(thing->generation, 7);
    assert_int_equal(thing->number, 9);
    slab_free(&slab, thing);
}

static void last_freed_is_handed_out_first(void **state)
{
    struct thing *first = take();
    struct thing *second = take();

    (void)state;
    slab_free(&slab, first);
    slab_free(&slab, second);
    assert_ptr_equal(take(), second);
    assert_ptr_equal(take(), first);
    slab_free(&slab, first);
    slab_free(&slab, second);
}

static void grows_by_blocks_without_moving_objects(void **state)
{
    struct thing *things[5 * PER_BLOCK];

    (void)state;
    for (uint32_t i = 0; i < COUNT_OF(things); i++) {
        things[i] = take();
        things[i]->number = i;
        assert_int_equal(slab.block_count, i / PER_BLOCK + 1);
    }
    for (uint32_t i = 0; i < COUNT_OF(things); i++) {
        assert_int_equal(things[i]->number, i); /* no two share memory */
        slab_free(&slab, things[i]);
    }
    assert_int_equal(slab.taken, 0);
    assert_int_equal(slab.block_count, 5);
}

static void bound_gives_null_until_one_comes_back(void **state)
{
    struct slab bounded;
    void *first, *second;

    (void)state;
    slab_init(&bounded, sizeof(struct thing), PER_BLOCK, 2);
    first = slab_new(&bounded);
    second = slab_new(&bounded);
    assert_non_null(second);
    assert_null(slab_new(&bounded));
    slab_free(&bounded, first);
    assert_ptr_equal(slab_new(&bounded), first);
    slab_free(&bounded, first);
    slab_free(&bounded, second);
    slab_deinit(&bounded);
}

static void odd_sizes_are_rounded_to_pointer_alignment(void **state)
{
    struct slab odd;
    void *objects[3];

    (void)state;
    slab_init(&odd, sizeof(void *) + 1, PER_BLOCK, 0);
    for (size_t i = 0; i < COUNT_OF(objects); i++) {
        objects[i] = slab_new(&odd);
        assert_int_equal((uintptr_t)objects[i] % sizeof(void *), 0);
    }
    for (size_t i = 0; i < COUNT_OF(objects); i++)
        slab_free(&odd, objects[i]);
    slab_deinit(&odd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(init_maps_nothing, open_slab, close_slab),
        cmocka_unit_test_setup_teardown(first_use_of_an_object_finds_it_zeroed, open_slab, close_slab),
        cmocka_unit_test_setup_teardown(freed_object_keeps_its_content_but_the_first_word, open_slab, close_slab),
        cmocka_unit_test_setup_teardown(last_freed_is_handed_out_first, open_slab, close_slab),
        cmocka_unit_test_setup_teardown(grows_by_blocks_without_moving_objects, open_slab, close_slab),
        cmocka_unit_test(bound_gives_null_until_one_comes_back),
        cmocka_unit_test(odd_sizes_are_rounded_to_pointer_alignment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
