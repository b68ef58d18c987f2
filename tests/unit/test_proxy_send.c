/* Telling servers who the client is: what header a connection begins with. */
#include "proxy/proxy_send.h"

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
#include "proto/proxy_protocol.h"

static uint8_t sent[PROXY_HEADER_BYTES_MAX];
static size_t sent_len;

/* A client from and to these addresses, as a proxy before us said. */
static struct conn *client_of(struct fixture *f, const char *source, const char *destination)
{
    struct conn *client = fixture_open(f);

    client->proxied = calloc(1, sizeof(*client->proxied));
    assert_non_null(client->proxied);
    assert_int_equal(addr_parse_ip(&client->proxied->source, source, 5555), 0);
    assert_int_equal(addr_parse_ip(&client->proxied->destination, destination, 80), 0);
    return client;
}

/* What a server gets of the header, and of a first byte behind it. */
static int send_header(struct fixture *f, const struct conn *client, enum proxy_send version,
                       const struct proxy_field *fields, size_t count)
{
    struct conn *server = fixture_open(f);
    int rc = proxy_send(server, client, version, fields, count);

    sent_len = 0;
    if (rc < 0)
        return rc;
    assert_int_equal(conn_write(server, "x", 1), 0);
    fixture_pump(f);
    sent_len = fixture_drain(f, server, sent, sizeof(sent)) - 1;
    assert_int_equal(sent[sent_len], 'x');
    return rc;
}

static void assert_text(const char *text)
{
    assert_int_equal(sent_len, strlen(text));
    assert_memory_equal(sent, text, sent_len);
}

static void parse_sent(struct proxy_header *header)
{
    assert_int_equal(proxy_protocol_parse(header, sent, sent_len), PARSE_DONE);
    assert_int_equal(header->bytes, sent_len);
}

static void nothing_is_sent_where_nothing_is_wanted(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(send_header(f, client_of(f, "192.0.2.1", "192.0.2.2"), PROXY_SEND_NONE, NULL, 0), 0);
    assert_int_equal(sent_len, 0);
}

static void version_1_is_a_line(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(send_header(f, client_of(f, "192.0.2.1", "192.0.2.2"), PROXY_SEND_V1, NULL, 0), 0);
    assert_text("PROXY TCP4 192.0.2.1 192.0.2.2 5555 80\r\n");
    assert_int_equal(send_header(f, client_of(f, "2001:db8::1", "2001:db8::2"), PROXY_SEND_V1, NULL, 0), 0);
    assert_text("PROXY TCP6 2001:db8::1 2001:db8::2 5555 80\r\n");
}

static void version_2_has_addresses_and_fields(void **state)
{
    const struct proxy_field fields[] = {{.type = 0xe0, .bytes = 5, .value = "hello"}};
    struct fixture *f = *state;
    struct proxy_header header;
    char text[ADDR_TEXT_MAX];

    assert_int_equal(send_header(f, client_of(f, "192.0.2.1", "192.0.2.2"), PROXY_SEND_V2, fields, 1), 0);
    parse_sent(&header);
    assert_int_equal(header.command, PROXY_PROXY);
    assert_int_equal(header.transport, PROXY_STREAM);
    assert_string_equal(addr_format(&header.source, text), "192.0.2.1:5555");
    assert_string_equal(addr_format(&header.destination, text), "192.0.2.2:80");
    assert_int_equal(header.tlvs.end - header.tlvs.at, 8);
    assert_memory_equal(sent + header.tlvs.at, "\xe0\0\5hello", 8);
}

static void a_connection_of_our_own_is_for_nobody(void **state)
{
    struct fixture *f = *state;
    struct proxy_header header;

    assert_int_equal(send_header(f, NULL, PROXY_SEND_V1, NULL, 0), 0);
    assert_text("PROXY UNKNOWN\r\n");
    assert_int_equal(send_header(f, NULL, PROXY_SEND_V2, NULL, 0), 0);
    parse_sent(&header);
    assert_int_equal(header.command, PROXY_LOCAL);
    assert_false(header.has_addrs);
}

static void a_client_on_a_unix_socket_has_no_address_to_tell(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(send_header(f, fixture_open(f), PROXY_SEND_V1, NULL, 0), 0);
    assert_text("PROXY UNKNOWN\r\n");
}

static void fields_that_are_too_long_are_not_sent(void **state)
{
    static const uint8_t value[PROXY_HEADER_BYTES_MAX];
    const struct proxy_field field = {.type = 0xe0, .bytes = sizeof(value), .value = value};
    struct fixture *f = *state;

    assert_int_equal(send_header(f, NULL, PROXY_SEND_V2, &field, 1), -EMSGSIZE);
}

static void one_that_takes_no_more_gets_none(void **state)
{
    struct fixture *f = *state;
    struct conn *server = fixture_open(f);

    conn_shutdown(server);
    assert_int_equal(proxy_send(server, NULL, PROXY_SEND_V2, NULL, 0), -EPIPE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_sent_where_nothing_is_wanted),
        TEST(version_1_is_a_line),
        TEST(version_2_has_addresses_and_fields),
        TEST(a_connection_of_our_own_is_for_nobody),
        TEST(a_client_on_a_unix_socket_has_no_address_to_tell),
        TEST(fields_that_are_too_long_are_not_sent),
        TEST(one_that_takes_no_more_gets_none),
    };

    return cmocka_run_group_tests_name("proxy_send", tests, NULL, NULL);
}
