/* A forwarded request that breaks: on which side, when, what the client sees of it, and when it is made again. */
#include "proxy/http_forward.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "fake_ring.h"
#include "forwarding.h"
#include "proxy/pool.h"
#include "proxy/proxy.h"
#include "uring/op.h"

/* ---- what breaks ---- */

static void a_server_that_says_nothing_makes_504(void **state)
{
    struct fixture *f = *state;
    struct conn *server;
    struct conn *client = asking(f, GET, &server);

    drained(f, server);
    fixture_advance(f, PLAIN_READ_MS - 1);
    assert_int_equal(forwards(f), 1);
    fixture_advance(f, 2);
    assert_starts(drained(f, client), "HTTP/1.1 504 ");
    assert_int_equal(server->state, CONN_DYING);
    assert_none_left(f);
    assert_int_equal(client->state, CONN_OPEN);
    assert_true(fixture_log_has(f, "server unix:@backend: conn 1, GET /a?b: timeout: 504"));
}

static void a_server_that_cannot_be_reached_makes_502(void **state)
{
    struct fixture *f = *state;
    struct conn *client = fixture_open(f);

    fixture_feed_text(f, client, GET);
    fixture_connect_result(f, fixture_outgoing(f), -ECONNREFUSED);
    assert_starts(drained(f, client), "HTTP/1.1 502 ");
    assert_true(fixture_log_has(f, "server unix:@backend: conn 1, GET /a?b: refused: 502"));
    assert_none_left(f);
    assert_int_equal(client->state, CONN_OPEN);
}

static void our_own_shortage_makes_503(void **state)
{
    static const char *const begun[] = {"HTTP/1.1 200 OK\r\nContent-Le", ""};
    static const enum close_reason reasons[] = {CLOSE_NO_MEMORY, CLOSE_SHUTDOWN};
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT_OF(begun); i++) {
        struct conn *server;
        struct conn *client = asking(f, GET, &server);

        drained(f, server);
        if (begun[i][0] != '\0')
            fixture_feed_text(f, server, begun[i]);
        conn_kill(server, reasons[i]);
        fixture_answer(f);
        assert_starts(drained(f, client), "HTTP/1.1 503 ");
        assert_none_left(f);
        conn_kill(client, CLOSE_LOCAL);
        fixture_answer(f);
    }
}

static void garbage_makes_502(void **state)
{
    static const char *const answers[] = {
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT_OF(answers); i++) {
        struct conn *server;
        struct conn *client = asking(f, GET, &server);

        drained(f, server);
        fixture_feed_text(f, server, answers[i]);
        assert_starts(drained(f, client), "HTTP/1.1 502 ");
        assert_none_left(f);
        assert_int_equal(idle(f), 0);
        conn_kill(client, CLOSE_LOCAL);
        fixture_answer(f);
    }
}

static void what_follows_an_answer_is_nobody_s(void **state)
{
    struct fixture *f = *state;
    struct conn *server;
    struct conn *client = asking(f, GET, &server);

    drained(f, server);
    fixture_feed_text(f, server, OK_2 "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    assert_string_equal(drained(f, client), OK_2);
    assert_int_equal(idle(f), 0);
    assert_true(server->state > CONN_OPEN);
    assert_none_left(f);
}

static void half_an_answer_is_cut(void **state)
{
    struct fixture *f = *state;

    for (int way = 0; way < 3; way++) {
        struct conn *server;
        struct conn *client = asking(f, GET, &server);

        drained(f, server);
        fixture_feed_text(f, server,
                          way == 2 ? OK_CLOSE "ab" : "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 5\r\n\r\nab");
        fixture_recv_result(f, server, way == 0 ? 0 : -ECONNRESET);
        drained(f, client);
        assert_none_left(f);
        assert_int_equal(client->reason, CLOSE_ABORTED);
        fixture_answer(f);
    }
}

static void a_stale_connection_is_exchanged_for_a_new_one_once(void **state)
{
    struct fixture *f = *state;
    struct conn *server;
    struct conn *client = asking(f, GET, &server);
    struct conn *fresh;

    drained(f, server);
    fixture_feed_text(f, server, OK_2);
    drained(f, client);
    fixture_feed_text(f, client, GET);
    drained(f, server);
    fixture_recv_result(f, server, 0);
    fixture_answer(f);
    fresh = fixture_outgoing(f);
    assert_non_null(fresh);
    fixture_connect_result(f, fresh, 0);
    assert_starts(drained(f, fresh), "GET /a?b");
    fixture_feed_text(f, fresh, OK_2);
    assert_string_equal(drained(f, client), OK_2);
    assert_none_left(f);
}

/* A request, and in the same batch of completions something on the idle connection that it gets: none of the request has left
 * then. */
static void what_came_before_the_request_answers_nothing(void **state)
{
    static const char late[] = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n";
    struct fixture *f = *state;

    for (int way = 0; way < 2; way++) {
        struct conn *server;
        struct conn *client = asking(f, GET, &server);
        struct conn *fresh;

        drained(f, server);
        fixture_feed_text(f, server, OK_2);
        drained(f, client);
        assert_int_equal(idle(f), 1);
        assert_int_equal(fake_ring_recv(f->ring, fixture_op(client, OP_RECV), GET, strlen(GET), FAKE_MORE),
                         strlen(GET));
        if (way == 0)
            fake_ring_recv(f->ring, fixture_op(server, OP_RECV), late, strlen(late), FAKE_MORE);
        else
            fake_ring_complete(f->ring, fixture_op(server, OP_RECV), 0, 0);
        fixture_pump(f);
        fixture_answer(f);
        assert_string_equal(drained(f, client), "");
        fresh = fixture_outgoing(f);
        assert_non_null(fresh);
        fixture_connect_result(f, fresh, 0);
        assert_starts(drained(f, fresh), "GET /a?b");
        fixture_feed_text(f, fresh, OK_2);
        assert_string_equal(drained(f, client), OK_2);
        assert_none_left(f);
        conn_kill(client, CLOSE_LOCAL);
        pool_clear(&f->reactor.proxy->pool);
        fixture_answer(f);
        if (fresh->state != CONN_FREE) {
            fixture_recv_result(f, fresh, 0);
            fixture_answer(f);
        }
    }
}

static void a_fresh_connection_that_breaks_is_tried_once_more(void **state)
{
    struct fixture *f = *state;
    struct conn *server;
    struct conn *client = asking(f, GET, &server);

    drained(f, server);
    fixture_recv_result(f, server, -ECONNRESET);
    fixture_answer(f);
    server = fixture_outgoing(f);
    fixture_connect_result(f, server, 0);
    drained(f, server);
    fixture_recv_result(f, server, -ECONNRESET);
    fixture_answer(f);
    assert_null(fixture_outgoing(f));
    assert_starts(drained(f, client), "HTTP/1.1 502 ");
    assert_none_left(f);
}

static void what_was_sent_is_not_sent_again(void **state)
{
    static const struct {
        const char *request;
        const char *before; /* the end: of an answer */
    } rows[] = {
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", ""}, /* it may have been done */
        {"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na", ""}, /* a part of the body is gone */
        {GET, "HTTP/1.1 1"},
        {GET, "HTTP/1.1 103 Early Hints\r\n\r\n"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct conn *server;
        struct conn *client = asking(f, rows[i].request, &server);

        drained(f, server);
        if (rows[i].before[0])
            fixture_feed_text(f, server, rows[i].before);
        drained(f, client);
        fixture_recv_result(f, server, -ECONNRESET);
        assert_starts(drained(f, client), "HTTP/1.1 502 ");
        assert_int_equal(forwards(f), 0); /* the rest of its body may still come */
        conn_kill(client, CLOSE_LOCAL);
        fixture_answer(f);
        assert_null(fixture_outgoing(f));
    }
}

static void an_early_answer_ends_the_upload(void **state)
{
    struct fixture *f = *state;
    struct conn *server;
    struct conn *client = asking(f, POST "ab", &server);

    drained(f, server);
    fixture_feed_text(f, server, OK_2);
    assert_string_equal(drained(f, client), OK_2);
    assert_int_equal(forwards(f), 0);
    assert_int_equal(idle(f), 0);
    assert_int_equal(server->state, CONN_DYING);
    fixture_feed_text(f, client, "cdef" GET); /* the rest, and the next request */
    fixture_answer(f);
    server = fixture_outgoing(f);
    fixture_connect_result(f, server, 0);
    assert_starts(drained(f, server), "GET /a?b");
}

static void a_client_that_goes_takes_its_request_with_it(void **state)
{
    struct fixture *f = *state;

    for (int way = 0; way < 3; way++) {
        struct conn *client = fixture_open(f);
        struct conn *server;

        fixture_feed_text(f, client, GET);
        server = fixture_outgoing(f);
        if (way > 0)
            fixture_connect_result(f, server, 0);
        if (way > 1)
            fixture_feed_text(f, server, "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 5\r\n\r\nab");
        fixture_recv_result(f, client, -ECONNRESET);
        fixture_answer(f);
        assert_none_left(f);
        assert_null(fixture_outgoing(f));
    }
}

static void a_client_that_only_listens_has_a_second(void **state)
{
    struct fixture *f = *state;
    struct conn *server;
    struct conn *client = asking(f, GET, &server);

    drained(f, server);
    fixture_recv_result(f, client, 0);
    fixture_advance(f, RELAY_GONE_MS - 10);
    fixture_feed_text(f, server, OK_2);
    assert_string_equal(drained(f, client), OK_2);
    assert_none_left(f);
    fixture_answer(f);

    client = fixture_open(f);
    fixture_feed_text(f, client, GET);
    fixture_recv_result(f, client, 0);
    fixture_advance(f, RELAY_GONE_MS + 1);
    assert_none_left(f);
    assert_int_equal(client->reason, CLOSE_PEER);
}

static void a_bad_body_ends_it(void **state)
{
    struct fixture *f = *state;
    struct conn *server;
    struct conn *client = asking(f, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", &server);

    drained(f, server);
    fixture_feed_text(f, client, "zz\r\n");
    assert_starts(drained(f, client), "HTTP/1.1 400 ");
    assert_int_equal(server->state, CONN_DYING);
    assert_none_left(f);
    assert_true(client->state > CONN_OPEN);
}

static void nothing_is_lost_without_memory(void **state)
{
    struct fixture *f = *state;
    struct conn *client = fixture_open(f);
    struct conn *server;

    f->reactor.proxy->http_forwards.taken_max = 0;
    fixture_feed_text(f, client, GET);
    assert_starts(drained(f, client), "HTTP/1.1 503 ");
    f->reactor.proxy->http_forwards.taken_max = UINT32_MAX;
    f->reactor.proxy->dials.taken_max = 0;
    fixture_feed_text(f, client, GET);
    assert_starts(drained(f, client), "HTTP/1.1 503 ");
    f->reactor.proxy->dials.taken_max = UINT32_MAX;
    fixture_feed_text(f, client, GET);
    server = fixture_outgoing(f);
    f->reactor.chunks.small.taken_max = f->reactor.chunks.small.taken; /* none for the head */
    fixture_connect_result(f, server, 0);
    f->reactor.chunks.small.taken_max = UINT32_MAX;
    assert_none_left(f);
    fixture_answer(f);
    assert_null(fixture_outgoing(f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, forwarding_setup, fixture_teardown)
        TEST(a_server_that_says_nothing_makes_504),
        TEST(a_server_that_cannot_be_reached_makes_502),
        TEST(our_own_shortage_makes_503),
        TEST(garbage_makes_502),
        TEST(what_follows_an_answer_is_nobody_s),
        TEST(half_an_answer_is_cut),
        TEST(a_stale_connection_is_exchanged_for_a_new_one_once),
        TEST(what_came_before_the_request_answers_nothing),
        TEST(a_fresh_connection_that_breaks_is_tried_once_more),
        TEST(what_was_sent_is_not_sent_again),
        TEST(an_early_answer_ends_the_upload),
        TEST(a_client_that_goes_takes_its_request_with_it),
        TEST(a_client_that_only_listens_has_a_second),
        TEST(a_bad_body_ends_it),
        TEST(nothing_is_lost_without_memory),
    };

    return cmocka_run_group_tests_name("http_forward_faults", tests, NULL, NULL);
}
