/* One active check on the fake ring: by connecting and by HTTP, what passes and what fails. */
#include "proxy/check.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "checking.h"
#include "core/conn.h"
#include "fake_ring.h"
#include "proto/http_status.h"
#include "proto/proxy_protocol.h"

static int setup_http(void **state)
{
    struct upstream_config config = usual_checks();

    config.check.path = (char *)"/healthz";
    config.check.status_min = 200;
    config.check.status_max = 399;
    *state = checking_fixture(&config);
    return 0;
}

static int setup_host(void **state)
{
    struct upstream_config config = usual_checks();

    config.check.path = (char *)"/";
    config.check.host = (char *)"app.internal";
    *state = checking_fixture(&config);
    return 0;
}

static int setup_proxy(void **state)
{
    struct upstream_config config = usual_checks();

    config.proxy_send = PROXY_SEND_V2;
    *state = checking_fixture(&config);
    return 0;
}

/* One that waits for an answer. */
static struct conn *asked_check(struct fixture *f, char *request, size_t size)
{
    struct conn *conn = next_check(f);
    size_t len;

    fixture_connect_result(f, conn, 0);
    len = fixture_drain(f, conn, request, size - 1);
    request[len] = '\0';
    return conn;
}

static void let_answer(struct fixture *f, const char *text)
{
    char request[256];

    fixture_feed_text(f, asked_check(f, request, sizeof(request)), text);
    assert_null(present_check(f));
    fixture_answer(f);
}

/* ---- by connecting ---- */

static void the_first_check_comes_at_once(void **state)
{
    struct fixture *f = *state;

    fixture_pump(f);
    assert_int_equal(fake_ring_count(f->ring, FAKE_CONNECT), 1);
}

static void the_next_comes_an_interval_after_the_end_of_the_last(void **state)
{
    struct fixture *f = *state;

    fixture_pump(f);
    fixture_advance(f, 600);
    end_check(f, 0);
    fixture_advance(f, INTERVAL_MS - 1);
    assert_null(present_check(f));
    fixture_advance(f, 1);
    assert_non_null(present_check(f));
}

static void connecting_is_enough_and_ends_in_order(void **state)
{
    struct fixture *f = *state;
    const struct conn *conn = next_check(f);

    fixture_connect_result(f, conn, 0);
    assert_int_equal(conn->state, CONN_LINGERING);
    fixture_feed_text(f, conn, "220 hello\r\n"); /* discarded: a close would reset now */
    fixture_recv_result(f, conn, 0);
    fixture_answer(f);
    assert_int_equal(f->reactor.conns.taken, 0);
    assert_int_equal(f->reactor.stats.connects, 1);
    assert_int_equal(f->reactor.stats.connects_closed, 1);
    assert_int_equal(first_state(f), SERVER_UP);
}

static void as_many_failures_as_fall_take_a_server_down(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 2; i++) {
        end_check(f, -ECONNREFUSED);
        assert_int_equal(first_state(f), SERVER_UP);
    }
    end_check(f, -ECONNREFUSED);
    assert_int_equal(first_state(f), SERVER_DOWN);
    assert_true(fixture_log_has(f, "upstream app: server 127.0.0.1:3001 is down: 3 checks in a row failed: refused"));
    for (int i = 0; i < 5; i++)
        end_check(f, -ECONNREFUSED);
    assert_int_equal(fixture_log_count(f, "is down"), 1);
}

static void as_many_passes_as_rise_bring_it_back(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 3; i++)
        end_check(f, -EHOSTUNREACH);
    end_check(f, 0);
    assert_int_equal(first_state(f), SERVER_DOWN);
    end_check(f, 0);
    assert_int_equal(first_state(f), SERVER_UP);
    assert_true(fixture_log_has(f, "upstream app: server 127.0.0.1:3001 is up again: 2 checks in a row passed"));
}

static void a_pass_between_failures_begins_the_count_anew(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 4; i++) {
        end_check(f, -ECONNREFUSED);
        end_check(f, -ECONNREFUSED);
        end_check(f, 0);
    }
    assert_int_equal(first_state(f), SERVER_UP);
}

static void a_server_that_does_not_answer_fails_when_time_is_up(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 3; i++) {
        const struct conn *conn = next_check(f);

        fixture_advance(f, TIMEOUT_MS - 1);
        assert_int_equal(conn->state, CONN_CONNECTING);
        fixture_advance(f, 1);
        fixture_answer(f);
        assert_null(present_check(f));
    }
    assert_true(fixture_log_has(f, "3 checks in a row failed: timeout"));
}

static void the_proxy_protocol_header_says_that_it_is_a_check(void **state)
{
    struct fixture *f = *state;
    const struct conn *conn = next_check(f);
    struct proxy_header header;
    uint8_t sent[256];
    size_t len;

    fixture_connect_result(f, conn, 0);
    len = fixture_drain(f, conn, sent, sizeof(sent));
    assert_int_equal(proxy_protocol_parse(&header, sent, len), PARSE_DONE);
    assert_int_equal(header.bytes, len);
    assert_int_equal(header.command, PROXY_LOCAL);
    assert_int_equal(conn->state, CONN_LINGERING);
}

/* ---- by HTTP ---- */

static void the_request_names_path_and_target(void **state)
{
    struct fixture *f = *state;
    char request[256];

    (void)asked_check(f, request, sizeof(request));
    assert_string_equal(request, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:3001\r\nUser-Agent: zerg-check\r\n"
                                 "Connection: close\r\n\r\n");
}

static void the_configured_host_goes_before_the_target(void **state)
{
    struct fixture *f = *state;
    char request[256];

    (void)asked_check(f, request, sizeof(request));
    assert_non_null(strstr(request, "\r\nHost: app.internal\r\n"));
}

static void a_status_within_the_range_passes(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 3; i++) {
        let_answer(f, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let_answer(f, "HTTP/1.0 399 x\r\n");
    }
    assert_int_equal(first_state(f), SERVER_UP);
    assert_int_equal(checked_server(f, 0)->check_streak, 0);
}

static void a_status_outside_of_it_fails(void **state)
{
    struct fixture *f = *state;

    let_answer(f, "HTTP/1.1 199 x\r\n");
    let_answer(f, "HTTP/1.1 400 x\r\n");
    let_answer(f, "HTTP/1.1 503 Service Unavailable\r\n");
    assert_int_equal(first_state(f), SERVER_DOWN);
    assert_true(fixture_log_has(f, "3 checks in a row failed: status 503"));
}

static void a_status_line_may_come_in_any_pieces(void **state)
{
    static const char line[] = "HTTP/1.1 204 No Content\r\n";
    struct fixture *f = *state;
    char request[256];

    for (int i = 0; i < 2; i++) {
        const struct conn *conn = asked_check(f, request, sizeof(request));

        for (size_t at = 0; at < sizeof(line) - 1; at++) {
            assert_non_null(present_check(f));
            fixture_feed(f, conn, line + at, 1);
        }
        assert_null(present_check(f));
        fixture_answer(f);
    }
    assert_int_equal(first_state(f), SERVER_UP);
    assert_int_equal(checked_server(f, 0)->check_streak, 0);
}

static void what_is_no_http_fails(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 3; i++)
        let_answer(f, "220 mail.test ESMTP\r\n");
    assert_true(fixture_log_has(f, "failed: the answer has no HTTP status line"));
}

static void a_line_without_an_end_is_not_read_for_ever(void **state)
{
    struct fixture *f = *state;
    static char endless[HTTP_STATUS_LINE_BYTES_MAX + 500];
    char request[256];
    const struct conn *conn = asked_check(f, request, sizeof(request));

    memset(endless, 'x', sizeof(endless));
    memcpy(endless, "HTTP/1.1 200 ", 13);
    fixture_feed(f, conn, endless, HTTP_STATUS_LINE_BYTES_MAX - 1);
    assert_non_null(present_check(f));
    fixture_feed(f, conn, endless, 500);
    assert_null(present_check(f));
    assert_int_equal(checked_server(f, 0)->check_streak, 1);
}

static void a_server_that_ends_before_its_answer_fails(void **state)
{
    struct fixture *f = *state;
    char request[256];

    for (int i = 0; i < 3; i++) {
        const struct conn *conn = asked_check(f, request, sizeof(request));

        fixture_feed_text(f, conn, "HTTP/1.1 200");
        fixture_recv_result(f, conn, i == 0 ? -ECONNRESET : 0);
        fixture_answer(f);
        assert_int_equal(checked_server(f, 0)->check_streak, (i + 1) % 3);
    }
    assert_true(fixture_log_has(f, "failed: closed without an answer"));
}

static void connecting_and_answering_share_one_time_out(void **state)
{
    struct fixture *f = *state;
    char request[256];
    const struct conn *conn;

    (void)next_check(f);
    fixture_advance(f, TIMEOUT_MS - 100);
    conn = asked_check(f, request, sizeof(request));
    fixture_feed_text(f, conn, "HTTP/1.1 ");
    fixture_advance(f, 99);
    assert_int_equal(conn->state, CONN_OPEN);
    fixture_advance(f, 1);
    assert_int_equal(conn->state, CONN_DYING);
    assert_true(conn->is_aborted); /* it hangs: nothing of ours should wait there */
    assert_int_equal(checked_server(f, 0)->check_streak, 1);
}

/* ---- the end ---- */

static void a_stop_ends_checks_in_every_state(void **state)
{
    struct fixture *f = *state;
    char request[256];

    fixture_feed_text(f, asked_check(f, request, sizeof(request)), "HTTP/1.1 2");
    /* The teardown stops and checks that everything came back. */
}

#define TEST(name, setup) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_check_comes_at_once, setup_checks),
        TEST(the_next_comes_an_interval_after_the_end_of_the_last, setup_checks),
        TEST(connecting_is_enough_and_ends_in_order, setup_checks),
        TEST(as_many_failures_as_fall_take_a_server_down, setup_checks),
        TEST(as_many_passes_as_rise_bring_it_back, setup_checks),
        TEST(a_pass_between_failures_begins_the_count_anew, setup_checks),
        TEST(a_server_that_does_not_answer_fails_when_time_is_up, setup_checks),
        TEST(the_proxy_protocol_header_says_that_it_is_a_check, setup_proxy),
        TEST(the_request_names_path_and_target, setup_http),
        TEST(the_configured_host_goes_before_the_target, setup_host),
        TEST(a_status_within_the_range_passes, setup_http),
        TEST(a_status_outside_of_it_fails, setup_http),
        TEST(a_status_line_may_come_in_any_pieces, setup_http),
        TEST(what_is_no_http_fails, setup_http),
        TEST(a_line_without_an_end_is_not_read_for_ever, setup_http),
        TEST(a_server_that_ends_before_its_answer_fails, setup_http),
        TEST(connecting_and_answering_share_one_time_out, setup_http),
        TEST(a_stop_ends_checks_in_every_state, setup_http),
    };

    return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
