/* Connections that begin with a PROXY protocol header, on the fake ring: the header comes in any pieces, the handler sees
 * what is behind it, and whoever sends a bad one or none is gone. */
#include "proxy/proxy_accept.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "fake_ring.h"
#include "fixture.h"
#include "proto/proxy_protocol.h"
#include "proxy/proxy.h"
#include "uring/bufring.h"
#include "uring/op.h"

#define V1_LINE "PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n"

enum { HANDSHAKE_MS = 5000, IDLE_MS = 60000 };

static struct fixture *new_fixture(const struct fixture_options *options)
{
    struct fixture *f = fixture_new(options);

    f->listener_config.accepts_proxy = true;
    f->listener_config.handshake_ms = HANDSHAKE_MS;
    f->listener_config.timeouts.idle_ms = IDLE_MS;
    return f;
}

static int setup(void **state)
{
    *state = new_fixture(&(struct fixture_options){.buffers = 64});
    return 0;
}

static int setup_incremental(void **state)
{
    *state = new_fixture(&(struct fixture_options){.buffers = 64, .incremental = true});
    return 0;
}

static int setup_forward(void **state)
{
    *state = new_fixture(&(struct fixture_options){.forward = "unix:@backend"});
    return 0;
}

static int setup_script(void **state)
{
    *state = new_fixture(&(struct fixture_options){
        .script = "return function(conn)\n"
                  "  for data in conn:reads() do\n"
                  "    conn:write(conn.remote_addr, ' ', conn.remote_port, ' ', conn.local_addr, ' ', data)\n"
                  "  end\n"
                  "  conn:write('end')\n"
                  "end\n",
    });
    return 0;
}

/* A header of version 2; returns its length. */
static size_t build_v2(uint8_t *out, size_t size, enum proxy_command command, const char *host)
{
    static const char id[] = "id-1";
    struct addr source, destination;
    struct proxy_field field = {.type = PROXY_TLV_UNIQUE_ID, .bytes = 4, .value = id};
    struct proxy_message message = {
        .command = command,
        .transport = PROXY_STREAM,
        .source = &source,
        .destination = &destination,
        .fields = &field,
        .field_count = 1,
        .checksum = PROXY_WITH_CRC32C,
    };
    int len;

    if (host[0] == '/') {
        assert_int_equal(addr_parse_unix(&source, host), 0);
        assert_int_equal(addr_parse_unix(&destination, "/run/front"), 0);
    } else {
        assert_int_equal(addr_parse_ip(&source, host, 40000), 0);
        assert_int_equal(addr_parse_ip(&destination, host, 443), 0);
    }
    len = proxy_protocol_build_v2(out, size, &message);
    assert_true(len > 0);
    return (size_t)len;
}

static void assert_unread(const struct conn *conn, const char *text)
{
    char unread[64];

    assert_int_equal(conn->in.bytes, strlen(text));
    input_copy(&conn->in, 0, conn->in.bytes, (uint8_t *)unread);
    assert_memory_equal(unread, text, conn->in.bytes);
}

static void assert_addr(const struct addr *addr, const char *expected)
{
    char text[ADDR_TEXT_MAX];

    assert_string_equal(addr_format(addr, text), expected);
}

static void assert_from(const struct conn *conn, const char *remote, const char *local)
{
    struct addr addr;

    conn_remote(conn, &addr);
    assert_addr(&addr, remote);
    conn_local(conn, &addr);
    assert_addr(&addr, local);
}

/* Gone without a byte, and everything came back. */
static void assert_gone(struct fixture *f, const struct conn *conn)
{
    int peer = fixture_peer(f, conn);
    char byte;

    fixture_answer(f);
    assert_int_equal(f->reactor.conns.taken, 0);
    assert_int_equal(f->reactor.leases.slab.taken, 0);
    assert_int_equal(bufring_leases(f->reactor.bufs), 0);
    assert_int_equal(chunk_pool_out(&f->reactor.chunks), 0);
    assert_int_equal(atomic_load(&f->sockets[0].open), 0);
    assert_int_equal(fake_ring_count(f->ring, FAKE_SEND), 0);
    assert_true(recv(peer, &byte, 1, MSG_DONTWAIT) <= 0);
    assert_int_equal(f->record.opened, 0);
}

/* ---- good headers ---- */

static void nobody_is_served_before_the_header(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    assert_true(conn->recv_armed);
    fixture_feed_text(f, conn, "PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r");
    assert_int_equal(f->record.opened, 0);
    fixture_feed_text(f, conn, "\n");
    assert_int_equal(f->record.opened, 1);
    assert_int_equal(f->record.inputs, 0);
    assert_from(conn, "192.0.2.7:40000", "198.51.100.1:443");
    assert_int_equal(conn->bytes_in, 0);
    assert_int_equal(bufring_leases(f->reactor.bufs), 0);
}

static void bytes_behind_the_header_are_the_handlers(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, V1_LINE "PROXY hello");
    assert_int_equal(f->record.opened, 1);
    assert_int_equal(f->record.inputs, 1);
    assert_unread(conn, "PROXY hello");
    assert_int_equal(conn->bytes_in, 11);
    fixture_feed_text(f, conn, "!");
    assert_unread(conn, "PROXY hello!");
}

static void a_header_may_come_byte_by_byte(void **state)
{
    struct fixture *f = *state;
    uint8_t header[PROXY_HEADER_BYTES_MAX];
    size_t len = build_v2(header, sizeof(header), PROXY_PROXY, "2001:db8::7");
    struct conn *conn = fixture_open(f);

    for (size_t i = 0; i < len; i++) {
        assert_int_equal(f->record.opened, 0);
        fixture_feed(f, conn, header + i, 1);
        assert_true(bufring_leases(f->reactor.bufs) <= 1);
    }
    assert_int_equal(f->record.opened, 1);
    assert_int_equal(conn->in.bytes, 0);
    assert_from(conn, "[2001:db8::7]:40000", "[2001:db8::7]:443");
    assert_int_equal(conn->proxied->header_bytes, len);
    assert_memory_equal(conn->proxied->header, header, len);
    assert_int_equal(chunk_pool_out(&f->reactor.chunks), 0);
}

static void a_header_of_the_largest_size_spans_buffers(void **state)
{
    struct fixture *f = *state;
    uint8_t header[PROXY_HEADER_BYTES_MAX + 4] = PROXY_V2_SIGNATURE "\x21\x11";
    size_t rest = PROXY_HEADER_BYTES_MAX - PROXY_V2_HEAD_BYTES;
    struct conn *conn = fixture_open(f);

    header[14] = (uint8_t)(rest >> 8);
    header[15] = (uint8_t)rest;
    header[28] = PROXY_TLV_NOOP;
    header[29] = (uint8_t)((rest - 15) >> 8);
    header[30] = (uint8_t)(rest - 15);
    memcpy(header + PROXY_HEADER_BYTES_MAX, "data", 4);
    for (size_t at = 0; at < sizeof(header); at += 1000)
        fixture_feed(f, conn, header + at, sizeof(header) - at < 1000 ? sizeof(header) - at : 1000);
    assert_int_equal(f->record.opened, 1);
    assert_unread(conn, "data");
    assert_int_equal(conn->proxied->header_bytes, PROXY_HEADER_BYTES_MAX);
}

static void headers_without_addresses_leave_the_connections_own(void **state)
{
    struct fixture *f = *state;
    uint8_t header[PROXY_HEADER_BYTES_MAX];
    size_t len = build_v2(header, sizeof(header), PROXY_LOCAL, "192.0.2.7");
    struct conn *local = fixture_open(f);
    struct conn *unknown = fixture_open(f);
    struct addr addr;

    fixture_feed(f, local, header, len);
    fixture_feed_text(f, unknown, "PROXY UNKNOWN\r\n");
    assert_int_equal(f->record.opened, 2);
    conn_remote(local, &addr);
    assert_int_equal(addr.sa.sa_family, AF_UNSPEC);
    conn_local(unknown, &addr);
    assert_int_equal(addr.sa.sa_family, AF_UNIX);
    assert_non_null(local->proxied);
    assert_non_null(unknown->proxied);
}

static void a_header_of_a_unix_socket_gives_its_path(void **state)
{
    struct fixture *f = *state;
    uint8_t header[PROXY_HEADER_BYTES_MAX];
    size_t len = build_v2(header, sizeof(header), PROXY_PROXY, "/run/client");
    struct conn *conn = fixture_open(f);

    fixture_feed(f, conn, header, len);
    assert_from(conn, "unix:/run/client", "unix:/run/front");
}

static void the_peer_of_the_socket_stays_known(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);
    struct addr addr;

    conn->peer.in4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    fixture_feed_text(f, conn, V1_LINE);
    conn_peer(conn, &addr);
    assert_addr(&addr, "127.0.0.1:0");
}

static void a_stream_may_end_right_behind_the_header(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    /* Both in one turn. */
    assert_int_equal(fake_ring_recv(f->ring, fixture_op(conn, OP_RECV), V1_LINE, strlen(V1_LINE), FAKE_MORE),
                     strlen(V1_LINE));
    fixture_recv_result(f, conn, 0);
    assert_int_equal(f->record.opened, 1);
    assert_int_equal(f->record.inputs, 1);
    assert_true(conn_ended(conn));
    assert_int_equal(conn->state, CONN_OPEN);
}

static void the_listeners_time_outs_begin_with_the_handler(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fixture_advance(f, HANDSHAKE_MS - 1);
    fixture_feed_text(f, conn, V1_LINE);
    assert_int_equal(conn->timeouts.read_ms, 0);
    fixture_advance(f, IDLE_MS - 1);
    assert_int_equal(conn->state, CONN_OPEN);
    assert_int_equal(f->record.read_timeouts, 0);
    fixture_advance(f, 1);
    assert_int_equal(f->record.ends, 1);
    assert_int_equal(f->record.end_reason, CLOSE_TIMEOUT);
}

/* ---- whom to believe ---- */

static void trust(struct fixture *f, struct addr_range *range, const char *text)
{
    assert_int_equal(addr_range_parse(range, text), 0);
    f->listener_config.trusted = range;
    f->listener_config.trusted_count = 1;
}

static void the_bytes_of_others_are_their_own(void **state)
{
    struct fixture *f = *state;
    struct addr_range range;
    struct conn *conn;

    trust(f, &range, "10.0.0.0/8");
    conn = fixture_open(f);
    assert_int_equal(f->record.opened, 1);
    assert_int_equal(f->record.inputs, 0);
    fixture_feed_text(f, conn, V1_LINE);
    assert_unread(conn, V1_LINE);
    assert_null(conn->proxied);
    fixture_advance(f, HANDSHAKE_MS);
    assert_int_equal(conn->state, CONN_OPEN);
}

static void unix_peers_are_trusted_by_name(void **state)
{
    struct fixture *f = *state;
    struct addr_range range;
    struct conn *conn;

    trust(f, &range, "unix");
    conn = fixture_open(f);
    assert_int_equal(f->record.opened, 0);
    fixture_feed_text(f, conn, V1_LINE);
    assert_non_null(conn->proxied);
}

/* ---- bad headers, and none ---- */

static void a_bad_header_is_refused_at_its_first_wrong_byte(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, "GET / HTTP/1.1\r\n\r\n");
    assert_int_equal(conn->reason, CLOSE_ABORTED);
    assert_gone(f, conn);
    assert_true(fixture_log_has(f, "listener test: conn 1 from a unix socket sent no good PROXY protocol header: "
                                   "does not begin as either version does"));
}

static void a_wrong_checksum_is_refused(void **state)
{
    struct fixture *f = *state;
    uint8_t header[PROXY_HEADER_BYTES_MAX];
    size_t len = build_v2(header, sizeof(header), PROXY_PROXY, "192.0.2.7");
    struct conn *conn = fixture_open(f);

    header[17] ^= 1;
    fixture_feed(f, conn, header, 20);
    fixture_feed(f, conn, header + 20, len - 20);
    assert_gone(f, conn);
    assert_true(fixture_log_has(f, "the checksum is wrong"));
}

static void a_header_that_says_it_is_too_long_is_refused(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fixture_feed(f, conn, PROXY_V2_SIGNATURE "\x21\x11\xff\xff", PROXY_V2_HEAD_BYTES);
    assert_gone(f, conn);
    assert_true(fixture_log_has(f, "longer than any header may be"));
}

static void a_stream_that_ends_inside_the_header_is_refused(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, "PROXY TCP4 ");
    fixture_feed_text(f, conn, "192");
    fixture_recv_result(f, conn, 0);
    assert_int_equal(conn->reason, CLOSE_PEER);
    assert_gone(f, conn);
    assert_true(fixture_log_has(f, "the stream ended after 14 bytes"));
}

static void a_stream_without_a_byte_is_not_worth_a_line(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fixture_recv_result(f, conn, 0);
    assert_gone(f, conn);
    assert_false(fixture_log_has(f, "PROXY"));
}

static void a_reset_while_waiting_ends_it(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, "PROXY");
    fixture_recv_result(f, conn, -ECONNRESET);
    assert_gone(f, conn);
}

static void the_time_is_for_all_of_the_header(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, "PRO");
    fixture_advance(f, HANDSHAKE_MS - 1);
    fixture_feed_text(f, conn, "XY");
    assert_int_equal(conn->state, CONN_OPEN);
    fixture_advance(f, 1);
    assert_int_equal(conn->reason, CLOSE_TIMEOUT);
    assert_gone(f, conn);
    assert_true(fixture_log_has(f, "none within 5.0 s"));
}

static void without_a_time_out_it_waits(void **state)
{
    struct fixture *f = *state;
    struct conn *conn;

    f->listener_config.handshake_ms = 0;
    conn = fixture_open(f);
    fixture_advance(f, 100 * IDLE_MS);
    fixture_feed_text(f, conn, V1_LINE);
    assert_int_equal(f->record.opened, 1);
}

/* ---- the end of the server: the teardown of all these tests kills what is open and wants everything back ---- */

static void a_stop_ends_those_that_wait(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, "PROXY ");
    fixture_feed_text(f, conn, "TCP4 ");
    conn_kill(conn, CLOSE_SHUTDOWN);
    assert_gone(f, conn);
    assert_false(fixture_log_has(f, "PROXY"));
}

/* ---- who takes over ---- */

static void a_script_is_given_what_is_behind_the_header(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);
    char out[128] = {0};

    fixture_feed_text(f, conn, V1_LINE "hello");
    fixture_pump(f);
    fixture_drain(f, conn, out, sizeof(out));
    assert_string_equal(out, "192.0.2.7 40000 198.51.100.1 hello");
}

static void a_script_sees_the_end_behind_the_header(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);
    char out[128] = {0};

    fixture_feed_text(f, conn, V1_LINE);
    fixture_recv_result(f, conn, 0);
    fixture_drain(f, conn, out, sizeof(out));
    assert_string_equal(out, "end");
}

static void a_relay_is_given_what_is_behind_the_header(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);
    struct conn *server;
    char out[128] = {0};

    assert_null(fixture_outgoing(f));
    fixture_feed_text(f, conn, V1_LINE "hello");
    server = fixture_outgoing(f);
    assert_non_null(server);
    fixture_connect_result(f, server, 0);
    fixture_drain(f, server, out, sizeof(out));
    assert_string_equal(out, "hello");
}

static void a_relay_of_a_client_that_left_behind_the_header_gives_up_soon(void **state)
{
    struct fixture *f = *state;
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, V1_LINE);
    fixture_recv_result(f, conn, 0);
    assert_non_null(fixture_outgoing(f));
    fixture_advance(f, RELAY_GONE_MS);
    fixture_answer(f);
    assert_int_equal(f->reactor.conns.taken, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
#define TEST_ON(name, how) cmocka_unit_test_setup_teardown(name, setup_##how, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nobody_is_served_before_the_header),
        TEST(bytes_behind_the_header_are_the_handlers),
        TEST(a_header_may_come_byte_by_byte),
        TEST_ON(a_header_may_come_byte_by_byte, incremental),
        TEST(a_header_of_the_largest_size_spans_buffers),
        TEST_ON(a_header_of_the_largest_size_spans_buffers, incremental),
        TEST(headers_without_addresses_leave_the_connections_own),
        TEST(a_header_of_a_unix_socket_gives_its_path),
        TEST(the_peer_of_the_socket_stays_known),
        TEST(a_stream_may_end_right_behind_the_header),
        TEST(the_listeners_time_outs_begin_with_the_handler),
        TEST(the_bytes_of_others_are_their_own),
        TEST(unix_peers_are_trusted_by_name),
        TEST(a_bad_header_is_refused_at_its_first_wrong_byte),
        TEST(a_wrong_checksum_is_refused),
        TEST(a_header_that_says_it_is_too_long_is_refused),
        TEST(a_stream_that_ends_inside_the_header_is_refused),
        TEST(a_stream_without_a_byte_is_not_worth_a_line),
        TEST(a_reset_while_waiting_ends_it),
        TEST(the_time_is_for_all_of_the_header),
        TEST(without_a_time_out_it_waits),
        TEST(a_stop_ends_those_that_wait),
        TEST_ON(a_script_is_given_what_is_behind_the_header, script),
        TEST_ON(a_script_sees_the_end_behind_the_header, script),
        TEST_ON(a_relay_is_given_what_is_behind_the_header, forward),
        TEST_ON(a_relay_of_a_client_that_left_behind_the_header_gives_up_soon, forward),
    };

    return cmocka_run_group_tests_name("proxy_accept", tests, NULL, NULL);
}
