/* When accepting pauses and when it goes on: limits, no room, EMFILE, stopping. test_accept_follow.c has listeners that come and go.
 */
#include "core/accept.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "accepting.h"
#include "base/limits.h"
#include "fake_ring.h"
#include "uring/op.h"
#include "versions.h"

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* A connection on the listener has ended; whoever awaited room is told, as engine_on_room() does. */
static void end_connection(struct accept_fixture *f, uint32_t source)
{
    atomic_fetch_sub(&f->sockets[source].open, 1);
    if (atomic_exchange(&f->engine.room_awaited, false))
        accept_resume(&f->group);
    accept_settle(&f->group);
}

static void every_listener_is_armed_once(void **state)
{
    struct accept_fixture *f = *state;

    accept_settle(&f->group);
    accept_settle(&f->group);
    assert_int_equal(accepts(f), 2);
    assert_int_equal(fake_ring_find(f->ring, FAKE_ACCEPT, VERSION_SOCKET_FD + 1)->user_data, op_pack(OP_ACCEPT, 1, 0));
    assert_int_equal(f->group.operations, 2);
}

static void sockets_are_handed_over_and_counted(void **state)
{
    struct accept_fixture *f = *state;

    accept_settle(&f->group);
    int one = arrive(f, 0);
    int two = arrive(f, 1);
    assert_int_equal(f->taken_count, 2);
    assert_int_equal(f->taken[0], one);
    assert_int_equal(f->taken[1], two);
    assert_int_equal(atomic_load(&f->sockets[0].open), 1);
    assert_int_equal(atomic_load(&f->sockets[1].open), 1);
    accept_settle(&f->group);
    assert_int_equal(accepts(f), 2); /* the multishots go on */
}

static void an_accept_that_ended_is_armed_again(void **state)
{
    struct accept_fixture *f = *state;

    accept_settle(&f->group);
    accept_error(f, 0, -ECONNABORTED);
    accept_settle(&f->group);
    assert_int_equal(accepts(f), 3);
}

static void emfile_pauses_until_a_connection_ends(void **state)
{
    struct accept_fixture *f = *state;

    accept_settle(&f->group);
    (void)arrive(f, 0);
    accept_error(f, 0, -EMFILE);
    for (int i = 0; i < 5; i++)
        accept_settle(&f->group);
    assert_int_equal(accepts(f), 2); /* arming at once would spin */
    assert_true(atomic_load(&f->engine.room_awaited));
    answer_cancels(f); /* the other listener cannot accept either */
    end_connection(f, 0);
    assert_int_equal(accepts(f), 2);
}

static void emfile_is_tried_again_after_a_while(void **state)
{
    struct accept_fixture *f = *state;

    accept_settle(&f->group);
    accept_error(f, 0, -ENFILE);
    accept_settle(&f->group);
    answer_cancels(f);
    timer_wheel_advance(&f->timers, 1000 + ACCEPT_RETRY_MS - 1);
    accept_settle(&f->group);
    assert_int_equal(accepts(f), 0);
    timer_wheel_advance(&f->timers, 1000 + ACCEPT_RETRY_MS);
    accept_settle(&f->group);
    assert_int_equal(accepts(f), 2);
}

static void max_connections_holds_and_hands_over_in_order(void **state)
{
    struct accept_fixture *f = *state;
    int fds[5];

    f->sockets[0].max_connections = 2;
    accept_settle(&f->group);
    for (int i = 0; i < 5; i++)
        fds[i] = arrive(f, 0);
    assert_int_equal(f->taken_count, 2);
    assert_int_equal(atomic_load(&f->sockets[0].open), 2);
    accept_settle(&f->group);
    assert_int_equal(cancels(f), 1); /* the backlog keeps the others */
    answer_cancels(f);
    for (uint32_t i = 2; i < 5; i++) {
        end_connection(f, 0);
        assert_int_equal(f->taken_count, i + 1);
        assert_int_equal(f->taken[i], fds[i]);
        assert_int_equal(accepts(f), 0); /* still full */
    }
    end_connection(f, 0);
    assert_int_equal(accepts(f), 1);
}

static void a_full_listener_stops_accepting_before_it_must_hold(void **state)
{
    struct accept_fixture *f = *state;

    f->sockets[1].max_connections = 1;
    accept_settle(&f->group);
    (void)arrive(f, 1);
    accept_settle(&f->group);
    assert_int_equal(fake_ring_find(f->ring, FAKE_CANCEL, -1)->target_user_data, op_pack(OP_ACCEPT, 1, 0));
    accept_settle(&f->group);
    assert_int_equal(cancels(f), 1);
    answer_cancels(f);
    (void)arrive(f, 0); /* the other one is not concerned */
    assert_int_equal(f->taken_count, 2);
    end_connection(f, 1);
    assert_int_equal(fake_ring_find(f->ring, FAKE_ACCEPT, VERSION_SOCKET_FD + 1)->user_data, op_pack(OP_ACCEPT, 1, 0));
}

static void a_cancel_that_missed_the_accept_is_sent_again(void **state)
{
    struct accept_fixture *f = *state;
    struct completion missed = {.user_data = op_pack(OP_CANCEL_ACCEPT, 0, 0), .result = -ENOENT};

    f->sockets[0].max_connections = 1;
    accept_settle(&f->group);
    (void)arrive(f, 0);
    accept_settle(&f->group);
    accept_on_cancel(&f->group, &missed);
    accept_settle(&f->group);
    assert_int_equal(cancels(f), 2);
    fake_ring_forget(f->ring);
    accept_on_cancel(&f->group, &(struct completion){.user_data = missed.user_data});
    accept_error(f, 0, -ECANCELED);
}

static void without_room_in_any_reactor_sockets_are_held(void **state)
{
    struct accept_fixture *f = *state;

    f->room = 0;
    accept_settle(&f->group);
    int fd = arrive(f, 0);
    assert_int_equal(atomic_load(&f->sockets[0].open), 0);
    assert_true(is_open(fd));
    accept_settle(&f->group);
    assert_int_equal(cancels(f), 1);
    answer_cancels(f);
    f->room = 1;
    atomic_store(&f->engine.room_awaited, false);
    accept_resume(&f->group);
    assert_int_equal(f->taken[0], fd);
    assert_int_equal(atomic_load(&f->sockets[0].open), 1);
}

static void many_held_sockets_keep_their_order(void **state)
{
    struct accept_fixture *f = *state;
    int fds[150];

    f->room = 0;
    accept_settle(&f->group);
    for (uint32_t i = 0; i < 150; i++) {
        fds[i] = arrive(f, 0);
        if (i == 100) { /* some leave from the front, so that the queue moves down */
            f->room = 40;
            accept_resume(&f->group);
        }
    }
    f->room = TAKEN_MAX;
    accept_resume(&f->group);
    assert_int_equal(f->taken_count, 150);
    for (uint32_t i = 0; i < 150; i++)
        assert_int_equal(f->taken[i], fds[i]);
}

static void stopping_cancels_and_closes_what_is_held(void **state)
{
    struct accept_fixture *f = *state;

    f->room = 0;
    accept_settle(&f->group);
    int held = arrive(f, 0);
    accept_stop(&f->group, ACCEPT_DROP_REST);
    assert_false(is_open(held));
    assert_false(accept_is_stopped(&f->group));
    int late = arrive(f, 1); /* was on its way */
    assert_false(is_open(late));
    accept_settle(&f->group);
    assert_int_equal(cancels(f), 2);
    answer_cancels(f);
    assert_true(accept_is_stopped(&f->group));
    accept_settle(&f->group);
    assert_int_equal(accepts(f), 0);
}

static void what_is_accepted_while_it_stops_in_order_is_served(void **state)
{
    struct accept_fixture *f = *state;

    accept_settle(&f->group);
    accept_stop(&f->group, ACCEPT_SERVE_REST);
    accept_settle(&f->group);
    assert_int_equal(cancels(f), 2);
    int fd = arrive(f, 0);
    assert_int_equal(f->taken_count, 1);
    assert_true(is_open(fd));
    f->room = 1;
    fd = arrive(f, 0); /* nobody would wait for room */
    assert_false(is_open(fd));
    answer_cancels(f);
    assert_true(accept_is_stopped(&f->group));
}

/* Another process accepts from the first listener, too. */
static void has_successor(struct accept_fixture *f, int backlog)
{
    f->sockets[0].has_successor = true;
    f->group.sources[0].fd = backlog;
    accept_settle(&f->group);
    fake_ring_forget(f->ring);
    accept_stop(&f->group, ACCEPT_SERVE_REST);
    accept_settle(&f->group);
    answer_cancels(f);
}

/* Three come in on each listener, of which one is full and the other one has room for one. */
static void fill(struct accept_fixture *f, int *first, int *second)
{
    f->sockets[0].max_connections = 1;
    f->sockets[1].max_connections = 1;
    accept_settle(&f->group);
    for (int i = 0; i < 3; i++) {
        first[i] = arrive(f, 0);
        second[i] = arrive(f, 1);
    }
    assert_int_equal(f->taken_count, 2);
}

/* Nobody else is in the backlog. */
static void finish(struct accept_fixture *f)
{
    accept_settle(&f->group);
    answer_cancels(f);
    accept_settle(&f->group);
    assert_true(accept_is_stopped(&f->group));
}

static void who_waits_for_room_is_served_past_the_limit_where_another_process_takes_over(void **state)
{
    struct accept_fixture *f = *state;
    int first[3], second[3];

    fill(f, first, second);
    f->sockets[0].has_successor = true;
    accept_stop(&f->group, ACCEPT_SERVE_REST);
    assert_int_equal(f->taken_count, 4);
    assert_true(is_open(first[1]) && is_open(first[2]));
    assert_false(is_open(second[1]) || is_open(second[2]));
    int late = arrive(f, 0);
    assert_true(is_open(late));
    assert_int_equal(f->taken_count, 5);
    assert_int_equal(f->sockets[0].open, 4);
    finish(f);
}

static void no_more_of_them_than_the_reactors_have_room_for(void **state)
{
    struct accept_fixture *f = *state;
    int first[3], second[3];

    fill(f, first, second);
    f->sockets[0].has_successor = true;
    f->room = 3;
    accept_stop(&f->group, ACCEPT_SERVE_REST);
    assert_int_equal(f->taken_count, 3);
    assert_true(is_open(first[1]));
    assert_false(is_open(first[2]));
    assert_int_equal(f->sockets[0].open, 2);
    finish(f);
}

static void stopping_takes_who_waits_for_a_process_that_was_not_woken(void **state)
{
    struct accept_fixture *f = *state;
    int backlog = eventfd(1, EFD_CLOEXEC); /* readable, as a socket that somebody waits at */
    struct completion accepted = {.user_data = op_pack(OP_ACCEPT, 0, 0), .flags = COMPLETION_MORE};
    uint64_t count;

    has_successor(f, backlog);
    accept_settle(&f->group);
    assert_int_equal(fake_ring_queued(f->ring), 2);
    assert_int_equal(fake_ring_sqe(f->ring, 0)->kind, FAKE_ACCEPT);
    assert_int_equal(fake_ring_sqe(f->ring, 1)->kind, FAKE_CANCEL);
    assert_false(accept_is_stopped(&f->group));
    accepted.result = dup(backlog);
    accept_on_completion(&f->group, &accepted);
    assert_int_equal(f->taken_count, 1);
    assert_int_equal(read(backlog, &count, sizeof(count)), sizeof(count));
    answer_cancels(f);
    accept_settle(&f->group);
    assert_int_equal(fake_ring_queued(f->ring), 0);
    assert_true(accept_is_stopped(&f->group));
    close(backlog);
}

static void stopping_does_not_wait_for_a_backlog_that_never_empties(void **state)
{
    struct accept_fixture *f = *state;
    int backlog = eventfd(1, EFD_CLOEXEC);
    int sweeps = 0;

    has_successor(f, backlog);
    for (; !accept_is_stopped(&f->group); sweeps++) {
        assert_true(sweeps <= ACCEPT_SWEEPS_MAX);
        accept_settle(&f->group);
        answer_cancels(f);
    }
    assert_true(sweeps > 1);
    close(backlog);
}

static void stopping_while_out_of_descriptors_leaves_no_timer(void **state)
{
    struct accept_fixture *f = *state;

    accept_settle(&f->group);
    accept_error(f, 0, -EMFILE);
    accept_stop(&f->group, ACCEPT_DROP_REST);
    assert_int_equal(f->timers.armed, 0);
    accept_error(f, 1, -EMFILE); /* after it */
    assert_int_equal(f->timers.armed, 0);
}

static void a_group_without_sources_stops_at_once(void **state)
{
    struct accept_group none = {0};

    (void)state;
    accept_stop(&none, ACCEPT_DROP_REST);
    assert_true(accept_is_stopped(&none));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, accepting_setup, accepting_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_listener_is_armed_once),
        TEST(sockets_are_handed_over_and_counted),
        TEST(an_accept_that_ended_is_armed_again),
        TEST(emfile_pauses_until_a_connection_ends),
        TEST(emfile_is_tried_again_after_a_while),
        TEST(max_connections_holds_and_hands_over_in_order),
        TEST(a_full_listener_stops_accepting_before_it_must_hold),
        TEST(a_cancel_that_missed_the_accept_is_sent_again),
        TEST(without_room_in_any_reactor_sockets_are_held),
        TEST(many_held_sockets_keep_their_order),
        TEST(stopping_cancels_and_closes_what_is_held),
        TEST(what_is_accepted_while_it_stops_in_order_is_served),
        TEST(who_waits_for_room_is_served_past_the_limit_where_another_process_takes_over),
        TEST(no_more_of_them_than_the_reactors_have_room_for),
        TEST(stopping_takes_who_waits_for_a_process_that_was_not_woken),
        TEST(stopping_does_not_wait_for_a_backlog_that_never_empties),
        TEST(stopping_while_out_of_descriptors_leaves_no_timer),
        cmocka_unit_test(a_group_without_sources_stops_at_once),
    };

    return cmocka_run_group_tests_name("accept", tests, NULL, NULL);
}
