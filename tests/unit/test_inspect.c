/* inspect: what operators see of the connections of a reactor on the fake ring, with the real scripts on top. */
#include "script/inspect.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/conn_table.h"
#include "fake_ring.h"
#include "fixture.h"

/* The first line is line 1 of the script. */
#define HANDLER(body) "local zerg = require('zerg')\nreturn function(conn)\n" body "\nend\n"

enum { MANY = 100 };

static const struct http_config usual = {
    .keepalive_ms = 10000,
    .header_ms = 5000,
    .body_ms = 5000,
    .header_bytes = 4096,
    .headers = 8,
};

static struct fixture *serving(const char *script)
{
    return fixture_new(&(struct fixture_options){.script = script, .max_connections = FIXTURE_CONNS_MAX});
}

/* The one connection there is. */
static struct conn_info only(const struct fixture *f)
{
    struct conn_info info[2];
    uint32_t slot = 0;

    assert_int_equal(inspect_conns(&f->reactor, &slot, info, 2), 1);
    assert_int_equal(slot, 0);
    return info[0];
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text);

    return len >= strlen(end) && strcmp(text + len - strlen(end), end) == 0;
}

static void assert_waits(const struct fixture *f, const char *what, const char *line)
{
    struct conn_info info = only(f);

    if (strncmp(info.waits, what, strlen(what)) != 0 || !ends_with(info.waits, line))
        fail_msg("%s, not %s ... %s", info.waits, what, line);
}

static void a_reactor_without_connections_has_none(void **state)
{
    struct fixture *f = serving(HANDLER("conn:read()"));
    struct conn_info info;
    uint32_t slot = 0;

    (void)state;
    assert_int_equal(inspect_conns(&f->reactor, &slot, &info, 1), 0);
    assert_int_equal(slot, 0);
    fixture_free(f);
}

static void a_connection_has_an_age_and_counts(void **state)
{
    struct fixture *f = serving(HANDLER("while conn:read() do conn:write('abc') end"));
    struct conn *conn = fixture_open(f);
    struct conn_info info;

    (void)state;
    fixture_feed_text(f, conn, "12345");
    fixture_drain(f, conn, NULL, 0);
    fixture_advance(f, 1500);
    info = only(f);
    assert_int_equal(info.id, conn->id);
    assert_int_equal(info.age_ms, 1500);
    assert_int_equal(info.bytes_in, 5);
    assert_int_equal(info.bytes_out, 3);
    assert_string_equal(info.state, "open");
    assert_int_equal(info.version, 1);
    assert_string_equal(info.listener, f->listener_config.name);
    fixture_free(f);
}

static void what_a_handler_waits_for_has_its_line(void **state)
{
    struct fixture *f = serving(HANDLER("conn:read()\nzerg.sleep(100)\nconn:write(('x'):rep(5000000))"));
    struct conn *conn = fixture_open(f);

    (void)state;
    assert_waits(f, "read at ", ":3");
    fixture_feed_text(f, conn, "x");
    assert_waits(f, "sleep at ", ":4");
    fixture_advance(f, 100000);
    assert_waits(f, "write at ", ":5");
    fixture_free(f);
}

static void what_a_wait_is_for_is_what_the_script_calls(void **state)
{
    struct fixture *f = serving(HANDLER("conn:read()\nlocal _ = zerg.queue():get()"));
    struct conn *conn = fixture_open(f);

    (void)state;
    fixture_feed_text(f, conn, "x");
    assert_waits(f, "queue:get at ", ":4");
    fixture_free(f);

    f = serving(HANDLER("local t = zerg.spawn(zerg.sleep, 100)\nlocal _ = t:join()"));
    fixture_open(f);
    assert_waits(f, "task:join at ", ":4");
    fixture_free(f);

    f = serving(HANDLER("pcall(zerg.sleep, 100)"));
    fixture_open(f);
    assert_waits(f, "wait at ", ":3");
    fixture_free(f);
}

static void a_handler_that_outlives_its_connection_is_what_is_told(void **state)
{
    struct fixture *f = serving(HANDLER("zerg.sleep(100)"));
    struct conn *conn = fixture_open(f);

    (void)state;
    fixture_recv_result(f, conn, -ECONNRESET);
    fixture_answer(f);
    assert_string_equal(only(f).state, "dead");
    assert_waits(f, "sleep at ", ":3");
    fixture_free(f);
}

static void http_is_idle_in_a_head_or_with_its_handler(void **state)
{
    struct fixture *f = fixture_new(&(struct fixture_options){
        .script = "local zerg = require('zerg')\nreturn function(req, res)\nzerg.sleep(1)\nend\n",
        .http = &usual,
    });
    struct conn *conn = fixture_open(f);

    (void)state;
    assert_string_equal(only(f).waits, "a request");
    fixture_feed_text(f, conn, "GET /some/where HT");
    assert_string_equal(only(f).waits, "the rest of a head");
    fixture_feed_text(f, conn, "TP/1.1\r\nHost: x\r\n\r\n");
    assert_waits(f, "sleep at ", ":3, /some/where");
    fixture_free(f);
}

static void a_target_that_is_long_is_cut(void **state)
{
    struct fixture *f = fixture_new(&(struct fixture_options){
        .script = "return function(req, res) require('zerg').sleep(1) end",
        .http = &usual,
    });
    struct conn *conn = fixture_open(f);
    char target[600];

    (void)state;
    memset(target, 'x', sizeof(target) - 1);
    target[0] = '/';
    target[sizeof(target) - 1] = '\0';
    fixture_feed_text(f, conn, "GET ");
    fixture_feed_text(f, conn, target);
    fixture_feed_text(f, conn, " HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(strlen(only(f).waits), INSPECT_WAITS_MAX - 1);
    fixture_free(f);
}

static void many_come_in_batches_each_of_them_once(void **state)
{
    struct fixture *f = serving(HANDLER("conn:read()"));
    struct conn_info info[7];
    bool seen[MANY + 1] = {false};
    uint32_t count;
    uint32_t found = 0;
    uint32_t slot = 0;

    (void)state;
    for (int i = 0; i < MANY; i++)
        fixture_open(f);
    do {
        count = inspect_conns(&f->reactor, &slot, info, 7);
        for (uint32_t i = 0; i < count; i++) {
            assert_in_range(info[i].id, 1, MANY);
            assert_false(seen[info[i].id]);
            seen[info[i].id] = true;
            found++;
        }
        assert_true(count > 0 || slot == 0);
    } while (slot != 0);
    assert_int_equal(found, MANY);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reactor_without_connections_has_none),
        cmocka_unit_test(a_connection_has_an_age_and_counts),
        cmocka_unit_test(what_a_handler_waits_for_has_its_line),
        cmocka_unit_test(what_a_wait_is_for_is_what_the_script_calls),
        cmocka_unit_test(a_handler_that_outlives_its_connection_is_what_is_told),
        cmocka_unit_test(http_is_idle_in_a_head_or_with_its_handler),
        cmocka_unit_test(a_target_that_is_long_is_cut),
        cmocka_unit_test(many_come_in_batches_each_of_them_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
