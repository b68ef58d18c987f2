/* When accepting pauses and when it goes on: limits, no room, EMFILE, stopping, listeners that come and go. */
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

#include "base/limits.h"
#include "base/log.h"
#include "core/engine.h"
#include "fake_ring.h"
#include "uring/op.h"
#include "versions.h"

enum { TAKEN_MAX = 256 };

struct accept_fixture {
    struct listener_config configs[2];
    struct config config;
    struct listen_socket sockets[2];
    struct version *version;
    struct engine engine;
    struct timer_wheel timers;
    struct ring *ring;
    struct accept_group group;
    uint32_t room; /* sockets that are taken before there is no more room */
    int taken[TAKEN_MAX];
    uint32_t taken_count;
};

static bool take(struct accept_group *group, struct listen_socket *socket, int fd)
{
    struct accept_fixture *f = CONTAINER_OF(group, struct accept_fixture, group);

    (void)socket;
    if (f->taken_count >= f->room)
        return false;
    f->taken[f->taken_count++] = fd;
    return true;
}

static int setup(void **state)
{
    const struct ring_options options = {.sq_entries = 8, .cq_entries = 16};
    struct accept_fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_int_equal(log_open("/dev/null", LOG_DEBUG, LOG_TEXT), 0);
    for (int i = 0; i < 2; i++) {
        f->configs[i].name = (char *)(i == 0 ? "first" : "second");
    }
    f->config = (struct config){.listeners = f->configs, .listener_count = 2};
    f->engine = (struct engine){.control_eventfd = -1};
    f->version = version_by_hand(&f->engine, &f->config, f->sockets);
    assert_int_equal(ring_open(&f->ring, &options), 0);
    timer_wheel_init(&f->timers, 1000);
    f->room = TAKEN_MAX;
    f->group.engine = &f->engine;
    f->group.ring = f->ring;
    f->group.timers = &f->timers;
    f->group.take = take;
    accept_init(&f->group, 0);
    assert_int_equal(accept_reserve(&f->group, 2), 0);
    accept_follow(&f->group, f->version);
    *state = f;
    return 0;
}

static void answer_cancels(struct accept_fixture *f)
{
    for (uint32_t i = 0; i < fake_ring_queued(f->ring); i++) {
        const struct fake_sqe *sqe = fake_ring_sqe(f->ring, i);
        struct completion ended = {.user_data = sqe->target_user_data, .result = -ECANCELED};
        struct completion done = {.user_data = sqe->user_data};

        if (sqe->kind != FAKE_CANCEL)
            continue;
        accept_on_completion(&f->group, &ended);
        accept_on_cancel(&f->group, &done);
    }
    fake_ring_forget(f->ring);
}

static int teardown(void **state)
{
    struct accept_fixture *f = *state;

    accept_stop(&f->group, ACCEPT_DROP_REST);
    fake_ring_forget(f->ring);
    accept_settle(&f->group);
    answer_cancels(f);
    assert_true(accept_is_stopped(&f->group));
    accept_deinit(&f->group);
    version_by_hand_free(f->version);
    timer_wheel_deinit(&f->timers);
    ring_close(f->ring);
    for (uint32_t i = 0; i < f->taken_count; i++)
        close(f->taken[i]);
    log_close();
    free(f);
    return 0;
}

/* A socket comes in on a listener. Returns its descriptor. */
static int arrive(struct accept_fixture *f, uint32_t source)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    struct completion completion = {.user_data = op_pack(OP_ACCEPT, source, 0), .result = fd, .flags = COMPLETION_MORE};

    assert_true(fd >= 0);
    accept_on_completion(&f->group, &completion);
    return fd;
}

static void accept_error(struct accept_fixture *f, uint32_t source, int error)
{
    struct completion completion = {.user_data = op_pack(OP_ACCEPT, source, 0), .result = error};

    accept_on_completion(&f->group, &completion);
}

static uint32_t accepts(const struct accept_fixture *f)
{
    return fake_ring_count(f->ring, FAKE_ACCEPT);
}

static uint32_t cancels(const struct accept_fixture *f)
{
    return fake_ring_count(f->ring, FAKE_CANCEL);
}

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

/* ---- another version ---- */

/* One with the first, the second or no listener of the two. */
static struct version *version_with(struct accept_fixture *f, bool has_first, bool has_second)
{
    struct version *version = version_by_hand(&f->engine, &f->config, f->sockets);

    if (!has_second)
        version_by_hand_remove(version, 1);
    if (!has_first)
        version_by_hand_remove(version, 0);
    return version;
}

static void follow(struct accept_fixture *f, bool has_first, bool has_second)
{
    struct version *version = version_with(f, has_first, has_second);

    assert_int_equal(accept_reserve(&f->group, 2), 0);
    accept_follow(&f->group, version);
    version_by_hand_free(version);
}

static uint32_t groups(const struct accept_fixture *f, uint32_t socket)
{
    return atomic_load(&f->sockets[socket].groups);
}

static void a_removed_listener_is_left_when_the_kernel_has_let_go(void **state)
{
    struct accept_fixture *f = *state;

    accept_settle(&f->group);
    assert_int_equal(groups(f, 0), 1);
    follow(f, false, true);
    accept_settle(&f->group);
    assert_int_equal(cancels(f), 1);
    assert_int_equal(groups(f, 0), 1);
    int late = arrive(f, 0); /* it was on its way: a reactor decides */
    assert_int_equal(f->taken[0], late);
    answer_cancels(f);
    assert_int_equal(groups(f, 0), 1);
    accept_settle(&f->group);
    assert_int_equal(groups(f, 0), 0);
    assert_int_equal(groups(f, 1), 1);
    assert_int_equal(accepts(f), 0);
    accept_resume(&f->group); /* a place that is free is nobody's */
}

static void one_that_was_not_armed_is_left_at_once(void **state)
{
    struct accept_fixture *f = *state;

    follow(f, true, false);
    accept_settle(&f->group);
    assert_int_equal(groups(f, 1), 0);
    assert_int_equal(accepts(f), 1);
    assert_int_equal(cancels(f), 0);
}

static void held_sockets_are_handed_over_before_it_is_left(void **state)
{
    struct accept_fixture *f = *state;

    f->room = 0;
    accept_settle(&f->group);
    int held = arrive(f, 0);
    follow(f, false, true);
    accept_settle(&f->group);
    answer_cancels(f);
    accept_settle(&f->group);
    assert_int_equal(groups(f, 0), 1);
    f->room = 1;
    accept_resume(&f->group);
    assert_int_equal(f->taken[0], held);
    accept_settle(&f->group);
    assert_int_equal(groups(f, 0), 0);
}

static void one_that_comes_back_while_it_is_being_left_stays(void **state)
{
    struct accept_fixture *f = *state;

    accept_settle(&f->group);
    follow(f, false, true);
    accept_settle(&f->group); /* the cancel is under way */
    follow(f, true, true);
    accept_settle(&f->group);
    assert_int_equal(cancels(f), 1);
    answer_cancels(f);
    accept_settle(&f->group);
    assert_int_equal(accepts(f), 1);
    assert_int_equal(groups(f, 0), 1);
    assert_int_equal(f->group.source_count, 2);
}

static void places_are_used_again(void **state)
{
    struct accept_fixture *f = *state;

    accept_settle(&f->group);
    for (int i = 0; i < 20; i++) {
        follow(f, false, true);
        accept_settle(&f->group);
        answer_cancels(f);
        accept_settle(&f->group);
        fake_ring_forget(f->ring);
        follow(f, true, true);
        accept_settle(&f->group);
        assert_int_equal(accepts(f), 1);
        assert_int_equal(fake_ring_find(f->ring, FAKE_ACCEPT, VERSION_SOCKET_FD)->user_data, op_pack(OP_ACCEPT, 0, 0));
        fake_ring_forget(f->ring);
    }
    assert_int_equal(f->group.source_count, 2);
    assert_true(f->group.source_capacity <= 4);
}

static void a_group_without_sources_stops_at_once(void **state)
{
    struct accept_group none = {0};

    (void)state;
    accept_stop(&none, ACCEPT_DROP_REST);
    assert_true(accept_is_stopped(&none));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
        TEST(stopping_takes_who_waits_for_a_process_that_was_not_woken),
        TEST(stopping_does_not_wait_for_a_backlog_that_never_empties),
        TEST(stopping_while_out_of_descriptors_leaves_no_timer),
        TEST(a_removed_listener_is_left_when_the_kernel_has_let_go),
        TEST(one_that_was_not_armed_is_left_at_once),
        TEST(held_sockets_are_handed_over_before_it_is_left),
        TEST(one_that_comes_back_while_it_is_being_left_stays),
        TEST(places_are_used_again),
        cmocka_unit_test(a_group_without_sources_stops_at_once),
    };

    return cmocka_run_group_tests_name("accept", tests, NULL, NULL);
}
