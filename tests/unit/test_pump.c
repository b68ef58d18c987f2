/* Moving received bytes from one connection to another: how far, as what, and what receiving does meanwhile. */
#include "proxy/pump.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "fake_ring.h"
#include "fixture.h"
#include "uring/bufring.h"
#include "uring/op.h"

enum { BUFFER_BYTES = 1024, QUEUE_BYTES = 4096 };

static uint8_t bytes[8 * BUFFER_BYTES];
static uint8_t out[sizeof(bytes)];

struct pump_test {
    struct fixture *f;
    struct conn *from;
    struct conn *to;
};

static struct pump_test test;

static int setup(void **state)
{
    test.f = fixture_new(&(struct fixture_options){.buffers = 32, .buffer_bytes = BUFFER_BYTES});
    test.f->listener_config.write_buffer_max = QUEUE_BYTES;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 13 + i / 253);
    test.from = fixture_open(test.f);
    test.to = fixture_open(test.f);
    *state = test.f;
    return 0;
}

static void assert_sent(const void *expected, size_t len)
{
    fixture_pump(test.f);
    assert_int_equal(fixture_drain(test.f, test.to, out, sizeof(out)), len);
    assert_memory_equal(out, expected, len);
}

static void all_that_is_there_goes(void **state)
{
    (void)state;
    fixture_feed(test.f, test.from, bytes, 3000);
    assert_int_equal(pump_move(test.from, test.to, UINT64_MAX), 3000);
    assert_int_equal(test.from->in.bytes, 0);
    assert_int_equal(test.to->out.views, 3);
    assert_int_equal(bufring_leases(test.f->reactor.bufs), 3); /* no copy */
    assert_sent(bytes, 3000);
    assert_int_equal(bufring_leases(test.f->reactor.bufs), 0);
    assert_int_equal(pump_move(test.from, test.to, UINT64_MAX), 0);
}

static void a_limit_cuts_a_piece(void **state)
{
    (void)state;
    fixture_feed(test.f, test.from, bytes, 2 * BUFFER_BYTES);
    assert_int_equal(pump_move(test.from, test.to, 0), 0);
    assert_int_equal(pump_move(test.from, test.to, 1500), 1500);
    assert_int_equal(test.from->in.bytes, 2 * BUFFER_BYTES - 1500);
    assert_sent(bytes, 1500);
    assert_int_equal(pump_move(test.from, test.to, 10), 10);
    assert_int_equal(pump_move(test.from, test.to, UINT64_MAX), 2 * BUFFER_BYTES - 1510);
    assert_sent(bytes + 1500, 2 * BUFFER_BYTES - 1500);
    assert_int_equal(bufring_leases(test.f->reactor.bufs), 0);
}

static void small_pieces_are_copied(void **state)
{
    (void)state;
    fixture_feed(test.f, test.from, bytes, RELAY_COPY_BYTES);
    assert_int_equal(pump_move(test.from, test.to, UINT64_MAX), RELAY_COPY_BYTES);
    assert_int_equal(test.to->out.views, 0);
    assert_int_equal(bufring_leases(test.f->reactor.bufs), 0);
    assert_sent(bytes, RELAY_COPY_BYTES);
}

static void a_full_queue_stops_it_and_receiving(void **state)
{
    (void)state;
    fixture_feed(test.f, test.from, bytes, 6 * BUFFER_BYTES);
    assert_int_equal(pump_move(test.from, test.to, UINT64_MAX), QUEUE_BYTES);
    assert_true(test.from->is_paused);
    assert_false(pump_is_due(test.from, test.to));
    assert_int_equal(pump_move(test.from, test.to, UINT64_MAX), 0);
    assert_sent(bytes, QUEUE_BYTES);
    assert_true(pump_is_due(test.from, test.to));
    assert_int_equal(pump_move(test.from, test.to, UINT64_MAX), 2 * BUFFER_BYTES);
    assert_false(test.from->is_paused);
    assert_false(pump_is_due(test.from, test.to));
    assert_sent(bytes + QUEUE_BYTES, 2 * BUFFER_BYTES);
}

static void it_is_due_at_half_of_the_queue(void **state)
{
    (void)state;
    fixture_feed(test.f, test.from, bytes, 5 * BUFFER_BYTES);
    assert_int_equal(pump_move(test.from, test.to, UINT64_MAX), QUEUE_BYTES);
    fixture_pump(test.f);
    assert_false(pump_is_due(test.from, test.to));
    test.to->out.staged = QUEUE_BYTES / 2 + 1;
    assert_false(pump_is_due(test.from, test.to));
    test.to->out.staged = QUEUE_BYTES / 2;
    assert_true(pump_is_due(test.from, test.to));
    test.to->out.staged = QUEUE_BYTES;
    assert_sent(bytes, QUEUE_BYTES);
}

static void the_rest_goes_however_full_the_queue_is(void **state)
{
    (void)state;
    fixture_feed(test.f, test.from, bytes, 7 * BUFFER_BYTES);
    assert_int_equal(pump_move(test.from, test.to, UINT64_MAX), QUEUE_BYTES);
    assert_int_equal(pump_move_rest(test.from, test.to), 3 * BUFFER_BYTES);
    assert_sent(bytes, 7 * BUFFER_BYTES);
}

static void nothing_goes_to_one_that_takes_no_more(void **state)
{
    (void)state;
    fixture_feed(test.f, test.from, bytes, 100);
    conn_shutdown(test.to);
    assert_int_equal(pump_move(test.from, test.to, UINT64_MAX), -ENOMEM); /* what could not be staged is lost */
    assert_null(test.from->in.first);
}

static void a_part_of_a_piece_can_be_passed_on(void **state)
{
    struct lease *lease;

    (void)state;
    fixture_feed(test.f, test.from, bytes, BUFFER_BYTES);
    lease = input_shift(&test.from->in);
    assert_int_equal(pump_pass(lease, 100, 800, test.to), 0);
    assert_int_equal(pump_pass(lease, 900, 100, test.to), 0);
    lease_free(lease);
    assert_int_equal(bufring_leases(test.f->reactor.bufs), 1); /* the larger part is not copied */
    assert_sent(bytes + 100, 900);
    assert_int_equal(bufring_leases(test.f->reactor.bufs), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_that_is_there_goes),
        TEST(a_limit_cuts_a_piece),
        TEST(small_pieces_are_copied),
        TEST(a_full_queue_stops_it_and_receiving),
        TEST(it_is_due_at_half_of_the_queue),
        TEST(the_rest_goes_however_full_the_queue_is),
        TEST(nothing_goes_to_one_that_takes_no_more),
        TEST(a_part_of_a_piece_can_be_passed_on),
    };

    return cmocka_run_group_tests_name("pump", tests, NULL, NULL);
}
