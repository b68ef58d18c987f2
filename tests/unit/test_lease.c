/* Leases: who keeps a buffer from the kernel, for how long, and how a stale holder finds out. */
#include "core/lease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_ring.h"

enum { GROUP = 3, BUFFERS = 4, BUFFER_BYTES = 1024 };

struct lease_fixture {
    struct ring *ring;
    struct bufring *bufs;
    struct chunk_pool chunks;
    struct lease_pool leases;
    struct lease_count count;
};

static int setup(void **state)
{
    const struct ring_options options = {.sq_entries = 8, .cq_entries = 16};
    const struct bufring_options buffers = {.buffer_bytes = BUFFER_BYTES, .entries = BUFFERS};
    struct lease_fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_int_equal(ring_open(&f->ring, &options), 0);
    assert_int_equal(bufring_open(&f->bufs, f->ring, GROUP, &buffers), 0);
    chunk_pool_init(&f->chunks);
    lease_pool_init(&f->leases, f->bufs, &f->chunks);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct lease_fixture *f = *state;

    lease_pool_deinit(&f->leases);
    chunk_pool_deinit(&f->chunks);
    bufring_close(f->bufs);
    ring_close(f->ring);
    free(f);
    return 0;
}

static struct buf_piece received(struct lease_fixture *f, const char *text)
{
    struct completion completion;
    struct buf_piece piece;

    assert_int_equal(fake_ring_recv(f->ring, 1, text, strlen(text), FAKE_MORE), strlen(text));
    assert_int_equal(ring_reap(f->ring, &completion, 1), 1);
    assert_true(bufring_take(f->bufs, &completion, &piece));
    return piece;
}

static struct lease *lease_on(struct lease_fixture *f, const char *text)
{
    struct buf_piece piece = received(f, text);
    struct lease *lease = lease_new(&f->leases, &piece);

    assert_non_null(lease);
    return lease;
}

static void a_lease_keeps_its_buffer_until_it_ends(void **state)
{
    struct lease_fixture *f = *state;
    struct lease *lease = lease_on(f, "hello");

    assert_memory_equal(lease->data, "hello", 5);
    assert_int_equal(lease->len, 5);
    assert_int_equal(bufring_free(f->bufs), 0);
    lease_free(lease);
    assert_int_equal(bufring_free(f->bufs), 1);
    assert_int_equal(bufring_leases(f->bufs), 0);
}

static void a_clone_keeps_the_buffer_by_itself(void **state)
{
    struct lease_fixture *f = *state;
    struct lease *lease = lease_on(f, "hello");
    struct lease *clone = lease_clone(lease, 1, 3);

    assert_non_null(clone);
    assert_memory_equal(clone->data, "ell", 3);
    lease_free(lease);
    assert_int_equal(bufring_free(f->bufs), 0);
    lease_free(clone);
    assert_int_equal(bufring_free(f->bufs), 1);
}

static void the_generation_changes_when_a_lease_ends(void **state)
{
    struct lease_fixture *f = *state;
    struct lease *lease = lease_on(f, "a");
    uint32_t generation = lease->generation;

    lease_free(lease);
    assert_int_not_equal(lease->generation, generation); /* the memory stays */
    struct lease *next = lease_on(f, "b");
    assert_ptr_equal(next, lease); /* the same place, but nobody takes it for the old one */
    assert_int_not_equal(next->generation, generation);
    lease_free(next);
}

static void a_dropped_lease_gives_its_buffer_back_and_stays_linked(void **state)
{
    struct lease_fixture *f = *state;
    struct lease *first = lease_on(f, "a");
    struct lease *second = lease_on(f, "b");
    uint32_t generation = first->generation;

    first->next = second;
    lease_drop(first);
    assert_null(first->data);
    assert_int_not_equal(first->generation, generation);
    assert_ptr_equal(first->next, second);
    assert_int_equal(bufring_free(f->bufs), 1);
    lease_drop(first); /* idempotent */
    assert_int_equal(bufring_free(f->bufs), 1);
    lease_free_chain(first);
    assert_int_equal(bufring_free(f->bufs), 2);
}

static void a_chunk_lives_as_long_as_leases_on_it(void **state)
{
    struct lease_fixture *f = *state;
    struct chunk *chunk = chunk_new(&f->chunks, 100);

    assert_non_null(chunk);
    memcpy(chunk->data, "chunky", 6);
    struct lease *lease = lease_new_chunk(&f->leases, chunk, chunk->data, 6);
    assert_non_null(lease);
    chunk_release(&f->chunks, chunk);
    struct lease *clone = lease_clone(lease, 2, 4);
    assert_non_null(clone);
    lease_free(lease);
    assert_memory_equal(clone->data, "unky", 4);
    assert_int_equal(chunk_pool_out(&f->chunks), 1);
    lease_free(clone);
    assert_int_equal(chunk_pool_out(&f->chunks), 0);
}

static void held_leases_are_counted_for_pool_and_connection(void **state)
{
    struct lease_fixture *f = *state;
    struct lease *one = lease_on(f, "a");
    struct lease *two = lease_on(f, "b");

    lease_hold(one, &f->count);
    lease_hold(two, &f->count);
    assert_int_equal(f->count.held, 2);
    assert_int_equal(f->leases.held, 2);
    lease_drop(one);
    assert_int_equal(f->count.held, 1);
    lease_free(one);
    assert_int_equal(f->count.held, 1); /* not twice */
    lease_free(two);
    assert_int_equal(f->count.held, 0);
    assert_int_equal(f->leases.held, 0);
}

static void a_lease_that_outlives_its_connection_leaves_the_next_ones_count_alone(void **state)
{
    struct lease_fixture *f = *state;
    struct lease *lease = lease_on(f, "a");

    lease_hold(lease, &f->count);
    f->count = (struct lease_count){.generation = 1}; /* the slot has moved on */
    lease_free(lease);
    assert_int_equal(f->count.held, 0);
    assert_int_equal(f->leases.held, 0);
}

static void without_memory_the_buffer_is_not_lost(void **state)
{
    struct lease_fixture *f = *state;
    struct buf_piece piece = received(f, "a");

    f->leases.slab.taken_max = 1;
    struct lease *lease = lease_new(&f->leases, &piece);
    assert_non_null(lease);
    piece = received(f, "b");
    assert_null(lease_new(&f->leases, &piece));
    assert_int_equal(bufring_free(f->bufs), 1);
    assert_null(lease_clone(lease, 0, 1));
    assert_int_equal(bufring_leases(f->bufs), 1);
    lease_free(lease);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_lease_keeps_its_buffer_until_it_ends),
        TEST(a_clone_keeps_the_buffer_by_itself),
        TEST(the_generation_changes_when_a_lease_ends),
        TEST(a_dropped_lease_gives_its_buffer_back_and_stays_linked),
        TEST(a_chunk_lives_as_long_as_leases_on_it),
        TEST(held_leases_are_counted_for_pool_and_connection),
        TEST(a_lease_that_outlives_its_connection_leaves_the_next_ones_count_alone),
        TEST(without_memory_the_buffer_is_not_lost),
    };

    return cmocka_run_group_tests_name("lease", tests, NULL, NULL);
}
