/* zerg.connect, keepalive and resolve on the fake ring: outcomes, whose a connection is, and how it is let go of. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/connect.h"
#include "fake_ring.h"
#include "fixture.h"
#include "proxy/proxy.h"
#include "script/runtime.h"
#include "uring/op.h"

#define HANDLER(body)                \
    "local zerg = require('zerg')\n" \
    "local say = zerg.log.info\n"    \
    "return function(conn)\n" body "\nend"
#define CONNECT "local up, why = zerg.connect('unix:@zerg-unit-server')\n"

/* The connection that the script of a new client makes. */
static struct conn *dialling(void **state, const char *script)
{
    struct fixture *f = fixture_new(&(struct fixture_options){.script = script, .buffer_bytes = 4096});
    struct conn *made;

    *state = f;
    fixture_open(f);
    made = fixture_outgoing(f);
    assert_non_null(made);
    return made;
}

static struct conn *connected(void **state, const char *script)
{
    struct conn *made = dialling(state, script);

    fixture_connect_result(*state, made, 0);
    fixture_pump(*state);
    return made;
}

static uint32_t under_way(const struct fixture *f)
{
    return fixture_runtime(f)->connecting_slab.taken;
}

/* Slots on servers and dials that are in use. */
static uint32_t users(const struct fixture *f)
{
    uint32_t users = 0;

    for (uint32_t i = 0; i < PLAIN_BUCKETS; i++) {
        const struct list *bucket = &f->reactor.proxy->plain_buckets[i];

        for (const struct list *node = bucket->next; node != bucket; node = node->next)
            users += CONTAINER_OF(node, struct group_view, bucket_link)->users;
    }
    return users;
}

static void it_is_read_and_written_as_any_other(void **state)
{
    struct conn *made = connected(state, HANDLER(CONNECT "up:write('hello') say('got %s', up:read()) say('then %s', "
                                                         "select(2, up:read())) up:close()"));
    struct fixture *f = *state;
    char text[16] = {0};

    assert_int_equal(fixture_drain(f, made, text, sizeof(text)), 5);
    assert_string_equal(text, "hello");
    fixture_feed_text(f, made, "answer");
    assert_true(fixture_log_has(f, "got answer"));
    fixture_recv_result(f, made, 0);
    assert_true(fixture_log_has(f, "then closed"));
    assert_int_equal(users(f), 0);
}

static void a_failure_is_a_reason(void **state)
{
    struct conn *made = dialling(state, HANDLER(CONNECT "say('why %s', why)"));
    struct fixture *f = *state;

    fixture_connect_result(f, made, -ECONNREFUSED);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "why refused"));
    assert_int_equal(under_way(f), 0);
    assert_int_equal(users(f), 0);
}

static void a_cancelled_task_gives_up(void **state)
{
    struct conn *made = dialling(state, HANDLER("say('%s', select(2, zerg.deadline(1, function() " CONNECT "end)))"));
    struct fixture *f = *state;

    fixture_advance(f, 1000);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "timeout"));
    assert_int_equal(made->state, CONN_DYING);
    assert_int_equal(under_way(f), 0);
}

static void a_dropped_task_gives_up(void **state)
{
    struct fixture *f;

    dialling(state, HANDLER(CONNECT));
    f = *state;
    f->reactor.app->abandon(&f->reactor);
    assert_int_equal(under_way(f), 0);
    assert_int_equal(users(f), 0);
}

/* Connected in one event, the task to go on in the next turn, and in between the reactor stops. */
static void what_nobody_has_taken_yet_is_closed(void **state)
{
    struct conn *made = dialling(state, HANDLER(CONNECT));
    struct fixture *f = *state;
    struct completion completion = {.user_data = fixture_op(made, OP_CONNECT)};

    conn_on_connect(made, &completion);
    assert_int_equal(made->state, CONN_OPEN);
    f->reactor.app->abandon(&f->reactor);
    assert_int_equal(made->state, CONN_FLUSHING);
    assert_int_equal(users(f), 0);
}

static void a_lost_handle_closes_it(void **state)
{
    struct conn *made = connected(state, HANDLER("do " CONNECT "end zerg.sleep(1) collectgarbage() collectgarbage() "
                                                 "zerg.sleep(1)"));
    struct fixture *f = *state;

    assert_int_equal(made->state, CONN_OPEN);
    fixture_advance(f, 1000);
    assert_int_not_equal(made->state, CONN_OPEN);
    assert_int_equal(users(f), 0);
}

static void closing_it_gives_all_back_at_once(void **state)
{
    struct conn *made = connected(state, HANDLER(CONNECT "up:close() up:close() up:abort() conn:read()"));
    struct fixture *f = *state;

    assert_int_equal(made->state, CONN_LINGERING);
    assert_int_equal(made->pins, 0);
    assert_int_equal(users(f), 0);
}

/* Its callbacks are due at the end of the turn; until then, too, the handle leads nowhere. */
static void a_watched_one_may_be_closed_twice(void **state)
{
    struct conn *made = connected(state, HANDLER(CONNECT "up:on_close(function(_, reason) say('seen %s', reason) end)\n"
                                                         "up:close() up:close() up:abort()\n"
                                                         "say('%s', select(2, pcall(up.keepalive, up)))\n"
                                                         "say('%s', select(2, pcall(conn.relay, conn, up, 5)))\n"
                                                         "conn:read()"));
    struct fixture *f = *state;

    assert_true(fixture_log_has(f, "conn:keepalive: used after close"));
    assert_true(fixture_log_has(f, "conn:relay: used after close"));
    assert_int_equal(fixture_log_count(f, "seen closed"), 1);
    assert_int_equal(made->pins, 0);
    assert_int_equal(users(f), 0);
}

/* A read inside of a C function cannot wait: it raises, and the script may catch that and close the connection. */
static void one_may_close_what_one_could_not_wait_for(void **state)
{
    struct fixture *f;

    connected(state, HANDLER(CONNECT "pcall(string.gsub, 'x', 'x', function() up:read() end)\n"
                                     "pcall(string.gsub, 'x', 'x', function() up:write('x') up:flush() end)\n"
                                     "pcall(string.gsub, 'x', 'x', function() up:relay(conn, 5) end)\n"
                                     "up:close() say('closed') zerg.sleep(1) say('slept')"));
    f = *state;
    assert_true(fixture_log_has(f, "closed"));
    fixture_advance(f, 1000);
    assert_true(fixture_log_has(f, "slept"));
}

static void keepalive_gives_it_to_the_next_who_connects(void **state)
{
    struct conn *made = connected(state, HANDLER(CONNECT "local first = up up:keepalive()\n"
                                                         "say('%s', select(2, pcall(first.write, first, 'x')))\n"
                                                         "zerg.sleep(1)\n" CONNECT "conn:read() up:write('y')"));
    struct fixture *f = *state;

    assert_true(fixture_log_has(f, "conn:write: used after close"));
    assert_int_equal(f->reactor.proxy->pool.idle.taken, 1);
    assert_int_equal(users(f), 1); /* it keeps its slot */
    assert_int_equal(made->state, CONN_OPEN);
    f->reactor.app->drain(&f->reactor);
    assert_int_equal(users(f), 0);
    assert_int_equal(f->reactor.proxy->pool.idle.taken, 0);
    assert_int_not_equal(made->state, CONN_OPEN);
}

static void draining_waits_for_clients_only(void **state)
{
    struct conn *made = connected(state, HANDLER(CONNECT "zerg.spawn(up.read, up) KEPT = up"));
    struct fixture *f = *state;

    f->reactor.state = REACTOR_DRAINING;
    fixture_pump(f);
    assert_int_equal(made->state, CONN_OPEN); /* the client lingers */
    fixture_advance(f, 3000);
    fixture_answer(f);
    fixture_pump(f);
    assert_int_not_equal(made->state, CONN_OPEN);
    assert_true(list_is_empty(&fixture_runtime(f)->tasks));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(it_is_read_and_written_as_any_other, fixture_teardown),
        cmocka_unit_test_teardown(a_failure_is_a_reason, fixture_teardown),
        cmocka_unit_test_teardown(a_cancelled_task_gives_up, fixture_teardown),
        cmocka_unit_test_teardown(a_dropped_task_gives_up, fixture_teardown),
        cmocka_unit_test_teardown(what_nobody_has_taken_yet_is_closed, fixture_teardown),
        cmocka_unit_test_teardown(a_lost_handle_closes_it, fixture_teardown),
        cmocka_unit_test_teardown(closing_it_gives_all_back_at_once, fixture_teardown),
        cmocka_unit_test_teardown(a_watched_one_may_be_closed_twice, fixture_teardown),
        cmocka_unit_test_teardown(one_may_close_what_one_could_not_wait_for, fixture_teardown),
        cmocka_unit_test_teardown(keepalive_gives_it_to_the_next_who_connects, fixture_teardown),
        cmocka_unit_test_teardown(draining_waits_for_clients_only, fixture_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
