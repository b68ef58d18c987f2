/* Dials whose host has several addresses: who starts beside whom, and who wins. */
#include "proxy/dial.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/limits.h"
#include "dialing.h"
#include "fake_ring.h"
#include "proxy/group.h"
#include "proxy/group_config.h"
#include "proxy/resolution.h"
#include "proxy/server.h"

/* ---- the race ---- */

static void the_other_family_starts_when_one_is_slow(void **state)
{
    struct dialing *t = *state;
    struct caller *caller = &t->callers[0];
    struct group_view *view = dialing_begin_named(t, DIALING_ADDRS("10.0.0.1:80", "[fd00::1]:80"));
    struct conn *loser;

    dialing_call(t, caller);
    loser = dialing_attempt(caller, "10.0.0.1:80");
    fixture_advance(t->f, RACE_MS - 1);
    assert_int_equal(dialing_attempts(caller), 1);
    fixture_advance(t->f, 1);
    dialing_result(t, caller, "[fd00::1]:80", 0);
    dialing_assert_served(caller, "[fd00::1]:80");
    assert_int_not_equal(loser->state, CONN_CONNECTING);
    assert_int_equal(server_open(dialing_server(view, 0)), 0);
    assert_int_equal(atomic_load(&dialing_server(view, 0)->fails), 0); /* it was only slower */
    fixture_answer(t->f);
    assert_int_equal(t->f->reactor.conns.taken, 1);
    dialing_hang_up(t, caller);
    dialing_assert_all_back(t, view);
}

static void the_first_one_may_win_still(void **state)
{
    struct dialing *t = *state;
    struct caller *caller = &t->callers[0];
    struct group_view *view = dialing_begin_named(t, DIALING_ADDRS("10.0.0.1:80", "[fd00::1]:80"));

    dialing_call(t, caller);
    fixture_advance(t->f, RACE_MS);
    assert_int_equal(dialing_attempts(caller), 2);
    dialing_result(t, caller, "10.0.0.1:80", 0);
    dialing_assert_served(caller, "10.0.0.1:80");
    dialing_hang_up(t, caller);
    dialing_assert_all_back(t, view);
}

static void the_other_family_is_no_further_attempt(void **state)
{
    struct dialing *t = *state;
    struct caller *caller = &t->callers[0];
    struct group_view *view;

    t->app.retries = 0;
    view = dialing_begin_named(t, DIALING_ADDRS("10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80"));
    dialing_call(t, caller);
    dialing_result(t, caller, "10.0.0.1:80", -ECONNREFUSED);
    assert_int_equal(dialing_attempts(caller), 1);
    dialing_result(t, caller, "[fd00::1]:80", -ECONNREFUSED);
    dialing_assert_failed(caller, DIAL_REFUSED);
    dialing_assert_all_back(t, view);
}

static void only_the_same_hosts_other_family_races(void **state)
{
    struct dialing *t = *state;
    struct caller *caller = &t->callers[0];

    t->servers[1].target = (char *)(uintptr_t) "[fd00::1]:80";
    dialing_begin(t, 3);
    dialing_call(t, caller);
    fixture_advance(t->f, RACE_MS);
    assert_int_equal(dialing_attempts(caller), 1);
    dialing_result(t, caller, "10.0.0.1:80", -ECONNREFUSED);
    dialing_attempt(caller, "[fd00::1]:80"); /* as the second attempt */
    assert_int_equal(dialing_attempts(caller), 1);
}

static void both_of_a_race_fail(void **state)
{
    struct dialing *t = *state;
    struct caller *caller = &t->callers[0];
    struct group_view *view = dialing_begin_named(t, DIALING_ADDRS("10.0.0.1:80", "[fd00::1]:80"));

    dialing_call(t, caller);
    fixture_advance(t->f, RACE_MS);
    dialing_result(t, caller, "10.0.0.1:80", -ECONNREFUSED);
    assert_int_equal(caller->done, 0);
    fixture_advance(t->f, 500 - 1);
    assert_int_equal(caller->done, 0); /* its own time-out counts from when it began */
    fixture_advance(t->f, 1);
    dialing_assert_failed(caller, DIAL_TIMEOUT);
    dialing_assert_all_back(t, view);
}

static void a_race_that_finds_no_room_goes_on_alone(void **state)
{
    struct dialing *t = *state;
    struct caller *caller = &t->callers[0];

    dialing_begin_named(t, DIALING_ADDRS("10.0.0.1:80", "[fd00::1]:80"));
    dialing_call(t, caller);
    while (t->f->reactor.conns.taken < t->f->reactor.conns.max)
        fixture_open(t->f);
    fixture_advance(t->f, RACE_MS);
    assert_int_equal(dialing_attempts(caller), 1);
    dialing_result(t, caller, "10.0.0.1:80", 0);
    dialing_assert_served(caller, "10.0.0.1:80");
}

/* ---- plain targets ---- */

static struct group_view *begin_plain(struct dialing *t, const char *const *addrs)
{
    struct group_view *view;

    dialing_begin(t, 1);
    view = dialing_plain(t, "db.test:80");
    dialing_answer(view, 0, 60 * 1000, addrs);
    assert_int_equal(dialing_start(t, &t->callers[0], view), DIAL_WAITS);
    fixture_pump(t->f);
    return view;
}

static void the_addresses_of_a_name_start_one_after_the_other(void **state)
{
    struct dialing *t = *state;
    struct caller *caller = &t->callers[0];
    struct group_view *view = begin_plain(t, DIALING_ADDRS("10.0.0.9:80", "10.0.0.1:80", "[fd00::1]:80"));

    dialing_attempt(caller, "10.0.0.9:80"); /* in the order of the answer */
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(dialing_attempts(caller), i);
        fixture_advance(t->f, RACE_MS);
    }
    assert_int_equal(dialing_attempts(caller), 3);
    dialing_result(t, caller, "10.0.0.1:80", 0);
    dialing_assert_served(caller, "10.0.0.1:80");
    dialing_hang_up(t, caller);
    dialing_assert_all_back(t, view);
}

static void an_address_that_refuses_is_followed_at_once(void **state)
{
    struct dialing *t = *state;
    struct caller *caller = &t->callers[0];
    struct group_view *view = begin_plain(t, DIALING_ADDRS("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80"));

    dialing_result(t, caller, "10.0.0.1:80", -ECONNREFUSED);
    dialing_attempt(caller, "10.0.0.2:80");
    fixture_advance(t->f, RACE_MS);
    dialing_result(t, caller, "10.0.0.3:80", -ECONNREFUSED); /* beside one that is under way, too */
    dialing_attempt(caller, "10.0.0.2:80");
    dialing_result(t, caller, "10.0.0.4:80", -ECONNREFUSED);
    dialing_result(t, caller, "10.0.0.2:80", -ECONNREFUSED);
    dialing_assert_failed(caller, DIAL_REFUSED);
    dialing_assert_all_back(t, view);
}

static void all_addresses_share_the_time(void **state)
{
    struct dialing *t = *state;
    struct group_view *view = begin_plain(t, DIALING_ADDRS("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"));

    fixture_advance(t->f, RACE_MS);
    fixture_advance(t->f, PLAIN_CONNECT_MS - RACE_MS - 1);
    assert_int_equal(t->callers[0].done, 0);
    fixture_advance(t->f, 1);
    dialing_assert_failed(&t->callers[0], DIAL_TIMEOUT);
    assert_string_equal(dial_failure_text(&t->callers[0].dial), "timeout");
    dialing_assert_all_back(t, view);
}

static void no_more_than_a_few_addresses_at_a_time(void **state)
{
    struct dialing *t = *state;
    struct caller *caller = &t->callers[0];

    begin_plain(t, DIALING_ADDRS("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80", "10.0.0.5:80"));
    for (uint32_t i = 0; i < 2 * DIAL_ATTEMPTS_MAX; i++)
        fixture_advance(t->f, RACE_MS);
    assert_int_equal(dialing_attempts(caller), DIAL_ATTEMPTS_MAX);
    dialing_result(t, caller, "10.0.0.2:80", -ECONNREFUSED);
    dialing_result(t, caller, "10.0.0.5:80", 0);
    dialing_assert_served(caller, "10.0.0.5:80");
}

/* As IPv6 is where it was turned off. */
static void addresses_of_a_family_that_is_not_there_are_passed_over(void **state)
{
    struct dialing *t = *state;
    struct caller *caller = &t->callers[0];
    struct resolution resolution = {.ttl_ms = 60 * 1000, .count = 3};
    struct group_view *view;

    dialing_begin(t, 1);
    view = dialing_plain(t, "db.test:80");
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(addr_parse_ip(&resolution.items[i].addr, "10.0.0.1", (uint16_t)(80 + i)), 0);
    resolution.items[0].addr.sa.sa_family = AF_MAX;
    resolution.items[2].addr.sa.sa_family = AF_MAX + 1;
    group_take_answer(view->group, &view->group->config->sources[0], &resolution, t->f->reactor.now_ms);
    assert_int_equal(group_publish(view->group), 0);
    assert_int_equal(dialing_start(t, caller, view), DIAL_WAITS);
    fixture_pump(t->f);
    assert_int_equal(dialing_attempts(caller), 1);
    fixture_advance(t->f, RACE_MS);
    dialing_result(t, caller, "10.0.0.1:81", -ECONNREFUSED);
    dialing_assert_failed(caller, DIAL_REFUSED);
    dialing_assert_all_back(t, view);
}

/* Nor do they stand for the one that failed, whose place they had. */
static void a_rival_that_cannot_be_tried_lets_no_other_in(void **state)
{
    struct dialing *t = *state;
    struct caller *caller = &t->callers[0];
    struct resolution resolution = {.ttl_ms = 60 * 1000, .count = 3};

    t->servers[0].target = (char *)(uintptr_t) "db.test:80";
    t->app.retries = 0;
    dialing_begin(t, 1);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(addr_parse_ip(&resolution.items[i].addr, "10.0.0.1", (uint16_t)(80 + i)), 0);
    resolution.items[2].addr.sa.sa_family = AF_MAX;
    group_take_answer(dialing_view(t)->group, &dialing_view(t)->group->config->sources[0], &resolution,
                      t->f->reactor.now_ms);
    assert_int_equal(group_publish(dialing_view(t)->group), 0);
    dialing_call(t, caller);
    dialing_result(t, caller, "10.0.0.1:80", -ECONNREFUSED);
    dialing_assert_failed(caller, DIAL_REFUSED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, dialing_setup, dialing_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_other_family_starts_when_one_is_slow),
        TEST(the_first_one_may_win_still),
        TEST(the_other_family_is_no_further_attempt),
        TEST(only_the_same_hosts_other_family_races),
        TEST(both_of_a_race_fail),
        TEST(a_race_that_finds_no_room_goes_on_alone),
        TEST(the_addresses_of_a_name_start_one_after_the_other),
        TEST(an_address_that_refuses_is_followed_at_once),
        TEST(all_addresses_share_the_time),
        TEST(no_more_than_a_few_addresses_at_a_time),
        TEST(addresses_of_a_family_that_is_not_there_are_passed_over),
        TEST(a_rival_that_cannot_be_tried_lets_no_other_in),
    };

    return cmocka_run_group_tests_name("dial_race", tests, NULL, NULL);
}
