/* A reactor's side of versions: how a part starts, becomes current, is replaced and ends, and what becomes of connections
 * meanwhile. */
#include "core/part.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include <cmocka.h>

#include "base/limits.h"
#include "core/conn.h"
#include "core/version.h"
#include "fake_ring.h"
#include "fixture.h"
#include "uring/op.h"
#include "versions.h"

enum { DRAIN_MS = 5000 };

/* What the app says of a part that starts, and what it was told. */
static int starting_result;
static int begin_result;
static uint32_t unloaded;
static bool unloads_later;
static uint32_t finished;
static uint32_t switched;
static struct reactor_app app;
static const struct reactor_app *real;
static struct config next_config;
static struct listener_config next_listeners[2];

static int load(struct version_part *part)
{
    part->app_data = part;
    return 0;
}

static int begin(struct version_part *part)
{
    int rc = real->begin(part);

    return rc < 0 ? rc : begin_result;
}

static int starting(struct version_part *part)
{
    (void)part;
    return starting_result;
}

static void on_switch(struct version_part *part, struct version_part *previous)
{
    real->on_switch(part, previous);
    switched++;
}

static void unload(struct version_part *part)
{
    part->app_data = NULL;
    unloaded++;
    if (unloads_later)
        part_unload_later(part);
}

static void finish(struct version_part *part)
{
    real->finish(part);
    finished++;
}

static int setup_with(void **state, const struct fixture_options *options)
{
    struct fixture *f = fixture_new(options);

    starting_result = 0;
    begin_result = 0;
    unloads_later = false;
    unloaded = finished = switched = 0;
    real = f->engine.app;
    app = *real;
    app.load = load;
    app.begin = begin;
    app.starting = starting;
    app.on_switch = on_switch;
    app.unload = unload;
    app.finish = finish;
    f->engine.app = &app;
    f->reactor.app = &app;
    f->version->parts[0].app_data = &f->version->parts[0];
    next_config = f->config;
    next_config.drain_timeout_ms = DRAIN_MS;
    next_listeners[0] = f->listener_config;
    next_listeners[1] = f->listener_config;
    next_config.listeners = next_listeners;
    *state = f;
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, &(struct fixture_options){0});
}

static struct version *add(struct fixture *f)
{
    return fixture_add_version(f, &next_config);
}

static enum part_state state_of(const struct version *version)
{
    return (enum part_state)atomic_load(&version->parts[0].state);
}

/* The version that comes next has no listener at the fixture's socket. */
static struct version *add_elsewhere(struct fixture *f)
{
    struct version *version;

    next_config.listener_count = 2;
    version = add(f);
    version_by_hand_remove(version, 0);
    return version;
}

static void peer_closes(struct fixture *f, struct conn *conn)
{
    conn_kill(conn, CLOSE_LOCAL);
    fixture_turn(f);
    fixture_answer(f);
    fixture_turn(f);
}

/* ---- beginning ---- */

static void a_part_that_is_ready_waits_for_the_switch(void **state)
{
    struct fixture *f = *state;
    struct version *next = add(f);

    version_begin(next);
    assert_int_equal(version_state(next), PART_STARTING);
    fixture_turn(f);
    assert_int_equal(version_state(next), PART_READY);
    fixture_advance(f, START_MS_MAX + 1);
    fixture_turn(f);
    assert_int_equal(version_state(next), PART_READY); /* its time to start is no more counted */
    assert_ptr_equal(f->reactor.current->version, f->version);
    version_switch(next);
    fixture_turn(f);
    assert_ptr_equal(f->reactor.current->version, next);
    assert_int_equal(state_of(next), PART_CURRENT);
    assert_int_equal(state_of(f->version), PART_ENDED); /* it had no connection */
    assert_int_equal(switched, 1);
    assert_int_equal(unloaded, 1);
    assert_int_equal(finished, 1);
    assert_true(version_has_ended(f->version));
    assert_false(version_has_ended(next));
}

static void a_start_hook_that_waits_holds_it_up(void **state)
{
    struct fixture *f = *state;
    struct version *next = add(f);

    starting_result = 1;
    version_begin(next);
    for (int i = 0; i < 5; i++) {
        fixture_advance(f, 1000);
        fixture_turn(f);
        assert_int_equal(version_state(next), PART_STARTING);
    }
    starting_result = 0;
    fixture_turn(f);
    assert_int_equal(version_state(next), PART_READY);
}

static void a_start_hook_has_a_minute(void **state)
{
    struct fixture *f = *state;
    struct version *next = add(f);

    starting_result = 1;
    version_begin(next);
    fixture_turn(f);
    fixture_advance(f, START_MS_MAX - 1);
    fixture_turn(f);
    assert_int_equal(version_state(next), PART_STARTING);
    fixture_advance(f, 1);
    fixture_turn(f);
    assert_int_equal(version_state(next), PART_ENDED);
    assert_non_null(strstr(version_problem(next), "did not start within a minute"));
    assert_int_equal(unloaded, 1);
    assert_int_equal(f->reactor.timers.armed, 0);
    assert_false(version_has_ended(next)); /* not before the control thread has seen that */
    version_drop(next);
    assert_false(version_has_ended(next)); /* nor while a message of it is on its way */
    fixture_turn(f);
    assert_true(version_has_ended(next));
    assert_int_equal(unloaded, 1);
    assert_int_equal(finished, 1);
}

static void one_that_fails_leaves_the_current_one_alone(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    for (int which = 0; which < 2; which++) {
        struct version *next = add(f);

        begin_result = which == 0 ? -EINVAL : 0;
        starting_result = which == 0 ? 0 : -EINVAL;
        version_begin(next);
        fixture_turn(f);
        assert_int_equal(version_state(next), PART_ENDED);
        version_drop(next);
        fixture_turn(f);
        assert_true(version_has_ended(next));
    }
    assert_ptr_equal(f->reactor.current->version, f->version);
    assert_int_equal(conn->state, CONN_OPEN);
    assert_int_equal(f->reactor.timers.armed, 0);
    assert_int_equal(unloaded, 2);
}

static void one_that_is_dropped_ends(void **state)
{
    struct fixture *f = *state;

    for (int is_ready = 0; is_ready < 2; is_ready++) {
        struct version *next = add(f);

        starting_result = !is_ready;
        version_begin(next);
        fixture_turn(f);
        version_drop(next);
        fixture_turn(f);
        assert_true(version_has_ended(next));
    }
    assert_int_equal(f->reactor.timers.armed, 0);
    assert_int_equal(unloaded, 2);
    assert_ptr_equal(f->reactor.parts.next, &f->version->parts[0].link);
    assert_ptr_equal(f->reactor.parts.prev, &f->version->parts[0].link);
}

static void a_reactor_that_drains_or_stops_takes_no_other(void **state)
{
    struct fixture *f = *state;
    struct version *starts = add(f);
    struct version *ready;
    struct version *late;

    ready = add(f);
    version_begin(ready);
    fixture_turn(f);
    starting_result = 1;
    version_begin(starts);
    fixture_turn(f);
    starting_result = 0;
    f->reactor.state = REACTOR_DRAINING;
    part_stop_starting(&f->reactor);
    assert_int_equal(version_state(starts), PART_ENDED);
    assert_int_equal(version_state(ready), PART_ENDED);
    assert_string_equal(version_problem(ready), "the server is shutting down");
    late = add(f);
    version_begin(late);
    fixture_turn(f);
    assert_int_equal(version_state(late), PART_ENDED);
    assert_string_equal(version_problem(late), "the server is shutting down");
    version_switch(ready); /* which the control thread sent before it knew */
    fixture_turn(f);
    assert_ptr_equal(f->reactor.current->version, f->version);
    assert_int_equal(state_of(f->version), PART_CURRENT);
    assert_int_equal(unloaded, 3);
}

/* ---- connections ---- */

static void connections_keep_an_old_part_until_the_last_has_ended(void **state)
{
    struct fixture *f = *state;
    struct conn *one = fixture_open(f);
    struct conn *two = fixture_open(f);
    struct version *next = add(f);
    struct conn *newer;

    fixture_switch(f, next);
    assert_int_equal(state_of(f->version), PART_OLD);
    assert_int_equal(atomic_load(&f->version->parts[0].connections), 2);
    newer = fixture_open(f);
    assert_ptr_equal(newer->listener->version, next);
    assert_ptr_equal(one->listener->version, f->version);
    peer_closes(f, one);
    assert_int_equal(state_of(f->version), PART_OLD);
    peer_closes(f, two);
    assert_int_equal(state_of(f->version), PART_ENDED);
    assert_int_equal(atomic_load(&next->parts[0].connections), 1);
    assert_int_equal(f->reactor.timers.armed, 0);
}

static void the_last_one_that_ends_keeps_the_reactor_awake(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fixture_switch(f, add(f));
    f->reactor.has_ready = false;
    conn_kill(conn, CLOSE_LOCAL);
    fixture_pump(f);
    fixture_answer(f);
    assert_int_equal(f->reactor.conns.taken, 0);
    assert_true(f->reactor.has_ready);
}

static void several_old_versions_end_each_for_itself(void **state)
{
    struct fixture *f = *state;
    struct conn *first = fixture_open(f);
    struct version *second = add(f);
    struct version *third;
    struct conn *other;

    fixture_switch(f, second);
    other = fixture_open(f);
    third = add(f);
    fixture_switch(f, third);
    assert_int_equal(state_of(f->version), PART_OLD);
    assert_int_equal(state_of(second), PART_OLD);
    peer_closes(f, other);
    assert_int_equal(state_of(second), PART_ENDED);
    assert_int_equal(state_of(f->version), PART_OLD);
    peer_closes(f, first);
    assert_int_equal(state_of(f->version), PART_ENDED);
    assert_int_equal(state_of(third), PART_CURRENT);
}

static void its_scripts_end_at_drain_timeout(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    unloads_later = true;
    fixture_switch(f, add(f));
    fixture_advance(f, DRAIN_MS - 1);
    fixture_turn(f);
    assert_int_equal(unloaded, 0);
    fixture_advance(f, 1);
    fixture_turn(f);
    assert_int_equal(unloaded, 1);
    part_on_unloaded(&f->version->parts[0]);
    assert_int_equal(state_of(f->version), PART_OLD); /* what C alone does for it may go on: its listener is there */
    assert_int_equal(conn->state, CONN_OPEN);
    fixture_turn(f);
    assert_int_equal(unloaded, 1);
    peer_closes(f, conn);
    assert_int_equal(state_of(f->version), PART_ENDED);
    assert_int_equal(unloaded, 1);
    assert_int_equal(finished, 1);
}

static void a_version_is_there_until_what_its_scripts_had_is_freed(void **state)
{
    struct fixture *f = *state;
    struct version *next = add(f);

    unloads_later = true;
    fixture_switch(f, next);
    assert_int_equal(state_of(f->version), PART_ENDING);
    assert_int_equal(finished, 1);
    fixture_turn(f);
    assert_false(version_has_ended(f->version));
    assert_int_equal(unloaded, 1);
    part_on_unloaded(&f->version->parts[0]);
    assert_int_equal(state_of(f->version), PART_ENDED);
    assert_true(version_has_ended(f->version));
}

static void one_that_failed_is_known_before_it_is_freed(void **state)
{
    struct fixture *f = *state;
    struct version *next = add(f);

    unloads_later = true;
    starting_result = 1;
    version_begin(next);
    fixture_turn(f);
    fixture_advance(f, START_MS_MAX);
    fixture_turn(f);
    assert_int_equal(state_of(next), PART_ENDING);
    assert_int_equal(version_state(next), PART_ENDED);
    assert_non_null(strstr(version_problem(next), "did not start within a minute"));
    version_drop(next);
    fixture_turn(f);
    assert_false(version_has_ended(next));
    part_on_unloaded(&next->parts[0]);
    assert_true(version_has_ended(next));
}

static void connections_of_a_removed_listener_are_cut_then(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);
    struct version *next = add_elsewhere(f);

    fixture_switch(f, next);
    assert_true(part_is_draining(conn));
    assert_null(part_newer_listener(conn));
    assert_int_equal(conn->state, CONN_OPEN);
    fixture_advance(f, DRAIN_MS);
    fixture_turn(f);
    assert_int_equal(conn->reason, CLOSE_SHUTDOWN);
    fixture_turn(f);
    fixture_answer(f);
    fixture_turn(f);
    assert_int_equal(state_of(f->version), PART_ENDED);
}

/* It was spared for a listener of the second version, which the third lacks; the app has nothing for it any more. */
static void what_was_spared_is_cut_when_the_newest_version_has_no_listener(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fixture_switch(f, add(f));
    fixture_advance(f, DRAIN_MS);
    fixture_turn(f);
    assert_null(f->version->parts[0].app_data);
    assert_int_equal(conn->state, CONN_OPEN);
    fixture_switch(f, add_elsewhere(f));
    assert_int_equal(conn->reason, CLOSE_SHUTDOWN);
    fixture_answer(f);
    fixture_turn(f);
    assert_int_equal(state_of(f->version), PART_ENDED);
}

static void one_that_starts_as_its_time_is_over_has_all_its_time_later(void **state)
{
    struct fixture *f = *state;
    struct version *next = add(f);

    starting_result = 1;
    version_begin(next);
    fixture_turn(f);
    starting_result = 0;
    fixture_advance(f, START_MS_MAX + 1);
    fixture_turn(f);
    assert_int_equal(version_state(next), PART_READY);
    version_switch(next);
    fixture_turn(f);
    assert_ptr_equal(part_listener(&f->reactor, &f->sockets[0]), &next->listeners[0]);
}

static void a_late_socket_is_the_old_listeners_until_it_is_cut(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);
    struct conn *late;

    fixture_switch(f, add_elsewhere(f));
    assert_ptr_equal(part_listener(&f->reactor, &f->sockets[0]), &f->version->listeners[0]);
    late = fixture_open(f);
    assert_ptr_equal(late->listener->version, f->version);
    assert_ptr_equal(conn->listener, late->listener);
    fixture_advance(f, DRAIN_MS);
    assert_null(part_listener(&f->reactor, &f->sockets[0]));
    assert_false(reactor_adopt(&f->reactor, &f->sockets[0], -1));
    fixture_turn(f);
    fixture_answer(f);
}

static void a_connection_that_catches_up_has_the_new_time_outs(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);
    struct version *next;

    next_listeners[0].timeouts = (struct timeouts){.read_ms = 1, .write_ms = 2, .idle_ms = 3000};
    next_listeners[0].write_buffer_max = 77;
    next = add(f);
    fixture_switch(f, next);
    part_catch_up(conn);
    assert_ptr_equal(conn->listener, &next->listeners[0]);
    assert_int_equal(conn->timeouts.read_ms, 0); /* what is read now has its own */
    assert_int_equal(conn->timeouts.write_ms, 2);
    assert_int_equal(conn->timeouts.idle_ms, 3000);
    assert_int_equal(conn->write_buffer_max, 77);
    assert_int_equal(atomic_load(&f->version->parts[0].connections), 0);
    assert_int_equal(atomic_load(&next->parts[0].connections), 1);
    fixture_turn(f);
    assert_int_equal(state_of(f->version), PART_ENDED);
    fixture_advance(f, 3000);
    assert_int_equal(conn->reason, CLOSE_TIMEOUT);
    fixture_answer(f);
}

static void a_listener_for_something_else_is_no_newer_one(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    next_listeners[0].protocol = PROTOCOL_HTTP;
    fixture_switch(f, add(f));
    assert_null(part_newer_listener(conn));
    assert_true(part_is_draining(conn));
    part_catch_up(conn);
    assert_ptr_equal(conn->listener->version, f->version);
}

static void a_listener_that_comes_back_takes_them_on(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);
    struct version *last;

    fixture_switch(f, add_elsewhere(f));
    assert_true(part_is_draining(conn));
    next_config.listener_count = 1;
    last = add(f);
    fixture_switch(f, last);
    assert_false(part_is_draining(conn));
    assert_ptr_equal(part_newer_listener(conn), &last->listeners[0]);
}

/* ---- accepting ---- */

static int setup_reuseport(void **state)
{
    return setup_with(state, &(struct fixture_options){.reuseport = true});
}

/* Another reactor has the one connection that the limit allows. */
static void a_held_socket_is_refused_when_nobody_listens_any_more(void **state)
{
    struct fixture *f = *state;
    struct accept_group *group = &f->reactor.accept;
    int fd = eventfd(0, EFD_CLOEXEC);
    struct completion accepted = {.user_data = op_pack(OP_ACCEPT, 0, 0), .result = fd, .flags = COMPLETION_MORE};
    struct completion ended = {.user_data = op_pack(OP_ACCEPT, 0, 0), .result = -ECANCELED};

    atomic_store(&f->sockets[0].max_connections, 1);
    group->is_waiting = false;
    accept_settle(group);
    atomic_store(&f->sockets[0].open, 1);
    accept_on_completion(group, &accepted);
    assert_int_equal(group->sources[0].held_end, 1);
    fixture_switch(f, add_elsewhere(f));
    accept_settle(group);
    accept_on_completion(group, &ended);
    accept_on_cancel(group, &(struct completion){.user_data = op_pack(OP_CANCEL_ACCEPT, 0, 0)});
    assert_int_equal(atomic_load(&f->sockets[0].groups), 1); /* somebody waits there still */
    assert_int_equal(state_of(f->version), PART_ENDED);
    atomic_store(&f->sockets[0].open, 0);
    accept_resume(group);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    accept_settle(group);
    assert_int_equal(atomic_load(&f->sockets[0].groups), 0);
    assert_int_equal(atomic_load(&f->sockets[0].open), 0);
    accept_stop(group, ACCEPT_DROP_REST);
    accept_settle(group);
    accept_on_completion(group, &(struct completion){.user_data = op_pack(OP_ACCEPT, 1, 0), .result = -ECANCELED});
    accept_on_cancel(group, &(struct completion){.user_data = op_pack(OP_CANCEL_ACCEPT, 1, 0)});
    f->answered = fake_ring_queued(f->ring); /* those of accepts, as above */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_part_that_is_ready_waits_for_the_switch),
        TEST(a_start_hook_that_waits_holds_it_up),
        TEST(a_start_hook_has_a_minute),
        TEST(one_that_fails_leaves_the_current_one_alone),
        TEST(one_that_is_dropped_ends),
        TEST(a_reactor_that_drains_or_stops_takes_no_other),
        TEST(connections_keep_an_old_part_until_the_last_has_ended),
        TEST(the_last_one_that_ends_keeps_the_reactor_awake),
        TEST(several_old_versions_end_each_for_itself),
        TEST(its_scripts_end_at_drain_timeout),
        TEST(a_version_is_there_until_what_its_scripts_had_is_freed),
        TEST(one_that_failed_is_known_before_it_is_freed),
        TEST(connections_of_a_removed_listener_are_cut_then),
        TEST(what_was_spared_is_cut_when_the_newest_version_has_no_listener),
        TEST(one_that_starts_as_its_time_is_over_has_all_its_time_later),
        TEST(a_late_socket_is_the_old_listeners_until_it_is_cut),
        TEST(a_connection_that_catches_up_has_the_new_time_outs),
        TEST(a_listener_for_something_else_is_no_newer_one),
        TEST(a_listener_that_comes_back_takes_them_on),
        cmocka_unit_test_setup_teardown(a_held_socket_is_refused_when_nobody_listens_any_more, setup_reuseport,
                                        fixture_teardown),
    };

    return cmocka_run_group_tests_name("part", tests, NULL, NULL);
}
