/* Listeners whose clients may have so many connections only, on the fake ring: who is counted as whom, who is reset, and that
 * the count goes down whatever ends a connection. */
#include "core/admission.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/limits.h"
#include "fake_ring.h"
#include "fixture.h"

#define FROM(host) "PROXY TCP4 " host " 198.51.100.1 40000 443\r\n"

enum { LIMIT = 2, IDLE_MS = 60000 };

static struct fixture *new_fixture(const struct fixture_options *options)
{
    struct fixture *f = fixture_new(options);

    f->listener_config.timeouts.idle_ms = IDLE_MS;
    f->listener_config.connections_per_ip = LIMIT;
    assert_int_equal(listen_socket_limit_clients(&f->sockets[0], &f->listener_config), 0);
    return f;
}

/* Clients are peers of TCP sockets. */
static int setup(void **state)
{
    struct fixture *f = new_fixture(&(struct fixture_options){0});

    assert_int_equal(addr_parse_ip(&f->listener_config.addr, "127.0.0.1", 0), 0);
    *state = f;
    return 0;
}

static int setup_unix(void **state)
{
    *state = new_fixture(&(struct fixture_options){0});
    return 0;
}

/* Clients are whom headers name. */
static int setup_proxied(void **state)
{
    struct fixture *f = new_fixture(&(struct fixture_options){.buffers = 64});

    f->listener_config.accepts_proxy = true;
    *state = f;
    return 0;
}

/* Asserts that every connection has left. */
static int teardown(void **state)
{
    struct fixture *f = *state;
    struct admission *admission = f->sockets[0].admission;

    fixture_free(f);
    admission_free(admission, "test");
    return 0;
}

/* ---- clients ---- */

static int listen_on(struct addr *addr)
{
    int fd = socket(addr->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, &addr->sa, addr->len), 0);
    assert_int_equal(listen(fd, 8), 0);
    addr->len = sizeof(addr->storage);
    assert_int_equal(getsockname(fd, &addr->sa, &addr->len), 0);
    return fd;
}

/* A connection from that address of this machine. */
static struct conn *come_from(struct fixture *f, const char *host)
{
    struct addr server = f->listener_config.addr;
    struct addr client;
    int listening = listen_on(&server);
    int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(addr_parse_ip(&client, host, 0), 0);
    assert_int_equal(bind(peer, &client.sa, client.len), 0);
    assert_int_equal(connect(peer, &server.sa, server.len), 0);
    f->peers[f->peer_count++] = peer;
    atomic_fetch_add(&f->reactor.open, 1);
    atomic_fetch_add(&f->sockets[0].open, 1);
    assert_true(reactor_adopt(&f->reactor, &f->sockets[0], accept(listening, NULL, NULL)));
    close(listening);
    struct conn *conn = CONTAINER_OF(f->reactor.live.prev, struct conn, link);
    fixture_pump(f);
    return conn;
}

/* A connection whose header says who it is from. */
static struct conn *come_with(struct fixture *f, const char *header)
{
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, header);
    return conn;
}

static void assert_served(const struct conn *conn)
{
    assert_int_equal(conn->state, CONN_OPEN);
    assert_int_equal(conn->timeouts.idle_ms, IDLE_MS);
}

static void assert_refused(const struct conn *conn)
{
    assert_int_equal(conn->state, CONN_DYING);
    assert_int_equal(conn->reason, CLOSE_ABORTED);
    assert_null(conn->client);
}

/* ---- the limit ---- */

static void one_too_many_is_reset_and_the_others_are_served(void **state)
{
    struct fixture *f = *state;
    struct conn *first = come_from(f, "127.0.0.1");
    struct conn *second = come_from(f, "127.0.0.1");
    struct conn *third = come_from(f, "127.0.0.1");
    int peer = fixture_peer(f, third);
    char byte;

    assert_refused(third);
    assert_served(come_from(f, "127.0.0.2"));
    fixture_answer(f);
    assert_int_equal(recv(peer, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, ECONNRESET);
    assert_served(first);
    assert_served(second);
    assert_int_equal(f->record.opened, 3);
    assert_int_equal(f->record.ends, 0); /* nobody was told of it */
    assert_int_equal(atomic_load(&f->sockets[0].open), 3);
}

static void a_listener_without_the_limit_counts_nobody(void **state)
{
    struct fixture *f = *state;

    f->listener_config.connections_per_ip = 0;
    for (uint32_t i = 0; i < LIMIT + 3; i++)
        assert_null(come_from(f, "127.0.0.1")->client);
    assert_int_equal(f->record.opened, LIMIT + 3);
}

static void peers_on_a_unix_socket_are_not_counted(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < LIMIT + 3; i++)
        assert_served(fixture_open(f));
    assert_int_equal(f->record.opened, LIMIT + 3);
}

/* ---- the count goes down ---- */

static void end_by_close(struct fixture *f, struct conn *conn)
{
    conn_close(conn, CLOSE_LOCAL);
    fixture_pump(f);
    fixture_recv_result(f, conn, 0);
}

static void end_by_kill(struct fixture *f, struct conn *conn)
{
    conn_kill(conn, CLOSE_ABORTED);
    fixture_pump(f);
}

static void end_by_reset(struct fixture *f, struct conn *conn)
{
    fixture_recv_result(f, conn, -ECONNRESET);
}

static void end_by_time_out(struct fixture *f, struct conn *conn)
{
    (void)conn;
    fixture_advance(f, IDLE_MS);
    fixture_advance(f, LINGER_MS);
}

static void the_count_goes_down_however_a_connection_ends(void **state)
{
    static void (*const ends[])(struct fixture *, struct conn *) = {end_by_close, end_by_kill, end_by_reset,
                                                                    end_by_time_out};
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        struct conn *first = come_from(f, "127.0.0.1");
        struct conn *second = come_from(f, "127.0.0.1");

        assert_served(second);
        assert_refused(come_from(f, "127.0.0.1"));
        ends[i](f, first);
        fixture_answer(f);
        assert_served(come_from(f, "127.0.0.1"));
        fixture_advance(f, IDLE_MS);
        fixture_advance(f, LINGER_MS);
        fixture_answer(f);
        assert_int_equal(f->reactor.conns.taken, 0);
    }
}

static void a_connection_counts_until_its_socket_is_closed(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = come_from(f, "127.0.0.1");

    assert_served(come_from(f, "127.0.0.1"));
    conn_close(conn, CLOSE_LOCAL);
    fixture_pump(f);
    assert_int_equal(conn->state, CONN_LINGERING);
    assert_refused(come_from(f, "127.0.0.1"));
    fixture_recv_result(f, conn, 0);
    fixture_answer(f);
    assert_served(come_from(f, "127.0.0.1"));
}

/* A handler may hold the slot for as long as it likes: that is memory, and no connection. */
static void a_pinned_slot_does_not_count(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = come_from(f, "127.0.0.1");

    assert_served(come_from(f, "127.0.0.1"));
    conn_pin(conn);
    conn_kill(conn, CLOSE_ABORTED);
    fixture_pump(f);
    fixture_answer(f);
    assert_int_equal(conn->state, CONN_DEAD);
    assert_served(come_from(f, "127.0.0.1"));
    conn_unpin(conn);
    fixture_pump(f);
}

/* ---- behind a proxy ---- */

static void the_header_says_who_counts(void **state)
{
    struct fixture *f = *state;

    assert_served(come_with(f, FROM("192.0.2.7")));
    assert_served(come_with(f, FROM("192.0.2.7")));
    assert_refused(come_with(f, FROM("192.0.2.7") "hello"));
    assert_served(come_with(f, FROM("192.0.2.8")));
    assert_served(come_with(f, "PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n"));
    assert_served(come_with(f, "PROXY TCP6 2001:db8::ffff 2001:db8::2 1 2\r\n"));
    assert_refused(come_with(f, "PROXY TCP6 2001:db8::abcd 2001:db8::2 1 2\r\n"));
    assert_int_equal(f->record.opened, 5);
    assert_int_equal(f->record.inputs, 0);
}

static void who_waits_for_the_header_is_not_counted(void **state)
{
    struct fixture *f = *state;
    struct conn *waiting[LIMIT + 1];

    for (uint32_t i = 0; i < LIMIT + 1; i++)
        waiting[i] = come_with(f, "PROXY TCP4 192.0");
    assert_served(come_with(f, FROM("192.0.2.7")));
    for (uint32_t i = 0; i < LIMIT + 1; i++)
        fixture_feed_text(f, waiting[i], ".2.7 198.51.100.1 40000 443\r\n");
    assert_served(waiting[0]);
    assert_refused(waiting[1]);
    assert_refused(waiting[2]);
}

static void the_proxys_own_address_is_never_what_limits(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(addr_parse_ip(&f->listener_config.addr, "127.0.0.1", 0), 0);
    for (uint32_t i = 0; i < LIMIT + 3; i++) {
        struct conn *conn = come_from(f, "127.0.0.1");

        fixture_feed_text(f, conn, "PROXY UNKNOWN\r\n");
        assert_served(conn);
    }
    assert_int_equal(f->record.opened, LIMIT + 3);
}

static void who_is_not_trusted_counts_as_itself(void **state)
{
    struct fixture *f = *state;
    struct addr_range range;
    struct conn *conn;

    assert_int_equal(addr_range_parse(&range, "10.0.0.0/8"), 0);
    f->listener_config.trusted = &range;
    f->listener_config.trusted_count = 1;
    assert_int_equal(addr_parse_ip(&f->listener_config.addr, "127.0.0.1", 0), 0);
    for (uint32_t i = 0; i < LIMIT; i++) {
        conn = come_from(f, "127.0.0.1");
        assert_served(conn);
        fixture_feed_text(f, conn, FROM("192.0.2.7"));
    }
    assert_refused(come_from(f, "127.0.0.1"));
    assert_served(come_from(f, "127.0.0.2"));
}

/* ---- the log ---- */

static void refusals_are_told_now_and_again(void **state)
{
    struct fixture *f = *state;

    assert_served(come_with(f, FROM("192.0.2.7")));
    assert_served(come_with(f, FROM("192.0.2.7")));
    assert_false(fixture_log_has(f, "refused"));
    for (uint32_t i = 0; i < 6; i++)
        assert_refused(come_with(f, FROM("192.0.2.7")));
    assert_int_equal(fixture_log_count(f, "refused"), 1);
    assert_true(fixture_log_has(f, "listener test: refused 1 connections of clients that have 2 "
                                   "(limits.connections_per_ip), the last from 192.0.2.7"));
    fixture_answer(f);
    fixture_advance(f, ADMISSION_REPORT_MS - 1);
    assert_refused(come_with(f, FROM("192.0.2.7")));
    assert_int_equal(fixture_log_count(f, "refused"), 1);
    fixture_advance(f, 1);
    assert_refused(come_with(f, FROM("192.0.2.7")));
    assert_int_equal(fixture_log_count(f, "refused"), 2);
    assert_true(fixture_log_has(f, "refused 7 connections"));
}

static void what_was_not_told_is_told_at_the_end(void **state)
{
    struct fixture *f = *state;
    struct admission *admission = f->sockets[0].admission;

    for (uint32_t i = 0; i < LIMIT + 4; i++)
        (void)come_with(f, FROM("192.0.2.7"));
    fixture_advance(f, IDLE_MS);
    fixture_advance(f, LINGER_MS);
    fixture_answer(f);
    f->sockets[0].admission = NULL;
    admission_free(admission, "test");
    assert_true(fixture_log_has(f, "listener test: refused 3 more connections by limits.connections_per_ip"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_too_many_is_reset_and_the_others_are_served, setup, teardown),
        cmocka_unit_test_setup_teardown(a_listener_without_the_limit_counts_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(peers_on_a_unix_socket_are_not_counted, setup_unix, teardown),
        cmocka_unit_test_setup_teardown(the_count_goes_down_however_a_connection_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(a_connection_counts_until_its_socket_is_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_pinned_slot_does_not_count, setup, teardown),
        cmocka_unit_test_setup_teardown(the_header_says_who_counts, setup_proxied, teardown),
        cmocka_unit_test_setup_teardown(who_waits_for_the_header_is_not_counted, setup_proxied, teardown),
        cmocka_unit_test_setup_teardown(the_proxys_own_address_is_never_what_limits, setup_proxied, teardown),
        cmocka_unit_test_setup_teardown(who_is_not_trusted_counts_as_itself, setup_proxied, teardown),
        cmocka_unit_test_setup_teardown(refusals_are_told_now_and_again, setup_proxied, teardown),
        cmocka_unit_test_setup_teardown(what_was_not_told_is_told_at_the_end, setup_proxied, teardown),
    };

    return cmocka_run_group_tests_name("admission", tests, NULL, NULL);
}
