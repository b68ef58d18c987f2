/* A forwarded request on the fake ring: the two ways of its bytes, and whom it keeps a connection for. */
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
#include "proxy/proxy.h"

/* ---- as it should be ---- */

static void a_request_goes_on_with_what_is_ours(void **state)
{
    struct fixture *f = *state;
    struct conn *server;
    const char *text;

    asking(f,
           "GET http://h:1/a?b HTTP/1.1\r\nHost: h:1\r\nConnection: close, x-one\r\nX-One: 1\r\nX-Two: 2\r\n"
           "X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nKeep-Alive: 5\r\nTE: trailers\r\n\r\n",
           &server);
    text = drained(f, server);
    assert_starts(text, "GET /a?b HTTP/1.1\r\nHost: h:1\r\n");
    assert_non_null(strstr(text, "\r\nX-Two: 2\r\n"));
    assert_non_null(strstr(text, "\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h:1\r\n"));
    assert_non_null(strstr(text, "\r\nX-Request-ID: "));
    assert_null(strstr(text, "6.6.6.6"));
    assert_null(strstr(text, "X-One"));
    assert_null(strstr(text, "Keep-Alive"));
    assert_null(strstr(text, "Connection"));
    assert_null(strstr(text, "TE:"));
}

/* Servers that read environments take `_` for `-`; and trailers for fields. */
static void nobody_goes_around_what_is_changed(void **state)
{
    struct http_field_config fields[] = {{(char *)"X-Auth", NULL}, {(char *)"X-Env", (char *)"live"}};
    struct fixture *f = *state;
    struct conn *server;
    const char *text;

    f->route.rewrite.request_fields = fields;
    f->route.rewrite.request_field_count = COUNT_OF(fields);
    asking(f,
           "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nX_Auth: a\r\nx-auth: b\r\nX_ENV: c\r\n"
           "X_Forwarded_For: 6.6.6.6\r\nX_Other: d\r\n\r\n0\r\nX-Auth: e\r\nX_Auth: f\r\nX-T: 1\r\n\r\n",
           &server);
    text = drained(f, server);
    assert_non_null(strstr(text, "\r\nX_Other: d\r\nX-Env: live\r\n"));
    assert_non_null(strstr(text, "\r\n\r\n0\r\nX-T: 1\r\n\r\n"));
    assert_null(strcasestr(text, "auth"));
    assert_null(strcasestr(text, "forwarded_for"));
    assert_null(strstr(text, "X_ENV"));
}

static void the_answer_comes_back_and_both_connections_stay(void **state)
{
    struct fixture *f = *state;
    struct conn *server;
    struct conn *client = asking(f, GET, &server);

    drained(f, server);
    fixture_feed_text(f, server, OK_2);
    assert_string_equal(drained(f, client), OK_2);
    assert_none_left(f);
    assert_int_equal(idle(f), 1);
    assert_int_equal(client->state, CONN_OPEN);
    fixture_feed_text(f, client, GET); /* on the same one */
    assert_int_equal(idle(f), 0);
    assert_starts(drained(f, server), "GET /a?b");
    fixture_feed_text(f, server, OK_2);
    assert_string_equal(drained(f, client), OK_2);
    assert_int_equal(idle(f), 1);
}

static void requests_sent_ahead_are_forwarded_one_after_the_other(void **state)
{
    struct fixture *f = *state;
    struct conn *server;
    struct conn *client = asking(f, GET "GET /second HTTP/1.1\r\nHost: h\r\n\r\n", &server);

    assert_null(strstr(drained(f, server), "second"));
    fixture_feed_text(f, server, OK_2);
    assert_string_equal(drained(f, client), OK_2);
    assert_starts(drained(f, server), "GET /second");
    fixture_feed_text(f, server, OK_2);
    assert_string_equal(drained(f, client), OK_2);
    assert_none_left(f);
}

static void bodies_go_on_in_their_framing(void **state)
{
    struct fixture *f = *state;
    struct conn *server;
    struct conn *client =
        asking(f, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n", &server);
    const char *text = drained(f, server);

    assert_non_null(strstr(text, "\r\nTransfer-Encoding: chunked\r\n"));
    assert_string_equal(strstr(text, "\r\n\r\n"), "\r\n\r\n3\r\nabc\r\n");
    fixture_feed_text(f, client, "1\r\nd\r\n0\r\nX-T: 1\r\n\r\n");
    assert_string_equal(drained(f, server), "1\r\nd\r\n0\r\nX-T: 1\r\n\r\n");
    fixture_feed_text(f, server, "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
    assert_string_equal(drained(f, client),
                        "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
    fixture_feed_text(f, server, "0\r\nX-U: 2\r\n\r\n");
    assert_string_equal(drained(f, client), "0\r\nX-U: 2\r\n\r\n");
    assert_none_left(f);
    assert_int_equal(idle(f), 1);
}

static void an_answer_until_the_end_goes_on_in_chunks(void **state)
{
    struct fixture *f = *state;
    struct conn *server;
    struct conn *client = asking(f, GET, &server);

    drained(f, server);
    fixture_feed_text(f, server, OK_CLOSE "abc");
    assert_string_equal(drained(f, client),
                        "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    fixture_recv_result(f, server, 0);
    assert_string_equal(drained(f, client), "0\r\n\r\n");
    assert_none_left(f);
    assert_int_equal(idle(f), 0);
    assert_int_equal(client->state, CONN_OPEN);
}

static void old_clients_get_no_chunks(void **state)
{
    struct fixture *f = *state;
    struct conn *server;
    struct conn *client = asking(f, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &server);

    assert_starts(drained(f, server), "GET / HTTP/1.1\r\n");
    fixture_feed_text(f, server,
                      "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    assert_string_equal(drained(f, client), "HTTP/1.1 200 OK\r\nDate: x\r\nConnection: close\r\n\r\nok");
    assert_int_equal(client->state, CONN_LINGERING);
    assert_none_left(f);
}

static void answers_without_a_body_have_none(void **state)
{
    struct fixture *f = *state;
    struct conn *server;
    struct conn *client = asking(f, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", &server);

    drained(f, server);
    fixture_feed_text(f, server, "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 5\r\n\r\n");
    assert_string_equal(drained(f, client), "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 5\r\n\r\n");
    assert_none_left(f);
    fixture_feed_text(f, client, GET);
    drained(f, server);
    fixture_feed_text(f, server, "HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n");
    assert_string_equal(drained(f, client), "HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n");
    assert_none_left(f);
    assert_int_equal(idle(f), 1);
}

static void interim_answers_pass_before_the_last(void **state)
{
    struct fixture *f = *state;
    struct conn *server;
    struct conn *client =
        asking(f, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", &server);

    assert_non_null(strstr(drained(f, server), "\r\nExpect: 100-continue\r\n"));
    fixture_feed_text(f, server, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
    assert_string_equal(drained(f, client), "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
    fixture_feed_text(f, client, "ab");
    assert_string_equal(drained(f, server), "ab");
    fixture_feed_text(f, server, OK_2);
    assert_string_equal(drained(f, client), OK_2);
    assert_int_equal(client->state, CONN_OPEN);
    assert_none_left(f);
}

static void a_switch_of_protocols_makes_a_relay(void **state)
{
    struct fixture *f = *state;
    struct conn *server;
    struct conn *client = asking(f, UPGRADE, &server);

    assert_non_null(strstr(drained(f, server), "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"));
    fixture_feed_text(f, server, SWITCHING "hello");
    assert_string_equal(drained(f, client), SWITCHING "hello");
    assert_none_left(f);
    fixture_feed_text(f, client, "GET / HTTP/1.1\r\n");
    assert_string_equal(drained(f, server), "GET / HTTP/1.1\r\n");
    fixture_recv_result(f, server, 0);
    fixture_recv_result(f, client, 0);
    assert_int_equal(f->reactor.proxy->relays.taken, 0);
}

static void nobody_switches_who_was_not_asked(void **state)
{
    static const char *const upgrades[] = {"h2c", "HTTP/2.0", "TLS/1.2", "websocket, h2c"};
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT_OF(upgrades); i++) {
        struct conn *server;
        struct conn *client;
        char request[128];

        snprintf(request, sizeof(request), "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: %s\r\n\r\n",
                 upgrades[i]);
        client = asking(f, request, &server);
        assert_null(strstr(drained(f, server), "Upgrade"));
        fixture_feed_text(f, server, SWITCHING);
        assert_starts(drained(f, client), "HTTP/1.1 502 ");
        assert_none_left(f);
        conn_kill(client, CLOSE_LOCAL);
        fixture_answer(f);
    }
}

/* ---- back-pressure ---- */

static void a_slow_client_stops_the_server(void **state)
{
    struct fixture *f = *state;
    struct conn *server;
    struct conn *client = asking(f, GET, &server);
    static char content[4000];
    uint32_t got = 0;

    memset(content, 'x', sizeof(content));
    drained(f, server);
    fixture_feed_text(f, server, "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 40000\r\n\r\n");
    for (int i = 0; i < 10; i++) {
        while (!server->recv_armed)
            got += (uint32_t)strlen(drained(f, client));
        fixture_feed(f, server, content, sizeof(content));
        assert_true(client->out.staged <= QUEUE_BYTES + sizeof(content));
    }
    got += (uint32_t)strlen(drained(f, client));
    assert_int_equal(got, 40000 + strlen("HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 40000\r\n\r\n"));
    assert_none_left(f);
    assert_int_equal(idle(f), 1);
    assert_true(server->recv_armed);
}

/* The head of a chunk may be what fills the queue. */
static void chunks_meet_the_end_of_the_queue(void **state)
{
    struct fixture *f = *state;
    static char content[QUEUE_BYTES];

    memset(content, 'x', sizeof(content));
    for (uint32_t room = 1; room <= 12; room++) {
        struct conn *server;
        struct conn *client = asking(f, GET, &server);
        const char *head = "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n";

        drained(f, server);
        fixture_feed_text(f, server, head);
        while (client->out.staged < QUEUE_BYTES - room) {
            uint32_t left = QUEUE_BYTES - room - client->out.staged;
            uint32_t len = left > 3000 ? 2000 : left - 7; /* three digits and two line ends */
            char size[16];

            snprintf(size, sizeof(size), "%x\r\n", len);
            fixture_feed_text(f, server, size);
            fixture_feed(f, server, content, len);
            fixture_feed_text(f, server, "\r\n");
        }
        assert_int_equal(client->out.staged, QUEUE_BYTES - room);
        fixture_feed_text(f, server, "2\r\nok\r\n");
        assert_non_null(strstr(drained(f, client), "ok\r\n"));
        fixture_feed_text(f, server, "0\r\n\r\n");
        assert_string_equal(drained(f, client), "0\r\n\r\n");
        assert_none_left(f);
        conn_kill(client, CLOSE_LOCAL);
        conn_kill(server, CLOSE_LOCAL);
        fixture_answer(f);
    }
}

/* While a body is coming, the time is the client's, and begins anew with each piece. */
static void the_server_s_time_does_not_run_while_the_client_sends(void **state)
{
    struct fixture *f = *state;
    struct conn *server;
    struct conn *client = asking(f, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 20000\r\n\r\n", &server);
    static char content[4000];

    memset(content, 'x', sizeof(content));
    for (int i = 0; i < 3; i++) /* a burst that fills the queue, */
        fixture_feed(f, client, content, sizeof(content));
    drained(f, server);
    for (int i = 0; i < 40; i++) { /* and then slowly */
        fixture_advance(f, BODY_MS - 500);
        fixture_feed(f, client, content, 50);
        drained(f, server);
    }
    assert_int_equal(forwards(f), 1);
    fixture_feed_text(f, server, "HTTP/1.1 200 OK\r\nDate: x\r\n\r\n"); /* early, and it goes on to listen */
    for (int i = 0; i < 40; i++) {
        fixture_advance(f, BODY_MS - 500);
        fixture_feed(f, client, content, 50);
        drained(f, server);
    }
    assert_int_equal(forwards(f), 1);
    fixture_advance(f, BODY_MS + 1); /* it has stopped */
    assert_int_equal(forwards(f), 0);
}

static void who_waits_for_a_word_waits_for_the_server(void **state)
{
    struct fixture *f = *state;
    struct conn *server;
    struct conn *client =
        asking(f, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", &server);

    f->listener_config.http.body_ms = 0;
    drained(f, server);
    fixture_advance(f, PLAIN_READ_MS + 1);
    assert_int_equal(forwards(f), 0);
    (void)client;
}

/* An answer that comes before the queue to the server has room for the end of the body. */
static void a_client_that_was_stopped_goes_on_behind_an_early_answer(void **state)
{
    struct fixture *f = *state;
    struct conn *server;
    struct conn *client = asking(f, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000\r\n\r\n", &server);
    static char content[9000];

    memset(content, 'x', sizeof(content));
    for (int i = 0; i < 3; i++)
        fixture_feed(f, client, content, 3000);
    fixture_feed_text(f, client, "GET /next HT");
    assert_true(client->is_paused);
    fixture_feed_text(f, server, OK_2);
    assert_string_equal(drained(f, client), OK_2);
    assert_false(client->is_paused);
    fixture_feed_text(f, client, "TP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(forwards(f), 1);
}

static void a_client_that_stops_within_its_body_gets_408(void **state)
{
    struct fixture *f = *state;
    struct conn *server;
    struct conn *client = asking(f, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 900\r\n\r\n", &server);

    fixture_advance(f, READ_MS - 1000); /* that is the client's time, of which there is less */
    assert_int_equal(forwards(f), 0);
    assert_starts(drained(f, client), "HTTP/1.1 408 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, forwarding_setup, fixture_teardown)
        TEST(a_request_goes_on_with_what_is_ours),
        TEST(nobody_goes_around_what_is_changed),
        TEST(the_answer_comes_back_and_both_connections_stay),
        TEST(requests_sent_ahead_are_forwarded_one_after_the_other),
        TEST(bodies_go_on_in_their_framing),
        TEST(an_answer_until_the_end_goes_on_in_chunks),
        TEST(old_clients_get_no_chunks),
        TEST(answers_without_a_body_have_none),
        TEST(interim_answers_pass_before_the_last),
        TEST(a_switch_of_protocols_makes_a_relay),
        TEST(nobody_switches_who_was_not_asked),
        TEST(a_slow_client_stops_the_server),
        TEST(chunks_meet_the_end_of_the_queue),
        TEST(the_server_s_time_does_not_run_while_the_client_sends),
        TEST(who_waits_for_a_word_waits_for_the_server),
        TEST(a_client_that_was_stopped_goes_on_behind_an_early_answer),
        TEST(a_client_that_stops_within_its_body_gets_408),
    };

    return cmocka_run_group_tests_name("http_forward", tests, NULL, NULL);
}
