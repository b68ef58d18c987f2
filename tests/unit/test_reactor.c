/* The turn of a reactor: how long it may sleep, to whom completions go, who gets buffers when they are scarce, and the orders
 * of other threads. */
#include "core/reactor.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "core/acceptor.h"
#include "fake_ring.h"
#include "fixture.h"
#include "uring/bufring.h"
#include "uring/op.h"

enum { SCARCE_BUFFERS = 2, IDLE_CONNS = 9 };

static int scarce_setup(void **state)
{
    *state = fixture_new(&(struct fixture_options){.buffers = SCARCE_BUFFERS, .max_connections = 64});
    return 0;
}

static void turn(struct fixture *f)
{
    assert_int_equal(reactor_turn(&f->reactor, RING_WAIT_FOREVER), 0);
}

static void complete(struct fixture *f, uint64_t user_data, int32_t result)
{
    fake_ring_complete(f->ring, user_data, result, 0);
}

static bool may_sleep(const struct fixture *f)
{
    return fake_ring_last_timeout_ns(f->ring) != RING_NO_WAIT;
}

/* Whether the reactor's eventfd was written to. */
static bool eventfd_rang(const struct fixture *f)
{
    struct pollfd wait = {.fd = f->reactor.inbox.eventfd, .events = POLLIN};

    return poll(&wait, 1, 0) == 1;
}

/* ---- sleeping ---- */

static void the_first_turn_does_not_sleep_then_an_idle_reactor_does(void **state)
{
    struct fixture *f = *state;

    turn(f); /* what opening the app made ready runs now */
    assert_false(may_sleep(f));
    turn(f);
    assert_int_equal(fake_ring_last_timeout_ns(f->ring), RING_WAIT_FOREVER);
}

static void a_reactor_does_not_sleep_while_its_app_has_more(void **state)
{
    struct fixture *f = *state;

    f->has_more = true;
    turn(f);
    turn(f);
    assert_false(may_sleep(f));
    f->has_more = false;
    turn(f);
    turn(f);
    assert_true(may_sleep(f));
}

static void nothing_fires(struct timer *timer, uint64_t now_ms)
{
    (void)timer;
    (void)now_ms;
}

static void it_sleeps_until_the_next_timer(void **state)
{
    struct fixture *f = *state;
    struct timer timer;

    turn(f);
    timer_init(&timer, nothing_fires);
    timer_start(&f->reactor.timers, &timer, f->reactor.now_ms + 5000);
    turn(f);
    assert_in_range(fake_ring_last_timeout_ns(f->ring), 4000 * NS_PER_MS, 5000 * NS_PER_MS);
    assert_int_equal(reactor_turn(&f->reactor, NS_PER_MS), 0);
    assert_int_equal(fake_ring_last_timeout_ns(f->ring), NS_PER_MS); /* the caller's bound is nearer */
    timer_stop(&f->reactor.timers, &timer);
    timer_start(&f->reactor.timers, &timer, f->reactor.now_ms);
    turn(f);
    assert_false(may_sleep(f));
    assert_false(timer_is_armed(&timer));
}

static void it_does_not_sleep_over_a_message(void **state)
{
    struct fixture *f = *state;

    turn(f);
    inbox_send(&f->reactor.inbox, &f->reactor.resume_accept, NULL);
    turn(f);
    assert_false(may_sleep(f));
    turn(f);
    assert_true(may_sleep(f));
}

static void every_turn_is_a_beat_for_the_watchdog(void **state)
{
    struct fixture *f = *state;

    atomic_store(&f->engine.watchdog_sleeps, true);
    turn(f);
    assert_false(atomic_load(&f->engine.watchdog_sleeps));
    turn(f);
    assert_int_equal(atomic_load(&f->reactor.pulse.turns), 4); /* the begin and the end of two */
}

static void a_ring_that_fails_is_reported(void **state)
{
    struct fixture *f = *state;

    fake_ring_fail_wait(f->ring, -EBADF);
    assert_int_equal(reactor_turn(&f->reactor, RING_WAIT_FOREVER), -EBADF);
}

static void an_overflowed_completion_queue_is_counted(void **state)
{
    struct fixture *f = *state;

    fake_ring_overflow(f->ring);
    turn(f);
    turn(f);
    assert_int_equal(f->reactor.stats.overflows, 1);
}

/* ---- completions ---- */

static void completions_reach_their_connections_in_order(void **state)
{
    struct fixture *f = *state;
    struct conn *one = fixture_open(f);
    struct conn *two = fixture_open(f);

    assert_int_equal(conn_write(one, "abc", 3), 0);
    turn(f);
    fake_ring_recv(f->ring, fixture_op(two, OP_RECV), "hello", 5, FAKE_MORE);
    complete(f, fixture_op(one, OP_SEND), 3);
    complete(f, fixture_op(two, OP_RECV), 0);
    turn(f);
    assert_int_equal(two->in.bytes, 5);
    assert_true(two->input_ended);
    assert_int_equal(one->out.staged, 0);
    assert_int_equal(f->record.inputs, 2);
    assert_int_equal(f->record.outputs, 1);
}

static void a_whole_connection_runs_through_turns(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);
    uint64_t id = conn->id;
    int fd = conn->fd;

    conn_close(conn, CLOSE_LOCAL);
    turn(f);
    complete(f, fixture_op(conn, OP_RECV), 0);
    turn(f);
    const struct fake_sqe *closing = fake_ring_find(f->ring, FAKE_CLOSE, fd);
    assert_non_null(closing);
    close(fd);
    complete(f, closing->user_data, 0);
    turn(f);
    assert_int_equal(conn->state, CONN_FREE);
    assert_int_equal(f->reactor.conns.taken, 0);
    f->answered = fake_ring_queued(f->ring);
    assert_int_equal(fixture_open(f)->id, id + 1); /* the slot is the same, the id is not */
}

static void a_stale_completion_gives_its_buffer_back(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);
    uint64_t stale = op_pack(OP_RECV, conn->slot, conn->generation + 1);

    fake_ring_recv(f->ring, stale, "foreign", 7, FAKE_MORE);
    complete(f, op_pack(OP_SEND, conn->slot, conn->generation + 1), -EPIPE);
    turn(f);
    assert_int_equal(conn->in.bytes, 0);
    assert_int_equal(conn->state, CONN_OPEN);
    assert_int_equal(bufring_leases(f->reactor.bufs), 0);
}

static void the_eventfd_is_armed_again_after_it_rang(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fake_ring_count(f->ring, FAKE_EVENTFD_READ), 1);
    complete(f, op_pack(OP_EVENTFD, 0, 0), 8);
    complete(f, op_pack(OP_DOORBELL, 0, 0), 0);
    turn(f);
    assert_int_equal(fake_ring_count(f->ring, FAKE_EVENTFD_READ), 2);
}

static void a_doorbell_that_failed_is_made_good_by_the_eventfd(void **state)
{
    struct fixture *f = *state;

    complete(f, op_pack(OP_RUNG, 0, 0), 0);
    turn(f);
    assert_false(eventfd_rang(f));
    complete(f, op_pack(OP_RUNG, 0, 0), -EBADFD);
    turn(f);
    assert_true(eventfd_rang(f));
}

static void gathered_sends_never_outnumber_their_descriptions(void **state)
{
    struct fixture *f = fixture_new(&(struct fixture_options){.max_connections = SEND_MESSAGES_MAX + 2});
    static uint8_t bytes[2 * CHUNK_SMALL_BYTES];
    struct list *node;

    *state = f;
    for (uint32_t i = 0; i < SEND_MESSAGES_MAX + 2; i++)
        (void)fixture_open(f);
    turn(f);
    for (node = f->reactor.live.next; node != &f->reactor.live; node = node->next) {
        struct conn *conn = CONTAINER_OF(node, struct conn, link);

        assert_int_equal(conn_write(conn, bytes, 1), 0); /* a small chunk, and then what does not fit it: two pieces */
        assert_int_equal(conn_write(conn, bytes, sizeof(bytes)), 0);
    }
    fake_ring_forget(f->ring);
    f->answered = 0;
    turn(f);
    assert_int_equal(fake_ring_count(f->ring, FAKE_SEND), SEND_MESSAGES_MAX + 2);
    assert_int_equal(fake_ring_submitted(f->ring), SEND_MESSAGES_MAX); /* the kernel has read these */
    assert_int_equal(f->reactor.messages_used, 2);
}

/* ---- buffers ---- */

static void starve(struct fixture *f, const struct conn *conn)
{
    complete(f, fixture_op(conn, OP_RECV), -ENOBUFS);
}

/* Uses up every buffer: the bytes stay unread on conn. */
static void use_up_buffers(struct fixture *f, const struct conn *conn)
{
    while (fake_ring_buffers(f->ring, REACTOR_BUFFER_GROUP) > 0)
        fake_ring_recv(f->ring, fixture_op(conn, OP_RECV), "held", 4, FAKE_MORE);
}

/* Borrows everything that is unread, as a script does, so that it cannot be copied away. */
static void borrow_all(struct conn *conn)
{
    assert_non_null(input_take(&conn->in, conn->in.bytes));
}

static void recv_enobufs_pauses_and_resumes(void **state) /* running dry slows a peer down, never disconnects it */
{
    struct fixture *f = *state;
    struct conn *holder = fixture_open(f);
    struct conn *starved = fixture_open(f);

    use_up_buffers(f, holder);
    fixture_pump(f);
    borrow_all(holder);
    fake_ring_forget(f->ring);
    f->answered = 0;
    starve(f, starved);
    for (int i = 0; i < 5; i++) {
        turn(f);
        assert_null(fake_ring_find(f->ring, FAKE_RECV, starved->fd)); /* the ring is empty: it would only fail again */
    }
    assert_true(may_sleep(f)); /* nor does the reactor spin */
    input_end_borrow(&holder->in);
    turn(f);
    assert_non_null(fake_ring_find(f->ring, FAKE_RECV, starved->fd));
    assert_false(starved->is_starved);
    assert_int_equal(starved->state, CONN_OPEN);
}

static void the_starved_resume_first_come_first_served(void **state)
{
    struct fixture *f = *state;
    struct conn *conns[4];

    for (int i = 0; i < 4; i++)
        conns[i] = fixture_open(f);
    turn(f);
    starve(f, conns[2]);
    starve(f, conns[0]);
    starve(f, conns[3]);
    turn(f); /* two buffers: the two that came first */
    assert_true(conns[2]->recv_armed);
    assert_true(conns[0]->recv_armed);
    assert_false(conns[3]->recv_armed);
    turn(f);
    assert_true(conns[3]->recv_armed);
}

static void who_finds_the_buffers_gone_again_keeps_its_place(void **state)
{
    struct fixture *f = *state;
    struct conn *conns[5];

    for (int i = 0; i < 5; i++)
        conns[i] = fixture_open(f);
    turn(f);
    for (int i = 0; i < 4; i++)
        starve(f, conns[i]);
    turn(f); /* the first two are armed */
    starve(f, conns[1]);
    starve(f, conns[4]);
    turn(f);
    assert_true(conns[1]->recv_armed);
    assert_true(conns[2]->recv_armed);
    assert_false(conns[3]->recv_armed);
    starve(f, conns[1]);
    starve(f, conns[2]);
    turn(f);
    assert_true(conns[1]->recv_armed);
    assert_true(conns[2]->recv_armed);
    assert_false(conns[3]->recv_armed);
    fixture_feed_text(f, conns[1], "bytes at last");
    assert_false(conns[1]->was_starved);
    input_skip(&conns[1]->in, conns[1]->in.bytes);
    turn(f);
    assert_true(conns[3]->recv_armed);
    assert_true(conns[4]->recv_armed);
}

static void idle_connections_among_the_starved_hold_nobody_up(void **state)
{
    struct fixture *f = *state;
    struct conn *idle[IDLE_CONNS];
    struct conn *busy;
    int turns = 0;

    for (int i = 0; i < IDLE_CONNS; i++)
        idle[i] = fixture_open(f);
    busy = fixture_open(f);
    turn(f);
    for (int i = 0; i < IDLE_CONNS; i++)
        starve(f, idle[i]);
    starve(f, busy); /* last in the queue */
    do {
        turn(f);
        turns++;
    } while (busy->is_starved && !may_sleep(f));
    while (!list_is_empty(&f->reactor.starved) && turns++ < IDLE_CONNS)
        turn(f);
    assert_true(busy->recv_armed);
    assert_true(list_is_empty(&f->reactor.starved));
    assert_true(turns <= IDLE_CONNS);
    turn(f);
    turn(f);
    assert_true(may_sleep(f));
}

static void unread_bytes_are_copied_out_when_buffers_run_out(void **state)
{
    struct fixture *f = *state;
    struct conn *waiting = fixture_open(f);
    struct conn *starved = fixture_open(f);
    uint8_t out[8];

    use_up_buffers(f, waiting); /* and wait for more: nobody will release these */
    turn(f);
    fixture_pump(f);
    use_up_buffers(f, waiting);
    starve(f, starved);
    turn(f);
    assert_true(f->reactor.stats.compacted > 0);
    turn(f);
    assert_true(starved->recv_armed);
    input_copy(&waiting->in, 0, 8, out);
    assert_memory_equal(out, "heldheld", 8);
}

static void without_memory_to_copy_nobody_is_forgotten(void **state)
{
    struct fixture *f = *state;
    struct conn *waiting = fixture_open(f);
    struct conn *starved = fixture_open(f);

    turn(f);
    f->reactor.chunks.small.taken_max = f->reactor.chunks.small.taken;
    f->reactor.chunks.large.taken_max = f->reactor.chunks.large.taken;
    use_up_buffers(f, waiting);
    starve(f, starved);
    turn(f);
    turn(f);
    assert_true(starved->is_starved);
    assert_int_equal(f->reactor.stats.compacted, 0);
    f->reactor.chunks.small.taken_max = UINT32_MAX;
    turn(f);
    turn(f);
    assert_int_equal(f->reactor.stats.compacted, 1);
    assert_true(starved->recv_armed);
}

/* ---- orders, and sockets from the acceptor ---- */

static void stop_watch(struct fd_watch *watch, uint32_t events)
{
    assert_int_equal(events, POLLIN);
    watch_stop(watch);
}

static void a_poll_goes_to_its_watch(void **state)
{
    struct fixture *f = *state;
    struct fd_watch watch = {.on_ready = stop_watch};

    assert_int_equal(watch_start(&f->reactor.watches, &watch, 800, POLLIN), 0);
    complete(f, fake_ring_find(f->ring, FAKE_POLL, 800)->user_data, POLLIN);
    turn(f);
    assert_false(watch_is_started(&watch));
    complete(f, fake_ring_find(f->ring, FAKE_CANCEL, -1)->user_data, -ENOENT);
    turn(f);
}

static void a_full_table_adopts_nobody(void **state)
{
    struct fixture *f = fixture_new(&(struct fixture_options){.max_connections = 1});

    *state = f;
    (void)fixture_open(f);
    assert_false(reactor_adopt(&f->reactor, &f->sockets[0], 0));
    assert_int_equal(f->reactor.stats.accepted, 1);
}

static void a_batch_of_sockets_is_adopted_and_goes_back(void **state)
{
    struct fixture *f = *state;
    struct acceptor acceptor = {0};
    struct accept_batch batch = {.message.kind = REACTOR_ACCEPTED, .count = 2};

    f->engine.acceptor = &acceptor;
    atomic_store(&f->sockets[0].open, 2);
    atomic_store(&f->reactor.open, 2);
    for (uint32_t i = 0; i < 2; i++) {
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        f->peers[f->peer_count++] = pair[1];
        batch.items[i].fd = pair[0];
        batch.items[i].socket = &f->sockets[0];
    }
    inbox_send(&f->reactor.inbox, &batch.message, NULL);
    turn(f);
    assert_int_equal(f->record.opened, 2);
    assert_int_equal(fake_ring_count(f->ring, FAKE_RECV), 2);
    assert_ptr_equal(atomic_load(&acceptor.returned), &batch);
    f->engine.acceptor = NULL;
}

static void a_socket_that_cannot_be_adopted_is_closed_and_uncounted(void **state)
{
    struct fixture *f = fixture_new(&(struct fixture_options){.max_connections = 1});
    struct acceptor acceptor = {0};
    struct accept_batch batch = {.message.kind = REACTOR_ACCEPTED, .count = 1};
    int pair[2];
    char byte;

    *state = f;
    f->engine.acceptor = &acceptor;
    (void)fixture_open(f);
    atomic_store(&f->sockets[0].open, 2);
    atomic_store(&f->reactor.open, 2);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    batch.items[0].fd = pair[0];
    batch.items[0].socket = &f->sockets[0];
    inbox_send(&f->reactor.inbox, &batch.message, NULL);
    turn(f);
    assert_int_equal(read(pair[1], &byte, 1), 0);
    close(pair[1]);
    assert_int_equal(atomic_load(&f->sockets[0].open), 1);
    assert_int_equal(atomic_load(&f->reactor.open), 1);
    f->engine.acceptor = NULL;
}

static void a_reactor_that_accepts_for_itself_counts_its_connections(void **state)
{
    struct fixture *f = fixture_new(&(struct fixture_options){.reuseport = true});
    struct completion accepted = {.user_data = op_pack(OP_ACCEPT, 0, 0), .flags = COMPLETION_MORE};
    int pair[2];

    *state = f;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    f->peers[f->peer_count++] = pair[1];
    accepted.result = pair[0];
    accept_on_completion(&f->reactor.accept, &accepted);
    assert_int_equal(f->record.opened, 1);
    assert_int_equal(engine_open_connections(&f->engine), 1);
    fixture_pump(f);
    conn_kill(CONTAINER_OF(f->reactor.live.next, struct conn, link), CLOSE_LOCAL);
    fixture_pump(f);
    fixture_answer(f);
    assert_int_equal(engine_open_connections(&f->engine), 0);
}

static void draining_leaves_connections_alone(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    inbox_send(&f->reactor.inbox, &f->reactor.order, NULL);
    turn(f);
    assert_int_equal(f->reactor.state, REACTOR_DRAINING);
    assert_int_equal(conn->state, CONN_OPEN);
    assert_int_equal(f->record.abandons, 0);
}

static void stopping_ends_every_connection(void **state)
{
    struct fixture *f = *state;
    struct conn *one = fixture_open(f);
    struct conn *two = fixture_open(f);

    inbox_send(&f->reactor.inbox, &f->reactor.order, NULL);
    inbox_send(&f->reactor.inbox, &f->reactor.stop_order, NULL);
    turn(f);
    assert_int_equal(f->reactor.state, REACTOR_STOPPING);
    assert_int_equal(f->record.abandons, 1);
    assert_int_equal(f->record.ends, 2);
    assert_int_equal(one->reason, CLOSE_SHUTDOWN);
    assert_int_equal(two->state, CONN_DYING);
    assert_string_equal(close_reason_text(one->reason), "shutdown");
}

/* ---- opening ---- */

static void a_refused_ring_is_explained(void **state)
{
    struct fixture *f;

    fake_ring_fail_open(-EPERM);
    assert_int_equal(fixture_try_new(&f, &(struct fixture_options){0}), -EPERM);
    assert_true(fixture_log_has(f, "cannot open its io_uring"));
    *state = f;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
#define SCARCE_TEST(name) cmocka_unit_test_setup_teardown(name, scarce_setup, fixture_teardown)
#define OWN_TEST(name) cmocka_unit_test_teardown(name, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_turn_does_not_sleep_then_an_idle_reactor_does),
        TEST(a_reactor_does_not_sleep_while_its_app_has_more),
        TEST(it_sleeps_until_the_next_timer),
        TEST(it_does_not_sleep_over_a_message),
        TEST(every_turn_is_a_beat_for_the_watchdog),
        TEST(a_ring_that_fails_is_reported),
        TEST(an_overflowed_completion_queue_is_counted),
        TEST(completions_reach_their_connections_in_order),
        TEST(a_whole_connection_runs_through_turns),
        TEST(a_stale_completion_gives_its_buffer_back),
        TEST(the_eventfd_is_armed_again_after_it_rang),
        TEST(a_doorbell_that_failed_is_made_good_by_the_eventfd),
        OWN_TEST(gathered_sends_never_outnumber_their_descriptions),
        SCARCE_TEST(recv_enobufs_pauses_and_resumes),
        SCARCE_TEST(the_starved_resume_first_come_first_served),
        SCARCE_TEST(who_finds_the_buffers_gone_again_keeps_its_place),
        SCARCE_TEST(idle_connections_among_the_starved_hold_nobody_up),
        SCARCE_TEST(unread_bytes_are_copied_out_when_buffers_run_out),
        SCARCE_TEST(without_memory_to_copy_nobody_is_forgotten),
        TEST(a_poll_goes_to_its_watch),
        OWN_TEST(a_full_table_adopts_nobody),
        TEST(a_batch_of_sockets_is_adopted_and_goes_back),
        OWN_TEST(a_socket_that_cannot_be_adopted_is_closed_and_uncounted),
        OWN_TEST(a_reactor_that_accepts_for_itself_counts_its_connections),
        TEST(draining_leaves_connections_alone),
        TEST(stopping_ends_every_connection),
        OWN_TEST(a_refused_ring_is_explained),
    };

    return cmocka_run_group_tests_name("reactor", tests, NULL, NULL);
}
