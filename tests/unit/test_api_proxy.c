/* What scripts are told of a PROXY protocol header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "fake_ring.h"
#include "fixture.h"
#include "proxy_headers.h"
#include "script/api.h"

static int setup(void **state)
{
    struct fixture *f = fixture_new(&(struct fixture_options){0});

    f->listener_config.accepts_proxy = true;
    *state = f;
    return 0;
}

static struct zerg_conn connect_with(struct fixture *f, struct bytes header)
{
    struct conn *conn = fixture_open(f);

    conn->peer.in4 =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(555), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    fixture_feed(f, conn, header.at, header.len);
    assert_int_equal(f->record.opened, 1);
    return (struct zerg_conn){._conn = conn, ._generation = conn->generation, ._slot = conn->slot};
}

static void assert_field(const struct zerg_proxy_field *field, uint32_t type, const char *value)
{
    assert_int_equal(field->_type, type);
    assert_int_equal(field->_len, strlen(value));
    assert_memory_equal(field->_value, value, field->_len);
}

static void addresses_come_as_text(void **state)
{
    struct zerg_conn conn = connect_with(*state, BYTES(V2_INET));
    struct zerg_proxy proxy;

    assert_int_equal(zerg_conn_proxy(&conn, &proxy), ZERG_OK);
    assert_int_equal(proxy._version, 2);
    assert_int_equal(proxy._is_local, 0);
    assert_int_equal(proxy._has_addrs, 1);
    assert_int_equal(proxy._has_crc32c, 0);
    assert_string_equal(proxy._source_addr, "192.168.0.1");
    assert_int_equal(proxy._source_port, 56324);
    assert_string_equal(proxy._destination_addr, "192.168.0.11");
    assert_int_equal(proxy._destination_port, 443);
    assert_string_equal(proxy._peer_addr, "127.0.0.1");
    assert_int_equal(proxy._peer_port, 555);
    assert_string_equal(zerg_conn_remote_addr(&conn), "192.168.0.1");
    assert_int_equal(zerg_conn_remote_port(&conn), 56324);
    assert_string_equal(zerg_conn_local_addr(&conn), "192.168.0.11");
    assert_int_equal(zerg_conn_local_port(&conn), 443);
}

static void a_header_without_addresses_says_so(void **state)
{
    struct zerg_conn conn = connect_with(*state, BYTES(V2_LOCAL));
    struct zerg_proxy proxy;

    assert_int_equal(zerg_conn_proxy(&conn, &proxy), ZERG_OK);
    assert_int_equal(proxy._is_local, 1);
    assert_int_equal(proxy._has_addrs, 0);
    assert_string_equal(proxy._source_addr, "");
    assert_int_equal(proxy._source_port, 0);
    assert_string_equal(zerg_conn_remote_addr(&conn), "127.0.0.1");
}

static void a_line_of_text_has_no_fields(void **state)
{
    struct zerg_conn conn = connect_with(*state, BYTES("PROXY UNKNOWN\r\n"));
    struct zerg_proxy proxy;
    struct zerg_proxy_field field;
    struct zerg_proxy_ssl ssl;

    assert_int_equal(zerg_conn_proxy(&conn, &proxy), ZERG_OK);
    assert_int_equal(proxy._version, 1);
    assert_int_equal(zerg_conn_proxy_next(&conn, &proxy._fields, &field), ZERG_END);
    assert_int_equal(zerg_conn_proxy_ssl(&conn, &ssl), ZERG_END);
}

static void fields_come_one_by_one(void **state)
{
    struct zerg_conn conn = connect_with(*state, BYTES(V2_CRC32C));
    struct zerg_proxy proxy;
    struct zerg_proxy_field field;

    assert_int_equal(zerg_conn_proxy(&conn, &proxy), ZERG_OK);
    assert_int_equal(proxy._has_crc32c, 1);
    assert_int_equal(zerg_conn_proxy_next(&conn, &proxy._fields, &field), ZERG_OK);
    assert_field(&field, PROXY_TLV_CRC32C, "\xcc\x5b\xc6\x6b");
    assert_int_equal(zerg_conn_proxy_next(&conn, &proxy._fields, &field), ZERG_OK);
    assert_field(&field, PROXY_TLV_AUTHORITY, "example.com");
    assert_int_equal(zerg_conn_proxy_next(&conn, &proxy._fields, &field), ZERG_END);
}

static void positions_outside_the_header_have_no_fields(void **state)
{
    struct zerg_conn conn = connect_with(*state, BYTES(V2_CRC32C));
    struct zerg_proxy_fields too_far = {._at = 0, ._end = sizeof(V2_CRC32C)};
    struct zerg_proxy_fields reversed = {._at = 20, ._end = 10};
    struct zerg_proxy_field field;

    assert_int_equal(zerg_conn_proxy_next(&conn, &too_far, &field), ZERG_END);
    assert_int_equal(zerg_conn_proxy_next(&conn, &reversed, &field), ZERG_END);
}

static void the_clients_tls_has_fields_of_its_own(void **state)
{
    struct zerg_conn conn = connect_with(*state, BYTES(V2_SSL));
    struct zerg_proxy_ssl ssl;
    struct zerg_proxy_field field;

    assert_int_equal(zerg_conn_proxy_ssl(&conn, &ssl), ZERG_OK);
    assert_int_equal(ssl._verify, 1);
    assert_int_equal(ssl._has_tls, 1);
    assert_int_equal(ssl._has_cert_conn, 0);
    assert_int_equal(ssl._has_cert_sess, 1);
    assert_int_equal(zerg_conn_proxy_next(&conn, &ssl._fields, &field), ZERG_OK);
    assert_field(&field, PROXY_SSL_VERSION, "TLSv1.3");
    assert_int_equal(zerg_conn_proxy_next(&conn, &ssl._fields, &field), ZERG_OK);
    assert_field(&field, PROXY_SSL_CN, "Alice");
    assert_int_equal(zerg_conn_proxy_next(&conn, &ssl._fields, &field), ZERG_END);
}

static void a_connection_without_a_header_has_nothing(void **state)
{
    struct fixture *f = *state;
    struct zerg_proxy_fields fields = {0};
    struct zerg_proxy_field field;
    struct zerg_proxy proxy;
    struct zerg_proxy_ssl ssl;
    struct zerg_conn handle;
    struct conn *conn;

    f->listener_config.accepts_proxy = false;
    conn = fixture_open(f);
    handle = (struct zerg_conn){._conn = conn, ._generation = conn->generation};
    assert_int_equal(zerg_conn_proxy(&handle, &proxy), ZERG_END);
    assert_int_equal(zerg_conn_proxy_next(&handle, &fields, &field), ZERG_END);
    assert_int_equal(zerg_conn_proxy_ssl(&handle, &ssl), ZERG_END);
}

static void a_stale_handle_has_nothing(void **state)
{
    struct fixture *f = *state;
    struct zerg_conn handle = connect_with(f, BYTES(V2_INET));
    struct conn *conn = handle._conn;
    struct zerg_proxy proxy;

    conn_pin(conn);
    conn_kill(conn, CLOSE_ABORTED);
    fixture_answer(f);
    assert_int_equal(zerg_conn_proxy(&handle, &proxy), ZERG_OK); /* pinned, as by a handler */
    conn_unpin(conn);
    fixture_pump(f);
    assert_int_equal(zerg_conn_proxy(&handle, &proxy), ZERG_END);
    assert_null(conn->proxied);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(addresses_come_as_text),
        TEST(a_header_without_addresses_says_so),
        TEST(a_line_of_text_has_no_fields),
        TEST(fields_come_one_by_one),
        TEST(positions_outside_the_header_have_no_fields),
        TEST(the_clients_tls_has_fields_of_its_own),
        TEST(a_connection_without_a_header_has_nothing),
        TEST(a_stale_handle_has_nothing),
    };

    return cmocka_run_group_tests_name("api_proxy", tests, NULL, NULL);
}
