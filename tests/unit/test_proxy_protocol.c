/* proxy_protocol: reading headers, whole, cut and damaged. */
#include "proto/proxy_protocol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "proxy_headers.h"

#define LONGEST_IP6 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
#define V1_LONGEST "PROXY UNKNOWN " LONGEST_IP6 " " LONGEST_IP6 " 65535 65535\r\n"

static const struct bytes whole_headers[] = {
    BYTES("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"),
    BYTES("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"),
    BYTES("PROXY TCP6 2001:db8::1 2001:DB8::2 56324 443\r\n"),
    BYTES("PROXY TCP6 " LONGEST_IP6 " " LONGEST_IP6 " 65535 65535\r\n"),
    BYTES("PROXY UNKNOWN\r\n"),
    BYTES(V1_LONGEST),
    BYTES(V2_INET),
    BYTES(V2_INET6),
    BYTES(V2_LOCAL),
    BYTES(V2_CRC32C),
    BYTES(V2_SSL),
};

static void assert_bad(struct bytes bytes, const char *problem)
{
    struct proxy_header header;

    assert_int_equal(parse_exactly(&header, bytes.at, bytes.len), PARSE_BAD);
    assert_string_equal(header.problem, problem);
}

static struct proxy_header parse_whole(struct bytes bytes)
{
    struct proxy_header header;

    assert_int_equal(parse_exactly(&header, bytes.at, bytes.len), PARSE_DONE);
    assert_int_equal(header.bytes, bytes.len);
    assert_null(header.problem);
    return header;
}

static void assert_addrs(struct bytes bytes, const char *source, const char *destination)
{
    struct proxy_header header = parse_whole(bytes);
    char text[ADDR_TEXT_MAX];

    assert_int_equal(header.command, PROXY_PROXY);
    assert_true(header.has_addrs);
    assert_string_equal(addr_format(&header.source, text), source);
    assert_string_equal(addr_format(&header.destination, text), destination);
}

/* ---- version 1 ---- */

static void line_of_the_specification_is_read(void **state)
{
    struct bytes bytes = BYTES("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n");
    struct proxy_header header = parse_whole(bytes);

    (void)state;
    assert_addrs(bytes, "192.168.0.1:56324", "192.168.0.11:443");
    assert_int_equal(header.version, PROXY_V1);
    assert_int_equal(header.family, PROXY_INET);
    assert_int_equal(header.transport, PROXY_STREAM);
    assert_int_equal(header.tlvs.at, header.tlvs.end);
    assert_false(header.has_crc32c);
}

static void line_of_ip6_is_read(void **state)
{
    (void)state;
    assert_addrs(BYTES("PROXY TCP6 2001:db8::1 ::ABCD 1 65535\r\n"), "[2001:db8::1]:1", "[::abcd]:65535");
    assert_addrs(BYTES("PROXY TCP6 ::ffff:10.0.0.1 :: 0 0\r\n"), "10.0.0.1:0", "[::]:0");
    assert_int_equal(parse_whole(BYTES("PROXY TCP6 :: ::ffff:1.2.3.4 0 0\r\n")).family, PROXY_INET6);
}

static void unknown_ignores_the_rest_of_its_line(void **state)
{
    static const struct bytes lines[] = {BYTES("PROXY UNKNOWN\r\n"), BYTES("PROXY UNKNOWN \r\n"),
                                         BYTES("PROXY UNKNOWN a  b\0c\xff\r\n"),
                                         BYTES("PROXY UNKNOWN 1.2.3.4 5.6.7.8 1 2\r\n"), BYTES(V1_LONGEST)};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        struct proxy_header header = parse_whole(lines[i]);

        assert_int_equal(header.command, PROXY_PROXY);
        assert_int_equal(header.family, PROXY_UNSPEC);
        assert_false(header.has_addrs);
    }
}

static void line_longer_than_107_bytes_is_bad(void **state)
{
    (void)state;
    assert_int_equal(sizeof(V1_LONGEST) - 1, PROXY_V1_BYTES_MAX);
    assert_bad(BYTES("PROXY UNKNOWN  " LONGEST_IP6 " " LONGEST_IP6 " 65535 65535\r\n"), "no CRLF within 107 bytes");
    assert_bad(BYTES("PROXY UNKNOWN  " LONGEST_IP6 " " LONGEST_IP6 " 65535 65535\r"), "no CRLF within 107 bytes");
}

static void cr_and_lf_stand_together_only(void **state)
{
    (void)state;
    assert_bad(BYTES("PROXY UNKNOWN\n"), "LF without CR");
    assert_bad(BYTES("PROXY UNKNOWN\r\r\n"), "CR without LF");
    assert_bad(BYTES("PROXY UNKNOWN\rx"), "CR without LF");
    assert_bad(BYTES("PROXY \n"), "LF without CR");
}

static void protocol_is_one_of_three_words(void **state)
{
    static const struct bytes lines[] = {
        BYTES("PROXY \r\n"),          BYTES("PROXY TCP\r\n"),      BYTES("PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n"),
        BYTES("PROXY UNKNOWNS\r\n"),  BYTES("PROXY  UNKNOWN\r\n"), BYTES("PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n"),
        BYTES("PROXY UNKNOWN\0\r\n"),
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(lines); i++)
        assert_bad(lines[i], "a protocol other than TCP4, TCP6 and UNKNOWN");
}

static void line_has_four_fields_with_one_space_between(void **state)
{
    static const struct bytes lines[] = {
        BYTES("PROXY TCP4\r\n"),
        BYTES("PROXY TCP4 \r\n"),
        BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n"),
        BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n"),
        BYTES("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n"),
        BYTES("PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n"),
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(lines); i++)
        assert_bad(lines[i], "not two addresses and two ports, one space between them");
}

static void ports_are_plain_decimal(void **state)
{
    static const char *const ports[] = {"65536", "99999", "100000", "4294967297", "00", "01",
                                        "+1",    "-1",    "0x1",    "1a",         "",   "\t1"};
    char line[PROXY_V1_BYTES_MAX];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(ports); i++) {
        int len = snprintf(line, sizeof(line), "PROXY TCP4 1.2.3.4 1.2.3.4 1 %s\r\n", ports[i]);

        assert_bad((struct bytes){line, (size_t)len}, "a port that is no decimal number from 0 to 65535");
        len = snprintf(line, sizeof(line), "PROXY TCP4 1.2.3.4 1.2.3.4 %s 1\r\n", ports[i]);
        assert_bad((struct bytes){line, (size_t)len}, "a port that is no decimal number from 0 to 65535");
    }
    assert_addrs(BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 0 65535\r\n"), "1.2.3.4:0", "5.6.7.8:65535");
}

static void addresses_are_of_the_family_and_exact(void **state)
{
    static const struct bytes lines[] = {
        BYTES("PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n"),
        BYTES("PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n"),
        BYTES("PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n"),
        BYTES("PROXY TCP4 1.2.3.4. 1.2.3.4 1 2\r\n"),
        BYTES("PROXY TCP4 1.2.3.4\0x 1.2.3.4 1 2\r\n"),
        BYTES("PROXY TCP4 ::1 ::1 1 2\r\n"),
        BYTES("PROXY TCP4 localhost 1.2.3.4 1 2\r\n"),
        BYTES("PROXY TCP6 1.2.3.4 ::1 1 2\r\n"),
        BYTES("PROXY TCP6 ::1 1.2.3.4 1 2\r\n"),
        BYTES("PROXY TCP6 fe80::1%1 ::1 1 2\r\n"),
        BYTES("PROXY TCP6 [::1] ::1 1 2\r\n"),
        BYTES("PROXY TCP6 1::2::3 ::1 1 2\r\n"),
        BYTES("PROXY TCP6 12345::1 ::1 1 2\r\n"),
        BYTES("PROXY TCP6 1:2:3:4:5:6:7 ::1 1 2\r\n"),
        BYTES("PROXY TCP6 0000:0000:0000:0000:0000:ffff:255.255.255.2555 ::1 1 2\r\n"),
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(lines); i++)
        assert_bad(lines[i], "an address that is none of its family");
    assert_bad(BYTES("PROXY TCP4  1.2.3.4 1 2\r\n"), "an address that is none of its family");
}

/* ---- version 2 ---- */

static void binary_ip4_is_read(void **state)
{
    struct proxy_header header = parse_whole(BYTES(V2_INET));

    (void)state;
    assert_addrs(BYTES(V2_INET), "192.168.0.1:56324", "192.168.0.11:443");
    assert_int_equal(header.version, PROXY_V2);
    assert_int_equal(header.family, PROXY_INET);
    assert_int_equal(header.transport, PROXY_STREAM);
    assert_int_equal(header.source.len, sizeof(struct sockaddr_in));
}

static void binary_ip6_is_read(void **state)
{
    struct proxy_header header = parse_whole(BYTES(V2_INET6));

    (void)state;
    assert_addrs(BYTES(V2_INET6), "[2001:db8::1]:56324", "[2001:db8::2]:443");
    assert_int_equal(header.family, PROXY_INET6);
    assert_int_equal(header.source.len, sizeof(struct sockaddr_in6));
}

static void datagrams_are_told_from_streams(void **state)
{
    struct bytes bytes = BYTES(SIGNATURE "\x21\x12\x00\x0c" ADDRS_INET);

    (void)state;
    assert_addrs(bytes, "192.168.0.1:56324", "192.168.0.11:443");
    assert_int_equal(parse_whole(bytes).transport, PROXY_DGRAM);
}

static void assert_paths(const char *paths, const char *source, const char *destination)
{
    char data[PROXY_V2_HEAD_BYTES + PROXY_V2_UNIX_BYTES] = SIGNATURE "\x21\x31\x00\xd8";

    memcpy(data + PROXY_V2_HEAD_BYTES, paths, PROXY_V2_UNIX_BYTES);
    assert_addrs((struct bytes){data, sizeof(data)}, source, destination);
    assert_int_equal(parse_whole((struct bytes){data, sizeof(data)}).family, PROXY_UNIX);
}

static void unix_paths_are_read(void **state)
{
    char paths[PROXY_V2_UNIX_BYTES] = "/run/a.sock";

    (void)state;
    assert_paths(paths, "unix:/run/a.sock", "unix:");
    memcpy(paths + PROXY_V2_PATH_BYTES, "\0abstract", 9);
    assert_paths(paths, "unix:/run/a.sock", "unix:@abstract");
}

static void unix_path_may_fill_its_field(void **state)
{
    char paths[PROXY_V2_UNIX_BYTES];
    char expected[ADDR_TEXT_MAX] = "unix:";

    (void)state;
    memset(paths, 'p', sizeof(paths));
    memset(expected + strlen(expected), 'p', PROXY_V2_PATH_BYTES);
    assert_paths(paths, expected, expected);
}

static void unix_addresses_are_as_the_kernel_gives_them(void **state)
{
    char data[PROXY_V2_HEAD_BYTES + PROXY_V2_UNIX_BYTES] = SIGNATURE "\x21\x31\x00\xd8"
                                                                     "/run/a.sock";
    struct proxy_header header = parse_whole((struct bytes){data, sizeof(data)});
    struct addr expected;

    (void)state;
    assert_int_equal(addr_parse_unix(&expected, "/run/a.sock"), 0);
    assert_int_equal(header.source.len, expected.len);
    assert_memory_equal(&header.source.sa, &expected.sa, expected.len);
    assert_int_equal(header.destination.len, sizeof(sa_family_t)); /* unnamed */
}

static void local_is_accepted_whatever_follows(void **state)
{
    static const struct bytes headers[] = {
        BYTES(V2_LOCAL),
        BYTES(SIGNATURE "\x20\x11\x00\x0c" ADDRS_INET),
        BYTES(SIGNATURE "\x20\x11\x00\x03"
                        "abc"),
        BYTES(SIGNATURE "\x20\xff\x00\x03"
                        "abc"),
        BYTES(SIGNATURE "\x20\x00\x00\x04"
                        "\x04\x00\x09"
                        "x"),
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(headers); i++) {
        struct proxy_header header = parse_whole(headers[i]);

        assert_int_equal(header.command, PROXY_LOCAL);
        assert_int_equal(header.family, PROXY_UNSPEC);
        assert_false(header.has_addrs);
        assert_int_equal(header.tlvs.at, header.tlvs.end);
    }
}

static void unknown_family_or_transport_has_no_addresses(void **state)
{
    struct proxy_header header = parse_whole(BYTES(SIGNATURE "\x21\x00\x00\x04"
                                                             "\x04\x00\x01"
                                                             "x"));

    (void)state;
    assert_false(header.has_addrs);
    assert_int_equal(header.tlvs.at, PROXY_V2_HEAD_BYTES);
    assert_int_equal(header.tlvs.end, header.bytes);
    assert_bad(BYTES(SIGNATURE "\x21\x00\x00\x05"
                               "hello"),
               "a field does not fit into the header");
    header = parse_whole(BYTES(SIGNATURE "\x21\x10\x00\x0c" ADDRS_INET));
    assert_int_equal(header.family, PROXY_INET);
    assert_false(header.has_addrs);
}

static void head_is_exact(void **state)
{
    (void)state;
    assert_bad(BYTES(SIGNATURE "\x11\x11\x00\x0c" ADDRS_INET), "a binary header of a version other than 2");
    assert_bad(BYTES(SIGNATURE "\x22\x11\x00\x0c" ADDRS_INET), "an unknown command");
    assert_bad(BYTES(SIGNATURE "\x21\x41\x00\x0c" ADDRS_INET), "an unknown family or transport");
    assert_bad(BYTES(SIGNATURE "\x21\x13\x00\x0c" ADDRS_INET), "an unknown family or transport");
    assert_bad(BYTES(SIGNATURE "\x21\x11\x00\x0b" ADDRS_INET), "too short for its addresses");
    assert_bad(BYTES(SIGNATURE "\x21\x21\x00\x23" ADDRS_INET6), "too short for its addresses");
    assert_bad(BYTES(SIGNATURE "\x21\x31\x00\xd7"), "too short for its addresses");
}

static void length_has_a_bound(void **state)
{
    char data[PROXY_HEADER_BYTES_MAX] = SIGNATURE "\x20\x00\x0f\xf0";
    struct proxy_header header;

    (void)state;
    assert_int_equal(parse_exactly(&header, data, sizeof(data)), PARSE_DONE);
    assert_int_equal(header.bytes, PROXY_HEADER_BYTES_MAX);
    assert_int_equal(parse_exactly(&header, data, sizeof(data) - 1), PARSE_MORE);
    data[15]++;
    assert_bad((struct bytes){data, PROXY_V2_HEAD_BYTES}, "longer than any header may be");
}

static void fields_fill_the_header_exactly(void **state)
{
    (void)state;
    assert_bad(BYTES(SIGNATURE "\x21\x11\x00\x0d" ADDRS_INET "\x04"), "a field does not fit into the header");
    /* the field is longer than the header, its bytes are there all the same */
    assert_bad(BYTES(SIGNATURE "\x21\x11\x00\x14" ADDRS_INET "\x02\x00\x0a"
                               "1234512345"),
               "a field does not fit into the header");
    assert_bad(BYTES(SIGNATURE "\x21\x11\x00\x14" ADDRS_INET "\x02\x00\x04"
                               "12341"),
               "a field does not fit into the header");
}

static void what_follows_the_header_is_not_its(void **state)
{
    static const char data[] = SIGNATURE "\x21\x11\x00\x14" ADDRS_INET "\x02\x00\x05"
                                         "12345"
                                         "\x02\x00\x05"
                                         "54321";
    struct proxy_header header;
    struct proxy_tlv tlv;

    (void)state;
    assert_int_equal(parse_exactly(&header, data, sizeof(data) - 1), PARSE_DONE);
    assert_int_equal(header.bytes, sizeof(data) - 1 - 8);
    assert_true(proxy_tlv_find(header.tlvs, (const uint8_t *)data, PROXY_TLV_AUTHORITY, &tlv));
    assert_memory_equal(data + tlv.value.at, "12345", 5);
    assert_int_equal(tlv.value.end, header.bytes);
    assert_int_equal(parse_exactly(&header, "PROXY UNKNOWN\r\n\r\n", 17), PARSE_DONE);
    assert_int_equal(header.bytes, 15);
}

static void right_checksum_is_accepted(void **state)
{
    struct proxy_header header = parse_whole(BYTES(V2_CRC32C));

    (void)state;
    assert_true(header.has_crc32c);
    assert_addrs(BYTES(V2_CRC32C), "192.168.0.1:56324", "192.168.0.11:443");
    assert_false(parse_whole(BYTES(V2_INET)).has_crc32c);
}

static void wrong_checksum_is_bad_for_local_too(void **state)
{
    char data[] = V2_CRC32C;

    (void)state;
    data[16] ^= 1;
    assert_bad((struct bytes){data, sizeof(data) - 1}, "the checksum is wrong");
    data[16] ^= 1;
    data[12] = 0x20; /* LOCAL, which the checksum was not made for */
    assert_bad((struct bytes){data, sizeof(data) - 1}, "the checksum is wrong");
}

static void ssl_field_is_found_in_its_header(void **state)
{
    struct bytes bytes = BYTES(V2_SSL);
    const uint8_t *data = (const uint8_t *)bytes.at;
    struct proxy_header header = parse_whole(bytes);
    struct proxy_tlv tlv;
    struct proxy_ssl ssl;

    (void)state;
    assert_true(proxy_tlv_find(header.tlvs, data, PROXY_TLV_SSL, &tlv));
    assert_true(proxy_tlv_read_ssl(&tlv, data, &ssl));
    assert_int_equal(ssl.verify, 1);
    assert_true(proxy_tlv_find(ssl.inner, data, PROXY_SSL_CN, &tlv));
    assert_memory_equal(bytes.at + tlv.value.at, "Alice", 5);
}

/* ---- both ---- */

static void every_cut_header_wants_more(void **state)
{
    struct proxy_header header;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(whole_headers); i++) {
        for (size_t len = 0; len < whole_headers[i].len; len++)
            assert_int_equal(parse_exactly(&header, whole_headers[i].at, len), PARSE_MORE);
        parse_whole(whole_headers[i]);
    }
}

static void other_protocols_are_bad_with_their_first_wrong_byte(void **state)
{
    (void)state;
    assert_bad(BYTES("G"), "does not begin as either version does");
    assert_bad(BYTES("PO"), "does not begin as either version does");
    assert_bad(BYTES("PROXY\t"), "does not begin as either version does");
    assert_bad(BYTES("\r\n\r\n\r"), "does not begin as either version does");
    assert_bad(BYTES("\x16"), "does not begin as either version does");
    assert_bad(BYTES(SIGNATURE "P"), "a binary header of a version other than 2");
}

/* Hands every header with one byte replaced by every other value to the parser; calls back with what it is then. */
static void with_each_byte_damaged(struct bytes whole, void (*judge)(size_t, enum parse_outcome, struct proxy_header *))
{
    uint8_t *data = malloc(whole.len);
    struct proxy_header header;

    assert_non_null(data);
    memcpy(data, whole.at, whole.len);
    for (size_t i = 0; i < whole.len; i++) {
        for (unsigned change = 1; change < 256; change++) {
            data[i] ^= (uint8_t)change;
            judge(i, proxy_protocol_parse(&header, data, whole.len), &header);
            data[i] ^= (uint8_t)change;
        }
    }
    free(data);
}

static void judge_consistent(size_t at, enum parse_outcome outcome, struct proxy_header *header)
{
    (void)at;
    assert_int_equal(outcome == PARSE_BAD, header->problem != NULL);
    if (outcome != PARSE_DONE)
        return;
    assert_true(header->bytes > 0 && header->bytes <= PROXY_HEADER_BYTES_MAX);
    assert_true(header->tlvs.at <= header->tlvs.end && header->tlvs.end <= header->bytes);
}

static void no_damage_leads_out_of_bounds(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(whole_headers); i++)
        with_each_byte_damaged(whole_headers[i], judge_consistent);
}

/* Two places can hide that there is a checksum: the length of the header, when it then ends before the fields, and the
 * type of the field. A receiver that insists on has_crc32c is safe from these as well. */
static void judge_checked(size_t at, enum parse_outcome outcome, struct proxy_header *header)
{
    static const size_t length_at = PROXY_V2_HEAD_BYTES - 1;
    static const size_t type_at = PROXY_V2_HEAD_BYTES + PROXY_V2_INET_BYTES;

    if (outcome != PARSE_DONE)
        return;
    assert_true(at == length_at || at == type_at);
    assert_false(header->has_crc32c);
}

static void no_damaged_header_passes_its_checksum(void **state)
{
    (void)state;
    with_each_byte_damaged(BYTES(V2_CRC32C), judge_checked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_of_the_specification_is_read),
        cmocka_unit_test(line_of_ip6_is_read),
        cmocka_unit_test(unknown_ignores_the_rest_of_its_line),
        cmocka_unit_test(line_longer_than_107_bytes_is_bad),
        cmocka_unit_test(cr_and_lf_stand_together_only),
        cmocka_unit_test(protocol_is_one_of_three_words),
        cmocka_unit_test(line_has_four_fields_with_one_space_between),
        cmocka_unit_test(ports_are_plain_decimal),
        cmocka_unit_test(addresses_are_of_the_family_and_exact),
        cmocka_unit_test(binary_ip4_is_read),
        cmocka_unit_test(binary_ip6_is_read),
        cmocka_unit_test(datagrams_are_told_from_streams),
        cmocka_unit_test(unix_paths_are_read),
        cmocka_unit_test(unix_path_may_fill_its_field),
        cmocka_unit_test(unix_addresses_are_as_the_kernel_gives_them),
        cmocka_unit_test(local_is_accepted_whatever_follows),
        cmocka_unit_test(unknown_family_or_transport_has_no_addresses),
        cmocka_unit_test(head_is_exact),
        cmocka_unit_test(length_has_a_bound),
        cmocka_unit_test(fields_fill_the_header_exactly),
        cmocka_unit_test(what_follows_the_header_is_not_its),
        cmocka_unit_test(right_checksum_is_accepted),
        cmocka_unit_test(wrong_checksum_is_bad_for_local_too),
        cmocka_unit_test(ssl_field_is_found_in_its_header),
        cmocka_unit_test(every_cut_header_wants_more),
        cmocka_unit_test(other_protocols_are_bad_with_their_first_wrong_byte),
        cmocka_unit_test(no_damage_leads_out_of_bounds),
        cmocka_unit_test(no_damaged_header_passes_its_checksum),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
