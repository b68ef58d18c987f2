/* How connections end: flush, linger, close, kill; what keeps a slot; and the time-outs. */
#include "core/conn.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "fake_ring.h"
#include "fixture.h"
#include "uring/bufring.h"
#include "uring/op.h"

enum { READ_MS = 1000, WRITE_MS = 5000, IDLE_MS = 20000 };

static const struct timeouts all_timeouts = {.read_ms = READ_MS, .write_ms = WRITE_MS, .idle_ms = IDLE_MS};

static void write_text(struct conn *conn, const char *text)
{
    assert_int_equal(conn_write(conn, text, (uint32_t)strlen(text)), 0);
}

/* ---- close ---- */

static void close_sends_what_is_staged_then_fin_then_waits_for_the_peer(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    write_text(conn, "bye");
    conn_close(conn, CLOSE_LOCAL);
    assert_int_equal(f->record.ends, 1);
    fixture_pump(f);
    assert_int_equal(conn->state, CONN_FLUSHING);
    assert_false(fixture_peer_sees_end(f, conn));
    assert_int_equal(fixture_drain(f, conn, NULL, 0), 3);
    assert_int_equal(conn->state, CONN_LINGERING);
    assert_true(fixture_peer_sees_end(f, conn));
    assert_true(conn->recv_armed);
    fixture_recv_result(f, conn, 0);
    assert_int_equal(conn->state, CONN_DYING);
    fixture_answer(f);
    assert_int_equal(conn->state, CONN_FREE);
    assert_int_equal(f->reactor.stats.closed, 1);
    assert_int_equal(atomic_load(&f->sockets[0].open), 0);
    assert_int_equal(atomic_load(&f->reactor.open), 0);
}

static void close_after_the_peers_end_needs_no_linger(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fixture_recv_result(f, conn, 0);
    conn_close(conn, CLOSE_LOCAL);
    fixture_pump(f);
    fixture_answer(f);
    assert_int_equal(conn->state, CONN_FREE);
    assert_int_equal(fake_ring_count(f->ring, FAKE_CANCEL), 0);
}

static void close_is_idempotent_and_the_first_reason_stays(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    conn_close(conn, CLOSE_LOCAL);
    conn_close(conn, CLOSE_ERROR);
    conn_kill(conn, CLOSE_SHUTDOWN);
    conn_kill(conn, CLOSE_ABORTED);
    assert_int_equal(conn->reason, CLOSE_LOCAL);
    assert_int_equal(f->record.ends, 1);
    assert_false(conn->is_aborted);
    fixture_pump(f);
    fixture_answer(f);
    assert_int_equal(f->reactor.stats.closed, 1);
}

static void a_reset_after_the_peers_end_is_the_reason_that_stays(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fixture_recv_result(f, conn, 0);
    write_text(conn, "late");
    fixture_pump(f);
    fixture_send_result(f, conn, -ECONNRESET);
    assert_int_equal(f->record.end_reason, CLOSE_RESET);
}

static void bytes_that_come_while_flushing_or_lingering_are_discarded(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    write_text(conn, "bye");
    conn_close(conn, CLOSE_LOCAL);
    fixture_pump(f);
    fixture_feed_text(f, conn, "ignored");
    fixture_drain(f, conn, NULL, 0);
    fixture_feed_text(f, conn, "ignored too");
    assert_int_equal(conn->state, CONN_LINGERING);
    assert_int_equal(conn->in.bytes, 0);
    assert_int_equal(bufring_leases(f->reactor.bufs), 0);
    assert_int_equal(f->record.inputs, 0);
}

static void a_paused_connection_receives_again_to_see_the_peers_end(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, "x");
    conn->is_paused = true;
    conn_mark_dirty(conn);
    fixture_pump(f);
    fixture_answer(f);
    assert_false(conn->recv_armed);
    conn_close(conn, CLOSE_LOCAL);
    fixture_pump(f);
    assert_int_equal(conn->state, CONN_LINGERING);
    assert_true(conn->recv_armed);
}

static void a_starved_connection_can_be_closed(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fixture_recv_result(f, conn, -ENOBUFS);
    conn_kill(conn, CLOSE_LOCAL);
    fixture_pump(f);
    fixture_answer(f);
    assert_int_equal(conn->state, CONN_FREE);
    assert_true(list_is_empty(&f->reactor.starved));
}

/* ---- kill ---- */

static void the_slot_is_free_only_after_the_last_completion(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    write_text(conn, "in flight");
    fixture_pump(f);
    conn_kill(conn, CLOSE_ABORTED);
    fixture_pump(f);
    assert_int_equal(fake_ring_count(f->ring, FAKE_CANCEL), 2); /* of the receive, of the send */
    assert_int_equal(conn->operations, 4);
    fixture_send_result(f, conn, -ECANCELED);
    assert_int_equal(chunk_pool_out(&f->reactor.chunks), 0);
    fake_ring_complete(f->ring, fixture_op(conn, OP_CANCEL), 0, 0);
    fake_ring_complete(f->ring, fixture_op(conn, OP_CANCEL), 0, 0);
    fixture_pump(f);
    assert_int_equal(fake_ring_count(f->ring, FAKE_CLOSE), 0); /* the receive is still there */
    assert_true(conn->fd >= 0);
    fixture_recv_result(f, conn, -ECANCELED);
    assert_int_equal(fake_ring_count(f->ring, FAKE_CLOSE), 1);
    assert_int_equal(conn->state, CONN_DYING);
    f->answered = fake_ring_queued(f->ring) - 1;
    fixture_answer(f);
    assert_int_equal(conn->state, CONN_FREE);
}

static void a_send_in_flight_keeps_its_bytes_when_the_connection_dies(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);
    char lent[5];

    write_text(conn, "lent!");
    fixture_pump(f);
    const struct fake_sqe send = *fake_ring_find(f->ring, FAKE_SEND, conn->fd);
    write_text(conn, " dropped");
    conn_kill(conn, CLOSE_RESET);
    assert_int_equal(fake_ring_gather(&send, lent, sizeof(lent)), 5);
    assert_memory_equal(lent, "lent!", 5);
}

static void a_cancel_that_missed_a_dying_receive_is_sent_again(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    conn_kill(conn, CLOSE_LOCAL);
    fixture_pump(f);
    fake_ring_complete(f->ring, fixture_op(conn, OP_CANCEL), -EALREADY, 0);
    fixture_pump(f);
    assert_int_equal(fake_ring_count(f->ring, FAKE_CANCEL), 2);
    f->answered = fake_ring_queued(f->ring) - 1;
    fixture_answer(f);
    assert_int_equal(conn->state, CONN_FREE);
}

static void reasons_follow_from_errors(void **state)
{
    static const struct {
        int32_t result;
        enum close_reason reason;
        const char *text;
    } cases[] = {
        {-ECONNRESET, CLOSE_RESET, "reset"},    {-EPIPE, CLOSE_RESET, "reset"},
        {-ETIMEDOUT, CLOSE_TIMEOUT, "timeout"}, {-ENOMEM, CLOSE_NO_MEMORY, "limit: out of memory"},
        {-EHOSTUNREACH, CLOSE_ERROR, "error"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct conn *conn = fixture_open(f);

        fixture_recv_result(f, conn, cases[i].result);
        assert_int_equal(f->record.ends, i + 1);
        assert_int_equal(f->record.end_reason, cases[i].reason);
        assert_string_equal(close_reason_text(cases[i].reason), cases[i].text);
    }
    assert_null(close_reason_text(CLOSE_NONE));
}

static void unread_bytes_outlive_a_reset(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, "read me");
    conn_pin(conn);
    fixture_recv_result(f, conn, -ECONNRESET);
    fixture_answer(f);
    assert_int_equal(conn->state, CONN_DEAD);
    assert_int_equal(conn->in.bytes, 7);
    conn_unpin(conn);
    fixture_pump(f);
    assert_int_equal(conn->state, CONN_FREE);
    assert_int_equal(bufring_leases(f->reactor.bufs), 0);
}

/* ---- slots and generations ---- */

static void a_pin_keeps_the_slot_from_being_reused(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    conn_pin(conn);
    conn_pin(conn);
    conn_kill(conn, CLOSE_LOCAL);
    fixture_pump(f);
    fixture_answer(f);
    assert_int_equal(conn->state, CONN_DEAD);
    assert_int_equal(atomic_load(&f->sockets[0].open), 0); /* the socket is gone */
    assert_int_equal(atomic_load(&f->reactor.open), 1);    /* the slot is not */
    assert_ptr_not_equal(fixture_open(f), conn);
    conn_unpin(conn);
    fixture_pump(f);
    assert_int_equal(conn->state, CONN_DEAD);
    conn_unpin(conn);
    fixture_pump(f);
    assert_int_equal(conn->state, CONN_FREE);
    assert_int_equal(atomic_load(&f->reactor.open), 1);
}

static void completions_for_a_connection_that_is_gone_are_dropped(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);
    uint64_t old_recv = fixture_op(conn, OP_RECV);
    uint64_t old_send = fixture_op(conn, OP_SEND);

    conn_kill(conn, CLOSE_LOCAL);
    fixture_pump(f);
    fixture_answer(f);
    struct conn *next = fixture_open(f);
    assert_ptr_equal(next, conn);
    assert_int_equal(fake_ring_recv(f->ring, old_recv, "foreign", 7, FAKE_MORE), 7);
    fake_ring_complete(f->ring, old_recv, -ECONNRESET, 0);
    fake_ring_complete(f->ring, old_send, -EPIPE, 0);
    fixture_pump(f);
    assert_int_equal(next->state, CONN_OPEN);
    assert_int_equal(next->in.bytes, 0);
    assert_int_equal(next->operations, 1);
    assert_int_equal(bufring_leases(f->reactor.bufs), 0);
    assert_int_equal(f->record.inputs, 0);
}

/* ---- time-outs ---- */

static int timeouts_setup(void **state)
{
    *state = fixture_new(&(struct fixture_options){.timeouts = all_timeouts});
    return 0;
}

static void a_connection_that_never_says_a_thing_is_closed_in_order(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fixture_advance(f, IDLE_MS - 1);
    assert_int_equal(conn->state, CONN_OPEN);
    fixture_advance(f, 1);
    assert_int_equal(conn->reason, CLOSE_TIMEOUT);
    assert_int_equal(conn->state, CONN_LINGERING);
    assert_true(fixture_peer_sees_end(f, conn));
}

static void bytes_put_the_idle_time_out_off(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    for (int i = 0; i < 4; i++) {
        fixture_advance(f, IDLE_MS - 1);
        fixture_feed_text(f, conn, "x");
        assert_int_equal(conn->state, CONN_OPEN);
    }
    fixture_advance(f, IDLE_MS - 1);
    write_text(conn, "y");
    fixture_pump(f);
    fixture_drain(f, conn, NULL, 0);
    fixture_advance(f, IDLE_MS - 1);
    assert_int_equal(conn->state, CONN_OPEN);
    fixture_advance(f, 1);
    assert_int_equal(conn->reason, CLOSE_TIMEOUT);
}

static void a_send_without_progress_is_given_up(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    write_text(conn, "nobody takes this");
    fixture_pump(f);
    for (int i = 0; i < 10; i++)
        fixture_advance(f, WRITE_MS / 10 - 1);
    assert_int_equal(conn->state, CONN_OPEN);
    for (int i = 0; i < 10; i++)
        fixture_advance(f, WRITE_MS / 10);
    assert_int_equal(conn->state, CONN_DYING);
    assert_int_equal(conn->reason, CLOSE_TIMEOUT);
    assert_true(conn->is_aborted);
}

static void progress_puts_the_write_time_out_off(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    write_text(conn, "abcdefgh");
    fixture_pump(f);
    for (int i = 0; i < 6; i++) {
        fixture_advance(f, WRITE_MS - 1);
        fixture_send_result(f, conn, 1);
        assert_int_equal(conn->state, CONN_OPEN);
    }
    fixture_advance(f, WRITE_MS + 1);
    fixture_advance(f, WRITE_MS + 1);
    assert_int_equal(conn->reason, CLOSE_TIMEOUT);
}

static void a_parked_reader_is_told_of_its_time_out_once(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    conn_await_input(conn, 1);
    fixture_advance(f, READ_MS - 1);
    assert_int_equal(f->record.read_timeouts, 0);
    fixture_advance(f, 1);
    assert_int_equal(f->record.read_timeouts, 1);
    assert_int_equal(conn->state, CONN_OPEN);
    fixture_advance(f, READ_MS);
    assert_int_equal(f->record.read_timeouts, 1);
    conn_await_input(conn, 1);
    conn_stop_awaiting(conn);
    fixture_advance(f, READ_MS);
    assert_int_equal(f->record.read_timeouts, 1);
}

static void time_outs_can_be_taken_away_and_given(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    conn_set_timeouts(conn, &(struct timeouts){0});
    conn_await_input(conn, 1);
    fixture_advance(f, 10 * IDLE_MS);
    assert_int_equal(conn->state, CONN_OPEN);
    assert_int_equal(f->record.read_timeouts, 0);
    conn_set_timeouts(conn, &(struct timeouts){.idle_ms = 10});
    fixture_advance(f, 9);
    assert_int_equal(conn->state, CONN_OPEN);
    fixture_advance(f, 1);
    assert_int_equal(conn->reason, CLOSE_TIMEOUT);
}

static void a_linger_ends_by_itself(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    conn_close(conn, CLOSE_LOCAL);
    fixture_pump(f);
    assert_int_equal(conn->state, CONN_LINGERING);
    fixture_advance(f, LINGER_MS - 1);
    assert_int_equal(conn->state, CONN_LINGERING);
    fixture_advance(f, 1);
    fixture_answer(f);
    assert_int_equal(conn->state, CONN_FREE);
}

static void a_flush_that_the_peer_does_not_take_ends_by_itself(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    conn_set_timeouts(conn, &(struct timeouts){0});
    write_text(conn, "stuck");
    fixture_pump(f);
    conn_close(conn, CLOSE_LOCAL);
    fixture_advance(f, CLOSE_FLUSH_MS / 2);
    fixture_advance(f, CLOSE_FLUSH_MS / 2 - 2);
    assert_int_equal(conn->state, CONN_FLUSHING);
    fixture_advance(f, CLOSE_FLUSH_MS);
    fixture_advance(f, CLOSE_FLUSH_MS + 1);
    fixture_answer(f);
    assert_int_equal(conn->state, CONN_FREE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
#define TIMEOUT_TEST(name) cmocka_unit_test_setup_teardown(name, timeouts_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(close_sends_what_is_staged_then_fin_then_waits_for_the_peer),
        TEST(close_after_the_peers_end_needs_no_linger),
        TEST(close_is_idempotent_and_the_first_reason_stays),
        TEST(a_reset_after_the_peers_end_is_the_reason_that_stays),
        TEST(bytes_that_come_while_flushing_or_lingering_are_discarded),
        TEST(a_paused_connection_receives_again_to_see_the_peers_end),
        TEST(a_starved_connection_can_be_closed),
        TEST(the_slot_is_free_only_after_the_last_completion),
        TEST(a_send_in_flight_keeps_its_bytes_when_the_connection_dies),
        TEST(a_cancel_that_missed_a_dying_receive_is_sent_again),
        TEST(reasons_follow_from_errors),
        TEST(unread_bytes_outlive_a_reset),
        TEST(a_pin_keeps_the_slot_from_being_reused),
        TEST(completions_for_a_connection_that_is_gone_are_dropped),
        TIMEOUT_TEST(a_connection_that_never_says_a_thing_is_closed_in_order),
        TIMEOUT_TEST(bytes_put_the_idle_time_out_off),
        TIMEOUT_TEST(a_send_without_progress_is_given_up),
        TIMEOUT_TEST(progress_puts_the_write_time_out_off),
        TIMEOUT_TEST(a_parked_reader_is_told_of_its_time_out_once),
        TIMEOUT_TEST(time_outs_can_be_taken_away_and_given),
        TIMEOUT_TEST(a_linger_ends_by_itself),
        TIMEOUT_TEST(a_flush_that_the_peer_does_not_take_ends_by_itself),
    };

    return cmocka_run_group_tests_name("conn_end", tests, NULL, NULL);
}
