/* proxy_protocol_build: headers byte for byte, what is refused, and that what was made can be read. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "proxy_headers.h"

enum { ROUNDS = 5000, FIELDS_MAX = 4, VALUE_BYTES_MAX = 60 };

static struct addr ip(const char *host, uint16_t port)
{
    struct addr addr;

    assert_int_equal(addr_parse_ip(&addr, host, port), 0);
    return addr;
}

static struct addr path(const char *name)
{
    struct addr addr;

    assert_int_equal(addr_parse_unix(&addr, name), 0);
    return addr;
}

static struct proxy_message message_of(const struct addr *source, const struct addr *destination)
{
    return (struct proxy_message){.command = PROXY_PROXY,
                                  .transport = PROXY_STREAM,
                                  .source = source,
                                  .destination = destination};
}

static void assert_line(const struct proxy_message *message, const char *expected)
{
    uint8_t out[PROXY_V1_BYTES_MAX];
    int bytes = proxy_protocol_build_v1(out, sizeof(out), message);

    assert_int_equal(bytes, strlen(expected));
    assert_memory_equal(out, expected, strlen(expected));
}

static void assert_line_of(const char *source, const char *destination, const char *expected)
{
    struct addr from = ip(source, 56324);
    struct addr to = ip(destination, 443);
    struct proxy_message message = message_of(&from, &to);

    assert_line(&message, expected);
}

static void assert_binary(const struct proxy_message *message, struct bytes expected)
{
    uint8_t out[PROXY_HEADER_BYTES_MAX];
    int bytes = proxy_protocol_build_v2(out, sizeof(out), message);

    assert_int_equal(bytes, expected.len);
    assert_memory_equal(out, expected.at, expected.len);
}

/* ---- version 1 ---- */

static void lines_are_as_specified(void **state)
{
    (void)state;
    assert_line_of("192.168.0.1", "192.168.0.11", "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n");
    assert_line_of("2001:db8::1", "2001:db8::2", "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n");
}

static void mapped_pair_is_sent_as_ip4(void **state)
{
    (void)state;
    assert_line_of("::ffff:1.2.3.4", "::ffff:5.6.7.8", "PROXY TCP4 1.2.3.4 5.6.7.8 56324 443\r\n");
    assert_line_of("::ffff:1.2.3.4", "5.6.7.8", "PROXY TCP4 1.2.3.4 5.6.7.8 56324 443\r\n");
}

static void line_of_mixed_families_is_ip6_without_dots(void **state)
{
    (void)state;
    assert_line_of("1.2.3.4", "2001:db8::2", "PROXY TCP6 ::ffff:102:304 2001:db8::2 56324 443\r\n");
    assert_line_of("2001:db8::2", "::ffff:0.0.255.255", "PROXY TCP6 2001:db8::2 ::ffff:0:ffff 56324 443\r\n");
    assert_line_of("::1.2.3.4", "::1", "PROXY TCP6 ::102:304 ::1 56324 443\r\n");
}

static void longest_line_fits(void **state)
{
    static const char host[] = "abcd:abcd:abcd:abcd:abcd:abcd:abcd:abcd";
    struct addr addr = ip(host, 65535);
    struct proxy_message message = message_of(&addr, &addr);
    char expected[PROXY_V1_BYTES_MAX + 1];

    (void)state;
    snprintf(expected, sizeof(expected), "PROXY TCP6 %s %s 65535 65535\r\n", host, host);
    assert_line(&message, expected);
}

static void what_version_1_cannot_say_is_unknown(void **state)
{
    struct addr from = ip("1.2.3.4", 1);
    struct addr to = path("/run/a.sock");
    struct proxy_message message = message_of(&from, &to);

    (void)state;
    assert_line(&message, "PROXY UNKNOWN\r\n");
    message.source = &to;
    assert_line(&message, "PROXY UNKNOWN\r\n");
    message = message_of(NULL, &from);
    assert_line(&message, "PROXY UNKNOWN\r\n");
    message = message_of(&from, &from);
    message.transport = PROXY_DGRAM;
    assert_line(&message, "PROXY UNKNOWN\r\n");
    message = message_of(&from, &from);
    message.command = PROXY_LOCAL;
    assert_line(&message, "PROXY UNKNOWN\r\n");
}

/* ---- version 2 ---- */

static void binary_headers_are_as_specified(void **state)
{
    struct addr from = ip("192.168.0.1", 56324);
    struct addr to = ip("192.168.0.11", 443);
    struct addr from6 = ip("2001:db8::1", 56324);
    struct addr to6 = ip("2001:db8::2", 443);
    struct proxy_message message = message_of(&from, &to);

    (void)state;
    assert_binary(&message, BYTES(V2_INET));
    message = message_of(&from6, &to6);
    assert_binary(&message, BYTES(V2_INET6));
    message.command = PROXY_LOCAL;
    assert_binary(&message, BYTES(V2_LOCAL));
}

static void fields_follow_the_checksum(void **state)
{
    struct addr from = ip("192.168.0.1", 56324);
    struct addr to = ip("192.168.0.11", 443);
    const struct proxy_field field = {PROXY_TLV_AUTHORITY, 11, "example.com"};
    struct proxy_message message = message_of(&from, &to);

    (void)state;
    message.fields = &field;
    message.field_count = 1;
    message.checksum = PROXY_WITH_CRC32C;
    assert_binary(&message, BYTES(V2_CRC32C));
}

static void addresses_that_do_not_go_together_are_not_sent(void **state)
{
    struct addr from = ip("1.2.3.4", 1);
    struct addr to = path("/run/a.sock");
    struct proxy_message message = message_of(&from, &to);
    struct addr unset = {0};

    (void)state;
    assert_binary(&message, BYTES(SIGNATURE "\x21\x00\x00\x00"));
    message = message_of(&unset, &from);
    assert_binary(&message, BYTES(SIGNATURE "\x21\x00\x00\x00"));
    message = message_of(&from, NULL);
    assert_binary(&message, BYTES(SIGNATURE "\x21\x00\x00\x00"));
}

static void paths_are_filled_up_with_nuls(void **state)
{
    struct addr from = path("/run/a.sock");
    struct addr to = path("@abstract");
    struct proxy_message message = message_of(&from, &to);
    char expected[PROXY_V2_HEAD_BYTES + PROXY_V2_UNIX_BYTES] = SIGNATURE "\x21\x31\x00\xd8"
                                                                         "/run/a.sock";

    (void)state;
    memcpy(expected + PROXY_V2_HEAD_BYTES + PROXY_V2_PATH_BYTES + 1, "abstract", 8);
    assert_binary(&message, (struct bytes){expected, sizeof(expected)});
}

static void path_that_fills_its_field_is_sent_whole(void **state)
{
    struct addr addr = {.len = sizeof(addr.un)};
    struct proxy_message message = message_of(&addr, &addr);
    char expected[PROXY_V2_HEAD_BYTES + PROXY_V2_UNIX_BYTES] = SIGNATURE "\x21\x31\x00\xd8";

    (void)state;
    addr.sa.sa_family = AF_UNIX;
    memset(addr.un.sun_path, 'p', sizeof(addr.un.sun_path));
    memset(expected + PROXY_V2_HEAD_BYTES, 'p', PROXY_V2_UNIX_BYTES);
    assert_binary(&message, (struct bytes){expected, sizeof(expected)});
}

static void unnamed_socket_is_an_empty_path(void **state)
{
    struct addr unnamed = {.len = sizeof(sa_family_t)};
    char expected[PROXY_V2_HEAD_BYTES + PROXY_V2_UNIX_BYTES] = SIGNATURE "\x21\x31\x00\xd8";
    struct proxy_message message = message_of(&unnamed, &unnamed);

    (void)state;
    unnamed.sa.sa_family = AF_UNIX;
    assert_binary(&message, (struct bytes){expected, sizeof(expected)});
}

/* ---- bounds ---- */

static void buffer_is_never_overrun(void **state)
{
    struct addr addr = ip("192.168.0.1", 56324);
    const struct proxy_field field = {PROXY_TLV_ALPN, 2, "h2"};
    struct proxy_message message = message_of(&addr, &addr);
    const int line_bytes = sizeof("PROXY TCP4 192.168.0.1 192.168.0.1 56324 56324\r\n") - 1;
    const int binary_bytes = sizeof(V2_INET) - 1 + PROXY_TLV_HEAD_BYTES + PROXY_CRC32C_BYTES + PROXY_TLV_HEAD_BYTES + 2;

    (void)state;
    message.fields = &field;
    message.field_count = 1;
    message.checksum = PROXY_WITH_CRC32C;
    for (int size = 0; size < 64; size++) {
        uint8_t *out = malloc((size_t)size); /* the address sanitizer watches its end */
        int bytes = proxy_protocol_build_v2(out, (size_t)size, &message);

        assert_int_equal(bytes, size < binary_bytes ? -ENOBUFS : binary_bytes);
        bytes = proxy_protocol_build_v1(out, (size_t)size, &message);
        assert_int_equal(bytes, size < line_bytes ? -ENOBUFS : line_bytes);
        free(out);
    }
}

static int build_with(const struct proxy_field *fields, size_t count, enum proxy_checksum checksum)
{
    static uint8_t out[2 * UINT16_MAX];
    const struct proxy_message message = {.command = PROXY_PROXY,
                                          .fields = fields,
                                          .field_count = count,
                                          .checksum = checksum};

    return proxy_protocol_build_v2(out, sizeof(out), &message);
}

static void header_longer_than_its_bound_is_refused(void **state)
{
    static const uint8_t value[UINT16_MAX];
    uint16_t longest = PROXY_HEADER_BYTES_MAX - PROXY_V2_HEAD_BYTES - PROXY_TLV_HEAD_BYTES;
    struct proxy_field fields[2] = {{PROXY_TLV_NOOP, longest, value}, {PROXY_TLV_NOOP, UINT16_MAX, value}};

    (void)state;
    assert_int_equal(build_with(fields, 1, PROXY_WITHOUT_CHECKSUM), PROXY_HEADER_BYTES_MAX);
    assert_int_equal(build_with(fields, 1, PROXY_WITH_CRC32C), -EMSGSIZE);
    assert_int_equal(build_with(fields, 2, PROXY_WITHOUT_CHECKSUM), -EMSGSIZE);
    fields[0].bytes++;
    assert_int_equal(build_with(fields, 1, PROXY_WITHOUT_CHECKSUM), -EMSGSIZE);
}

static void fields_that_a_receiver_may_refuse_are_refused(void **state)
{
    static const uint8_t value[PROXY_UNIQUE_ID_BYTES_MAX + 1];
    static const struct proxy_field refused[] = {
        {PROXY_TLV_CRC32C, 4, "abcd"},
        {PROXY_TLV_UNIQUE_ID, sizeof(value), value},
        {PROXY_TLV_SSL, 4, "\1\0\0\0"},
        {PROXY_TLV_SSL, 6, "\1\0\0\0\0\x21"},
    };
    const struct proxy_field longest_id = {PROXY_TLV_UNIQUE_ID, sizeof(value) - 1, value};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        assert_int_equal(build_with(&refused[i], 1, PROXY_WITHOUT_CHECKSUM), -EINVAL);
        assert_int_equal(build_with(&refused[i], 1, PROXY_WITH_CRC32C), -EINVAL);
    }
    assert_true(build_with(&longest_id, 1, PROXY_WITH_CRC32C) > 0);
}

/* ---- what was made can be read ---- */

static uint32_t next_random(uint32_t *seed) /* xorshift32: the same every time */
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static void fill_random(void *out, size_t len, uint32_t *seed)
{
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)out)[i] = (uint8_t)(next_random(seed) >> 24);
}

static struct addr random_addr(enum proxy_family family, uint32_t *seed)
{
    struct addr addr = ip(family == PROXY_INET ? "0.0.0.0" : "::", 0);
    char name[PROXY_V2_PATH_BYTES] = {0};

    if (family == PROXY_INET) {
        fill_random(&addr.in4.sin_addr, sizeof(addr.in4.sin_addr), seed);
        fill_random(&addr.in4.sin_port, sizeof(addr.in4.sin_port), seed);
    } else if (family == PROXY_INET6) {
        fill_random(&addr.in6.sin6_addr, sizeof(addr.in6.sin6_addr), seed);
        fill_random(&addr.in6.sin6_port, sizeof(addr.in6.sin6_port), seed);
    } else {
        memset(name, 'a', 2 + next_random(seed) % (sizeof(name) - 2));
        name[0] = next_random(seed) % 2 ? '@' : '/';
        addr = path(name);
    }
    return addr;
}

static void assert_same_addr(const struct addr *a, const struct addr *b)
{
    assert_int_equal(a->len, b->len);
    assert_memory_equal(&a->sa, &b->sa, a->len);
}

static void assert_read_back(const struct proxy_message *message, const uint8_t *out, int bytes)
{
    struct proxy_header header;

    assert_true(bytes > 0);
    assert_int_equal(parse_exactly(&header, out, (size_t)bytes - 1), PARSE_MORE);
    assert_int_equal(parse_exactly(&header, out, (size_t)bytes), PARSE_DONE);
    assert_int_equal(header.bytes, bytes);
    assert_true(header.has_addrs);
    assert_int_equal(header.transport, message->transport);
    assert_same_addr(&header.source, message->source);
    assert_same_addr(&header.destination, message->destination);
    if (header.version == PROXY_V2)
        assert_int_equal(header.has_crc32c, message->checksum == PROXY_WITH_CRC32C);
}

static void assert_fields_read_back(const struct proxy_message *message, const uint8_t *out, int bytes)
{
    struct proxy_header header;
    struct proxy_tlv tlv;

    assert_int_equal(proxy_protocol_parse(&header, out, (size_t)bytes), PARSE_DONE);
    if (message->checksum == PROXY_WITH_CRC32C) {
        assert_true(proxy_tlv_next(&header.tlvs, out, &tlv));
        assert_int_equal(tlv.type, PROXY_TLV_CRC32C);
    }
    for (size_t i = 0; i < message->field_count; i++) {
        assert_true(proxy_tlv_next(&header.tlvs, out, &tlv));
        assert_int_equal(tlv.type, message->fields[i].type);
        assert_int_equal(tlv.value.end - tlv.value.at, message->fields[i].bytes);
        assert_memory_equal(out + tlv.value.at, message->fields[i].value, message->fields[i].bytes);
    }
    assert_false(proxy_tlv_next(&header.tlvs, out, &tlv));
}

static void random_messages_are_read_back(void **state)
{
    uint32_t seed = 20240607;
    uint8_t value[VALUE_BYTES_MAX];
    struct proxy_field fields[FIELDS_MAX];
    uint8_t out[PROXY_HEADER_BYTES_MAX];

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        enum proxy_family family = PROXY_INET + next_random(&seed) % 3;
        struct addr source = random_addr(family, &seed);
        struct addr destination = random_addr(family, &seed);
        struct proxy_message message = message_of(&source, &destination);
        int bytes;

        fill_random(value, sizeof(value), &seed);
        message.fields = fields;
        message.field_count = next_random(&seed) % (FIELDS_MAX + 1);
        for (size_t i = 0; i < message.field_count; i++)
            fields[i] = (struct proxy_field){(uint8_t)(PROXY_TLV_CUSTOM_FIRST + next_random(&seed) % 16),
                                             (uint16_t)(next_random(&seed) % (VALUE_BYTES_MAX + 1)), value};
        message.checksum = next_random(&seed) % 2 ? PROXY_WITH_CRC32C : PROXY_WITHOUT_CHECKSUM;
        if (family != PROXY_UNIX)
            assert_read_back(&message, out, proxy_protocol_build_v1(out, sizeof(out), &message));
        message.transport = PROXY_STREAM + next_random(&seed) % 2;
        bytes = proxy_protocol_build_v2(out, sizeof(out), &message);
        assert_read_back(&message, out, bytes);
        assert_fields_read_back(&message, out, bytes);
    }
}

/* Starting as headers do, so that they get anywhere at all; the address sanitizer watches. */
static void random_bytes_have_one_verdict_at_every_length(void **state)
{
    static const struct bytes starts[] = {BYTES(""), BYTES("PROXY TCP4 "), BYTES(SIGNATURE "\x21\x11\x00")};
    uint32_t seed = 1;
    uint8_t data[160];
    struct proxy_header header;

    (void)state;
    for (int round = 0; round < ROUNDS / 10; round++) {
        const struct bytes *start = &starts[(size_t)round % COUNT_OF(starts)];
        enum parse_outcome verdict = PARSE_MORE;

        fill_random(data, sizeof(data), &seed);
        memcpy(data, start->at, start->len);
        for (size_t len = 0; len <= sizeof(data); len++) {
            enum parse_outcome outcome = parse_exactly(&header, data, len);

            assert_true(verdict == PARSE_MORE || outcome == verdict);
            verdict = outcome;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_as_specified),
        cmocka_unit_test(mapped_pair_is_sent_as_ip4),
        cmocka_unit_test(line_of_mixed_families_is_ip6_without_dots),
        cmocka_unit_test(longest_line_fits),
        cmocka_unit_test(what_version_1_cannot_say_is_unknown),
        cmocka_unit_test(binary_headers_are_as_specified),
        cmocka_unit_test(fields_follow_the_checksum),
        cmocka_unit_test(addresses_that_do_not_go_together_are_not_sent),
        cmocka_unit_test(paths_are_filled_up_with_nuls),
        cmocka_unit_test(path_that_fills_its_field_is_sent_whole),
        cmocka_unit_test(unnamed_socket_is_an_empty_path),
        cmocka_unit_test(buffer_is_never_overrun),
        cmocka_unit_test(header_longer_than_its_bound_is_refused),
        cmocka_unit_test(fields_that_a_receiver_may_refuse_are_refused),
        cmocka_unit_test(random_messages_are_read_back),
        cmocka_unit_test(random_bytes_have_one_verdict_at_every_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
