/* Waiting for descriptors of others: what is armed, what is reported, and whose completion is nobody's any more. */
#include "core/watch.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/macros.h"
#include "fake_ring.h"
#include "uring/op.h"

enum { FD = 700 };

struct watcher {
    struct fd_watch watch;
    uint32_t calls;
    uint32_t events;
    uint32_t change_to; /* on_ready asks for these from then on */
    bool stops;         /* on_ready stops it */
    bool restarts;      /* and starts it again, on the next descriptor */
};

struct fixture {
    struct ring *ring;
    struct watch_table table;
    struct watcher watcher;
};

static void on_ready(struct fd_watch *watch, uint32_t events)
{
    struct watcher *watcher = CONTAINER_OF(watch, struct watcher, watch);
    struct watch_table *table = watch->table;

    watcher->calls++;
    watcher->events = events;
    if (watcher->change_to)
        watch_change(watch, watcher->change_to);
    if (watcher->stops)
        watch_stop(watch);
    if (watcher->restarts)
        assert_int_equal(watch_start(table, watch, watch->fd + 1, POLLIN), 0);
}

static int setup(void **state)
{
    const struct ring_options options = {.sq_entries = 8, .cq_entries = 8};
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_int_equal(ring_open(&f->ring, &options), 0);
    watch_table_init(&f->table, f->ring);
    f->watcher.watch.on_ready = on_ready;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    watch_stop(&f->watcher.watch);
    watch_table_deinit(&f->table);
    ring_close(f->ring);
    free(f);
    return 0;
}

static void start(struct fixture *f)
{
    assert_int_equal(watch_start(&f->table, &f->watcher.watch, FD, POLLIN), 0);
}

static uint64_t newest_poll(const struct fixture *f, int fd)
{
    const struct fake_sqe *sqe = fake_ring_find(f->ring, FAKE_POLL, fd);

    assert_non_null(sqe);
    return sqe->user_data;
}

static void complete(struct fixture *f, uint64_t user_data, int32_t result)
{
    const struct completion completion = {.user_data = user_data, .result = result};

    watch_on_completion(&f->table, &completion);
}

static void starting_polls_for_the_wanted_events(void **state)
{
    struct fixture *f = *state;
    const struct fake_sqe *sqe;

    start(f);
    sqe = fake_ring_find(f->ring, FAKE_POLL, FD);
    assert_non_null(sqe);
    assert_int_equal(sqe->events, POLLIN);
    assert_int_equal(op_kind(sqe->user_data), OP_WATCH);
    assert_true(watch_is_started(&f->watcher.watch));
}

static void an_event_is_reported_and_the_poll_is_armed_again(void **state)
{
    struct fixture *f = *state;

    start(f);
    complete(f, newest_poll(f, FD), POLLIN | POLLHUP);
    assert_int_equal(f->watcher.calls, 1);
    assert_int_equal(f->watcher.events, POLLIN | POLLHUP);
    assert_int_equal(fake_ring_count(f->ring, FAKE_POLL), 2);
    complete(f, newest_poll(f, FD), POLLIN);
    assert_int_equal(f->watcher.calls, 2);
}

static void other_events_replace_the_poll(void **state)
{
    struct fixture *f = *state;
    uint64_t first;

    start(f);
    first = newest_poll(f, FD);
    watch_change(&f->watcher.watch, POLLIN | POLLOUT);
    assert_int_equal(fake_ring_find(f->ring, FAKE_CANCEL, -1)->target_user_data, first);
    assert_int_equal(fake_ring_find(f->ring, FAKE_POLL, FD)->events, POLLIN | POLLOUT);
    complete(f, first, POLLIN); /* it was on its way already */
    complete(f, first, -ECANCELED);
    assert_int_equal(f->watcher.calls, 0);
    complete(f, newest_poll(f, FD), POLLOUT);
    assert_int_equal(f->watcher.calls, 1);
}

static void stopping_cancels_the_poll_and_drops_its_completion(void **state)
{
    struct fixture *f = *state;
    uint64_t poll_op;

    start(f);
    poll_op = newest_poll(f, FD);
    watch_stop(&f->watcher.watch);
    watch_stop(&f->watcher.watch);
    assert_int_equal(fake_ring_count(f->ring, FAKE_CANCEL), 1);
    assert_int_equal(fake_ring_find(f->ring, FAKE_CANCEL, -1)->target_user_data, poll_op);
    assert_int_equal(op_kind(fake_ring_find(f->ring, FAKE_CANCEL, -1)->user_data), OP_NONE);
    complete(f, poll_op, POLLIN);
    assert_int_equal(f->watcher.calls, 0);
    assert_int_equal(f->table.taken, 0);
}

static void the_next_owner_of_a_slot_gets_nothing_of_the_last_one(void **state)
{
    struct fixture *f = *state;
    struct watcher other = {.watch.on_ready = on_ready};
    uint64_t stale;

    start(f);
    stale = newest_poll(f, FD);
    watch_stop(&f->watcher.watch);
    assert_int_equal(watch_start(&f->table, &other.watch, FD, POLLIN), 0); /* the number was used again */
    assert_int_equal(other.watch.slot, op_slot(stale));
    complete(f, stale, POLLIN);
    assert_int_equal(other.calls, 0);
    complete(f, newest_poll(f, FD), POLLIN);
    assert_int_equal(other.calls, 1);
    watch_stop(&other.watch);
}

static void one_that_is_stopped_by_its_event_is_not_armed_again(void **state)
{
    struct fixture *f = *state;

    f->watcher.stops = true;
    start(f);
    complete(f, newest_poll(f, FD), POLLIN);
    assert_int_equal(f->watcher.calls, 1);
    assert_int_equal(fake_ring_count(f->ring, FAKE_POLL), 1);
}

static void one_that_is_restarted_by_its_event_is_armed_once(void **state)
{
    struct fixture *f = *state;

    f->watcher.stops = true;
    f->watcher.restarts = true;
    start(f);
    complete(f, newest_poll(f, FD), POLLIN);
    assert_int_equal(fake_ring_count(f->ring, FAKE_POLL), 2);
    assert_int_equal(op_kind(newest_poll(f, FD + 1)), OP_WATCH);
}

static void one_that_is_changed_by_its_event_is_armed_once(void **state)
{
    struct fixture *f = *state;

    f->watcher.change_to = POLLOUT;
    start(f);
    complete(f, newest_poll(f, FD), POLLIN);
    assert_int_equal(fake_ring_count(f->ring, FAKE_POLL), 2);
    assert_int_equal(fake_ring_find(f->ring, FAKE_POLL, FD)->events, POLLOUT);
}

static void a_poll_that_fails_is_reported_and_not_tried_again(void **state)
{
    struct fixture *f = *state;

    start(f);
    complete(f, newest_poll(f, FD), -EBADF);
    assert_int_equal(f->watcher.calls, 1);
    assert_int_equal(f->watcher.events, POLLERR);
    assert_int_equal(fake_ring_count(f->ring, FAKE_POLL), 1);
    watch_change(&f->watcher.watch, POLLIN);
    assert_int_equal(fake_ring_count(f->ring, FAKE_POLL), 2);
}

static void a_completion_of_no_watch_at_all_is_dropped(void **state)
{
    struct fixture *f = *state;

    complete(f, op_pack(OP_WATCH, 0, 0), POLLIN);
    complete(f, op_pack(OP_WATCH, UINT32_MAX, 7), POLLIN);
    start(f);
    complete(f, op_pack(OP_WATCH, 1, 0), POLLIN); /* a slot that is free */
    assert_int_equal(f->watcher.calls, 0);
}

static void there_is_a_bound(void **state)
{
    struct fixture *f = *state;
    struct fd_watch *watches = calloc(WATCHES_MAX, sizeof(*watches));

    assert_non_null(watches);
    for (int i = 0; i < WATCHES_MAX; i++) {
        watches[i].on_ready = on_ready;
        assert_int_equal(watch_start(&f->table, &watches[i], FD + i, POLLIN), 0);
    }
    assert_int_equal(watch_start(&f->table, &f->watcher.watch, FD, POLLIN), -EBUSY);
    assert_false(watch_is_started(&f->watcher.watch));
    watch_stop(&watches[5]);
    start(f); /* where that one was */
    assert_int_equal(f->watcher.watch.slot, 5);
    for (int i = 0; i < WATCHES_MAX; i++)
        watch_stop(&watches[i]);
    free(watches);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(starting_polls_for_the_wanted_events),
        TEST(an_event_is_reported_and_the_poll_is_armed_again),
        TEST(other_events_replace_the_poll),
        TEST(stopping_cancels_the_poll_and_drops_its_completion),
        TEST(the_next_owner_of_a_slot_gets_nothing_of_the_last_one),
        TEST(one_that_is_stopped_by_its_event_is_not_armed_again),
        TEST(one_that_is_restarted_by_its_event_is_armed_once),
        TEST(one_that_is_changed_by_its_event_is_armed_once),
        TEST(a_poll_that_fails_is_reported_and_not_tried_again),
        TEST(a_completion_of_no_watch_at_all_is_dropped),
        TEST(there_is_a_bound),
    };

    return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
