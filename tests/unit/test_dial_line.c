/* Dials that wait in the line for a server that has all it may have: who is called, and who passes it on. */
#include "proxy/dial.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "dialing.h"
#include "fake_ring.h"
#include "proxy/group.h"
#include "proxy/proxy.h"
#include "proxy/server.h"

/* ---- the line ---- */

/* One server with one slot, which the first caller has; the others wait. */
static void begin_line(struct dialing *t, uint32_t waiting)
{
    t->servers[0].max_connections = 1;
    dialing_begin(t, 1);
    dialing_connect(t, &t->callers[0]);
    for (uint32_t i = 1; i <= waiting; i++) {
        dialing_call(t, &t->callers[i]);
        assert_int_equal(t->callers[i].dial.state, DIAL_QUEUED);
    }
}

/* Its connection ends, and who was called connects. */
static void hand_over(struct dialing *t, struct caller *from, struct caller *to)
{
    dialing_hang_up(t, from);
    dialing_wake(t);
    dialing_result(t, to, "10.0.0.1:80", 0);
    dialing_assert_served(to, "10.0.0.1:80");
}

static void who_waits_is_served_in_order(void **state)
{
    struct dialing *t = *state;

    t->app.queue = 3;
    begin_line(t, 3);
    for (uint32_t i = 0; i < 3; i++)
        hand_over(t, &t->callers[i], &t->callers[i + 1]);
    dialing_hang_up(t, &t->callers[3]);
    dialing_wake(t);
    dialing_assert_all_back(t, dialing_view(t));
}

static void a_full_line_turns_away(void **state)
{
    struct dialing *t = *state;

    begin_line(t, 2);
    assert_int_equal(dialing_start(t, &t->callers[3], dialing_view(t)), DIAL_FAILED);
    assert_int_equal(t->callers[3].dial.failure, DIAL_QUEUE_FULL);
    hand_over(t, &t->callers[0], &t->callers[1]);
}

static void nobody_waits_for_ever(void **state)
{
    struct dialing *t = *state;

    begin_line(t, 1);
    fixture_advance(t->f, 999);
    assert_int_equal(t->callers[1].done, 0);
    fixture_advance(t->f, 1);
    dialing_assert_failed(&t->callers[1], DIAL_QUEUE_TIMEOUT);
    dialing_hang_up(t, &t->callers[0]);
    dialing_assert_all_back(t, dialing_view(t));
}

static void who_gives_up_in_the_line_was_there(void **state)
{
    struct dialing *t = *state;

    begin_line(t, 1);
    dial_limit(&t->callers[1].dial, 300);
    fixture_advance(t->f, 300);
    dialing_assert_failed(&t->callers[1], DIAL_GIVEN_UP);
    assert_true(t->callers[1].dial.was_queued);
}

/* What was picked for the first and passed on is no connection. */
static void a_slot_that_is_passed_on_does_not_count(void **state)
{
    struct dialing *t = *state;

    begin_line(t, 1);
    dialing_hang_up(t, &t->callers[0]);
    dialing_connect(t, &t->callers[2]); /* is faster */
    dialing_wake(t);
    dialing_hang_up(t, &t->callers[2]);
    dialing_wake(t);
    dialing_result(t, &t->callers[1], "10.0.0.1:80", 0);
    assert_int_equal(atomic_load(&dialing_server(dialing_view(t), 0)->total), 3);
}

static void who_leaves_the_line_is_not_called(void **state)
{
    struct dialing *t = *state;

    begin_line(t, 2);
    dial_cancel(&t->callers[1].dial);
    hand_over(t, &t->callers[0], &t->callers[2]);
}

static void who_was_called_and_leaves_passes_it_on(void **state)
{
    struct dialing *t = *state;

    begin_line(t, 2);
    dialing_hang_up(t, &t->callers[0]); /* calls, but the reactor has not looked yet */
    dial_cancel(&t->callers[1].dial);
    dialing_wake(t);
    dialing_result(t, &t->callers[2], "10.0.0.1:80", 0);
    dialing_assert_served(&t->callers[2], "10.0.0.1:80");
}

static void who_was_called_too_late_passes_it_on(void **state)
{
    struct dialing *t = *state;

    begin_line(t, 1);
    fixture_advance(t->f, 500);
    dialing_call(t, &t->callers[2]);
    dialing_hang_up(t, &t->callers[0]);
    fixture_advance(t->f, 500);
    dialing_assert_failed(&t->callers[1], DIAL_QUEUE_TIMEOUT);
    dialing_wake(t);
    dialing_result(t, &t->callers[2], "10.0.0.1:80", 0);
    dialing_assert_served(&t->callers[2], "10.0.0.1:80");
}

static void a_failed_attempt_of_one_who_was_called_calls_the_next(void **state)
{
    struct dialing *t = *state;

    begin_line(t, 2);
    dialing_hang_up(t, &t->callers[0]);
    dialing_wake(t);
    dialing_result(t, &t->callers[1], "10.0.0.1:80", -ECONNREFUSED);
    dialing_assert_failed(&t->callers[1], DIAL_REFUSED);
    dialing_wake(t);
    dialing_result(t, &t->callers[2], "10.0.0.1:80", 0);
    dialing_assert_served(&t->callers[2], "10.0.0.1:80");
}

static void who_comes_later_goes_behind(void **state)
{
    struct dialing *t = *state;

    t->app.queue = 3;
    begin_line(t, 2);
    dialing_hang_up(t, &t->callers[0]); /* the second is called, the third waits still */
    dialing_call(t, &t->callers[3]);
    assert_int_equal(t->callers[3].dial.state, DIAL_QUEUED);
    dialing_wake(t);
    dialing_result(t, &t->callers[1], "10.0.0.1:80", 0);
    hand_over(t, &t->callers[1], &t->callers[2]);
    hand_over(t, &t->callers[2], &t->callers[3]);
}

static void who_was_called_in_vain_keeps_its_place(void **state)
{
    struct dialing *t = *state;

    begin_line(t, 1);
    dialing_hang_up(t, &t->callers[0]); /* calls the second, */
    dialing_connect(t, &t->callers[2]); /* and somebody is faster */
    dialing_call(t, &t->callers[3]);
    dialing_wake(t);
    assert_int_equal(t->callers[1].dial.state, DIAL_QUEUED);
    hand_over(t, &t->callers[2], &t->callers[1]);
    hand_over(t, &t->callers[1], &t->callers[3]);
}

/* It had its time when it is called in vain. */
static void going_back_gives_no_more_time(void **state)
{
    struct dialing *t = *state;

    begin_line(t, 1);
    fixture_advance(t->f, 600);
    dialing_hang_up(t, &t->callers[0]);
    dialing_connect(t, &t->callers[2]);
    dialing_wake(t);
    fixture_advance(t->f, 399);
    assert_int_equal(t->callers[1].done, 0);
    fixture_advance(t->f, 1);
    dialing_assert_failed(&t->callers[1], DIAL_QUEUE_TIMEOUT);
}

/* Two servers with a slot each: the third caller was refused by the first and waits for the second. */
static void who_cannot_use_what_became_free_passes_the_call_on(void **state)
{
    struct dialing *t = *state;

    for (uint32_t i = 0; i < 2; i++)
        t->servers[i].max_connections = 1;
    t->app.queue = 4;
    dialing_begin(t, 2);
    dialing_call(t, &t->callers[0]);
    dialing_connect(t, &t->callers[1]);
    dialing_assert_served(&t->callers[1], "10.0.0.2:80");
    dialing_result(t, &t->callers[0], "10.0.0.1:80", -ECONNREFUSED);
    assert_int_equal(t->callers[0].dial.state, DIAL_QUEUED);
    dialing_call(t, &t->callers[2]); /* others were there before, but they cannot use the first */
    assert_int_equal(t->callers[2].dial.state, DIAL_QUEUED);
    dialing_wake(t);
    dialing_wake(t);
    dialing_result(t, &t->callers[2], "10.0.0.1:80", 0);
    dialing_assert_served(&t->callers[2], "10.0.0.1:80");
    assert_int_equal(t->callers[0].dial.state, DIAL_QUEUED);
    dialing_call(t, &t->callers[3]);
    dialing_hang_up(t, &t->callers[2]);
    dialing_wake(t);
    dialing_wake(t);
    dialing_result(t, &t->callers[3], "10.0.0.1:80", 0);
    dialing_hang_up(t, &t->callers[1]);
    dialing_wake(t);
    dialing_result(t, &t->callers[0], "10.0.0.2:80", 0);
    dialing_assert_served(&t->callers[0], "10.0.0.2:80");
}

/* Nothing became free, but there is more. */
static void new_servers_call_those_who_wait(void **state)
{
    struct dialing *t = *state;

    t->servers[0].max_connections = 1;
    t->servers[1].target = (char *)(uintptr_t) "localhost:81";
    dialing_begin(t, 2);
    assert_int_equal(dialing_start(t, &t->callers[0], dialing_view(t)), DIAL_WAITS); /* asks */
    assert_int_equal(dialing_start(t, &t->callers[1], dialing_view(t)), DIAL_WAITS);
    assert_int_equal(dialing_start(t, &t->callers[2], dialing_view(t)), DIAL_WAITS);
    assert_int_equal(t->callers[2].dial.state, DIAL_QUEUED);
    fixture_pump(t->f);
    dialing_wake(t);
    assert_int_equal(t->callers[1].dial.state, DIAL_CONNECTING);
    assert_int_equal(t->callers[2].dial.state, DIAL_CONNECTING);
}

static void a_server_that_is_back_calls_those_who_wait(void **state)
{
    struct dialing *t = *state;

    t->app.max_fails = 1;
    t->app.queue_ms = 60 * 1000;
    t->servers[0].max_connections = 3;
    t->servers[1].max_connections = 1;
    dialing_begin(t, 2);
    dialing_call(t, &t->callers[0]);
    dialing_result(t, &t->callers[0], "10.0.0.1:80", -ECONNREFUSED); /* ejected */
    dialing_result(t, &t->callers[0], "10.0.0.2:80", 0);
    dialing_call(t, &t->callers[1]);
    dialing_call(t, &t->callers[2]);
    fixture_advance(t->f, 10000); /* one may try it */
    dialing_wake(t);
    dialing_call(t, &t->callers[3]);
    assert_int_equal(t->callers[2].dial.state, DIAL_QUEUED);
    dialing_result(t, &t->callers[1], "10.0.0.1:80", 0);
    dialing_wake(t);
    dialing_result(t, &t->callers[2], "10.0.0.1:80", 0);
    dialing_result(t, &t->callers[3], "10.0.0.1:80", 0);
}

/* A trial is due while everybody waits for the other server, and no slot comes back. */
static void a_trial_that_is_due_calls_the_first(void **state)
{
    struct dialing *t = *state;

    t->app.max_fails = 1;
    t->app.fail_timeout_ms = 500;
    t->servers[1].max_connections = 1;
    dialing_begin(t, 2);
    dialing_call(t, &t->callers[0]);
    dialing_result(t, &t->callers[0], "10.0.0.1:80", -ECONNREFUSED); /* ejected */
    dialing_result(t, &t->callers[0], "10.0.0.2:80", 0);
    dialing_call(t, &t->callers[1]);
    dialing_call(t, &t->callers[2]);
    fixture_advance(t->f, 499);
    dialing_wake(t);
    assert_int_equal(t->callers[1].dial.state, DIAL_QUEUED);
    fixture_advance(t->f, 1);
    dialing_wake(t);
    dialing_wake(t);
    dialing_result(t, &t->callers[1], "10.0.0.1:80", 0);
    dialing_wake(t);
    dialing_result(t, &t->callers[2], "10.0.0.1:80", 0);
}

static void after_a_trial_the_wait_has_its_end(void **state)
{
    struct dialing *t = *state;

    t->app.max_fails = 1;
    t->app.fail_timeout_ms = 400;
    t->app.retries = 0;
    t->servers[1].max_connections = 1;
    dialing_begin(t, 2);
    dialing_call(t, &t->callers[0]);
    dialing_result(t, &t->callers[0], "10.0.0.1:80", -ECONNREFUSED);
    dialing_connect(t, &t->callers[3]);
    dialing_call(t, &t->callers[1]);
    dialing_call(t, &t->callers[2]);
    fixture_advance(t->f, 400);
    dialing_wake(t);
    dialing_wake(t);
    dialing_result(t, &t->callers[1], "10.0.0.1:80", -ECONNREFUSED);
    dialing_assert_failed(&t->callers[1], DIAL_REFUSED);
    fixture_advance(t->f, 399);
    dialing_wake(t);
    assert_int_equal(t->callers[2].dial.state, DIAL_QUEUED);
    fixture_advance(t->f, 1);
    dialing_wake(t);
    dialing_wake(t);
    dialing_attempt(&t->callers[2], "10.0.0.1:80");
}

/* Who waits learns that another server, which was full, may be tried later. */
static void an_ejection_sets_the_clocks_of_those_who_wait(void **state)
{
    struct dialing *t = *state;

    t->app.max_fails = 1;
    t->app.fail_timeout_ms = 300;
    t->app.retries = 0;
    t->servers[0].max_connections = 1;
    t->servers[1].max_connections = 1;
    dialing_begin(t, 2);
    dialing_call(t, &t->callers[0]);
    dialing_connect(t, &t->callers[3]);
    dialing_call(t, &t->callers[1]);
    dialing_result(t, &t->callers[0], "10.0.0.1:80", -ECONNREFUSED);
    dialing_wake(t);
    assert_int_equal(t->callers[1].dial.state, DIAL_QUEUED);
    fixture_advance(t->f, 300);
    dialing_wake(t);
    dialing_result(t, &t->callers[1], "10.0.0.1:80", 0);
}

/* ---- beside the pool ---- */

/* The caller's connection goes to the pool. */
static void give_to_pool(struct dialing *t, struct caller *caller)
{
    struct conn *conn = caller->conn;

    caller->conn = NULL;
    pool_checkin(&t->f->reactor.proxy->pool, conn, &caller->slot, 4, 0);
    fixture_pump(t->f);
}

/* One server with one slot, whose connection is idle. */
static void begin_idle(struct dialing *t)
{
    begin_line(t, 0);
    give_to_pool(t, &t->callers[0]);
    assert_int_equal(server_open(dialing_server(dialing_view(t), 0)), 1);
}

static void who_uses_no_idle_one_has_it_closed_for_its_slot(void **state)
{
    struct dialing *t = *state;

    begin_idle(t);
    dialing_connect(t, &t->callers[1]);
    assert_int_equal(server_open(dialing_server(dialing_view(t), 0)), 1);
    assert_int_equal(t->f->reactor.proxy->pool.idle.taken, 0);
    dialing_hang_up(t, &t->callers[1]);
    assert_int_equal(server_open(dialing_server(dialing_view(t), 0)), 0);
}

/* As one on another reactor would: it has no dial here. */
static void who_waits_has_idle_ones_closed(void **state)
{
    struct dialing *t = *state;
    struct group_view *view;
    struct waiter elsewhere;

    begin_idle(t);
    view = dialing_view(t);
    waiter_init(&elsewhere, 0); /* there is but one to wake */
    assert_int_equal(waitline_join(&view->group->waitline, &elsewhere, WAITLINE_LAST), 0);
    pool_make_way(&t->f->reactor.proxy->pool);
    assert_true(waitline_leave(&view->group->waitline, &elsewhere));
    assert_int_equal(server_open(dialing_server(view, 0)), 0);
    assert_int_equal(t->f->reactor.proxy->pool.idle.taken, 0);
}

static void one_that_is_given_back_is_for_the_first_in_line(void **state)
{
    struct dialing *t = *state;

    begin_line(t, 2);
    give_to_pool(t, &t->callers[0]);
    assert_true(atomic_load(&t->callers[1].dial.waiter.is_called));
    dialing_wake(t); /* it uses none, and so closes it and connects */
    dialing_result(t, &t->callers[1], "10.0.0.1:80", 0);
    dialing_assert_served(&t->callers[1], "10.0.0.1:80");
    assert_int_equal(server_open(dialing_server(dialing_view(t), 0)), 1);
    hand_over(t, &t->callers[1], &t->callers[2]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, dialing_setup, dialing_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_waits_is_served_in_order),
        TEST(a_full_line_turns_away),
        TEST(nobody_waits_for_ever),
        TEST(who_gives_up_in_the_line_was_there),
        TEST(a_slot_that_is_passed_on_does_not_count),
        TEST(who_leaves_the_line_is_not_called),
        TEST(who_was_called_and_leaves_passes_it_on),
        TEST(who_was_called_too_late_passes_it_on),
        TEST(a_failed_attempt_of_one_who_was_called_calls_the_next),
        TEST(who_comes_later_goes_behind),
        TEST(who_was_called_in_vain_keeps_its_place),
        TEST(going_back_gives_no_more_time),
        TEST(who_cannot_use_what_became_free_passes_the_call_on),
        TEST(new_servers_call_those_who_wait),
        TEST(a_server_that_is_back_calls_those_who_wait),
        TEST(a_trial_that_is_due_calls_the_first),
        TEST(after_a_trial_the_wait_has_its_end),
        TEST(an_ejection_sets_the_clocks_of_those_who_wait),
        TEST(who_uses_no_idle_one_has_it_closed_for_its_slot),
        TEST(who_waits_has_idle_ones_closed),
        TEST(one_that_is_given_back_is_for_the_first_in_line),
    };

    return cmocka_run_group_tests_name("dial_line", tests, NULL, NULL);
}
