/* The chunk pool: which size one gets, references, and reuse. */
#include "core/chunk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state)
{
    struct chunk_pool *pool = calloc(1, sizeof(*pool));

    assert_non_null(pool);
    chunk_pool_init(pool);
    *state = pool;
    return 0;
}

static int teardown(void **state)
{
    chunk_pool_deinit(*state);
    free(*state);
    return 0;
}

static void assert_empty_chunk(const struct chunk *chunk, uint32_t min_bytes)
{
    assert_non_null(chunk);
    assert_null(chunk->next);
    assert_int_equal(chunk_bytes(chunk), 0);
    assert_true(chunk_room(chunk) >= min_bytes);
    assert_int_equal(chunk->refs, 1);
}

static void small_when_it_is_enough(void **state)
{
    struct chunk_pool *pool = *state;
    struct chunk *tiny = chunk_new(pool, 0);
    struct chunk *small = chunk_new(pool, CHUNK_SMALL_BYTES);
    struct chunk *large = chunk_new(pool, 2 * CHUNK_SMALL_BYTES);
    struct chunk *largest = chunk_new(pool, CHUNK_LARGE_BYTES);

    assert_empty_chunk(tiny, CHUNK_SMALL_BYTES);
    assert_empty_chunk(small, CHUNK_SMALL_BYTES);
    assert_empty_chunk(large, CHUNK_LARGE_BYTES);
    assert_empty_chunk(largest, CHUNK_LARGE_BYTES);
    assert_true(small->capacity < large->capacity);
    assert_int_equal(chunk_pool_out(pool), 4);
    assert_int_equal(chunk_pool_bytes_out(pool), 2ULL * small->capacity + 2ULL * large->capacity);
    chunk_release(pool, tiny);
    chunk_release(pool, small);
    chunk_release(pool, large);
    chunk_release(pool, largest);
    assert_int_equal(chunk_pool_out(pool), 0);
    assert_int_equal(chunk_pool_bytes_out(pool), 0);
}

static void the_last_reference_frees(void **state)
{
    struct chunk_pool *pool = *state;
    struct chunk *chunk = chunk_new(pool, 100);

    chunk_retain(chunk);
    chunk_release(pool, chunk);
    assert_int_equal(chunk_pool_out(pool), 1);
    chunk_release(pool, chunk);
    assert_int_equal(chunk_pool_out(pool), 0);
}

static void the_hottest_chunk_comes_next_and_comes_empty(void **state)
{
    struct chunk_pool *pool = *state;
    struct chunk *first = chunk_new(pool, 100);
    struct chunk *second = chunk_new(pool, 100);

    first->end = 50;
    first->start = 10;
    first->next = second;
    chunk_release(pool, second);
    chunk_release(pool, first);
    struct chunk *again = chunk_new(pool, 1);
    assert_ptr_equal(again, first);
    assert_empty_chunk(again, CHUNK_SMALL_BYTES);
    chunk_release(pool, again);
}

static void chunks_do_not_overlap(void **state)
{
    enum { COUNT = 200 };
    struct chunk_pool *pool = *state;
    struct chunk *chunks[COUNT];

    for (unsigned i = 0; i < COUNT; i++) {
        chunks[i] = chunk_new(pool, i % 10 == 0 ? CHUNK_LARGE_BYTES : 1);
        assert_non_null(chunks[i]);
        memset(chunks[i]->data, (int)i, chunks[i]->capacity);
        chunks[i]->end = chunks[i]->capacity;
    }
    for (unsigned i = 0; i < COUNT; i++) {
        for (uint32_t at = 0; at < chunks[i]->capacity; at += 97)
            assert_int_equal(chunks[i]->data[at], (uint8_t)i);
        assert_int_equal(chunks[i]->data[chunks[i]->capacity - 1], (uint8_t)i);
        chunk_release(pool, chunks[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(small_when_it_is_enough, setup, teardown),
        cmocka_unit_test_setup_teardown(the_last_reference_frees, setup, teardown),
        cmocka_unit_test_setup_teardown(the_hottest_chunk_comes_next_and_comes_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(chunks_do_not_overlap, setup, teardown),
    };

    return cmocka_run_group_tests_name("chunk", tests, NULL, NULL);
}
