/* conn:relay on the fake ring: how a transfer ends when its connections do, and what its time-out counts. */
#include "script/transfer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "fake_ring.h"
#include "fixture.h"
#include "script/runtime.h"

enum { BUFFER_BYTES = 4096 };

/* The first connection is the source and says nothing; the second relays from it to itself. */
#define RELAYING(last)                                     \
    "local zerg = require('zerg')\n"                       \
    "local source\n"                                       \
    "return function(conn)\n"                              \
    "  if not source then\n"                               \
    "    source = conn\n"                                  \
    "    zerg.sleep(5)\n"                                  \
    "    return\n"                                         \
    "  end\n"                                              \
    "  local n, reason, moved = source:relay(conn, 1e6)\n" \
    "  zerg.log.info('relayed: %s %s %s', n, reason, moved)\n" last "end\n"

struct pair {
    struct conn *source;
    struct conn *sink;
};

static uint8_t bytes[BUFFER_BYTES];

static struct pair relaying(void **state, const char *script)
{
    struct fixture *f = fixture_new(&(struct fixture_options){.script = script,
                                                              .buffers = 64,
                                                              .buffer_bytes = BUFFER_BYTES,
                                                              .timeouts = {.read_ms = 1000}});
    struct pair pair;

    *state = f;
    f->listener_config.write_buffer_max = 2 * BUFFER_BYTES;
    pair.source = fixture_open(f);
    pair.sink = fixture_open(f);
    return pair;
}

static void feed(struct fixture *f, const struct conn *conn, uint32_t pieces)
{
    for (uint32_t i = 0; i < pieces; i++)
        fixture_feed(f, conn, bytes, sizeof(bytes));
}

static void bytes_wait_where_they_are_while_the_sink_is_full(void **state)
{
    struct pair pair = relaying(state, RELAYING(""));
    struct fixture *f = *state;

    feed(f, pair.source, 4);
    assert_int_equal(pair.sink->out.staged, 2 * BUFFER_BYTES);
    assert_int_equal(pair.source->in.bytes, 2 * BUFFER_BYTES);
    assert_true(pair.source->is_paused);
    fixture_drain(f, pair.sink, NULL, 0);
    assert_int_equal(pair.source->in.bytes, 0);
    assert_false(pair.source->is_paused);
}

static void receiving_goes_on_after_it_however_full_the_sink(void **state)
{
    struct pair pair = relaying(state, "local zerg = require('zerg')\n"
                                       "local source\n"
                                       "return function(conn)\n"
                                       "  if not source then\n"
                                       "    source = conn\n"
                                       "    conn:on_close(function() zerg.log.info('noticed') end)\n"
                                       "    zerg.sleep(5)\n"
                                       "    return\n"
                                       "  end\n"
                                       "  zerg.log.info('relayed: %s', source:relay(conn, 8192))\n"
                                       "  zerg.sleep(5)\n"
                                       "end\n");
    struct fixture *f = *state;

    feed(f, pair.source, 2);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "relayed: 8192"));
    assert_int_equal(pair.sink->out.staged, 2 * BUFFER_BYTES);
    assert_false(pair.source->is_paused);
    fixture_recv_result(f, pair.source, 0);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "noticed"));
    fixture_drain(f, pair.sink, NULL, 0);
}

static void the_read_timeout_counts_only_while_bytes_are_awaited(void **state)
{
    struct pair pair = relaying(state, RELAYING(""));
    struct fixture *f = *state;

    feed(f, pair.source, 3);
    fixture_advance(f, 3000);
    assert_false(fixture_log_has(f, "relayed:"));
    fixture_drain(f, pair.sink, NULL, 0);
    fixture_advance(f, 500);
    assert_false(fixture_log_has(f, "relayed:"));
    fixture_advance(f, 1000);
    assert_true(fixture_log_has(f, "relayed: nil timeout 12288"));
}

static void a_source_that_broke_long_ago_may_be_let_go(void **state)
{
    struct pair pair = relaying(state, RELAYING(""));
    struct fixture *f = *state;

    feed(f, pair.source, 4);
    fixture_recv_result(f, pair.source, 0); /* it said all it had, and the sink still takes it */
    assert_false(fixture_log_has(f, "relayed:"));
    fixture_advance(f, 5000); /* its handler ends */
    fixture_pump(f);
    assert_true(fixture_log_has(f, "relayed: nil closed 8192"));
}

static void what_came_before_a_reset_stays_to_be_read(void **state)
{
    struct pair pair = relaying(state, RELAYING("  zerg.log.info('left: %d', #source:read())\n"));
    struct fixture *f = *state;

    feed(f, pair.source, 4);
    fixture_recv_result(f, pair.source, -ECONNRESET);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "relayed: nil reset 8192"));
    assert_true(fixture_log_has(f, "left: 8192"));
}

/* The relay begins when the source is dead, and its handler ends before the sink has taken what was there. */
static void a_transfer_from_a_dead_source_ends_with_its_handler(void **state)
{
    struct pair pair = relaying(state, "local zerg = require('zerg')\n"
                                       "local source\n"
                                       "return function(conn)\n"
                                       "  if not source then\n"
                                       "    source = conn\n"
                                       "    zerg.sleep(5)\n"
                                       "    return\n"
                                       "  end\n"
                                       "  zerg.sleep(1)\n"
                                       "  local n, reason, moved = source:relay(conn, 1e6)\n"
                                       "  zerg.log.info('relayed: %s %s %s', n, reason, moved)\n"
                                       "end\n");
    struct fixture *f = *state;

    feed(f, pair.source, 4);
    fixture_recv_result(f, pair.source, -ECONNRESET);
    fixture_advance(f, 1000);
    fixture_pump(f);
    assert_int_equal(pair.sink->out.staged, 2 * BUFFER_BYTES);
    assert_false(fixture_log_has(f, "relayed:"));
    fixture_advance(f, 4000);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "relayed: nil reset 8192"));
    fixture_drain(f, pair.sink, NULL, 0);
}

/* A deadline that has passed already: the relay begins, awaits bytes, and cannot park. Its connection is closed before the
 * read time-out would have come. */
static void a_relay_that_could_not_park_leaves_no_time_out_behind(void **state)
{
    struct pair pair = relaying(state, "local zerg = require('zerg')\n"
                                       "local sink\n"
                                       "return function(conn)\n"
                                       "  if not sink then\n"
                                       "    sink = conn\n"
                                       "    zerg.sleep(50)\n"
                                       "    return\n"
                                       "  end\n"
                                       "  local _, reason = zerg.deadline(0.05, function()\n"
                                       "    pcall(zerg.sleep, 1)\n"
                                       "    return conn:relay(sink, 100)\n"
                                       "  end)\n"
                                       "  zerg.log.info('relayed: %s', reason)\n"
                                       "end\n");
    struct fixture *f = *state;

    fixture_advance(f, 50);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "relayed: timeout"));
    assert_int_equal(pair.sink->state, CONN_LINGERING);
    assert_int_equal(pair.sink->read_deadline_ms, 0);
    fixture_advance(f, 1000);
}

static void a_stopping_reactor_drops_it(void **state)
{
    struct pair pair = relaying(state, RELAYING(""));
    struct fixture *f = *state;

    feed(f, pair.source, 4);
    assert_int_equal(fixture_runtime(f)->transfer_slab.taken, 1);
    f->reactor.app->abandon(&f->reactor);
    assert_int_equal(fixture_runtime(f)->transfer_slab.taken, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(bytes_wait_where_they_are_while_the_sink_is_full, fixture_teardown),
        cmocka_unit_test_teardown(receiving_goes_on_after_it_however_full_the_sink, fixture_teardown),
        cmocka_unit_test_teardown(the_read_timeout_counts_only_while_bytes_are_awaited, fixture_teardown),
        cmocka_unit_test_teardown(a_source_that_broke_long_ago_may_be_let_go, fixture_teardown),
        cmocka_unit_test_teardown(what_came_before_a_reset_stays_to_be_read, fixture_teardown),
        cmocka_unit_test_teardown(a_transfer_from_a_dead_source_ends_with_its_handler, fixture_teardown),
        cmocka_unit_test_teardown(a_relay_that_could_not_park_leaves_no_time_out_behind, fixture_teardown),
        cmocka_unit_test_teardown(a_stopping_reactor_drops_it, fixture_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
