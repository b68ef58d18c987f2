/* A connection that speaks HTTP, between events: which time-out runs, what is answered in one go, when memory is held, and every
 * way a request can end. */
#include "http/http_conn.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "fake_ring.h"
#include "fixture.h"
#include "http/http_server.h"

#define HANDLER(body) \
    "local zerg = require('zerg')\nlocal say = zerg.log.info\nreturn function(req, res)\n" body "\nend"
#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST_5 "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"

static const struct http_config usual = {
    .header_ms = 1000,
    .body_ms = 2000,
    .keepalive_ms = 5000,
    .header_bytes = 1024,
    .headers = 10,
};

static struct fixture *serving(void **state, const char *script)
{
    struct fixture *f = fixture_new(&(struct fixture_options){.script = script, .buffer_bytes = 4096, .http = &usual});

    *state = f;
    return f;
}

static const char *answer(struct fixture *f, const struct conn *conn)
{
    static char text[65536];

    text[fixture_drain(f, conn, text, sizeof(text) - 1)] = '\0';
    return text;
}

static uint32_t count(const char *text, const char *word)
{
    uint32_t found = 0;

    for (; (text = strstr(text, word)); text++)
        found++;
    return found;
}

static uint32_t exchanges(struct fixture *f)
{
    return f->reactor.http->exchanges.taken;
}

static void an_idle_connection_holds_nothing(void **state)
{
    struct fixture *f = serving(state, HANDLER("return 'x'"));
    struct conn *conn = fixture_open(f);

    assert_int_equal(exchanges(f), 0);
    fixture_feed_text(f, conn, "GET / HT");
    assert_int_equal(exchanges(f), 1);
    fixture_feed_text(f, conn, "TP/1.1\r\nHost: a\r\n\r\n");
    assert_non_null(strstr(answer(f, conn), "200 OK"));
    assert_int_equal(exchanges(f), 0);
    assert_null(conn->owner);
    assert_null(conn->in.first);
    assert_int_equal(conn->in.count.held, 0);
    assert_int_equal(conn->state, CONN_OPEN);
}

static void pipelined_answers_leave_in_one_send(void **state)
{
    struct fixture *f = serving(state, HANDLER("return 'x'"));
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, GET GET GET GET);
    assert_int_equal(fake_ring_count(f->ring, FAKE_SEND), 1);
    assert_int_equal(count(answer(f, conn), "HTTP/1.1 200 OK"), 4);
}

static void a_handler_that_parks_holds_the_next_request_up(void **state)
{
    struct fixture *f = serving(state, HANDLER("zerg.sleep(1) return 'x'"));
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, GET GET);
    assert_int_equal(count(answer(f, conn), "200"), 0);
    fixture_advance(f, 1000);
    assert_int_equal(count(answer(f, conn), "200"), 1);
    fixture_advance(f, 1000);
    assert_int_equal(count(answer(f, conn), "200"), 1);
    assert_int_equal(exchanges(f), 0);
}

static void silence_ends_an_idle_connection_without_a_word(void **state)
{
    struct fixture *f = serving(state, HANDLER("return 'x'"));
    struct conn *conn = fixture_open(f);

    fixture_advance(f, 4999);
    assert_int_equal(conn->state, CONN_OPEN);
    fixture_feed_text(f, conn, GET);
    answer(f, conn);
    fixture_advance(f, 4999);
    assert_int_equal(conn->state, CONN_OPEN);
    fixture_advance(f, 2);
    assert_int_equal(conn->state, CONN_LINGERING);
    assert_int_equal(conn->out.staged, 0);
}

static void a_head_has_its_time_from_the_first_byte_on(void **state)
{
    struct fixture *f = serving(state, HANDLER("return 'x'"));
    struct conn *conn = fixture_open(f);

    fixture_advance(f, 4000);
    fixture_feed_text(f, conn, "GET / ");
    fixture_advance(f, 900);
    fixture_feed_text(f, conn, "HTTP/1.1\r\n");
    assert_int_equal(conn->state, CONN_OPEN);
    fixture_advance(f, 101);
    assert_int_equal(strncmp(answer(f, conn), "HTTP/1.1 408 ", 13), 0);
    assert_int_equal(conn->state, CONN_LINGERING);
    assert_int_equal(exchanges(f), 0);
}

static void a_body_has_its_time_between_its_pieces(void **state)
{
    struct fixture *f =
        serving(state, HANDLER("local body, reason = req:body() say('got %s', tostring(body or reason))"));
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, POST_5 "ab");
    fixture_advance(f, 1900);
    fixture_feed_text(f, conn, "c");
    fixture_advance(f, 1900);
    assert_false(fixture_log_has(f, "got"));
    fixture_advance(f, 101);
    assert_true(fixture_log_has(f, "got timeout"));
    assert_int_equal(strncmp(answer(f, conn), "HTTP/1.1 408 ", 13), 0);
}

static void a_body_that_nobody_wanted_is_waited_for_and_skipped(void **state)
{
    struct fixture *f = serving(state, HANDLER("return 'x'"));
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, POST_5 "ab");
    assert_int_equal(count(answer(f, conn), "200 OK"), 1);
    assert_int_equal(exchanges(f), 1);
    fixture_feed_text(f, conn, "cde" GET);
    assert_int_equal(count(answer(f, conn), "200 OK"), 1);
    assert_int_equal(exchanges(f), 0);
    fixture_feed_text(f, conn, POST_5);
    answer(f, conn);
    fixture_advance(f, 3000);
    fixture_feed_text(f, conn, "abcde");
    fixture_advance(f, 4000); /* the time for another request counts from there */
    assert_int_equal(conn->state, CONN_OPEN);
    fixture_feed_text(f, conn, POST_5);
    answer(f, conn);
    fixture_advance(f, HTTP_DRAIN_MS + 1);
    assert_int_equal(conn->state, CONN_LINGERING);
    assert_int_equal(exchanges(f), 0);
}

static void a_reset_ends_a_request_at_every_stage(void **state)
{
    struct fixture *f = serving(state, HANDLER("if req.method == 'GET' then zerg.sleep(1) end\n"
                                               "local body, reason = req:body()\n"
                                               "say('%s %s', req.method, tostring(body or reason))"));
    static const char *const sent[] = {"GET / HT", GET, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab"};

    for (size_t i = 0; i < COUNT_OF(sent); i++) {
        struct conn *conn = fixture_open(f);

        fixture_feed_text(f, conn, sent[i]);
        fixture_recv_result(f, conn, -ECONNRESET);
        fixture_advance(f, 1000);
        fixture_answer(f);
        assert_int_equal(exchanges(f), 0);
    }
    assert_true(fixture_log_has(f, "POST reset"));
    assert_true(fixture_log_has(f, "GET "));
}

static void a_stopping_reactor_takes_requests_with_it(void **state)
{
    struct fixture *f = serving(state, HANDLER("zerg.sleep(10)"));

    fixture_feed_text(f, fixture_open(f), GET);
    fixture_feed_text(f, fixture_open(f), "GET / HT");
    fixture_feed_text(f, fixture_open(f), "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na");
    assert_int_equal(exchanges(f), 3);
    /* The teardown stops the reactor and checks that all came back. */
}

static void a_task_that_reads_on_is_told_when_the_handler_has_ended(void **state)
{
    struct fixture *f = serving(state, HANDLER("zerg.spawn(function()\n"
                                               "  local body, reason = req:body()\n"
                                               "  say('%s %s', tostring(body), reason)\n"
                                               "  say(select(2, pcall(res.send, res, 'x')))\n"
                                               "end)\n"
                                               "zerg.sleep(1)\n"
                                               "return 'x'"));
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, POST_5 "ab");
    fixture_advance(f, 1000);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "nil closed"));
    assert_true(fixture_log_has(f, "res used after its handler has ended"));
    assert_int_equal(count(answer(f, conn), "200 OK"), 1);
}

static void many_pipelined_requests_do_not_hold_a_turn_up_for_ever(void **state)
{
    static char text[HTTP_BURST * 2 * sizeof(GET)];
    struct fixture *f = fixture_new(&(
        struct fixture_options){.script = HANDLER("return 'x'"), .buffer_bytes = 4096, .buffers = 16, .http = &usual});
    struct conn *conn;
    uint32_t sent = 0;

    *state = f;
    conn = fixture_open(f);
    for (size_t i = 0; i < 100; i++)
        memcpy(text + i * strlen(GET), GET, sizeof(GET));
    fixture_feed_text(f, conn, text);
    for (int turn = 0; turn < 5; turn++)
        sent += count(answer(f, conn), "200 OK");
    assert_int_equal(sent, 100);
}

static void a_full_output_holds_the_pipeline_up(void **state)
{
    struct fixture *f = serving(state, HANDLER("return ('x'):rep(200000)"));
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, GET GET GET GET);
    assert_int_equal(conn->in.bytes, 2 * strlen(GET));
    while (conn->out.staged > 0 || conn->in.bytes > 0)
        fixture_send_result(f, conn, (int32_t)conn->out.in_flight);
    assert_true(conn->bytes_out > 800000);
    assert_int_equal(exchanges(f), 0);
}

/* Whatever the handler makes of it: nobody may take half an answer for one. */
static void assert_cut_short(void **state, const char *script)
{
    struct fixture *f = serving(state, script);
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, GET);
    assert_non_null(strstr(answer(f, conn), "200 OK"));
    f->reactor.chunks.small.taken_max = f->reactor.chunks.small.taken;
    f->reactor.chunks.large.taken_max = f->reactor.chunks.large.taken + 1;
    fixture_advance(f, 1000);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "nil limit: out of memory"));
    assert_int_not_equal(conn->state, CONN_OPEN);
    assert_int_equal(conn->reason, CLOSE_NO_MEMORY);
    assert_int_equal(conn->out.staged, 0);
    assert_int_equal(exchanges(f), 0);
}

static void without_memory_for_a_chunk_the_connection_ends(void **state)
{
    assert_cut_short(state, HANDLER("res:write('a') zerg.sleep(1) say('%s %s', res:write(('b'):rep(500000)))"));
}

static void without_memory_for_announced_content_the_connection_ends(void **state)
{
    assert_cut_short(state, HANDLER("res:header('Content-Length', '500001') res:write('a') zerg.sleep(1) "
                                    "say('%s %s', res:write(('b'):rep(500000)))"));
}

/* What was announced as a body must not be read as the next request. */
static void without_memory_for_the_body_nothing_behind_it_is_read(void **state)
{
    struct fixture *f = serving(state, HANDLER("zerg.sleep(1) say('%s %s', req:body()) return 'x'"));
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 27\r\n\r\n" GET GET);
    f->reactor.leases.slab.taken_max = f->reactor.leases.slab.taken;
    fixture_advance(f, 1000);
    assert_true(fixture_log_has(f, "nil limit: out of memory"));
    assert_int_equal(count(answer(f, conn), "HTTP/1.1 "), 1);
    assert_int_not_equal(conn->state, CONN_OPEN);
}

/* So that many of them do not use up the ring (lease_retain()). */
static void what_is_kept_of_a_request_counts_as_held(void **state)
{
    struct fixture *f = serving(state, HANDLER("req:body() zerg.sleep(10)"));
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    assert_int_equal(conn->in.count.held, 1);
    fixture_feed_text(f, conn, "0\r\nX: y\r\n\r\n");
    assert_int_equal(conn->in.count.held, 2);
}

static void draining_lets_a_first_request_come_and_a_last_one(void **state)
{
    struct fixture *f = serving(state, HANDLER("return 'x'"));
    struct conn *answered = fixture_open(f);
    struct conn *fresh = fixture_open(f);

    fixture_feed_text(f, answered, GET);
    answer(f, answered);
    f->reactor.state = REACTOR_DRAINING;
    http_server_drain(&f->reactor);
    fixture_advance(f, HTTP_LAST_REQUEST_MS - 1);
    fixture_feed_text(f, fresh, GET);
    assert_int_equal(count(answer(f, fresh), "Connection: close\r\n"), 1);
    assert_int_not_equal(fresh->state, CONN_OPEN);
    fixture_feed_text(f, answered, GET);
    assert_int_equal(count(answer(f, answered), "Connection: close\r\n"), 1);
    assert_int_not_equal(answered->state, CONN_OPEN);
}

static void draining_ends_a_connection_that_asks_no_more(void **state)
{
    struct fixture *f = serving(state, HANDLER("return 'x'"));
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, GET);
    answer(f, conn);
    f->reactor.state = REACTOR_DRAINING;
    http_server_drain(&f->reactor);
    fixture_advance(f, HTTP_LAST_REQUEST_MS);
    assert_int_not_equal(conn->state, CONN_OPEN);
    assert_int_equal(conn->reason, CLOSE_SHUTDOWN);
}

static void draining_ends_a_connection_that_never_asked(void **state)
{
    struct fixture *f = serving(state, HANDLER("return 'x'"));
    struct conn *conn = fixture_open(f);

    fixture_advance(f, HTTP_LAST_REQUEST_MS);
    f->reactor.state = REACTOR_DRAINING;
    http_server_drain(&f->reactor);
    fixture_advance(f, HTTP_LAST_REQUEST_MS - 1);
    assert_int_equal(conn->state, CONN_OPEN);
    fixture_advance(f, 1);
    assert_int_not_equal(conn->state, CONN_OPEN);
    assert_int_equal(conn->reason, CLOSE_SHUTDOWN);
}

static void a_request_that_ends_while_draining_ends_its_connection(void **state)
{
    struct fixture *f = serving(state, HANDLER("res:write('a') zerg.sleep(1)"));
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, GET);
    answer(f, conn);
    f->reactor.state = REACTOR_DRAINING;
    fixture_advance(f, 1000);
    assert_int_equal(count(answer(f, conn), "0\r\n\r\n"), 1);
    fixture_advance(f, HTTP_LAST_REQUEST_MS);
    assert_int_not_equal(conn->state, CONN_OPEN);
    assert_int_equal(conn->reason, CLOSE_SHUTDOWN);
}

static void a_redirect_may_fill_the_output(void **state)
{
    struct fixture *f = serving(state, HANDLER("if req.path == '/' then return ('x'):rep(1000) end\n"
                                               "res:redirect('/')"));
    struct conn *conn = fixture_open(f);

    conn->write_buffer_max = 1200;
    fixture_feed_text(f, conn, GET "GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(count(answer(f, conn), "HTTP/1.1 302 "), 1);
    assert_int_equal(fixture_log_count(f, "Content-Length"), 0);
}

static void a_refused_field_changes_nothing(void **state)
{
    struct fixture *f = serving(state, HANDLER("res:header('Content-Length', '1')\n"
                                               "assert(not pcall(res.header, res, 'Content-Length', 'x'))\n"
                                               "assert(not pcall(res.header, res, 'Connection', 'upgrade'))\n"
                                               "res:write('a')"));
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, GET);
    assert_int_equal(count(answer(f, conn), "Content-Length: 1\r\n"), 1);
    assert_int_equal(conn->state, CONN_OPEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(an_idle_connection_holds_nothing, fixture_teardown),
        cmocka_unit_test_teardown(pipelined_answers_leave_in_one_send, fixture_teardown),
        cmocka_unit_test_teardown(a_handler_that_parks_holds_the_next_request_up, fixture_teardown),
        cmocka_unit_test_teardown(silence_ends_an_idle_connection_without_a_word, fixture_teardown),
        cmocka_unit_test_teardown(a_head_has_its_time_from_the_first_byte_on, fixture_teardown),
        cmocka_unit_test_teardown(a_body_has_its_time_between_its_pieces, fixture_teardown),
        cmocka_unit_test_teardown(a_body_that_nobody_wanted_is_waited_for_and_skipped, fixture_teardown),
        cmocka_unit_test_teardown(a_reset_ends_a_request_at_every_stage, fixture_teardown),
        cmocka_unit_test_teardown(a_stopping_reactor_takes_requests_with_it, fixture_teardown),
        cmocka_unit_test_teardown(a_task_that_reads_on_is_told_when_the_handler_has_ended, fixture_teardown),
        cmocka_unit_test_teardown(many_pipelined_requests_do_not_hold_a_turn_up_for_ever, fixture_teardown),
        cmocka_unit_test_teardown(a_full_output_holds_the_pipeline_up, fixture_teardown),
        cmocka_unit_test_teardown(without_memory_for_a_chunk_the_connection_ends, fixture_teardown),
        cmocka_unit_test_teardown(without_memory_for_announced_content_the_connection_ends, fixture_teardown),
        cmocka_unit_test_teardown(without_memory_for_the_body_nothing_behind_it_is_read, fixture_teardown),
        cmocka_unit_test_teardown(what_is_kept_of_a_request_counts_as_held, fixture_teardown),
        cmocka_unit_test_teardown(draining_lets_a_first_request_come_and_a_last_one, fixture_teardown),
        cmocka_unit_test_teardown(draining_ends_a_connection_that_asks_no_more, fixture_teardown),
        cmocka_unit_test_teardown(draining_ends_a_connection_that_never_asked, fixture_teardown),
        cmocka_unit_test_teardown(a_request_that_ends_while_draining_ends_its_connection, fixture_teardown),
        cmocka_unit_test_teardown(a_redirect_may_fill_the_output, fixture_teardown),
        cmocka_unit_test_teardown(a_refused_field_changes_nothing, fixture_teardown),
    };

    return cmocka_run_group_tests_name("http_conn", tests, NULL, NULL);
}
