/* http_scan: the classes, and that sixteen bytes at a time find what one at a time finds. */
#include "proto/http_scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"

enum { TEXT_BYTES = 70 };

static const enum http_class scanned[] = {HTTP_IN_TOKEN, HTTP_IN_VALUE, HTTP_IN_PATH, HTTP_IN_QUERY};
static const uint8_t fillings[] = {'a', 'Z', '-', '9', '_', '~', '!'}; /* of all four classes */

static uint32_t scan(enum http_class class, const uint8_t *data, uint32_t at, uint32_t end)
{
    switch (class) {
    case HTTP_IN_TOKEN: return http_scan(HTTP_IN_TOKEN, data, at, end);
    case HTTP_IN_VALUE: return http_scan(HTTP_IN_VALUE, data, at, end);
    case HTTP_IN_PATH: return http_scan(HTTP_IN_PATH, data, at, end);
    default: return http_scan(HTTP_IN_QUERY, data, at, end);
    }
}

/* With any byte at any place of a text of any filling. */
static void assert_all_places(enum http_class class, uint8_t filling)
{
    uint8_t text[TEXT_BYTES];

    memset(text, filling, sizeof(text));
    for (uint32_t place = 0; place < TEXT_BYTES; place++) {
        for (int byte = 0; byte < 256; byte++) {
            text[place] = (uint8_t)byte;
            assert_int_equal(scan(class, text, 0, TEXT_BYTES), http_scan_scalar(class, text, 0, TEXT_BYTES));
            assert_int_equal(scan(class, text, 3, TEXT_BYTES - 5), http_scan_scalar(class, text, 3, TEXT_BYTES - 5));
        }
        text[place] = filling;
    }
}

static void blocks_find_what_bytes_find(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(scanned); i++) {
        for (size_t j = 0; j < COUNT_OF(fillings); j++)
            assert_all_places(scanned[i], fillings[j]);
    }
}

static void scan_stops_at_the_end_of_what_is_there(void **state)
{
    static const uint8_t text[TEXT_BYTES] = {[0 ... TEXT_BYTES - 1] = 'a'};

    (void)state;
    for (uint32_t end = 0; end <= TEXT_BYTES; end++)
        assert_int_equal(http_scan(HTTP_IN_VALUE, text, 0, end), end);
}

static bool is_in(int byte, const char *marks)
{
    return byte > 0 && strchr(marks, byte);
}

static void classes_are_those_of_the_grammar(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        uint8_t b = (uint8_t)byte;
        bool is_digit = byte >= '0' && byte <= '9';
        bool is_alnum = is_digit || ((byte | 32) >= 'a' && (byte | 32) <= 'z' && byte < 128);
        bool is_visible = byte > ' ' && byte < 0x7f;

        assert_int_equal(http_is(b, HTTP_IN_TOKEN), is_alnum || is_in(byte, "!#$%&'*+-.^_`|~"));
        assert_int_equal(http_is(b, HTTP_IN_VALUE), is_visible || byte == ' ' || byte == '\t' || byte >= 0x80);
        assert_int_equal(http_is(b, HTTP_IN_PATH), is_visible && !is_in(byte, "\"#<>?\\"));
        assert_int_equal(http_is(b, HTTP_IN_QUERY), is_visible && !is_in(byte, "\"#<>"));
        assert_int_equal(http_is(b, HTTP_IN_HOST), is_alnum || is_in(byte, "-._~"));
        assert_int_equal(http_is(b, HTTP_IN_DIGIT), is_digit);
        assert_int_equal(http_is(b, HTTP_IN_HEX), is_digit || is_in(byte, "abcdefABCDEF"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_find_what_bytes_find),
        cmocka_unit_test(scan_stops_at_the_end_of_what_is_there),
        cmocka_unit_test(classes_are_those_of_the_grammar),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
