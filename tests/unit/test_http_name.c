/* http_name: known words in any case, and what may be written. */
#include "proto/http_name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static enum http_name find(const char *name)
{
    return http_name_find((const uint8_t *)name, strlen(name));
}

static void every_known_name_is_found_in_any_case(void **state)
{
    char text[64];

    (void)state;
    for (int name = HTTP_NAME_OTHER + 1; name < HTTP_NAMES; name++) {
        assert_int_equal(find(http_name_text((enum http_name)name)), name);
        snprintf(text, sizeof(text), "%s", http_name_text((enum http_name)name));
        for (size_t i = 0; text[i]; i += 2) {
            if (text[i] >= 'a')
                text[i] = (char)(text[i] - 32);
        }
        assert_int_equal(find(text), name);
    }
}

static void name_that_differs_in_a_letter_is_another(void **state)
{
    char text[64];

    (void)state;
    for (int name = HTTP_NAME_OTHER + 1; name < HTTP_NAMES; name++) {
        snprintf(text, sizeof(text), "%s", http_name_text((enum http_name)name));
        for (size_t i = 0; text[i]; i++) {
            char right = text[i];

            text[i] = right == '!' ? 'x' : '!';
            assert_int_equal(find(text), HTTP_NAME_OTHER);
            text[i] = right == 'q' ? 'z' : 'q';
            assert_int_equal(find(text), HTTP_NAME_OTHER);
            text[i] = right;
        }
        snprintf(text, sizeof(text), "%sx", http_name_text((enum http_name)name));
        assert_int_equal(find(text), HTTP_NAME_OTHER);
    }
    assert_int_equal(find("x"), HTTP_NAME_OTHER);
    assert_int_equal(find("a-name-longer-than-any-of-those-that-are-known"), HTTP_NAME_OTHER);
}

static void method_is_found_as_it_is_spelled(void **state)
{
    (void)state;
    for (int method = HTTP_METHOD_OTHER + 1; method < HTTP_METHODS; method++) {
        const char *text = http_method_text((enum http_method)method);

        assert_int_equal(http_method_find((const uint8_t *)text, strlen(text)), method);
        assert_int_equal(http_method_find((const uint8_t *)text, strlen(text) - 1), HTTP_METHOD_OTHER);
    }
    assert_int_equal(http_method_find((const uint8_t *)"get", 3), HTTP_METHOD_OTHER);
}

static bool name_is_valid(const char *name)
{
    return http_name_is_valid(name, strlen(name));
}

static bool value_is_valid(const char *value)
{
    return http_value_is_valid(value, strlen(value));
}

static void written_name_is_a_token(void **state)
{
    (void)state;
    assert_true(name_is_valid("X-Request_Id.1~"));
    assert_false(name_is_valid(""));
    assert_false(name_is_valid("X Y"));
    assert_false(name_is_valid("X:"));
    assert_false(name_is_valid("X\r\nY"));
    assert_false(name_is_valid("caf\xc3\xa9"));
    assert_false(http_name_is_valid("X\0Y", 3));
}

static void written_value_splits_no_head(void **state)
{
    (void)state;
    assert_true(value_is_valid(""));
    assert_true(value_is_valid("a \t\"b\" caf\xc3\xa9"));
    assert_false(value_is_valid("a\r\nSet-Cookie: b"));
    assert_false(value_is_valid("a long value that does not end well: \n"));
    assert_false(value_is_valid("a\rb"));
    assert_false(value_is_valid("a\x7f"));
    assert_false(value_is_valid(" a"));
    assert_false(value_is_valid("a\t"));
    assert_false(http_value_is_valid("a\0b", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_known_name_is_found_in_any_case),
        cmocka_unit_test(name_that_differs_in_a_letter_is_another),
        cmocka_unit_test(method_is_found_as_it_is_spelled),
        cmocka_unit_test(written_name_is_a_token),
        cmocka_unit_test(written_value_splits_no_head),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
