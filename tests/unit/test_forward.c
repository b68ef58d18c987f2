/* conn:forward on the fake ring: every state it can be dropped in, and who waits for its connections meanwhile. */
#include "script/forward.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "fake_ring.h"
#include "fixture.h"
#include "proxy/proxy.h"
#include "script/runtime.h"

#define TARGET "unix:@zerg-unit-server"
#define HANDLER(body)                                                                \
    "local zerg = require('zerg')\n"                                                 \
    "local say = zerg.log.info\n"                                                    \
    "local function tell(result, why) say('result: %s', why or result.reason) end\n" \
    "return function(conn)\n" body "\nend"
#define FORWARDS HANDLER("tell(conn:forward('" TARGET "'))")

struct pair {
    struct conn *client;
    struct conn *server;
};

/* request: what the client says first; NULL: nothing; "": it ends its stream. */
static struct pair dialling_after(void **state, const char *request, const char *script)
{
    struct fixture *f = fixture_new(&(struct fixture_options){.script = script, .buffer_bytes = 4096});
    struct pair pair = {.client = fixture_open(f)};

    *state = f;
    if (request && request[0])
        fixture_feed_text(f, pair.client, request);
    else if (request)
        fixture_recv_result(f, pair.client, 0);
    pair.server = fixture_outgoing(f);
    assert_non_null(pair.server);
    return pair;
}

static struct pair dialling(void **state, const char *script)
{
    return dialling_after(state, NULL, script);
}

static struct pair relaying(void **state, const char *script)
{
    struct pair pair = dialling(state, script);

    fixture_connect_result(*state, pair.server, 0);
    fixture_pump(*state);
    return pair;
}

static void assert_nothing_is_left(const struct fixture *f)
{
    assert_int_equal(fixture_runtime(f)->forward_slab.taken, 0);
    assert_int_equal(f->reactor.proxy->relays.taken, 0);
    assert_true(list_is_linked(&f->reactor.proxy->plain_groups)); /* those that nobody uses */
}

static void bytes_go_on_when_there_is_a_server(void **state)
{
    struct pair pair = dialling(state, FORWARDS);
    struct fixture *f = *state;
    char text[16] = {0};

    fixture_feed_text(f, pair.client, "early");
    fixture_connect_result(f, pair.server, 0);
    assert_int_equal(fixture_drain(f, pair.server, text, sizeof(text)), 5);
    assert_string_equal(text, "early");
    fixture_recv_result(f, pair.client, 0);
    fixture_recv_result(f, pair.server, 0);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "result: closed"));
    assert_nothing_is_left(f);
}

static void a_client_that_breaks_while_dialling_ends_the_dial(void **state)
{
    struct pair pair = dialling(state, FORWARDS);
    struct fixture *f = *state;

    fixture_recv_result(f, pair.client, -ECONNRESET);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "result: reset"));
    assert_int_equal(pair.server->state, CONN_DYING);
    assert_nothing_is_left(f);
}

static void a_task_dropped_while_dialling_leaves_nothing(void **state)
{
    struct fixture *f;

    dialling(state, FORWARDS);
    f = *state;
    f->reactor.app->abandon(&f->reactor);
    assert_nothing_is_left(f);
}

static void a_task_dropped_while_relaying_cuts_both(void **state)
{
    struct pair pair = relaying(state, FORWARDS);
    struct fixture *f = *state;

    f->reactor.app->abandon(&f->reactor);
    assert_true(pair.client->state >= CONN_FLUSHING && pair.server->state >= CONN_FLUSHING);
    assert_nothing_is_left(f);
}

static void a_task_dropped_after_the_end_leaves_nothing(void **state)
{
    struct pair pair = relaying(state, FORWARDS);
    struct fixture *f = *state;

    conn_kill(pair.server, CLOSE_RESET); /* ended, and the task has not been told yet */
    f->reactor.app->abandon(&f->reactor);
    assert_nothing_is_left(f);
}

static void the_total_time_bounds_the_dial_too(void **state)
{
    struct fixture *f;

    dialling(state, HANDLER("tell(conn:forward('" TARGET "', { total_timeout = 1 }))"));
    f = *state;
    fixture_advance(f, 1000);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "result: timeout"));
    assert_nothing_is_left(f);
}

/* Only who has said nothing may have gone: this one has said its request. */
static void a_client_that_has_spoken_and_half_closed_gets_all_the_time(void **state)
{
    struct pair pair = dialling_after(state, "request",
                                      HANDLER("conn:read()\n"
                                              "tell(conn:forward('" TARGET "', { connect_timeout = 5 }))"));
    struct fixture *f = *state;

    fixture_recv_result(f, pair.client, 0);
    fixture_advance(f, 3000);
    fixture_pump(f);
    assert_false(fixture_log_has(f, "result:"));
}

static void a_client_that_ended_silently_before_gets_little_time(void **state)
{
    struct fixture *f;

    dialling_after(state, "", HANDLER("conn:read() tell(conn:forward('" TARGET "'))"));
    f = *state;
    fixture_advance(f, 1000);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "result: closed"));
    assert_nothing_is_left(f);
}

static void a_relay_that_is_refused_leaves_the_client_as_it_was(void **state)
{
    struct pair pair = dialling_after(state, "request",
                                      HANDLER("local data = conn:read()\n"
                                              "zerg.spawn(function() conn:shutdown() end)\n"
                                              "tell(conn:forward('" TARGET "', { idle_timeout = 5 }))\n"
                                              "say('still: %s', data)\n"
                                              "conn:read()"));
    struct fixture *f = *state;

    fixture_connect_result(f, pair.server, 0);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "result: closed"));
    assert_true(fixture_log_has(f, "still: request"));
    assert_int_equal(pair.client->timeouts.idle_ms, 0);
    assert_nothing_is_left(f);
}

static void a_writer_that_waits_is_told_when_a_relay_takes_over(void **state)
{
    struct pair pair = dialling(state, HANDLER("zerg.spawn(function()\n"
                                               "  conn:write('x')\n"
                                               "  say('flush: %s', select(2, pcall(conn.flush, conn)))\n"
                                               "end)\n"
                                               "tell(conn:forward('" TARGET "'))"));
    struct fixture *f = *state;

    assert_false(fixture_log_has(f, "flush:"));
    fixture_connect_result(f, pair.server, 0);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "flush: conn:flush: the connection is being forwarded"));
    assert_int_equal(fixture_drain(f, pair.client, NULL, 0), 1);
}

static void nobody_reads_while_a_server_is_looked_for(void **state)
{
    struct pair pair = dialling(state, HANDLER("zerg.spawn(function()\n"
                                               "  say('read: %s', select(2, pcall(conn.read, conn)))\n"
                                               "end)\n"
                                               "tell(conn:forward('" TARGET "'))"));
    struct fixture *f = *state;

    fixture_pump(f);
    assert_true(fixture_log_has(f, "read: conn:read: the connection is being forwarded"));
    fixture_feed_text(f, pair.client, "x");
    assert_int_equal(pair.client->in.bytes, 1);
}

static void a_connection_of_the_scripts_goes_with_the_relay(void **state)
{
    struct pair pair = relaying(state, HANDLER("local up = zerg.connect('" TARGET "')\n"
                                               "tell(up:forward(conn))\n"
                                               "say('later: %s', select(2, up:write('x')))\n"
                                               "zerg.sleep(9)"));
    struct fixture *f = *state;

    assert_int_equal(f->reactor.proxy->relays.taken, 1);
    f->reactor.now_ms += 1;
    fixture_recv_result(f, pair.server, -ECONNRESET);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "result: reset"));
    assert_true(fixture_log_has(f, "later: reset"));
    assert_true(list_is_empty(&fixture_runtime(f)->outgoing));
    assert_nothing_is_left(f);
}

static void a_lost_handle_does_not_end_what_it_was_lent_to(void **state)
{
    struct pair pair = relaying(state, HANDLER("zerg.spawn(function()\n"
                                               "  zerg.sleep(1)\n"
                                               "  for i = 1, 4 do collectgarbage() end\n"
                                               "  say('collected')\n"
                                               "end)\n"
                                               "return zerg.connect('" TARGET "'):forward(conn)"));
    struct fixture *f = *state;

    fixture_advance(f, 1000);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "collected"));
    assert_int_equal(pair.server->state, CONN_OPEN);
    assert_int_equal(f->reactor.proxy->relays.taken, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(bytes_go_on_when_there_is_a_server, fixture_teardown),
        cmocka_unit_test_teardown(a_client_that_breaks_while_dialling_ends_the_dial, fixture_teardown),
        cmocka_unit_test_teardown(a_task_dropped_while_dialling_leaves_nothing, fixture_teardown),
        cmocka_unit_test_teardown(a_task_dropped_while_relaying_cuts_both, fixture_teardown),
        cmocka_unit_test_teardown(a_task_dropped_after_the_end_leaves_nothing, fixture_teardown),
        cmocka_unit_test_teardown(the_total_time_bounds_the_dial_too, fixture_teardown),
        cmocka_unit_test_teardown(a_client_that_has_spoken_and_half_closed_gets_all_the_time, fixture_teardown),
        cmocka_unit_test_teardown(a_client_that_ended_silently_before_gets_little_time, fixture_teardown),
        cmocka_unit_test_teardown(a_relay_that_is_refused_leaves_the_client_as_it_was, fixture_teardown),
        cmocka_unit_test_teardown(a_writer_that_waits_is_told_when_a_relay_takes_over, fixture_teardown),
        cmocka_unit_test_teardown(nobody_reads_while_a_server_is_looked_for, fixture_teardown),
        cmocka_unit_test_teardown(a_connection_of_the_scripts_goes_with_the_relay, fixture_teardown),
        cmocka_unit_test_teardown(a_lost_handle_does_not_end_what_it_was_lent_to, fixture_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
