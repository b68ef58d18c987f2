/* Active checks on the fake ring: which servers, and when; who is told of the results; how they end. */
#include "proxy/checks.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "checking.h"
#include "core/conn.h"
#include "core/version.h"
#include "fake_ring.h"
#include "proxy/group.h"
#include "proxy/group_config.h"
#include "proxy/proxy.h"
#include "proxy/resolution.h"
#include "proxy/routing.h"
#include "proxy/shared.h"

enum { NAMES_TTL_MS = 60 * 1000 };

/* At most two connections to the server, and a line for those who wait. */
static int setup_limited(void **state)
{
    static struct server_config limited;
    struct upstream_config config = usual_checks();

    limited = checked_servers[0];
    limited.max_connections = 2;
    config.servers = &limited;
    config.queue = 10;
    *state = checking_fixture(&config);
    return 0;
}

static int setup_three(void **state)
{
    struct upstream_config config = usual_checks();

    config.server_count = SERVERS;
    *state = checking_fixture(&config);
    return 0;
}

static int setup_unchecked(void **state)
{
    struct upstream_config config = usual_checks();

    config.check = (struct check_config){0};
    *state = checking_fixture(&config);
    return 0;
}

static struct server_config named_server = {.target = (char *)"app.test.:80", .weight = 1};

/* With names of which nothing is known yet, and patience. */
static int setup_named(void **state)
{
    struct upstream_config config = usual_checks();

    config.servers = &named_server;
    config.check.timeout_ms = 10 * INTERVAL_MS;
    *state = checking_fixture(&config);
    return 0;
}

static int setup_named_http(void **state)
{
    struct upstream_config config = usual_checks();

    config.servers = &named_server;
    config.check.path = (char *)"/";
    *state = checking_fixture(&config);
    return 0;
}

/* ---- which servers, and when ---- */

static void first_checks_are_spread_over_the_interval(void **state)
{
    struct fixture *f = *state;

    for (uint32_t step = 0; step < 10; step++) {
        uint32_t before = fake_ring_count(f->ring, FAKE_CONNECT);

        fixture_advance(f, INTERVAL_MS / 10 - 1);
        assert_true(fake_ring_count(f->ring, FAKE_CONNECT) <= before + 1);
    }
    assert_int_equal(fake_ring_count(f->ring, FAKE_CONNECT), SERVERS);
}

static void without_checks_nothing_ever_wakes_the_reactor(void **state)
{
    struct fixture *f = *state;

    fixture_pump(f);
    assert_int_equal(timer_wheel_next_ms(&f->reactor.timers), TIMER_NEVER);
}

static void without_a_slot_a_check_is_put_off(void **state)
{
    struct fixture *f = *state;

    f->reactor.conns.max = 0;
    for (int i = 0; i < 10; i++)
        fixture_advance(f, INTERVAL_MS);
    assert_int_equal(f->reactor.stats.connects, 0);
    assert_int_equal(first_state(f), SERVER_UP);
    assert_int_equal(checked_server(f, 0)->check_streak, 0);
    assert_int_equal(fixture_log_count(f, "cannot check server"), 1);
    assert_true(fixture_log_has(f, "127.0.0.1:3001: reactor.max_connections are open"));
    fixture_advance(f, CHECK_REPORT_MS);
    assert_int_equal(fixture_log_count(f, "cannot check server"), 2);
    f->reactor.conns.max = 8;
    end_check(f, 0);
}

static void memory_that_the_kernel_lacks_is_not_the_servers_failure(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 5; i++)
        end_check(f, -ENOBUFS);
    assert_int_equal(checked_server(f, 0)->check_streak, 0);
    assert_true(fixture_log_has(f, "cannot check server 127.0.0.1:3001: limit: out of memory"));
}

/* The names lead to these ports now. */
static void resolve_to(struct fixture *f, const uint16_t *ports, uint32_t count)
{
    static struct resolution resolution;
    struct group *group = f->version->parts[0].routing->views[0]->group;

    resolution = (struct resolution){.ttl_ms = NAMES_TTL_MS, .count = count};
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(addr_parse_ip(&resolution.items[i].addr, "127.0.0.1", ports[i]), 0);
    group_take_answer(group, &group->config->sources[0], &resolution, f->reactor.now_ms);
    assert_int_equal(group_publish(group), 0);
}

static void servers_come_and_go_with_the_answers_of_names(void **state)
{
    struct fixture *f = *state;
    const struct conn *gone;

    resolve_to(f, (uint16_t[]){3001, 3002}, 2);
    fixture_pump(f);                 /* looks */
    fixture_advance(f, INTERVAL_MS); /* all have begun */
    gone = check_to(f, "127.0.0.1:3002");
    assert_non_null(gone);
    assert_non_null(present_check(f));
    resolve_to(f, (uint16_t[]){3001, 3003}, 2);
    fixture_advance(f, 500);
    assert_non_null(check_to(f, "127.0.0.1:3002")); /* not looked at yet */
    fixture_connect_result(f, present_check(f), -ECONNREFUSED);
    fixture_advance(f, INTERVAL_MS);
    assert_null(check_to(f, "127.0.0.1:3002"));
    assert_int_equal(gone->state, CONN_DYING);
    assert_int_equal(gone->reason, CLOSE_SHUTDOWN);
    assert_int_equal(checked_server(f, 0)->check_streak, 1); /* that one stayed */
    fixture_advance(f, INTERVAL_MS - 1);
    assert_true(fake_ring_count(f->ring, FAKE_CONNECT) >= 4);
    fixture_answer(f);
}

static void nobody_is_checked_while_no_name_is_known(void **state)
{
    struct fixture *f = *state;

    resolve_to(f, NULL, 0);
    fixture_pump(f);
    fixture_advance(f, INTERVAL_MS);
    assert_int_equal(fake_ring_count(f->ring, FAKE_CONNECT), 0);
    resolve_to(f, (uint16_t[]){3001}, 1);
    fixture_advance(f, INTERVAL_MS);
    (void)next_check(f);
}

static void a_name_is_the_host_of_the_request(void **state)
{
    struct fixture *f = *state;
    char request[256] = "";
    struct conn *conn;

    resolve_to(f, (uint16_t[]){3001}, 1);
    fixture_pump(f);
    conn = next_check(f);
    fixture_connect_result(f, conn, 0);
    fixture_drain(f, conn, request, sizeof(request) - 1);
    assert_non_null(strstr(request, "\r\nHost: app.test.:80\r\n"));
}

static void a_server_that_is_back_calls_as_many_of_those_in_line_as_it_may_have(void **state)
{
    struct fixture *f = *state;
    struct waitline *line = &f->version->parts[0].routing->views[0]->group->waitline;
    struct waiter waiters[3];

    for (int i = 0; i < 3; i++)
        end_check(f, -ECONNREFUSED);
    for (int i = 0; i < 3; i++) {
        waiter_init(&waiters[i], 0);
        assert_int_equal(waitline_join(line, &waiters[i], WAITLINE_LAST), 0);
    }
    end_check(f, 0);
    assert_int_equal(atomic_load(&line->waiting), 3);
    end_check(f, 0);
    assert_true(waitline_leave(line, &waiters[0]));
    assert_true(waitline_leave(line, &waiters[1]));
    assert_false(waitline_leave(line, &waiters[2]));
}

/* ---- another configuration ---- */

static void servers_that_stay_keep_their_state_and_their_turn(void **state)
{
    struct fixture *f = *state;
    struct upstream_config config = usual_checks();

    end_check(f, -ECONNREFUSED);
    end_check(f, -ECONNREFUSED);
    fixture_advance(f, 500);
    config.server_count = 2;
    config.retries = 5;
    checking_configure(f, &config);
    assert_int_equal(checked_server(f, 0)->check_streak, 2);
    fixture_advance(f, INTERVAL_MS - 501);
    assert_null(present_check(f));
    assert_non_null(check_to(f, "127.0.0.1:3002")); /* the new one has its first */
    fixture_advance(f, 1);
    end_check(f, -ECONNREFUSED);
    assert_int_equal(first_state(f), SERVER_DOWN);
}

static void changed_settings_take_effect(void **state)
{
    struct fixture *f = *state;
    struct upstream_config config = usual_checks();
    char request[256] = "";
    struct conn *conn;

    end_check(f, -ECONNREFUSED);
    config.check.interval_ms = INTERVAL_MS / 4;
    config.check.fall = 2;
    config.check.path = (char *)"/new";
    checking_configure(f, &config);
    fixture_advance(f, INTERVAL_MS / 4); /* not only when the old interval is over */
    conn = present_check(f);
    assert_non_null(conn);
    fixture_connect_result(f, conn, 0);
    fixture_drain(f, conn, request, sizeof(request) - 1);
    assert_non_null(strstr(request, "GET /new HTTP/1.1\r\n"));
    fixture_advance(f, TIMEOUT_MS);
    assert_int_equal(first_state(f), SERVER_DOWN);
    fixture_answer(f);
}

static void a_check_under_way_ends_as_it_began(void **state)
{
    struct fixture *f = *state;
    struct upstream_config config = usual_checks();
    struct conn *conn = next_check(f);

    config.check.path = (char *)"/new";
    checking_configure(f, &config);
    assert_ptr_equal(present_check(f), conn);
    fixture_connect_result(f, conn, 0); /* which was enough */
    assert_null(present_check(f));
    fixture_answer(f);
}

static void servers_that_left_are_checked_no_more(void **state)
{
    struct fixture *f = *state;
    struct upstream_config config = usual_checks();
    const struct conn *gone;

    fixture_advance(f, INTERVAL_MS - 1); /* all have begun */
    gone = check_to(f, "127.0.0.1:3003");
    assert_non_null(gone);
    checking_configure(f, &config);
    assert_int_equal(gone->reason, CLOSE_SHUTDOWN);
    assert_null(check_to(f, "127.0.0.1:3002"));
    end_check(f, 0);
}

static void without_checks_nobody_is_held_down(void **state)
{
    struct fixture *f = *state;
    struct upstream_config config = usual_checks();
    struct waitline *line = &f->version->parts[0].routing->views[0]->group->waitline;
    struct waiter waiter;

    for (int i = 0; i < 3; i++)
        end_check(f, -ECONNREFUSED);
    assert_int_equal(first_state(f), SERVER_DOWN);
    config.queue = 1;
    checking_configure(f, &config);
    waiter_init(&waiter, 0);
    assert_int_equal(waitline_join(line, &waiter, WAITLINE_LAST), 0);
    config.check = (struct check_config){0};
    config.servers = &checked_servers[0];
    checking_configure(f, &config);
    assert_int_equal(first_state(f), SERVER_UP);
    assert_true(waitline_leave(line, &waiter));
    assert_true(fixture_log_has(f, "upstream app: it is not checked any more"));
    fixture_advance(f, 10 * INTERVAL_MS);
    assert_null(present_check(f));
    assert_int_equal(f->version->parts[0].routing->views[0]->users, 0);
}

static void checks_may_begin_later(void **state)
{
    struct fixture *f = *state;
    struct upstream_config config = usual_checks();

    fixture_pump(f);
    assert_int_equal(timer_wheel_next_ms(&f->reactor.timers), TIMER_NEVER);
    checking_configure(f, &config);
    for (int i = 0; i < 3; i++)
        end_check(f, -ECONNREFUSED);
    assert_int_equal(first_state(f), SERVER_DOWN);
}

/* Between that the control thread has applied it and that this reactor switches to it. */
static void what_is_not_to_be_checked_soon_is_checked_as_before_until_then(void **state)
{
    struct fixture *f = *state;
    struct upstream_config config = usual_checks();
    struct group_set *set;

    resolve_to(f, (uint16_t[]){3001}, 1);
    fixture_pump(f);
    config.check = (struct check_config){0};
    set = checking_set(f, &config);
    proxy_shared_change(&f->engine, set, f->ring);
    for (int i = 0; i < 4; i++) {
        fixture_advance(f, INTERVAL_MS);
        if (present_check(f))
            end_check(f, 0);
    }
    assert_true(fake_ring_count(f->ring, FAKE_CONNECT) <= 5);
    assert_int_equal(first_state(f), SERVER_UP);
}

static void names_that_come_are_looked_for_and_those_that_went_are_not(void **state)
{
    struct fixture *f = *state;
    struct upstream_config config = usual_checks();

    config.servers = &named_server;
    checking_configure(f, &config);
    resolve_to(f, (uint16_t[]){3002}, 1);
    fixture_advance(f, INTERVAL_MS);
    fixture_advance(f, INTERVAL_MS);
    assert_non_null(check_to(f, "127.0.0.1:3002"));
    config = usual_checks();
    config.check.interval_ms = 10 * INTERVAL_MS;
    checking_configure(f, &config);
    assert_null(check_to(f, "127.0.0.1:3002"));
    fixture_advance(f, 10 * INTERVAL_MS);
    end_check(f, 0);
    fixture_advance(f, INTERVAL_MS); /* it has lingered for long enough */
    fixture_answer(f);
    assert_int_equal(f->reactor.timers.armed, 1); /* the next check */
}

static void nothing_begins_once_the_server_drains(void **state)
{
    struct fixture *f = *state;
    struct upstream_config config = usual_checks();

    f->reactor.state = REACTOR_DRAINING;
    proxy_drain(&f->reactor);
    checking_configure(f, &config);
    fixture_answer(f);
    assert_int_equal(timer_wheel_next_ms(&f->reactor.timers), TIMER_NEVER);
}

/* ---- the end ---- */

static void draining_ends_checks_and_begins_no_more(void **state)
{
    struct fixture *f = *state;

    (void)next_check(f);
    f->reactor.state = REACTOR_DRAINING;
    proxy_drain(&f->reactor);
    fixture_pump(f);
    fixture_answer(f);
    assert_int_equal(f->reactor.conns.taken, 0);
    assert_int_equal(timer_wheel_next_ms(&f->reactor.timers), TIMER_NEVER);
    assert_int_equal(checked_server(f, 0)->check_streak, 0);
}

static void a_stop_is_no_failure(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = next_check(f);

    f->reactor.state = REACTOR_STOPPING;
    conn_kill(conn, CLOSE_SHUTDOWN);
    fixture_answer(f);
    assert_int_equal(checked_server(f, 0)->check_streak, 0);
    fixture_advance(f, 2 * INTERVAL_MS); /* nothing more begins, although the reactor still turns */
    assert_int_equal(f->reactor.stats.connects, 1);
}

#define TEST(name, setup) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_server_that_is_back_calls_as_many_of_those_in_line_as_it_may_have, setup_limited),
        TEST(first_checks_are_spread_over_the_interval, setup_three),
        TEST(without_checks_nothing_ever_wakes_the_reactor, setup_unchecked),
        TEST(without_a_slot_a_check_is_put_off, setup_checks),
        TEST(memory_that_the_kernel_lacks_is_not_the_servers_failure, setup_checks),
        TEST(servers_come_and_go_with_the_answers_of_names, setup_named),
        TEST(nobody_is_checked_while_no_name_is_known, setup_named),
        TEST(a_name_is_the_host_of_the_request, setup_named_http),
        TEST(draining_ends_checks_and_begins_no_more, setup_checks),
        TEST(draining_ends_checks_and_begins_no_more, setup_three),
        TEST(a_stop_is_no_failure, setup_checks),
        TEST(servers_that_stay_keep_their_state_and_their_turn, setup_checks),
        TEST(changed_settings_take_effect, setup_checks),
        TEST(a_check_under_way_ends_as_it_began, setup_checks),
        TEST(servers_that_left_are_checked_no_more, setup_three),
        TEST(without_checks_nobody_is_held_down, setup_checks),
        TEST(checks_may_begin_later, setup_unchecked),
        TEST(what_is_not_to_be_checked_soon_is_checked_as_before_until_then, setup_named),
        TEST(names_that_come_are_looked_for_and_those_that_went_are_not, setup_checks),
        TEST(nothing_begins_once_the_server_drains, setup_unchecked),
    };

    return cmocka_run_group_tests_name("checks", tests, NULL, NULL);
}
