/* Connections that speak HTTP when another version of the configuration becomes current. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "core/conn.h"
#include "core/version.h"
#include "fake_ring.h"
#include "fixture.h"
#include "http/http_conn.h"
#include "http/http_server.h"
#include "versions.h"

#define HANDLER(body) "local zerg = require('zerg')\nreturn function(req, res)\n" body "\nend"
#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

enum { DRAIN_MS = 60000 };

static const struct http_config usual = {
    .header_ms = 20000,
    .body_ms = 2000,
    .keepalive_ms = 5000,
    .header_bytes = 1024,
    .headers = 10,
};

static struct config next_config;
static struct listener_config next_listener;

static struct fixture *serving(void **state, const char *script)
{
    struct fixture *f = fixture_new(&(struct fixture_options){.script = script, .buffer_bytes = 4096, .http = &usual});

    *state = f;
    next_config = f->config;
    next_config.drain_timeout_ms = DRAIN_MS;
    next_config.listeners = &next_listener;
    next_listener = f->listener_config;
    return f;
}

static void renew(struct fixture *f)
{
    fixture_rewrite(f, HANDLER("return 'new'"));
    fixture_switch(f, fixture_add_version(f, &next_config));
}

/* The version that comes has no listener at all. */
static void remove_listener(struct fixture *f)
{
    struct version *next = fixture_add_version(f, &next_config);

    version_by_hand_remove(next, 0);
    fixture_switch(f, next);
}

static const char *answer(struct fixture *f, const struct conn *conn)
{
    static char text[4096];

    fixture_turn(f);
    text[fixture_drain(f, conn, text, sizeof(text) - 1)] = '\0';
    return text;
}

static const char *ask(struct fixture *f, const struct conn *conn)
{
    fixture_feed_text(f, conn, GET);
    return answer(f, conn);
}

static bool has_ended(const struct fixture *f)
{
    return atomic_load(&f->version->parts[0].state) >= PART_ENDING;
}

static void idle_connections_go_over_at_once(void **state)
{
    struct fixture *f = serving(state, HANDLER("return 'old'"));
    struct conn *used = fixture_open(f);
    struct conn *fresh = fixture_open(f);

    assert_non_null(strstr(ask(f, used), "old"));
    renew(f);
    assert_true(has_ended(f));
    assert_non_null(strstr(ask(f, used), "new"));
    assert_non_null(strstr(ask(f, fresh), "new"));
}

static void a_version_shows_its_memory_until_it_is_freed(void **state)
{
    struct fixture *f = serving(state, HANDLER("return 'old'"));
    const struct version_part *part = &f->version->parts[0];
    size_t before;
    uint32_t turns = 0;

    fixture_turn(f);
    before = atomic_load(&part->memory);
    assert_true(before > 0);
    renew(f);
    assert_int_equal(atomic_load(&part->state), PART_ENDING);
    assert_in_range(atomic_load(&part->memory), 1, before);
    for (; atomic_load(&part->state) != PART_ENDED; turns++) {
        assert_true(turns < 10000);
        assert_true(atomic_load(&part->memory) > 0);
        fixture_turn(f);
    }
    assert_true(turns > 1); /* not all at once, for which connections would have to wait */
    assert_int_equal(atomic_load(&part->memory), 0);
}

static void what_a_script_kept_of_them_ends_with_its_version(void **state)
{
    struct fixture *f = serving(state, HANDLER("req.conn.ctx.n = 1\n"
                                               "req.conn:on_close(function() zerg.log.info('old end') end)\n"
                                               "return 'old'"));
    struct conn *conn = fixture_open(f);

    assert_non_null(strstr(ask(f, conn), "old"));
    renew(f);
    fixture_turn(f);
    assert_true(has_ended(f));
    assert_non_null(strstr(ask(f, conn), "new"));
    fixture_recv_result(f, conn, 0);
    fixture_turn(f);
    assert_false(fixture_log_has(f, "old end"));
}

static void half_a_head_goes_over_and_keeps_its_time(void **state)
{
    struct fixture *f = serving(state, HANDLER("return 'old'"));
    struct conn *conn = fixture_open(f);
    struct conn *slow = fixture_open(f);

    fixture_feed_text(f, conn, "GET / HT");
    fixture_feed_text(f, slow, "GET / HT");
    fixture_advance(f, 15000);
    renew(f);
    assert_true(has_ended(f));
    fixture_feed_text(f, conn, "TP/1.1\r\nHost: a\r\n\r\n");
    assert_non_null(strstr(answer(f, conn), "new"));
    fixture_advance(f, 4999);
    assert_int_equal(slow->state, CONN_OPEN);
    fixture_advance(f, 1);
    assert_non_null(strstr(answer(f, slow), "408"));
}

static void a_request_that_runs_ends_on_its_version(void **state)
{
    struct fixture *f = serving(state, HANDLER("zerg.sleep(1) return 'old'"));
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, GET GET);
    renew(f);
    assert_false(has_ended(f));
    fixture_advance(f, 1000);
    fixture_turn(f);
    const char *text = answer(f, conn);
    assert_non_null(strstr(text, "old"));
    assert_non_null(strstr(text, "new")); /* what was sent ahead is the next version's */
    fixture_turn(f);
    assert_true(has_ended(f));
}

static void an_idle_time_begins_again_only_if_it_is_another(void **state)
{
    struct fixture *f = serving(state, HANDLER("return 'old'"));
    struct conn *conn = fixture_open(f);

    assert_non_null(strstr(ask(f, conn), "old"));
    fixture_advance(f, 4000);
    renew(f);
    fixture_advance(f, 1000);
    assert_int_equal(conn->reason, CLOSE_TIMEOUT);
}

static void a_shorter_idle_time_holds_at_once(void **state)
{
    struct fixture *f = serving(state, HANDLER("return 'old'"));
    struct conn *conn = fixture_open(f);

    assert_non_null(strstr(ask(f, conn), "old"));
    next_listener.http.keepalive_ms = 100;
    renew(f);
    fixture_advance(f, 99);
    assert_int_equal(conn->state, CONN_OPEN);
    fixture_advance(f, 1);
    assert_int_equal(conn->reason, CLOSE_TIMEOUT);
}

static void without_their_listener_idle_ones_have_a_last_request(void **state)
{
    struct fixture *f = serving(state, HANDLER("return 'old'"));
    struct conn *quick = fixture_open(f);
    struct conn *idle = fixture_open(f);
    struct conn *fresh = fixture_open(f);

    assert_non_null(strstr(ask(f, quick), "old"));
    assert_non_null(strstr(ask(f, idle), "old"));
    remove_listener(f);
    assert_int_equal(quick->state, CONN_OPEN);
    const char *text = ask(f, quick);
    assert_non_null(strstr(text, "old"));
    assert_non_null(strstr(text, "Connection: close"));
    assert_true(quick->state != CONN_OPEN);
    fixture_advance(f, HTTP_LAST_REQUEST_MS);
    assert_int_equal(idle->reason, CLOSE_SHUTDOWN);
    assert_int_equal(fresh->state, CONN_OPEN); /* its first request has the time of a head */
    assert_non_null(strstr(ask(f, fresh), "Connection: close"));
}

#define TEST(name) cmocka_unit_test_teardown(name, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(idle_connections_go_over_at_once),
        TEST(a_version_shows_its_memory_until_it_is_freed),
        TEST(what_a_script_kept_of_them_ends_with_its_version),
        TEST(half_a_head_goes_over_and_keeps_its_time),
        TEST(a_request_that_runs_ends_on_its_version),
        TEST(an_idle_time_begins_again_only_if_it_is_another),
        TEST(a_shorter_idle_time_holds_at_once),
        TEST(without_their_listener_idle_ones_have_a_last_request),
    };

    return cmocka_run_group_tests_name("http_reload", tests, NULL, NULL);
}
