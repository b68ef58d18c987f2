/* Sending to peers that have half-closed, on the fake ring: such sends do not wait in the kernel. */
#include "core/write_wait.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "fixture.h"
#include "uring/op.h"

static const struct fake_sqe *last_send(const struct fixture *f, const struct conn *conn)
{
    return fake_ring_find(f->ring, FAKE_SEND, conn->fd);
}

static void write_text(struct fixture *f, struct conn *conn)
{
    assert_int_equal(conn_write(conn, "answer", 6), 0);
    fixture_pump(f);
}

/* The kernel says that epoll has something to report. */
static void report_room(struct fixture *f)
{
    const struct fake_sqe *poll = fake_ring_find(f->ring, FAKE_POLL, f->reactor.write_waits.epoll_fd);

    assert_non_null(poll);
    fake_ring_complete(f->ring, poll->user_data, POLLIN, 0);
    fixture_pump(f);
}

/* A connection whose peer has half-closed and takes nothing. */
static struct conn *blocked_conn(struct fixture *f)
{
    struct conn *conn = fixture_open(f);

    fixture_recv_result(f, conn, 0);
    write_text(f, conn);
    fixture_send_result(f, conn, -EAGAIN);
    assert_true(conn->is_blocked);
    return conn;
}

static void sends_wait_in_the_kernel_while_the_peer_sends(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    write_text(f, conn);
    assert_int_equal(last_send(f, conn)->how, RING_SEND_ALL);
}

static void sends_do_not_wait_once_it_has_half_closed(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fixture_recv_result(f, conn, 0);
    write_text(f, conn);
    assert_int_equal(last_send(f, conn)->how, RING_SEND_NOW);
}

static void a_send_that_waits_when_it_half_closes_is_made_anew(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    write_text(f, conn);
    fixture_recv_result(f, conn, 0);
    fixture_pump(f);
    assert_true(conn->send_cancelled);
    fixture_answer(f); /* -ECANCELED */
    assert_int_equal(conn->state, CONN_OPEN);
    assert_int_equal(last_send(f, conn)->how, RING_SEND_NOW);
    assert_int_equal(conn->out.in_flight, 6);
}

static void such_a_send_is_cancelled_once(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);
    uint32_t queued;

    write_text(f, conn);
    fixture_recv_result(f, conn, 0);
    queued = fake_ring_queued(f->ring);
    fake_ring_complete(f->ring, fixture_op(conn, OP_CANCEL), -EALREADY, 0);
    fixture_pump(f);
    conn_mark_dirty(conn);
    fixture_pump(f);
    assert_int_equal(fake_ring_queued(f->ring), queued);
    fixture_send_result(f, conn, 6);
}

static void without_room_it_waits_for_epoll(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = blocked_conn(f);

    assert_int_equal(conn->out.in_flight, 0);
    report_room(f); /* the socket is empty, so there is */
    assert_false(conn->is_blocked);
    assert_int_equal(conn->out.in_flight, 6);
    fixture_send_result(f, conn, 6);
    assert_int_equal(conn->out.staged, 0);
    assert_int_equal(f->reactor.write_waits.count, 0);
}

static void one_that_waits_can_be_killed(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = blocked_conn(f);

    conn_kill(conn, CLOSE_RESET);
    fixture_pump(f);
    assert_int_equal(f->reactor.write_waits.count, 0);
}

static void one_that_waits_too_long_times_out(void **state)
{
    struct timeouts timeouts = {.write_ms = 1000};
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    conn_set_timeouts(conn, &timeouts);
    fixture_recv_result(f, conn, 0);
    write_text(f, conn);
    fixture_send_result(f, conn, -EAGAIN);
    fixture_advance(f, 2000);
    assert_int_equal(f->record.end_reason, CLOSE_TIMEOUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sends_wait_in_the_kernel_while_the_peer_sends, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(sends_do_not_wait_once_it_has_half_closed, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_send_that_waits_when_it_half_closes_is_made_anew, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(such_a_send_is_cancelled_once, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(without_room_it_waits_for_epoll, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(one_that_waits_can_be_killed, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(one_that_waits_too_long_times_out, fixture_setup, fixture_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
