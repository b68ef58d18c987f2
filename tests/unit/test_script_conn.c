/* Between a connection and its script: who is resumed when, errors, time-outs, on_close, and the end of both. */
#include "script/script_conn.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "fake_ring.h"
#include "fixture.h"
#include "script/runtime.h"

#define HANDLER(body) "local zerg = require('zerg')\nlocal say = zerg.log.info\nreturn function(conn)\n" body "\nend"

static struct fixture *serving(void **state, const char *script)
{
    struct fixture *f = fixture_new(&(struct fixture_options){.script = script, .buffer_bytes = 4096});

    *state = f;
    return f;
}

/* What the script has written, sent now. */
static const char *answer(struct fixture *f, const struct conn *conn)
{
    static char text[4096];

    text[fixture_drain(f, conn, text, sizeof(text) - 1)] = '\0';
    return text;
}

static void a_handler_answers_what_it_reads(void **state)
{
    struct fixture *f = serving(state, HANDLER("for data in conn:reads() do conn:write('<', data, '>') end"));
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, "hello");
    assert_string_equal(answer(f, conn), "<hello>");
    fixture_feed_text(f, conn, "again");
    assert_string_equal(answer(f, conn), "<again>");
    assert_int_equal(conn->state, CONN_OPEN);
}

static void answers_of_one_turn_go_in_one_send(void **state)
{
    struct fixture *f = serving(state, HANDLER("local reader = conn:reader()\n"
                                               "while true do\n"
                                               "  local line = reader:read_line()\n"
                                               "  if not line then return end\n"
                                               "  conn:write(line, ';')\n"
                                               "end"));
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, "a\nb\nc\nd\n");
    assert_int_equal(fake_ring_count(f->ring, FAKE_SEND), 1);
    assert_string_equal(answer(f, conn), "a;b;c;d;");
}

static void a_handler_that_returns_closes_after_a_flush(void **state)
{
    struct fixture *f = serving(state, HANDLER("conn:write('bye')"));
    struct conn *conn = fixture_open(f);

    assert_int_equal(conn->state, CONN_FLUSHING);
    assert_string_equal(answer(f, conn), "bye");
    assert_int_equal(conn->state, CONN_LINGERING);
    assert_int_equal(fixture_runtime(f)->conn_slab.taken, 0);
}

static void the_peers_end_ends_the_loop_and_the_reason_is_there(void **state)
{
    struct fixture *f = serving(state, HANDLER("for data in conn:reads() do end\nsay('ended: ' .. conn.reason)"));
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, "x");
    fixture_recv_result(f, conn, 0);
    assert_true(fixture_log_has(f, "ended: closed"));
}

static void a_reset_wakes_the_reader_after_the_bytes_before_it(void **state)
{
    struct fixture *f = serving(state, HANDLER("zerg.sleep(1)\n"
                                               "local data = conn:read()\n"
                                               "say('got ' .. tostring(data))\n"
                                               "local none, reason = conn:read()\n"
                                               "say('then ' .. tostring(none) .. ' ' .. reason)"));
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, "last");
    fixture_recv_result(f, conn, -ECONNRESET);
    fixture_answer(f);
    assert_int_equal(conn->state, CONN_DEAD); /* pinned by its handler */
    fixture_advance(f, 1000);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "got last"));
    assert_true(fixture_log_has(f, "then nil reset"));
    assert_int_equal(conn->state, CONN_FREE);
}

static void an_error_is_logged_once_with_the_connection_and_closes_it(void **state)
{
    struct fixture *f = serving(state, HANDLER("conn:read() conn:write('partial') error('handler broke')"));
    struct conn *conn = fixture_open(f);
    struct conn *other = fixture_open(f);

    fixture_feed_text(f, conn, "x");
    assert_int_equal(fixture_log_count(f, "handler broke"), 1);
    assert_true(fixture_log_has(f, "conn 1 "));
    assert_true(fixture_log_has(f, "on listener test"));
    assert_true(fixture_log_has(f, "handler.lua:4"));
    assert_int_equal(conn->state, CONN_FLUSHING);
    assert_int_equal(other->state, CONN_OPEN);
}

static void a_read_time_out_is_a_return_value(void **state)
{
    struct fixture *f = serving(state, HANDLER("conn:timeout{ read = 0.5 }\n"
                                               "local none, reason = conn:read()\n"
                                               "conn:write(tostring(none), ' ', reason)\n"
                                               "conn:read()"));
    struct conn *conn = fixture_open(f);

    fixture_advance(f, 499);
    assert_int_equal(conn->out.staged, 0);
    fixture_advance(f, 1);
    fixture_pump(f);
    assert_string_equal(answer(f, conn), "nil timeout");
    assert_int_equal(conn->state, CONN_OPEN);
}

static void two_readers_of_one_connection_are_a_mistake(void **state)
{
    struct fixture *f = serving(state, HANDLER("zerg.spawn(function()\n"
                                               "  local ok, message = pcall(conn.read, conn)\n"
                                               "  say('second: ' .. tostring(ok) .. ' ' .. tostring(message))\n"
                                               "end)\n"
                                               "say('first: ' .. tostring(conn:read()))"));
    struct conn *conn = fixture_open(f);

    fixture_pump(f);
    assert_true(fixture_log_has(f, "second: false"));
    fixture_feed_text(f, conn, "for the first");
    assert_true(fixture_log_has(f, "first: for the first"));
}

static void a_writer_parks_above_the_mark_until_the_peer_takes_bytes(void **state)
{
    struct fixture *f = serving(state, HANDLER("local block, n = ('x'):rep(65536), 0\n"
                                               "for i = 1, 8 do conn:write(block) n = n + 1 conn.ctx.n = n\n"
                                               "  say('written ' .. n) end\n"
                                               "conn:read()"));
    struct conn *conn = fixture_open(f);

    /* 256 KiB is the mark; the block that passes it is staged, and its write parks. */
    assert_true(fixture_log_has(f, "written 4"));
    assert_false(fixture_log_has(f, "written 5"));
    assert_int_equal(conn->out.staged, 5 * 65536);
    fixture_send_result(f, conn, (int32_t)conn->out.in_flight);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "written 8"));
    assert_int_equal(fixture_drain(f, conn, NULL, 0), 3 * 65536);
}

static void a_parked_writer_learns_of_the_end(void **state)
{
    struct fixture *f = serving(state, HANDLER("conn:write('staged')\n"
                                               "local ok, reason = conn:flush()\n"
                                               "say('flush: ' .. tostring(ok) .. ' ' .. tostring(reason))"));
    struct conn *conn = fixture_open(f);

    fixture_send_result(f, conn, -EPIPE);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "flush: nil reset"));
}

static void on_close_runs_once_also_when_the_peer_ends_first(void **state)
{
    struct fixture *f = serving(state, HANDLER("conn:on_close(function(c, reason) say('gone: ' .. reason) end)\n"
                                               "zerg.sleep(5)\n"
                                               "conn:close()"));
    struct conn *conn = fixture_open(f);

    fixture_recv_result(f, conn, 0);
    fixture_pump(f);
    assert_int_equal(fixture_log_count(f, "gone: closed"), 1);
    fixture_advance(f, 5000);
    fixture_pump(f);
    fixture_answer(f);
    fixture_pump(f);
    assert_int_equal(fixture_log_count(f, "gone"), 1);
    assert_int_equal(conn->state, CONN_FREE);
}

static void others_may_write_to_a_kept_connection_until_it_is_gone(void **state)
{
    struct fixture *f = serving(state, "local zerg = require('zerg')\n"
                                       "local first\n"
                                       "return function(conn)\n"
                                       "  if not first then first = conn conn:read() return end\n"
                                       "  local ok, reason = first:write('from the second')\n"
                                       "  zerg.log.info('wrote: ' .. tostring(ok ~= nil) .. ' ' .. tostring(reason))\n"
                                       "end");
    struct conn *first = fixture_open(f);

    (void)fixture_open(f);
    assert_true(fixture_log_has(f, "wrote: true"));
    assert_string_equal(answer(f, first), "from the second");
    fixture_recv_result(f, first, -ECONNRESET);
    fixture_pump(f);
    fixture_answer(f);
    assert_int_equal(first->state, CONN_FREE);
    struct conn *third = fixture_open(f); /* in the slot of the first */
    assert_ptr_equal(third, first);
    assert_true(fixture_log_has(f, "wrote: false closed"));
    assert_int_equal(third->bytes_out, 0);
}

static void abort_drops_what_is_staged(void **state)
{
    struct fixture *f = serving(state, HANDLER("conn:write('never seen') conn:abort() say('went on')"));
    struct conn *conn = fixture_open(f);

    assert_true(fixture_log_has(f, "went on"));
    assert_int_equal(fake_ring_count(f->ring, FAKE_SEND), 0);
    assert_int_equal(conn->state, CONN_DYING);
    assert_true(conn->is_aborted);
}

static void commit_without_reserve_is_an_error_of_the_script(void **state)
{
    struct fixture *f = serving(state, HANDLER("conn:commit(0)"));

    (void)fixture_open(f);
    assert_true(fixture_log_has(f, "conn:commit"));
}

static void views_kept_past_the_connection_raise_and_give_their_buffer_back(void **state)
{
    struct fixture *f = serving(state, HANDLER("local kept = conn:read():retain()\n"
                                               "zerg.spawn(function()\n"
                                               "  zerg.sleep(1)\n"
                                               "  say('kept: ' .. tostring(kept))\n"
                                               "  kept:release()\n"
                                               "  say('after: ' .. tostring(pcall(tostring, kept)))\n"
                                               "end)"));
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, "precious");
    fixture_recv_result(f, conn, 0);
    fixture_answer(f);
    assert_int_equal(conn->state, CONN_FREE);
    assert_true(f->reactor.leases.held > 0);
    fixture_advance(f, 1000);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "kept: precious"));
    assert_true(fixture_log_has(f, "after: false"));
    assert_int_equal(f->reactor.leases.held, 0);
}

static void a_connection_without_memory_for_its_script_is_refused(void **state)
{
    struct fixture *f = serving(state, HANDLER("conn:read()"));
    struct runtime *runtime = fixture_runtime(f);

    (void)fixture_open(f);
    runtime->conn_slab.taken_max = 1;
    struct conn *refused = fixture_open(f);
    assert_int_equal(refused->reason, CLOSE_NO_MEMORY);
    runtime->conn_slab.taken_max = UINT32_MAX;
    runtime->task_slab.taken_max = runtime->task_slab.taken;
    refused = fixture_open(f);
    assert_int_equal(refused->reason, CLOSE_NO_MEMORY);
    assert_int_equal(runtime->conn_slab.taken, 1);
    runtime->task_slab.taken_max = UINT32_MAX;
}

static void stopping_drops_parked_handlers_without_running_them(void **state)
{
    struct fixture *f = serving(state, HANDLER("conn:on_close(function() say('on_close ran') end)\n"
                                               "conn:read()\n"
                                               "say('handler went on')"));

    for (int i = 0; i < 3; i++)
        (void)fixture_open(f);
    inbox_send(&f->reactor.inbox, &f->reactor.stop_order, NULL);
    assert_int_equal(reactor_turn(&f->reactor, RING_NO_WAIT), 0);
    fixture_answer(f);
    assert_int_equal(f->reactor.conns.taken, 0);
    assert_false(fixture_log_has(f, "handler went on"));
    assert_false(fixture_log_has(f, "on_close ran"));
}

#define TEST(name) cmocka_unit_test_teardown(name, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_handler_answers_what_it_reads),
        TEST(answers_of_one_turn_go_in_one_send),
        TEST(a_handler_that_returns_closes_after_a_flush),
        TEST(the_peers_end_ends_the_loop_and_the_reason_is_there),
        TEST(a_reset_wakes_the_reader_after_the_bytes_before_it),
        TEST(an_error_is_logged_once_with_the_connection_and_closes_it),
        TEST(a_read_time_out_is_a_return_value),
        TEST(two_readers_of_one_connection_are_a_mistake),
        TEST(a_writer_parks_above_the_mark_until_the_peer_takes_bytes),
        TEST(a_parked_writer_learns_of_the_end),
        TEST(on_close_runs_once_also_when_the_peer_ends_first),
        TEST(others_may_write_to_a_kept_connection_until_it_is_gone),
        TEST(abort_drops_what_is_staged),
        TEST(commit_without_reserve_is_an_error_of_the_script),
        TEST(views_kept_past_the_connection_raise_and_give_their_buffer_back),
        TEST(a_connection_without_memory_for_its_script_is_refused),
        TEST(stopping_drops_parked_handlers_without_running_them),
    };

    return cmocka_run_group_tests_name("script_conn", tests, NULL, NULL);
}
