/* Connections of our own making: the operation, its outcomes, giving up, and what they count for. */
#include "core/connect.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "fake_ring.h"
#include "fixture.h"
#include "uring/op.h"

enum { CONNECT_MS = 500, IDLE_MS = 2000 };

static uint32_t connected;
static uint32_t inputs;
static uint32_t ends;
static enum close_reason end_reason;
static struct addr target;

static void on_connected(struct conn *conn)
{
    connected++;
    assert_int_equal(conn->state, CONN_OPEN);
    assert_ptr_equal(conn->owner, &target);
}

static void on_input(struct conn *conn)
{
    (void)conn;
    inputs++;
}

static void ignore(struct conn *conn)
{
    (void)conn;
}

static void on_end(struct conn *conn)
{
    ends++;
    end_reason = conn->reason;
}

static const struct conn_handler handler = {
    .on_connected = on_connected,
    .on_input = on_input,
    .on_output = ignore,
    .on_read_timeout = ignore,
    .on_end = on_end,
};

static int setup(void **state)
{
    connected = 0;
    inputs = 0;
    ends = 0;
    end_reason = CLOSE_NONE;
    assert_int_equal(addr_parse_ip(&target, "127.0.0.1", 9), 0);
    return fixture_setup(state);
}

static int try_connect(struct fixture *f, struct conn **out, uint32_t connect_ms)
{
    const struct tcp_options tcp = {.nodelay = true, .keepalive = true, .user_timeout_ms = 7000};
    const struct connect_options options = {
        .addr = &target,
        .tcp = &tcp,
        .timeouts.idle_ms = IDLE_MS,
        .write_buffer_max = 4096,
        .connect_ms = connect_ms,
    };

    return conn_connect(out, &f->reactor, &options, &handler, &target);
}

static struct conn *start(struct fixture *f, uint32_t connect_ms)
{
    struct conn *conn;

    assert_int_equal(try_connect(f, &conn, connect_ms), 0);
    fixture_pump(f);
    return conn;
}

static void assert_gone(struct fixture *f, const struct conn *conn)
{
    fixture_answer(f);
    assert_int_equal(conn->state, CONN_FREE);
    assert_int_equal(f->reactor.conns.taken, 0);
    assert_int_equal(atomic_load(&f->reactor.open), 0);
    assert_int_equal(f->reactor.stats.connects, f->reactor.stats.connects_closed);
    assert_int_equal(f->reactor.stats.closed, 0);
}

static void it_begins_when_the_turn_settles(void **state)
{
    struct fixture *f = *state;
    struct conn *conn;

    assert_int_equal(try_connect(f, &conn, 0), 0);
    assert_int_equal(fake_ring_count(f->ring, FAKE_CONNECT), 0);
    assert_int_equal(conn->state, CONN_CONNECTING);
    fixture_pump(f);
    const struct fake_sqe *sqe = fake_ring_find(f->ring, FAKE_CONNECT, conn->fd);
    assert_non_null(sqe);
    assert_memory_equal(sqe->addr, &target.sa, target.len);
    assert_int_equal(sqe->user_data, fixture_op(conn, OP_CONNECT));
    assert_int_equal(fake_ring_count(f->ring, FAKE_RECV), 0);
    assert_int_equal(conn->operations, 1);
    conn_mark_dirty(conn);
    fixture_pump(f);
    assert_int_equal(fake_ring_count(f->ring, FAKE_CONNECT), 1); /* once */
}

/* The kernel may take the operation when who asked for it has long gone. */
static void the_address_lives_as_long_as_the_slot(void **state)
{
    static const char *const hosts[] = {"10.0.0.1", "fd00::1", NULL};
    struct fixture *f = *state;

    for (uint32_t i = 0; i < 3; i++) {
        struct addr meant;
        struct conn *conn;

        if (hosts[i])
            assert_int_equal(addr_parse_ip(&target, hosts[i], 9), 0);
        else
            assert_int_equal(addr_parse_unix(&target, "@zerg-unit-connect"), 0);
        meant = target;
        conn = start(f, 0);
        memset(&target, 0, sizeof(target));
        conn_kill(conn, CLOSE_LOCAL);
        assert_memory_equal(fake_ring_find(f->ring, FAKE_CONNECT, conn->fd)->addr, &meant.sa, meant.len);
        fixture_answer(f);
        assert_int_equal(conn->state, CONN_FREE);
    }
}

static int option(const struct conn *conn, int level, int name)
{
    int value = 0;
    socklen_t len = sizeof(value);

    assert_int_equal(getsockopt(conn->fd, level, name, &value, &len), 0);
    return value;
}

static void its_socket_has_the_options_of_accepted_ones(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = start(f, 0);

    assert_int_not_equal(option(conn, IPPROTO_TCP, TCP_NODELAY), 0);
    assert_int_not_equal(option(conn, SOL_SOCKET, SO_KEEPALIVE), 0);
    assert_int_equal(option(conn, IPPROTO_TCP, TCP_USER_TIMEOUT), 7000);
}

static void once_connected_it_is_as_any_other(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = start(f, CONNECT_MS);
    struct addr peer;

    fixture_connect_result(f, conn, 0);
    assert_int_equal(connected, 1);
    assert_true(conn->recv_armed);
    conn_remote(conn, &peer);
    assert_int_equal(addr_port(&peer), 9);
    fixture_feed_text(f, conn, "hello");
    assert_int_equal(inputs, 1);
    assert_int_equal(conn_write(conn, "answer", 6), 0);
    fixture_pump(f);
    assert_int_equal(fixture_drain(f, conn, NULL, 0), 6);
    fixture_advance(f, CONNECT_MS + 1); /* no more time-out of connecting */
    assert_int_equal(conn->state, CONN_OPEN);
    fixture_advance(f, IDLE_MS);
    assert_int_equal(end_reason, CLOSE_TIMEOUT);
    fixture_recv_result(f, conn, 0);
    assert_gone(f, conn);
}

static void failures_have_their_reasons(void **state)
{
    static const struct {
        int error;
        enum close_reason reason;
    } cases[] = {
        {-ECONNREFUSED, CLOSE_REFUSED},     {-ENOENT, CLOSE_REFUSED},   {-ETIMEDOUT, CLOSE_TIMEOUT},
        {-EHOSTUNREACH, CLOSE_UNREACHABLE}, {-ECONNRESET, CLOSE_RESET}, {-ENOMEM, CLOSE_NO_MEMORY},
        {-ENETUNREACH, CLOSE_UNREACHABLE},  {-EACCES, CLOSE_ERROR},
    };
    struct fixture *f = *state;

    for (uint32_t i = 0; i < COUNT_OF(cases); i++) {
        struct conn *conn = start(f, CONNECT_MS);

        fixture_connect_result(f, conn, cases[i].error);
        assert_int_equal(ends, i + 1);
        assert_int_equal(end_reason, cases[i].reason);
        assert_gone(f, conn);
    }
    assert_int_equal(connected, 0);
}

static void an_interrupted_connect_is_started_anew(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = start(f, 0);

    fixture_connect_result(f, conn, -EINTR);
    assert_int_equal(fake_ring_count(f->ring, FAKE_CONNECT), 2);
    fixture_connect_result(f, conn, 0);
    assert_int_equal(connected, 1);
}

static void it_gives_up_at_its_time_out(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = start(f, CONNECT_MS);

    fixture_advance(f, CONNECT_MS - 1);
    assert_int_equal(ends, 0);
    fixture_advance(f, 1);
    assert_int_equal(ends, 1);
    assert_int_equal(end_reason, CLOSE_TIMEOUT);
    assert_int_equal(fake_ring_count(f->ring, FAKE_CANCEL), 1);
    assert_gone(f, conn);
}

static void the_time_can_be_cut_short_but_not_made_longer(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = start(f, CONNECT_MS);

    conn_limit_connect(conn, 10 * CONNECT_MS);
    conn_limit_connect(conn, 10);
    fixture_advance(f, 10);
    assert_int_equal(end_reason, CLOSE_TIMEOUT);
    assert_gone(f, conn);
}

static void closing_cancels_it(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = start(f, 0);

    assert_false(conn_is_writable(conn));
    assert_int_equal(conn_write(conn, "x", 1), -EPIPE);
    conn_close(conn, CLOSE_LOCAL);
    assert_int_equal(ends, 1);
    assert_int_equal(end_reason, CLOSE_LOCAL);
    fixture_pump(f);
    assert_int_equal(fake_ring_count(f->ring, FAKE_CANCEL), 1);
    assert_int_equal(fake_ring_count(f->ring, FAKE_CLOSE), 0); /* the kernel has the socket still */
    assert_gone(f, conn);
}

static void closed_before_the_turn_settles_it_never_begins(void **state)
{
    struct fixture *f = *state;
    struct conn *conn;

    assert_int_equal(try_connect(f, &conn, CONNECT_MS), 0);
    conn_kill(conn, CLOSE_LOCAL);
    fixture_pump(f);
    assert_gone(f, conn);
    assert_int_equal(fake_ring_count(f->ring, FAKE_CONNECT), 0);
}

static void a_success_that_comes_after_the_close_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = start(f, 0);
    uint64_t connect = fixture_op(conn, OP_CONNECT);

    conn_kill(conn, CLOSE_LOCAL);
    fake_ring_complete(f->ring, connect, 0, 0);
    fixture_pump(f);
    assert_int_equal(connected, 0);
    assert_gone(f, conn);
}

static void it_counts_as_one_of_the_reactors_slots(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = NULL;

    for (uint32_t i = 0; i < f->reactor.conns.max; i++)
        conn = start(f, 0);
    assert_int_equal(atomic_load(&f->reactor.open), f->reactor.conns.max);
    assert_int_equal(try_connect(f, &conn, 0), -EBUSY);
    assert_int_equal(atomic_load(&f->reactor.open), f->reactor.conns.max);
    assert_int_equal(atomic_load(&f->sockets[0].open), 0);
}

static void a_slot_that_was_promised_to_an_accepted_one_is_not_taken(void **state)
{
    struct fixture *f = *state;
    struct conn *conn;

    atomic_fetch_add(&f->reactor.open, f->reactor.conns.max);
    assert_int_equal(try_connect(f, &conn, 0), -EBUSY);
    atomic_fetch_sub(&f->reactor.open, f->reactor.conns.max);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_begins_when_the_turn_settles),
        TEST(the_address_lives_as_long_as_the_slot),
        TEST(its_socket_has_the_options_of_accepted_ones),
        TEST(once_connected_it_is_as_any_other),
        TEST(failures_have_their_reasons),
        TEST(an_interrupted_connect_is_started_anew),
        TEST(it_gives_up_at_its_time_out),
        TEST(the_time_can_be_cut_short_but_not_made_longer),
        TEST(closing_cancels_it),
        TEST(closed_before_the_turn_settles_it_never_begins),
        TEST(a_success_that_comes_after_the_close_changes_nothing),
        TEST(it_counts_as_one_of_the_reactors_slots),
        TEST(a_slot_that_was_promised_to_an_accepted_one_is_not_taken),
    };

    return cmocka_run_group_tests_name("connect", tests, NULL, NULL);
}
