/* health: passive ejection with its trial, rise and fall of active checks. */
#include "proxy/health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "upstreams.h"

enum { NOW_MS = 1000000, FAIL_TIMEOUT_MS = 10000 }; /* as in usual_health() */

static struct upstream *upstream;
static struct server *server; /* the first of two */
static struct pick ordinary;  /* connections to it */
static struct pick trial;

static int open_two(void **state)
{
    (void)state;
    upstream = upstream_of(BALANCE_ROUND_ROBIN, usual_servers(2), 2);
    server = upstream->members[0].server;
    ordinary = (struct pick){.server = server};
    trial = (struct pick){.server = server, .is_trial = true};
    return 0;
}

static int close_two(void **state)
{
    (void)state;
    upstream_release(upstream);
    return 0;
}

static enum health_change fail_at(uint64_t now_ms)
{
    return health_on_attempt(upstream, &ordinary, ATTEMPT_FAILED, now_ms);
}

/* ---- passive ---- */

static void max_fails_within_fail_timeout_eject(void **state)
{
    (void)state;
    assert_int_equal(fail_at(NOW_MS), HEALTH_SAME);
    assert_int_equal(fail_at(NOW_MS + 5000), HEALTH_SAME);
    assert_int_equal(fail_at(NOW_MS + 9999), HEALTH_EJECTED);
    assert_int_equal(server_state(server, NOW_MS + 9999), SERVER_EJECTED);
    assert_int_equal(server_state(server, NOW_MS + 9999 + FAIL_TIMEOUT_MS - 1), SERVER_EJECTED);
    assert_int_equal(server_state(server, NOW_MS + 9999 + FAIL_TIMEOUT_MS), SERVER_TRIAL_DUE);
    assert_int_equal(atomic_load(&server->fails), 3);
    assert_int_equal(atomic_load(&server->ejections), 1);
}

static void failures_further_apart_do_not_eject(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 20; i++)
        assert_int_equal(fail_at(NOW_MS + i * FAIL_TIMEOUT_MS / 2), HEALTH_SAME);
    assert_int_equal(atomic_load(&server->fails), 20);
}

static void success_and_abandoning_change_nothing_on_a_good_server(void **state)
{
    (void)state;
    fail_at(NOW_MS);
    assert_int_equal(health_on_attempt(upstream, &ordinary, ATTEMPT_OK, NOW_MS), HEALTH_SAME);
    fail_at(NOW_MS);
    assert_int_equal(health_on_attempt(upstream, &ordinary, ATTEMPT_ABANDONED, NOW_MS), HEALTH_SAME);
    assert_int_equal(fail_at(NOW_MS), HEALTH_EJECTED); /* every third connection failing is bad enough */
}

static void clock_of_another_reactor_may_be_behind(void **state)
{
    (void)state;
    fail_at(NOW_MS);
    fail_at(NOW_MS - 3);
    assert_int_equal(fail_at(NOW_MS - 7), HEALTH_EJECTED);
}

static void late_results_change_nothing_during_ejection(void **state)
{
    (void)state;
    eject(upstream, 0, NOW_MS);
    assert_int_equal(fail_at(NOW_MS + 5000), HEALTH_SAME);
    assert_int_equal(health_on_attempt(upstream, &ordinary, ATTEMPT_OK, NOW_MS + 5000), HEALTH_SAME);
    assert_int_equal(server_state(server, NOW_MS + FAIL_TIMEOUT_MS - 1), SERVER_EJECTED);
    assert_int_equal(server_state(server, NOW_MS + FAIL_TIMEOUT_MS), SERVER_TRIAL_DUE);
}

/* From the ejection to the pick that is the trial. */
static uint64_t go_to_trial(void)
{
    uint64_t now_ms = NOW_MS + FAIL_TIMEOUT_MS;

    eject(upstream, 0, NOW_MS);
    assert_true(server_claim_trial(server, now_ms, FAIL_TIMEOUT_MS));
    return now_ms;
}

static void trial_that_succeeds_brings_the_server_back(void **state)
{
    uint64_t now_ms = go_to_trial();

    (void)state;
    upstream->health.slow_start_ms = 1000;
    assert_int_equal(health_on_attempt(upstream, &trial, ATTEMPT_OK, now_ms + 5), HEALTH_RETURNED);
    assert_int_equal(server_state(server, now_ms + 5), SERVER_UP);
    assert_int_equal(server_weight(server, 1, 1000, now_ms + 505), WEIGHT_UNIT / 2);
    fail_at(now_ms + 6);
    fail_at(now_ms + 6);
    assert_int_equal(server_state(server, now_ms + 6), SERVER_UP); /* old failures are forgotten */
    assert_int_equal(fail_at(now_ms + 6), HEALTH_EJECTED);
}

static void trial_that_fails_ejects_again_at_once(void **state)
{
    uint64_t now_ms = go_to_trial();

    (void)state;
    assert_int_equal(health_on_attempt(upstream, &trial, ATTEMPT_FAILED, now_ms + 700), HEALTH_SAME);
    assert_int_equal(server_state(server, now_ms + 700 + FAIL_TIMEOUT_MS - 1), SERVER_EJECTED);
    assert_int_equal(server_state(server, now_ms + 700 + FAIL_TIMEOUT_MS), SERVER_TRIAL_DUE);
}

static void abandoned_trial_is_open_to_the_next(void **state)
{
    uint64_t now_ms = go_to_trial();

    (void)state;
    assert_int_equal(health_on_attempt(upstream, &trial, ATTEMPT_ABANDONED, now_ms + 5), HEALTH_SAME);
    assert_int_equal(server_state(server, now_ms + 5), SERVER_TRIAL_DUE);
}

static void last_usable_server_is_not_ejected(void **state)
{
    (void)state;
    eject(upstream, 1, NOW_MS);
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(fail_at(NOW_MS), HEALTH_SAME);
    assert_int_equal(server_state(server, NOW_MS), SERVER_UP);
    pass_checks(upstream, 1, 2, NOW_MS); /* was not down: still ejected */
    assert_int_equal(fail_at(NOW_MS), HEALTH_SAME);
    fail_checks(upstream, 1, 3, NOW_MS);
    pass_checks(upstream, 1, 2, NOW_MS); /* now the other one is back */
    eject(upstream, 0, NOW_MS + FAIL_TIMEOUT_MS);
}

static void limits_of_zero_never_eject(void **state)
{
    (void)state;
    upstream->health.max_fails = 0;
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(fail_at(NOW_MS), HEALTH_SAME);
    upstream->health.max_fails = 1;
    upstream->health.fail_timeout_ms = 0;
    assert_int_equal(fail_at(NOW_MS), HEALTH_SAME);
    upstream->health.fail_timeout_ms = 1;
    assert_int_equal(fail_at(NOW_MS), HEALTH_EJECTED);
}

/* ---- active ---- */

static enum health_change check(enum check_result result)
{
    return health_on_check(upstream, server, result, NOW_MS);
}

static void fall_checks_in_a_row_take_it_down(void **state)
{
    (void)state;
    assert_int_equal(check(CHECK_FAILED), HEALTH_SAME);
    assert_int_equal(check(CHECK_FAILED), HEALTH_SAME);
    assert_int_equal(check(CHECK_PASSED), HEALTH_SAME); /* starts anew */
    assert_int_equal(check(CHECK_FAILED), HEALTH_SAME);
    assert_int_equal(check(CHECK_FAILED), HEALTH_SAME);
    assert_int_equal(server_state(server, NOW_MS), SERVER_UP);
    assert_int_equal(check(CHECK_FAILED), HEALTH_DOWN);
    assert_int_equal(server_state(server, NOW_MS), SERVER_DOWN);
    assert_int_equal(check(CHECK_FAILED), HEALTH_SAME);
}

static void rise_checks_in_a_row_bring_it_up_slowly(void **state)
{
    (void)state;
    fail_checks(upstream, 0, 3, NOW_MS);
    assert_int_equal(check(CHECK_PASSED), HEALTH_SAME);
    assert_int_equal(check(CHECK_FAILED), HEALTH_SAME);
    assert_int_equal(check(CHECK_PASSED), HEALTH_SAME);
    assert_int_equal(check(CHECK_PASSED), HEALTH_UP);
    assert_int_equal(server_state(server, NOW_MS), SERVER_UP);
    assert_int_equal(server_weight(server, 1, 1000, NOW_MS + 250), WEIGHT_UNIT / 4);
}

static void coming_up_ends_an_ejection(void **state)
{
    (void)state;
    eject(upstream, 0, NOW_MS);
    fail_checks(upstream, 0, 3, NOW_MS);
    pass_checks(upstream, 0, 2, NOW_MS);
    assert_int_equal(server_state(server, NOW_MS), SERVER_UP);
}

static void checks_do_not_end_draining(void **state)
{
    (void)state;
    server_set_admin(server, SERVER_ADMIN_DRAIN);
    fail_checks(upstream, 0, 3, NOW_MS);
    pass_checks(upstream, 0, 2, NOW_MS);
    assert_int_equal(server_state(server, NOW_MS), SERVER_DRAINING);
}

static void a_server_that_the_operator_holds_up_is_not_ejected(void **state)
{
    struct pick pick = {.server = upstream->members[0].server};

    (void)state;
    server_set_admin(pick.server, SERVER_ADMIN_UP);
    for (int i = 0; i < 10; i++)
        assert_int_equal(health_on_attempt(upstream, &pick, ATTEMPT_FAILED, NOW_MS), HEALTH_SAME);
    assert_int_equal(atomic_load(&pick.server->fails), 10);
    server_set_admin(pick.server, SERVER_ADMIN_NONE);
    assert_int_equal(server_state(pick.server, NOW_MS), SERVER_UP);
}

static void a_server_that_is_checked_no_more_is_not_held_down(void **state)
{
    (void)state;
    fail_checks(upstream, 0, 2, NOW_MS);
    assert_false(health_forget_checks(server));
    fail_checks(upstream, 0, 2, NOW_MS);
    assert_int_equal(server_state(server, NOW_MS), SERVER_UP); /* counting has begun anew */
    fail_checks(upstream, 0, 1, NOW_MS);
    assert_true(health_forget_checks(server));
    assert_int_equal(server_state(server, NOW_MS), SERVER_UP);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_two, close_two)

/* Another reactor connected to it as the last resort, while the trial was under way. */
static void a_trial_that_ends_after_the_server_has_recovered_changes_nothing(void **state)
{
    const struct pick last_resort = {.server = server, .is_last_resort = true};

    (void)state;
    for (int i = 0; i < 3; i++)
        fail_at(NOW_MS);
    assert_int_equal(health_on_attempt(upstream, &last_resort, ATTEMPT_OK, NOW_MS), HEALTH_RETURNED);
    assert_int_equal(health_on_attempt(upstream, &trial, ATTEMPT_ABANDONED, NOW_MS), HEALTH_SAME);
    assert_int_equal(server_state(server, NOW_MS), SERVER_UP);
    assert_int_equal(health_on_attempt(upstream, &trial, ATTEMPT_OK, NOW_MS), HEALTH_SAME);
    assert_int_equal(health_on_attempt(upstream, &trial, ATTEMPT_FAILED, NOW_MS), HEALTH_SAME);
    assert_int_equal(server_state(server, NOW_MS), SERVER_UP);
    assert_int_equal(fail_at(NOW_MS), HEALTH_SAME);
    assert_int_equal(fail_at(NOW_MS), HEALTH_EJECTED); /* the trial was one of three */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_server_that_the_operator_holds_up_is_not_ejected),
        TEST(a_server_that_is_checked_no_more_is_not_held_down),
        TEST(max_fails_within_fail_timeout_eject),
        TEST(failures_further_apart_do_not_eject),
        TEST(success_and_abandoning_change_nothing_on_a_good_server),
        TEST(clock_of_another_reactor_may_be_behind),
        TEST(late_results_change_nothing_during_ejection),
        TEST(trial_that_succeeds_brings_the_server_back),
        TEST(trial_that_fails_ejects_again_at_once),
        TEST(abandoned_trial_is_open_to_the_next),
        TEST(a_trial_that_ends_after_the_server_has_recovered_changes_nothing),
        TEST(last_usable_server_is_not_ejected),
        TEST(limits_of_zero_never_eject),
        TEST(fall_checks_in_a_row_take_it_down),
        TEST(rise_checks_in_a_row_bring_it_up_slowly),
        TEST(coming_up_ends_an_ejection),
        TEST(checks_do_not_end_draining),
    };

    return cmocka_run_group_tests_name("health", tests, NULL, NULL);
}
