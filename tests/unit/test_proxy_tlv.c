/* proxy_tlv: walking through fields, in order and within their bounds. */
#include "proto/proxy_tlv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy_headers.h"

static struct proxy_span all_of(struct bytes bytes)
{
    return (struct proxy_span){0, (uint32_t)bytes.len};
}

static const uint8_t *data_of(struct bytes bytes)
{
    return (const uint8_t *)bytes.at;
}

static void assert_value(struct bytes bytes, const struct proxy_tlv *tlv, const char *value)
{
    assert_int_equal(tlv->value.end - tlv->value.at, strlen(value));
    assert_memory_equal(bytes.at + tlv->value.at, value, strlen(value));
}

static void assert_problem(struct bytes bytes, const char *expected)
{
    struct proxy_tlv checksum;
    const char *problem = proxy_tlv_problem(all_of(bytes), data_of(bytes), &checksum);

    if (expected)
        assert_string_equal(problem, expected);
    else
        assert_null(problem);
}

static void fields_come_in_their_order(void **state)
{
    struct bytes bytes = BYTES("\x01\0\2h2\x04\0\0\xe0\0\3own");
    struct proxy_span rest = all_of(bytes);
    struct proxy_tlv tlv;

    (void)state;
    assert_true(proxy_tlv_next(&rest, data_of(bytes), &tlv));
    assert_int_equal(tlv.type, PROXY_TLV_ALPN);
    assert_value(bytes, &tlv, "h2");
    assert_true(proxy_tlv_next(&rest, data_of(bytes), &tlv));
    assert_int_equal(tlv.type, PROXY_TLV_NOOP);
    assert_value(bytes, &tlv, "");
    assert_true(proxy_tlv_next(&rest, data_of(bytes), &tlv));
    assert_int_equal(tlv.type, PROXY_TLV_CUSTOM_FIRST);
    assert_value(bytes, &tlv, "own");
    assert_false(proxy_tlv_next(&rest, data_of(bytes), &tlv));
    assert_int_equal(rest.at, rest.end);
}

static void walk_stops_before_a_field_that_does_not_fit(void **state)
{
    static const struct bytes cut[] = {{"\x04\0\0\x01", 4},
                                       {"\x04\0\0\x01\0", 5},
                                       {"\x04\0\0\x01\0\2h", 7},
                                       {"\x04\0\0\x01\xff\xffh", 7}};
    struct proxy_tlv tlv;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cut); i++) {
        struct proxy_span rest = all_of(cut[i]);

        assert_true(proxy_tlv_next(&rest, data_of(cut[i]), &tlv));
        assert_false(proxy_tlv_next(&rest, data_of(cut[i]), &tlv));
        assert_int_equal(rest.at, 3);
        assert_problem(cut[i], "a field does not fit into the header");
    }
}

static void first_of_a_type_is_found(void **state)
{
    struct bytes bytes = BYTES("\x01\0\2h2\x02\0\1a\x02\0\1b");
    struct proxy_tlv tlv;

    (void)state;
    assert_true(proxy_tlv_find(all_of(bytes), data_of(bytes), PROXY_TLV_AUTHORITY, &tlv));
    assert_value(bytes, &tlv, "a");
    assert_false(proxy_tlv_find(all_of(bytes), data_of(bytes), PROXY_TLV_NETNS, &tlv));
}

static void ssl_field_has_fields_inside(void **state)
{
    struct bytes bytes = BYTES("\x20\0\x0f\x05\1\2\3\4\x21\0\7TLSv1.3");
    struct proxy_tlv tlv;
    struct proxy_ssl ssl;

    (void)state;
    assert_problem(bytes, NULL);
    assert_true(proxy_tlv_find(all_of(bytes), data_of(bytes), PROXY_TLV_SSL, &tlv));
    assert_true(proxy_tlv_read_ssl(&tlv, data_of(bytes), &ssl));
    assert_int_equal(ssl.client, PROXY_SSL_CLIENT_TLS | PROXY_SSL_CLIENT_CERT_SESS);
    assert_int_equal(ssl.verify, 0x01020304);
    assert_true(proxy_tlv_next(&ssl.inner, data_of(bytes), &tlv));
    assert_int_equal(tlv.type, PROXY_SSL_VERSION);
    assert_value(bytes, &tlv, "TLSv1.3");
    assert_false(proxy_tlv_next(&ssl.inner, data_of(bytes), &tlv));
}

static void ssl_field_is_checked_inside(void **state)
{
    struct bytes bytes = BYTES("\x20\0\4\5\0\0\0");
    struct proxy_tlv tlv = {PROXY_TLV_SSL, {3, 7}};
    struct proxy_ssl ssl;

    (void)state;
    assert_false(proxy_tlv_read_ssl(&tlv, data_of(bytes), &ssl));
    assert_problem(bytes, "an SSL field of less than 5 bytes");
    assert_problem(BYTES("\x20\0\5\5\0\0\0\0"), NULL);
    assert_problem(BYTES("\x20\0\6\5\0\0\0\0\x21"), "a field inside the SSL field does not fit into it");
    /* what would be its value belongs to the field behind */
    assert_problem(BYTES("\x20\0\x08\5\0\0\0\0\x21\0\3\x04\0\0"), "a field inside the SSL field does not fit into it");
}

static void checksum_has_four_bytes_and_comes_once(void **state)
{
    (void)state;
    assert_problem(BYTES("\x03\0\4abcd"), NULL);
    assert_problem(BYTES("\x03\0\3abc"), "a checksum that has not 4 bytes");
    assert_problem(BYTES("\x03\0\5abcde"), "a checksum that has not 4 bytes");
    assert_problem(BYTES("\x03\0\4abcd\x03\0\4abcd"), "two checksums");
}

static void unique_id_has_at_most_128_bytes(void **state)
{
    char field[PROXY_TLV_HEAD_BYTES + 129] = "\x05\0\x80";

    (void)state;
    assert_problem((struct bytes){field, sizeof(field) - 1}, NULL);
    field[2]++;
    assert_problem((struct bytes){field, sizeof(field)}, "a unique id of more than 128 bytes");
}

static void no_fields_are_no_problem(void **state)
{
    (void)state;
    assert_problem(BYTES(""), NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_come_in_their_order),
        cmocka_unit_test(walk_stops_before_a_field_that_does_not_fit),
        cmocka_unit_test(first_of_a_type_is_found),
        cmocka_unit_test(ssl_field_has_fields_inside),
        cmocka_unit_test(ssl_field_is_checked_inside),
        cmocka_unit_test(checksum_has_four_bytes_and_comes_once),
        cmocka_unit_test(unique_id_has_at_most_128_bytes),
        cmocka_unit_test(no_fields_are_no_problem),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
