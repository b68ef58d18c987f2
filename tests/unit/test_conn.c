/* A connection while it is open: receiving and its pauses, sending, half-close, pins. Its end is in test_conn_end.c. */
#include "core/conn.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "fake_ring.h"
#include "fixture.h"
#include "uring/bufring.h"
#include "uring/op.h"

enum { BIG_BUFFER_BYTES = 64 * 1024, BIG_BUFFERS = 16 };

static int big_setup(void **state)
{
    *state = fixture_new(&(struct fixture_options){.buffers = BIG_BUFFERS, .buffer_bytes = BIG_BUFFER_BYTES});
    return 0;
}

static uint32_t recvs(const struct fixture *f)
{
    return fake_ring_count(f->ring, FAKE_RECV);
}

/* Feeds one large buffer full of bytes. */
static void feed_big(struct fixture *f, const struct conn *conn)
{
    static uint8_t bytes[BIG_BUFFER_BYTES];

    fixture_feed(f, conn, bytes, sizeof(bytes));
}

/* ---- receiving ---- */

static void an_open_connection_is_receiving(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);
    const struct fake_sqe *recv = fake_ring_find(f->ring, FAKE_RECV, conn->fd);

    assert_int_equal(f->record.opened, 1);
    assert_int_equal(conn->state, CONN_OPEN);
    assert_true(conn->recv_armed);
    assert_int_equal(recv->user_data, fixture_op(conn, OP_RECV));
    assert_int_equal(conn->operations, 1);
}

static void received_bytes_reach_the_handler(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);
    uint8_t out[5];

    fixture_feed_text(f, conn, "hello");
    assert_int_equal(f->record.inputs, 1);
    assert_int_equal(conn->in.bytes, 5);
    assert_int_equal(conn->bytes_in, 5);
    input_copy(&conn->in, 0, 5, out);
    assert_memory_equal(out, "hello", 5);
    assert_int_equal(recvs(f), 1); /* the multishot goes on */
}

static void a_receive_that_ends_with_bytes_is_armed_again(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fake_ring_recv(f->ring, fixture_op(conn, OP_RECV), "a", 1, FAKE_LAST);
    fixture_pump(f);
    assert_int_equal(conn->in.bytes, 1);
    assert_true(conn->recv_armed);
    assert_int_equal(recvs(f), 2);
    assert_int_equal(conn->operations, 1);
}

static void a_receive_that_ends_without_cause_is_armed_again(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fixture_recv_result(f, conn, -EINTR);
    fixture_recv_result(f, conn, -EAGAIN);
    assert_int_equal(conn->state, CONN_OPEN);
    assert_int_equal(recvs(f), 3);
}

static void recv_enobufs_is_not_armed_again_by_the_connection(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fixture_recv_result(f, conn, -ENOBUFS);
    assert_int_equal(conn->state, CONN_OPEN);
    assert_true(conn->is_starved);
    assert_false(conn->recv_armed);
    assert_int_equal(recvs(f), 1);
    assert_int_equal(f->reactor.stats.starved, 1);
}

static void a_completion_after_the_last_one_only_returns_its_buffer(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);
    uint64_t recv = fixture_op(conn, OP_RECV);

    fake_ring_complete(f->ring, recv, -ENOBUFS, 0);
    fake_ring_recv(f->ring, recv, "stray", 5, FAKE_LAST);
    fixture_pump(f);
    assert_int_equal(conn->in.bytes, 0);
    assert_int_equal(conn->operations, 0);
    assert_int_equal(bufring_leases(f->reactor.bufs), 0);
    conn->is_starved = false;
    conn_mark_dirty(conn);
    fixture_pump(f);
}

static void an_error_that_carries_a_buffer_returns_it(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    /* Buffer 0 is the first that the kernel has. */
    fake_ring_complete(f->ring, fixture_op(conn, OP_RECV), -ECONNRESET, COMPLETION_BUFFER);
    uint32_t published = bufring_published(f->reactor.bufs);
    fixture_pump(f);
    assert_int_equal(bufring_published(f->reactor.bufs), published); /* given up, and published again */
    assert_int_equal(f->record.end_reason, CLOSE_RESET);
}

static void the_peers_end_of_stream_is_told_once_and_leaves_writing_open(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, "last words");
    fixture_recv_result(f, conn, 0);
    assert_int_equal(f->record.inputs, 2);
    assert_true(conn_ended(conn));
    assert_int_equal(conn->reason, CLOSE_PEER);
    assert_int_equal(conn->in.bytes, 10); /* still to be read */
    assert_true(conn_is_writable(conn));
    assert_false(conn->recv_armed);
    assert_int_equal(recvs(f), 1);
    assert_int_equal(conn_write(conn, "answer", 6), 0);
    fixture_pump(f);
    assert_int_equal(fixture_drain(f, conn, NULL, 0), 6);
    assert_int_equal(conn->state, CONN_OPEN);
    assert_int_equal(f->record.ends, 0);
}

/* ---- back-pressure ---- */

static void receiving_pauses_at_the_high_mark_and_resumes_at_half(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    for (uint32_t fed = 0; fed < INPUT_HIGH_BYTES; fed += BIG_BUFFER_BYTES) {
        assert_int_equal(fake_ring_count(f->ring, FAKE_CANCEL), 0);
        feed_big(f, conn);
    }
    assert_true(conn->is_paused);
    const struct fake_sqe *cancel = fake_ring_find(f->ring, FAKE_CANCEL, -1);
    assert_int_equal(cancel->target_user_data, fixture_op(conn, OP_RECV));
    fixture_answer(f);
    assert_false(conn->recv_armed);
    assert_int_equal(conn->operations, 0);

    input_skip(&conn->in, INPUT_HIGH_BYTES / 2 - 1);
    conn_on_consumed(conn);
    fixture_pump(f);
    assert_false(conn->recv_armed);
    input_skip(&conn->in, 1);
    conn_on_consumed(conn);
    fixture_pump(f);
    assert_true(conn->recv_armed);
    assert_int_equal(recvs(f), 2);
}

static void what_was_on_its_way_when_receiving_paused_is_kept(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    while (!conn->is_paused)
        feed_big(f, conn);
    uint32_t before = conn->in.bytes;
    feed_big(f, conn);
    assert_int_equal(conn->in.bytes, before + BIG_BUFFER_BYTES);
    assert_int_equal(fake_ring_count(f->ring, FAKE_CANCEL), 1); /* one is enough */
    fixture_answer(f);
    assert_int_equal(conn->in.bytes, before + BIG_BUFFER_BYTES);
}

static void a_receive_is_armed_again_only_after_the_cancelled_one_ended(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    while (!conn->is_paused)
        feed_big(f, conn);
    input_skip(&conn->in, conn->in.bytes);
    conn_on_consumed(conn);
    fixture_pump(f);
    assert_int_equal(recvs(f), 1);
    fixture_answer(f);
    assert_int_equal(recvs(f), 2);
    assert_true(conn->recv_armed);
}

static void a_cancel_that_missed_the_receive_is_sent_again(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    while (!conn->is_paused)
        feed_big(f, conn);
    fake_ring_complete(f->ring, fixture_op(conn, OP_CANCEL), -ENOENT, 0);
    fixture_pump(f);
    assert_true(conn->recv_armed);
    assert_int_equal(fake_ring_count(f->ring, FAKE_CANCEL), 2);
    f->answered = fake_ring_queued(f->ring) - 1;
    fixture_answer(f);
    assert_false(conn->recv_armed);
    assert_int_equal(conn->operations, 0);
}

static void a_reader_that_wants_more_raises_the_mark(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    while (!conn->is_paused)
        feed_big(f, conn);
    fixture_answer(f);
    conn_await_input(conn, INPUT_HIGH_BYTES + 2 * BIG_BUFFER_BYTES);
    fixture_pump(f);
    assert_true(conn->recv_armed);
    feed_big(f, conn);
    assert_false(conn->is_paused);
    feed_big(f, conn);
    assert_true(conn->is_paused);
    conn_stop_awaiting(conn);
}

static void a_reader_that_is_satisfied_does_not_resume_receiving(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    while (!conn->is_paused)
        feed_big(f, conn);
    fixture_answer(f);
    conn_await_input(conn, 10);
    fixture_pump(f);
    assert_false(conn->recv_armed);
    conn_stop_awaiting(conn);
}

static void large_pieces_stay_where_they_are_however_many(void **state)
{
    struct fixture *f = fixture_new(&(struct fixture_options){.buffers = 64, .buffer_bytes = INPUT_CRUMB_BYTES});
    struct conn *conn = fixture_open(f);
    static uint8_t bytes[INPUT_CRUMB_BYTES];

    *state = f;
    for (uint32_t i = 0; i < 2 * INPUT_LEASES_MAX; i++)
        fixture_feed(f, conn, bytes, sizeof(bytes));
    assert_int_equal(conn->in.loose, 2 * INPUT_LEASES_MAX);
}

static void crumbs_are_copied_together_and_their_buffers_freed(void **state)
{
    struct fixture *f = fixture_new(&(struct fixture_options){.buffers = 64});
    struct conn *conn = fixture_open(f);
    uint8_t out[4 * INPUT_LEASES_MAX];

    *state = f;
    for (int i = 0; i < 4 * INPUT_LEASES_MAX; i++) {
        const char byte = (char)i;

        fixture_feed(f, conn, &byte, 1);
    }
    assert_true(conn->in.loose <= INPUT_LEASES_MAX);
    assert_true(bufring_leases(f->reactor.bufs) <= INPUT_LEASES_MAX);
    input_copy(&conn->in, 0, sizeof(out), out);
    for (size_t i = 0; i < sizeof(out); i++)
        assert_int_equal(out[i], i);
}

static void without_memory_for_a_lease_the_connection_ends(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    f->reactor.leases.slab.taken_max = 1;
    fixture_feed_text(f, conn, "a");
    fixture_feed_text(f, conn, "b");
    assert_int_equal(conn->state, CONN_DYING);
    assert_int_equal(f->record.end_reason, CLOSE_NO_MEMORY);
    assert_int_equal(bufring_leases(f->reactor.bufs), 1);
}

/* ---- sending ---- */

static void written_bytes_are_sent_at_the_end_of_the_turn(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);
    char sent[16];

    assert_int_equal(conn_write(conn, "one ", 4), 0);
    assert_int_equal(conn_write(conn, "two", 3), 0);
    assert_int_equal(fake_ring_count(f->ring, FAKE_SEND), 0);
    fixture_pump(f);
    assert_int_equal(fake_ring_count(f->ring, FAKE_SEND), 1);
    assert_int_equal(fixture_drain(f, conn, sent, sizeof(sent)), 7);
    assert_memory_equal(sent, "one two", 7);
    assert_int_equal(conn->bytes_out, 7);
    assert_int_equal(f->record.outputs, 1);
    assert_null(conn->out.first);
}

static void only_one_send_is_in_flight_and_the_rest_follows_it(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);
    char sent[16] = {0};

    assert_int_equal(conn_write(conn, "first", 5), 0);
    fixture_pump(f);
    assert_int_equal(conn_write(conn, "second", 6), 0);
    fixture_pump(f);
    fixture_pump(f);
    assert_int_equal(fake_ring_count(f->ring, FAKE_SEND), 1);
    fixture_send_result(f, conn, 5);
    assert_int_equal(fake_ring_count(f->ring, FAKE_SEND), 2);
    assert_int_equal(fixture_drain(f, conn, sent, sizeof(sent)), 6);
    assert_string_equal(sent, "second");
}

static void a_short_send_goes_on_with_the_rest(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);
    char sent[16] = {0};

    assert_int_equal(conn_write(conn, "abcdef", 6), 0);
    fixture_pump(f);
    fixture_send_result(f, conn, 2);
    assert_int_equal(conn->bytes_out, 2);
    assert_int_equal(conn->out.staged, 4);
    assert_int_equal(fixture_drain(f, conn, sent, sizeof(sent)), 4);
    assert_string_equal(sent, "cdef");
}

static void a_send_that_took_nothing_is_tried_again(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    assert_int_equal(conn_write(conn, "abc", 3), 0);
    fixture_pump(f);
    fixture_send_result(f, conn, 0);
    fixture_send_result(f, conn, -EINTR);
    fixture_send_result(f, conn, -EAGAIN);
    assert_int_equal(conn->state, CONN_OPEN);
    assert_int_equal(fake_ring_count(f->ring, FAKE_SEND), 4);
    assert_int_equal(fixture_drain(f, conn, NULL, 0), 3);
}

static void many_pieces_go_in_one_gathered_send(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);
    const uint32_t len = 3 * CHUNK_LARGE_BYTES + 17;
    uint8_t *bytes = malloc(len);
    uint8_t *sent = malloc(len);

    assert_true(bytes && sent);
    for (uint32_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i % 249);
    assert_int_equal(conn_write(conn, bytes, len), 0);
    fixture_pump(f);
    const struct fake_sqe *send = fake_ring_find(f->ring, FAKE_SEND, conn->fd);
    assert_true(send->piece_count > 1);
    assert_int_equal(fixture_drain(f, conn, sent, len), len);
    assert_memory_equal(sent, bytes, len);
    free(bytes);
    free(sent);
}

static void a_send_error_ends_the_connection(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    assert_int_equal(conn_write(conn, "abc", 3), 0);
    fixture_pump(f);
    fixture_send_result(f, conn, -EPIPE);
    assert_int_equal(conn->state, CONN_DYING);
    assert_int_equal(f->record.end_reason, CLOSE_RESET);
    assert_int_equal(conn_write(conn, "x", 1), -EPIPE);
    assert_int_equal(chunk_pool_out(&f->reactor.chunks), 0);
}

static void a_write_without_memory_stages_nothing(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    f->reactor.chunks.small.taken_max = 1;
    f->reactor.chunks.small.taken = 1; /* as if all were out */
    assert_int_equal(conn_write(conn, "abc", 3), -ENOMEM);
    f->reactor.chunks.small.taken = 0;
    assert_int_equal(conn->out.staged, 0);
    assert_int_equal(conn->state, CONN_OPEN);
}

static void half_close_follows_what_is_staged(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    assert_int_equal(conn_write(conn, "abc", 3), 0);
    conn_shutdown(conn);
    assert_false(conn_is_writable(conn));
    assert_int_equal(conn_write(conn, "x", 1), -EPIPE);
    fixture_pump(f);
    assert_false(fixture_peer_sees_end(f, conn));
    fixture_drain(f, conn, NULL, 0);
    assert_true(fixture_peer_sees_end(f, conn));
    assert_int_equal(conn->state, CONN_OPEN); /* reading goes on */
    fixture_feed_text(f, conn, "more");
    assert_int_equal(conn->in.bytes, 4);
    conn_shutdown(conn); /* idempotent */
    fixture_pump(f);
    assert_int_equal(conn->state, CONN_OPEN);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
#define BIG_TEST(name) cmocka_unit_test_setup_teardown(name, big_setup, fixture_teardown)
#define OWN_TEST(name) cmocka_unit_test_teardown(name, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_open_connection_is_receiving),
        TEST(received_bytes_reach_the_handler),
        TEST(a_receive_that_ends_with_bytes_is_armed_again),
        TEST(a_receive_that_ends_without_cause_is_armed_again),
        TEST(recv_enobufs_is_not_armed_again_by_the_connection),
        TEST(a_completion_after_the_last_one_only_returns_its_buffer),
        TEST(an_error_that_carries_a_buffer_returns_it),
        TEST(the_peers_end_of_stream_is_told_once_and_leaves_writing_open),
        BIG_TEST(receiving_pauses_at_the_high_mark_and_resumes_at_half),
        BIG_TEST(what_was_on_its_way_when_receiving_paused_is_kept),
        BIG_TEST(a_receive_is_armed_again_only_after_the_cancelled_one_ended),
        BIG_TEST(a_cancel_that_missed_the_receive_is_sent_again),
        BIG_TEST(a_reader_that_wants_more_raises_the_mark),
        BIG_TEST(a_reader_that_is_satisfied_does_not_resume_receiving),
        OWN_TEST(large_pieces_stay_where_they_are_however_many),
        OWN_TEST(crumbs_are_copied_together_and_their_buffers_freed),
        TEST(without_memory_for_a_lease_the_connection_ends),
        TEST(written_bytes_are_sent_at_the_end_of_the_turn),
        TEST(only_one_send_is_in_flight_and_the_rest_follows_it),
        TEST(a_short_send_goes_on_with_the_rest),
        TEST(a_send_that_took_nothing_is_tried_again),
        TEST(many_pieces_go_in_one_gathered_send),
        TEST(a_send_error_ends_the_connection),
        TEST(a_write_without_memory_stages_nothing),
        TEST(half_close_follows_what_is_staged),
    };

    return cmocka_run_group_tests_name("conn", tests, NULL, NULL);
}
