/* control_words: a line as words, and words as a line. */
#include "admin/control_words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LINE_BYTES = 512 };

static char line[LINE_BYTES];
static struct control_words words;

static const char *split(const char *text)
{
    snprintf(line, sizeof(line), "%s", text);
    return control_words_split(&words, line);
}

static void assert_words(const char *text, size_t count, const char *const expected[])
{
    assert_null(split(text));
    assert_int_equal(words.count, count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(words.word[i], expected[i]);
}

static void words_are_separated_by_any_number_of_blanks(void **state)
{
    (void)state;
    assert_words("stop", 1, (const char *const[]){"stop"});
    assert_words("  stop   now ", 2, (const char *const[]){"stop", "now"});
    assert_words("", 0, NULL);
    assert_words("    ", 0, NULL);
}

static void a_json_string_is_one_word_whatever_is_in_it(void **state)
{
    (void)state;
    assert_words("eval 0 \"return 1\"", 3, (const char *const[]){"eval", "0", "return 1"});
    assert_words("\"a b\" \"\" c", 3, (const char *const[]){"a b", "", "c"});
    assert_words("\"\\\"\\n\\t\\\\\"", 1, (const char *const[]){"\"\n\t\\"});
    assert_words("\"\\u00e9\\ud83d\\ude00\"", 1, (const char *const[]){"é😀"});
    assert_words("\"é\"  x", 2, (const char *const[]){"é", "x"});
}

static void a_quotation_mark_within_a_word_is_nothing_special(void **state)
{
    (void)state;
    assert_words("a\"b c\"", 2, (const char *const[]){"a\"b", "c\""});
}

static void what_is_no_json_string_is_refused(void **state)
{
    const char *const wrong[] = {"\"", "eval \"abc", "\"\\x\"", "\"a\nb\"", "\"\\u0000\"", "\"\xff\"", "\"\\ud83d\""};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        assert_non_null(split(wrong[i]));
    assert_string_equal(split("\"a\"b"), "a blank must follow a JSON string");
}

static void there_may_be_so_many_words(void **state)
{
    (void)state;
    assert_null(split("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"));
    assert_int_equal(words.count, CONTROL_WORDS_MAX);
    assert_string_equal(split("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17"), "too many words");
}

static void joined_words_are_the_same_when_split(void **state)
{
    const char *const given[] = {"eval", "0", "return {\n  'x y',\t\"z\"\n}", "", "\"", "é", "a\\b", "\x01"};
    char *joined = control_words_join(given, COUNT_OF(given));

    (void)state;
    assert_non_null(joined);
    assert_null(strchr(joined, '\n'));
    assert_words(joined, COUNT_OF(given), given);
    free(joined);
}

static void what_needs_no_quotes_gets_none(void **state)
{
    char *joined = control_words_join((const char *const[]){"server", "app", "[::1]:80", "down"}, 4);

    (void)state;
    assert_string_equal(joined, "server app [::1]:80 down");
    free(joined);
}

static void what_json_cannot_say_is_not_joined(void **state)
{
    (void)state;
    assert_null(control_words_join((const char *const[]){"eval", "a \xff"}, 2));
}

static void a_number_is_digits_alone_and_not_too_great(void **state)
{
    static const char *const others[] = {"", "-1", "+1", " 1", "1 ", "1x", "0x1", "256", "18446744073709551616"};
    uint64_t number = 7;

    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(control_word_is_number(others[i], 255, &number));
    assert_false(control_word_is_number("18446744073709551616", UINT64_MAX, &number));
    assert_int_equal(number, 7);
    assert_true(control_word_is_number("255", 255, &number));
    assert_int_equal(number, 255);
    assert_true(control_word_is_number("18446744073709551615", UINT64_MAX, &number));
    assert_true(number == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_separated_by_any_number_of_blanks),
        cmocka_unit_test(a_json_string_is_one_word_whatever_is_in_it),
        cmocka_unit_test(a_quotation_mark_within_a_word_is_nothing_special),
        cmocka_unit_test(what_is_no_json_string_is_refused),
        cmocka_unit_test(there_may_be_so_many_words),
        cmocka_unit_test(joined_words_are_the_same_when_split),
        cmocka_unit_test(what_needs_no_quotes_gets_none),
        cmocka_unit_test(what_json_cannot_say_is_not_joined),
        cmocka_unit_test(a_number_is_digits_alone_and_not_too_great),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
