/* Dials on the fake ring: which server is tried when, names, and every way to end. */
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
#include "proxy/server.h"

/* ---- one after the other ---- */

static void a_server_that_answers(void **state)
{
    struct dialing *t = *state;
    struct caller *caller = &t->callers[0];

    dialing_begin(t, 2);
    dialing_call(t, caller);
    assert_int_equal(caller->dial.state, DIAL_CONNECTING);
    dialing_result(t, caller, "10.0.0.1:80", 0);
    dialing_assert_served(caller, "10.0.0.1:80");
    assert_int_equal(server_open(caller->slot.server), 1);
    assert_int_equal(dialing_view(t)->users, 1);
    fixture_advance(t->f, 10 * 1000); /* no time-out of connecting is left */
    assert_int_equal(caller->conn->state, CONN_OPEN);
    dialing_hang_up(t, caller);
    dialing_assert_all_back(t, dialing_view(t));
}

static void the_next_server_when_one_refuses(void **state)
{
    struct dialing *t = *state;
    struct caller *caller = &t->callers[0];

    dialing_begin(t, 2);
    dialing_call(t, caller);
    dialing_result(t, caller, "10.0.0.1:80", -ECONNREFUSED);
    assert_int_equal(caller->done, 0);
    assert_int_equal(server_open(dialing_server(dialing_view(t), 0)), 0);
    dialing_result(t, caller, "10.0.0.2:80", 0);
    dialing_assert_served(caller, "10.0.0.2:80");
    dialing_hang_up(t, caller);
    dialing_assert_all_back(t, dialing_view(t));
}

static void as_many_servers_as_attempts(void **state)
{
    struct dialing *t = *state;
    struct caller *caller = &t->callers[0];

    dialing_begin(t, 3);
    dialing_call(t, caller);
    dialing_result(t, caller, "10.0.0.1:80", -ECONNREFUSED);
    dialing_result(t, caller, "10.0.0.2:80", -EHOSTUNREACH);
    dialing_assert_failed(caller, DIAL_REFUSED);
    assert_string_equal(dial_failure_text(&caller->dial), "unreachable");
    dialing_assert_all_back(t, dialing_view(t));
}

static void no_server_is_tried_twice(void **state)
{
    struct dialing *t = *state;
    struct caller *caller = &t->callers[0];

    t->app.retries = 100;
    dialing_begin(t, 2);
    dialing_call(t, caller);
    dialing_result(t, caller, "10.0.0.1:80", -ECONNREFUSED);
    dialing_result(t, caller, "10.0.0.2:80", -ECONNREFUSED);
    dialing_assert_failed(caller, DIAL_REFUSED);
    assert_string_equal(dial_failure_text(&caller->dial), "refused");
}

static void each_attempt_has_its_time(void **state)
{
    struct dialing *t = *state;
    struct caller *caller = &t->callers[0];

    dialing_begin(t, 2);
    dialing_call(t, caller);
    fixture_advance(t->f, 499);
    dialing_attempt(caller, "10.0.0.1:80");
    fixture_advance(t->f, 1);
    dialing_attempt(caller, "10.0.0.2:80");
    assert_int_equal(dialing_attempts(caller), 1);
    fixture_advance(t->f, 499);
    assert_int_equal(caller->done, 0);
    fixture_advance(t->f, 1);
    dialing_assert_failed(caller, DIAL_TIMEOUT);
    dialing_assert_all_back(t, dialing_view(t));
}

static void nobody_to_try_is_known_at_once(void **state)
{
    struct dialing *t = *state;
    struct caller *caller = &t->callers[0];

    dialing_begin(t, 1);
    server_set_admin(dialing_server(dialing_view(t), 0), SERVER_ADMIN_DRAIN);
    assert_int_equal(dialing_start(t, caller, dialing_view(t)), DIAL_FAILED);
    assert_int_equal(caller->dial.failure, DIAL_NO_SERVER);
    assert_string_equal(dial_failure_text(&caller->dial), "no server of it can be used");
    dialing_assert_all_back(t, dialing_view(t));
}

static void failures_eject_and_a_trial_brings_back(void **state)
{
    struct dialing *t = *state;

    t->app.max_fails = 1;
    dialing_begin(t, 2);
    dialing_call(t, &t->callers[0]);
    dialing_result(t, &t->callers[0], "10.0.0.1:80", -ECONNREFUSED);
    assert_int_equal(fixture_log_count(t->f, "server 10.0.0.1:80 is not used for 10.0 s"), 1);
    dialing_call(t, &t->callers[1]);
    dialing_attempt(&t->callers[1], "10.0.0.2:80");
    dial_cancel(&t->callers[0].dial);
    dial_cancel(&t->callers[1].dial);
    fixture_advance(t->f, 10000);
    dialing_connect(t, &t->callers[2]);
    dialing_assert_served(&t->callers[2], "10.0.0.1:80");
    assert_int_equal(fixture_log_count(t->f, "server 10.0.0.1:80 works again"), 1);
    dialing_hang_up(t, &t->callers[2]);
    dialing_assert_all_back(t, dialing_view(t));
}

/* Both are down; the first is ejected, the second is not, as it is the last. */
static void begin_both_down(struct dialing *t)
{
    t->app.max_fails = 1;
    dialing_begin(t, 2);
    dialing_call(t, &t->callers[0]);
    dialing_result(t, &t->callers[0], "10.0.0.1:80", -ECONNREFUSED);
    dialing_result(t, &t->callers[0], "10.0.0.2:80", -ECONNREFUSED);
    dialing_assert_failed(&t->callers[0], DIAL_REFUSED);
}

static void an_ejected_server_is_the_last_resort(void **state)
{
    struct dialing *t = *state;

    begin_both_down(t);
    dialing_call(t, &t->callers[1]);
    dialing_result(t, &t->callers[1], "10.0.0.2:80", -ECONNREFUSED);
    dialing_result(t, &t->callers[1], "10.0.0.1:80", 0);
    dialing_assert_served(&t->callers[1], "10.0.0.1:80");
    assert_int_equal(fixture_log_count(t->f, "server 10.0.0.1:80 works again"), 1);
    dialing_connect(t, &t->callers[2]); /* for all others too */
    dialing_assert_served(&t->callers[2], "10.0.0.1:80");
}

static void a_last_resort_is_an_attempt(void **state)
{
    struct dialing *t = *state;

    t->app.retries = 0;
    t->app.max_fails = 1;
    dialing_begin(t, 2);
    for (uint32_t i = 0; i < 2; i++) {
        dialing_call(t, &t->callers[i]);
        fixture_connect_result(t->f, t->callers[i].dial.attempts[0].conn, -ECONNREFUSED);
        dialing_assert_failed(&t->callers[i], DIAL_REFUSED);
    }
    assert_int_equal(fixture_log_count(t->f, "it failed 1 time\n"), 1);
}

/* One that fails neither prolongs the ejection nor begins another. */
static void a_last_resort_that_fails_changes_nothing(void **state)
{
    struct dialing *t = *state;

    begin_both_down(t);
    fixture_advance(t->f, 9000);
    dialing_call(t, &t->callers[1]);
    dialing_result(t, &t->callers[1], "10.0.0.2:80", -ECONNREFUSED);
    dialing_result(t, &t->callers[1], "10.0.0.1:80", -ECONNREFUSED);
    dialing_assert_failed(&t->callers[1], DIAL_REFUSED);
    assert_int_equal(server_state(dialing_server(dialing_view(t), 0), t->f->reactor.now_ms), SERVER_EJECTED);
    fixture_advance(t->f, 1000);
    assert_int_equal(server_state(dialing_server(dialing_view(t), 0), t->f->reactor.now_ms), SERVER_TRIAL_DUE);
    dialing_assert_all_back(t, dialing_view(t));
}

static void what_failed_here_is_not_the_servers_fault(void **state)
{
    struct dialing *t = *state;

    t->app.max_fails = 1;
    dialing_begin(t, 2);
    dialing_call(t, &t->callers[0]);
    dialing_result(t, &t->callers[0], "10.0.0.1:80", -ENOMEM);
    dialing_attempt(&t->callers[0], "10.0.0.2:80");
    dial_cancel(&t->callers[0].dial);
    assert_int_equal(server_state(dialing_server(dialing_view(t), 0), t->f->reactor.now_ms), SERVER_UP);
    assert_int_equal(server_state(dialing_server(dialing_view(t), 1), t->f->reactor.now_ms), SERVER_UP);
}

static void without_room_here_there_is_no_connection(void **state)
{
    struct dialing *t = *state;

    dialing_begin(t, 1);
    for (uint32_t i = 0; i < t->f->reactor.conns.max; i++)
        fixture_open(t->f);
    assert_int_equal(dialing_start(t, &t->callers[0], dialing_view(t)), DIAL_FAILED);
    assert_int_equal(t->callers[0].dial.failure, DIAL_NO_ROOM);
    assert_string_equal(dial_failure_text(&t->callers[0].dial), "reactor.max_connections are open");
    assert_int_equal(server_open(dialing_server(dialing_view(t), 0)), 0);
    assert_int_equal(dialing_view(t)->users, 0);
}

/* ---- names ---- */

static void a_name_is_looked_up_first(void **state)
{
    struct dialing *t = *state;
    struct caller *caller = &t->callers[0];

    t->servers[0].target = (char *)(uintptr_t) "localhost:80";
    dialing_begin(t, 1);
    assert_int_equal(dialing_start(t, caller, dialing_view(t)), DIAL_WAITS);
    assert_int_equal(caller->dial.state, DIAL_RESOLVING);
    fixture_pump(t->f);
    assert_int_equal(caller->dial.state, DIAL_CONNECTING);
    fixture_connect_result(t->f, caller->dial.attempts[0].conn, 0);
    assert_non_null(caller->conn);
    dialing_hang_up(t, caller);
    dialing_assert_all_back(t, dialing_view(t));
}

static void a_name_that_cannot_be_asked_for_fails_and_is_remembered(void **state)
{
    struct dialing *t = *state;
    struct caller *caller = &t->callers[0];

    t->servers[0].target = (char *)(uintptr_t) "db.test:80";
    dialing_begin(t, 1);
    t->f->config.resolver.servers = (char *)(uintptr_t) "nonsense";
    for (int i = 0; i < 3; i++) {
        assert_int_equal(dialing_start(t, caller, dialing_view(t)), DIAL_FAILED);
        assert_int_equal(caller->dial.failure, DIAL_NO_ADDRESS);
        assert_string_equal(dial_failure_text(&caller->dial), "cannot be asked for");
        fixture_advance(t->f, 100);
    }
    assert_int_equal(fixture_log_count(t->f, "no list of name servers"), 1);
    fixture_advance(t->f, RESOLVE_TTL_FAILED_MS);
    assert_int_equal(dialing_start(t, caller, dialing_view(t)), DIAL_FAILED);
    assert_int_equal(fixture_log_count(t->f, "no list of name servers"), 2);
    dialing_assert_all_back(t, dialing_view(t));
}

static void what_another_reactor_found_out_counts_here(void **state)
{
    struct dialing *t = *state;
    struct caller *caller = &t->callers[0];

    t->servers[0].target = (char *)(uintptr_t) "db.test:80";
    dialing_begin(t, 1);
    dialing_answer_problem(dialing_view(t), 0, "no such name");
    assert_int_equal(dialing_start(t, caller, dialing_view(t)), DIAL_FAILED);
    assert_string_equal(dial_failure_text(&caller->dial), "no such name");
    dialing_answer(dialing_view(t), 0, 60 * 1000, DIALING_ADDRS("10.0.0.7:80"));
    dialing_call(t, caller);
    dialing_attempt(caller, "10.0.0.7:80");
    dialing_answer_problem(dialing_view(t), 0, "no such name"); /* what is known stays */
    dialing_result(t, caller, "10.0.0.7:80", 0);
    dialing_connect(t, &t->callers[1]);
    dialing_assert_served(&t->callers[1], "10.0.0.7:80");
}

static void a_dial_goes_on_with_the_servers_of_now(void **state)
{
    struct dialing *t = *state;
    struct caller *caller = &t->callers[0];
    struct group_view *view = dialing_begin_named(t, DIALING_ADDRS("10.0.0.1:80", "10.0.0.2:80"));

    dialing_call(t, caller);
    dialing_answer(view, 0, 60 * 1000, DIALING_ADDRS("10.0.0.3:80"));
    dialing_result(t, caller, "10.0.0.1:80", -ECONNREFUSED);
    dialing_result(t, caller, "10.0.0.3:80", 0);
    dialing_answer(view, 0, 60 * 1000, DIALING_ADDRS("10.0.0.4:80"));
    dialing_assert_served(caller, "10.0.0.3:80"); /* held by the slot */
    dialing_hang_up(t, caller);
    group_view_upstream(view);
    dialing_assert_all_back(t, view);
}

/* ---- giving up ---- */

static void a_limit_holds_for_the_whole(void **state)
{
    struct dialing *t = *state;
    struct caller *caller = &t->callers[0];

    dialing_begin(t, 2);
    dialing_call(t, caller);
    dial_limit(&caller->dial, 300);
    dial_limit(&caller->dial, 3000); /* no longer */
    fixture_advance(t->f, 200);
    dialing_result(t, caller, "10.0.0.1:80", -ECONNREFUSED);
    fixture_advance(t->f, 100);
    dialing_assert_failed(caller, DIAL_GIVEN_UP);
    assert_string_equal(dial_failure_text(&caller->dial), "timeout");
    dialing_assert_all_back(t, dialing_view(t));
}

/* Callers in every state: 0 is connected, 1 waits in the line, 2 was called, 3 connects, 4 races, 5 resolves. */
static void begin_all_states(struct dialing *t)
{
    struct group_view *plain;

    t->servers[0].max_connections = 2;
    dialing_begin(t, 1);
    dialing_connect(t, &t->callers[0]);
    dialing_connect(t, &t->callers[6]);
    dialing_call(t, &t->callers[2]);
    dialing_call(t, &t->callers[1]);
    dialing_hang_up(t, &t->callers[6]);
    assert_true(atomic_load(&t->callers[2].dial.waiter.is_called));
    plain = dialing_plain(t, "db.test:80");
    dialing_answer(plain, 0, 60 * 1000, DIALING_ADDRS("10.0.0.8:80", "10.0.0.9:80"));
    assert_int_equal(dialing_start(t, &t->callers[4], plain), DIAL_WAITS);
    fixture_advance(t->f, RACE_MS);
    assert_int_equal(dialing_attempts(&t->callers[4]), 2);
    assert_int_equal(dialing_start(t, &t->callers[3], plain), DIAL_WAITS);
    assert_int_equal(dialing_start(t, &t->callers[5], dialing_plain(t, "localhost:80")), DIAL_WAITS);
    assert_int_equal(t->callers[5].dial.state, DIAL_RESOLVING);
}

static void cancelling_leaves_nothing(void **state)
{
    struct dialing *t = *state;

    begin_all_states(t);
    for (uint32_t i = 0; i < CALLERS_MAX; i++) {
        dial_cancel(&t->callers[i].dial);
        dial_cancel(&t->callers[i].dial); /* idempotent */
    }
    fixture_pump(t->f);
    dialing_wake(t);
    for (uint32_t i = 1; i <= 5; i++)
        assert_int_equal(t->callers[i].done, 0);
    assert_int_equal(t->callers[0].conn->state, CONN_OPEN); /* not the dial's any more */
    dialing_hang_up(t, &t->callers[0]);
    dialing_assert_all_back(t, dialing_view(t));
    assert_int_equal(dialing_plain(t, "db.test:80")->users, 0);
    assert_int_equal(dialing_plain(t, "localhost:80")->users, 0);
}

/* Connections are ended by the reactor; who has none ends with its owner. */
static void a_stop_ends_what_connects(void **state)
{
    struct dialing *t = *state;

    begin_all_states(t);
    t->f->reactor.state = REACTOR_STOPPING;
    for (struct list *node = t->f->reactor.live.next; node != &t->f->reactor.live; node = node->next)
        conn_kill(CONTAINER_OF(node, struct conn, link), CLOSE_SHUTDOWN);
    dialing_assert_failed(&t->callers[3], DIAL_GIVEN_UP);
    dialing_assert_failed(&t->callers[4], DIAL_GIVEN_UP);
    assert_string_equal(dial_failure_text(&t->callers[3].dial), "shutdown");
    dial_cancel(&t->callers[1].dial);
    dial_cancel(&t->callers[2].dial);
    dial_cancel(&t->callers[5].dial);
    dialing_assert_all_back(t, dialing_view(t));
}

static struct dialing *reuser;
static uint32_t reused;

static void start_again(struct dial *dial)
{
    struct group_view *view = dialing_view(reuser);
    struct dial_options options = dial_defaults(view, 0);

    if (++reused < 3)
        assert_int_equal(dial_start(dial, view, &options, start_again, reuser), DIAL_WAITS);
}

static void the_owner_may_start_it_again_when_it_is_told(void **state)
{
    struct dialing *t = *state;
    struct dial *dial = &t->callers[0].dial;
    struct dial_options options;

    t->app.retries = 0;
    dialing_begin(t, 1);
    reuser = t;
    reused = 0;
    options = dial_defaults(dialing_view(t), 0);
    assert_int_equal(dial_start(dial, dialing_view(t), &options, start_again, t), DIAL_WAITS);
    fixture_pump(t->f);
    for (uint32_t i = 1; i <= 3; i++) {
        dialing_result(t, &t->callers[0], "10.0.0.1:80", -ECONNREFUSED);
        assert_int_equal(reused, i);
    }
    dialing_assert_all_back(t, dialing_view(t));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, dialing_setup, dialing_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_server_that_answers),
        TEST(the_next_server_when_one_refuses),
        TEST(as_many_servers_as_attempts),
        TEST(no_server_is_tried_twice),
        TEST(each_attempt_has_its_time),
        TEST(nobody_to_try_is_known_at_once),
        TEST(failures_eject_and_a_trial_brings_back),
        TEST(an_ejected_server_is_the_last_resort),
        TEST(a_last_resort_is_an_attempt),
        TEST(a_last_resort_that_fails_changes_nothing),
        TEST(what_failed_here_is_not_the_servers_fault),
        TEST(without_room_here_there_is_no_connection),
        TEST(a_name_is_looked_up_first),
        TEST(a_name_that_cannot_be_asked_for_fails_and_is_remembered),
        TEST(what_another_reactor_found_out_counts_here),
        TEST(a_dial_goes_on_with_the_servers_of_now),
        TEST(a_limit_holds_for_the_whole),
        TEST(cancelling_leaves_nothing),
        TEST(a_stop_ends_what_connects),
        TEST(the_owner_may_start_it_again_when_it_is_told),
    };

    return cmocka_run_group_tests_name("dial", tests, NULL, NULL);
}
