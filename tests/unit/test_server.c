/* server: slots and their limit, lifetime, states, the ramp of slow start. */
#include "proxy/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { NOW_MS = 1000000, SLOW_START_MS = 20000, FAIL_TIMEOUT_MS = 10000 };

static struct server *server;

static int open_server(void **state)
{
    struct addr addr;

    (void)state;
    assert_int_equal(addr_parse_ip(&addr, "127.0.0.1", 80), 0);
    server = server_new("one:80", &addr);
    assert_non_null(server);
    return 0;
}

static int close_server(void **state)
{
    (void)state;
    server_release(server);
    return 0;
}

static void new_server_is_up_and_idle(void **state)
{
    (void)state;
    assert_string_equal(server->name, "one:80");
    assert_int_equal(addr_port(&server->addr), 80);
    assert_int_equal(server_state(server, NOW_MS), SERVER_UP);
    assert_int_equal(server_open(server), 0);
}

static void slots_are_counted_up_to_the_limit(void **state)
{
    (void)state;
    assert_true(server_take_slot(server, 2));
    assert_true(server_take_slot(server, 2));
    assert_false(server_take_slot(server, 2));
    assert_true(server_take_slot(server, 0)); /* 0 is no limit */
    assert_int_equal(server_open(server), 3);
    server_give_slot(server);
    server_give_slot(server);
    assert_true(server_take_slot(server, 2));
    assert_int_equal(server_open(server), 2);
    assert_int_equal(atomic_load(&server->total), 4);
    server_give_slot(server);
    server_give_slot(server);
}

static void slot_outlives_the_last_reference(void **state)
{
    struct server *other = server_new("other:80", &server->addr);

    (void)state;
    assert_true(server_take_slot(other, 0));
    server_release(other);
    assert_string_equal(other->name, "other:80");
    assert_int_equal(server_open(other), 1);
    server_give_slot(other); /* the address sanitizer sees to it that it is freed now */
}

static void strongest_reason_shows(void **state)
{
    (void)state;
    atomic_store(&server->ejected_until_ms, NOW_MS + 1);
    assert_int_equal(server_state(server, NOW_MS), SERVER_EJECTED);
    assert_int_equal(server_state(server, NOW_MS + 1), SERVER_TRIAL_DUE);
    atomic_store(&server->is_down, true);
    assert_int_equal(server_state(server, NOW_MS), SERVER_DOWN);
    server_set_admin(server, SERVER_ADMIN_DRAIN);
    assert_int_equal(server_state(server, NOW_MS), SERVER_DRAINING);
    server_set_admin(server, SERVER_ADMIN_NONE);
    assert_int_equal(server_state(server, NOW_MS), SERVER_DOWN);
}

static void trial_is_claimed_once_in_a_fail_timeout(void **state)
{
    (void)state;
    assert_false(server_claim_trial(server, NOW_MS, FAIL_TIMEOUT_MS)); /* not ejected */
    atomic_store(&server->ejected_until_ms, NOW_MS + FAIL_TIMEOUT_MS);
    assert_false(server_claim_trial(server, NOW_MS + FAIL_TIMEOUT_MS - 1, FAIL_TIMEOUT_MS));
    assert_true(server_claim_trial(server, NOW_MS + FAIL_TIMEOUT_MS, FAIL_TIMEOUT_MS));
    assert_false(server_claim_trial(server, NOW_MS + FAIL_TIMEOUT_MS, FAIL_TIMEOUT_MS));
    assert_int_equal(server_state(server, NOW_MS + FAIL_TIMEOUT_MS), SERVER_EJECTED);
    assert_true(server_claim_trial(server, NOW_MS + 2 * FAIL_TIMEOUT_MS, FAIL_TIMEOUT_MS));
}

static void weight_is_full_without_recovery(void **state)
{
    (void)state;
    assert_int_equal(server_weight(server, 3, SLOW_START_MS, NOW_MS), 3 * WEIGHT_UNIT);
    atomic_store(&server->recovered_ms, NOW_MS);
    assert_int_equal(server_weight(server, 3, 0, NOW_MS), 3 * WEIGHT_UNIT);
}

static void weight_ramps_up_in_a_straight_line(void **state)
{
    (void)state;
    atomic_store(&server->recovered_ms, NOW_MS);
    for (uint32_t percent = 1; percent <= 100; percent++) {
        uint64_t now_ms = NOW_MS + SLOW_START_MS / 100 * percent;

        assert_int_equal(server_weight(server, 100, SLOW_START_MS, now_ms), percent * WEIGHT_UNIT);
    }
    assert_int_equal(server_weight(server, 100, SLOW_START_MS, NOW_MS + 2 * SLOW_START_MS), 100 * WEIGHT_UNIT);
}

static void weight_is_never_nothing(void **state)
{
    (void)state;
    atomic_store(&server->recovered_ms, NOW_MS);
    assert_int_equal(server_weight(server, 1, SLOW_START_MS, NOW_MS), 1);
    assert_int_equal(server_weight(server, 1, SLOW_START_MS, NOW_MS + 1), 1);
    assert_int_equal(server_weight(server, 1, SLOW_START_MS, NOW_MS - 5), 1); /* a reactor whose turn began earlier */
    assert_int_equal(server_weight(server, 1, SLOW_START_MS, NOW_MS + SLOW_START_MS / 2), WEIGHT_UNIT / 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_server, close_server)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(new_server_is_up_and_idle),
        TEST(slots_are_counted_up_to_the_limit),
        TEST(slot_outlives_the_last_reference),
        TEST(strongest_reason_shows),
        TEST(trial_is_claimed_once_in_a_fail_timeout),
        TEST(weight_is_full_without_recovery),
        TEST(weight_ramps_up_in_a_straight_line),
        TEST(weight_is_never_nothing),
    };

    return cmocka_run_group_tests_name("server", tests, NULL, NULL);
}
