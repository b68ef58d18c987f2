/* log_line: what one entry looks like, with a given time. */
#include "base/log_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

#define STAMP "2026-11-22T18:00:00.123Z"

/* 2026-11-22T18:00:00.123456789Z */
static const uint64_t wall_ns = 1795370400ULL * NS_PER_S + 123456789ULL;

/* The entry as a string, in static storage. */
static const char *format(enum log_format format, enum log_level level, const char *thread, const char *message,
                          size_t len)
{
    static char line[LOG_LINE_BYTES_MAX + 1];
    const struct log_entry entry = {
        .level = level,
        .wall_ns = wall_ns,
        .thread = thread,
        .message = message,
        .message_len = len,
    };
    size_t line_len = log_line_format(line, format, &entry);

    assert_in_range(line_len, 1, LOG_LINE_BYTES_MAX);
    line[line_len] = '\0';
    return line;
}

static const char *format_text(const char *message)
{
    return format(LOG_TEXT, LOG_INFO, NULL, message, strlen(message));
}

static const char *format_json(const char *message)
{
    return format(LOG_JSON, LOG_INFO, NULL, message, strlen(message));
}

#define TEXT_HEAD STAMP " info  "
#define JSON_HEAD "{\"time\":\"" STAMP "\",\"level\":\"info\",\"message\":\""

static void text_has_stamp_level_thread_and_message(void **state)
{
    (void)state;
    assert_string_equal(format_text("hello"), STAMP " info  hello\n");
    assert_string_equal(format(LOG_TEXT, LOG_ERROR, "r0", "hello", 5), STAMP " error [r0] hello\n");
    assert_string_equal(format(LOG_TEXT, LOG_INFO, "acceptor", "hello", 5), STAMP " info  [acceptor] hello\n");
}

static void json_is_one_object(void **state)
{
    (void)state;
    assert_string_equal(format_json("hello"), JSON_HEAD "hello\"}\n");
    assert_string_equal(format(LOG_JSON, LOG_WARN, "r0", "hello", 5),
                        "{\"time\":\"" STAMP "\",\"level\":\"warn\",\"thread\":\"r0\",\"message\":\"hello\"}\n");
}

static void empty_message_is_an_entry_too(void **state)
{
    (void)state;
    assert_string_equal(format_text(""), TEXT_HEAD "\n");
    assert_string_equal(format_json(""), JSON_HEAD "\"}\n");
}

static void following_lines_are_indented_in_text(void **state)
{
    (void)state;
    assert_string_equal(format_text("broken\nstack traceback:\n\t[C]: in ?\n"),
                        TEXT_HEAD "broken\n    stack traceback:\n    \t[C]: in ?\n");
}

static void message_cannot_forge_an_entry(void **state)
{
    (void)state;
    assert_string_equal(format_text("a\n" STAMP " error forged"), TEXT_HEAD "a\n    " STAMP " error forged\n");
    assert_string_equal(format_json("a\"}\n{\"level\":\"error"), JSON_HEAD "a\\\"}\\n{\\\"level\\\":\\\"error\"}\n");
}

static void control_bytes_are_escaped(void **state)
{
    (void)state;
    assert_string_equal(format(LOG_TEXT, LOG_INFO, NULL, "\0\r\033[2J\x7f", 7), TEXT_HEAD "\\x00\\x0d\\x1b[2J\\x7f\n");
    assert_string_equal(format(LOG_JSON, LOG_INFO, NULL, "\0\r\t\b\033\\", 6),
                        JSON_HEAD "\\u0000\\r\\t\\u0008\\u001b\\\\\"}\n");
    assert_string_equal(format_text("\xc2\x9b"), TEXT_HEAD "\\xc2\\x9b\n"); /* U+009B opens a terminal sequence too */
}

static void utf8_passes_and_other_bytes_are_escaped(void **state)
{
    (void)state;
    assert_string_equal(format_text("\xc3\xa4 \xe2\x82\xac \xf0\x9f\x90\x9c"),
                        TEXT_HEAD "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x90\x9c\n");
    assert_string_equal(format_text("\xff \xc3 \xe2\x82"), TEXT_HEAD "\\xff \\xc3 \\xe2\\x82\n");
    assert_string_equal(format_json("\xc3\xa4 \xff"), JSON_HEAD "\xc3\xa4 \\ufffd\"}\n");
}

static void too_long_is_cut_and_says_so(void **state)
{
    static char message[2 * LOG_LINE_BYTES_MAX];
    const char *line;

    (void)state;
    memset(message, 'x', sizeof(message));
    line = format(LOG_TEXT, LOG_INFO, NULL, message, sizeof(message));
    assert_string_equal(line + strlen(line) - 5, "x...\n");
    memset(message, '\1', sizeof(message));
    line = format(LOG_JSON, LOG_INFO, NULL, message, sizeof(message));
    assert_string_equal(line + strlen(line) - 12, "\\u0001...\"}\n");
}

static void longest_message_that_fits_is_whole(void **state)
{
    static char message[LOG_LINE_BYTES_MAX];
    size_t len = LOG_LINE_BYTES_MAX - strlen(TEXT_HEAD) - strlen("...\"}\n");
    const char *line;

    (void)state;
    memset(message, 'x', sizeof(message));
    line = format(LOG_TEXT, LOG_INFO, NULL, message, len);
    assert_int_equal(strlen(line), strlen(TEXT_HEAD) + len + 1);
    assert_null(strchr(line + strlen(TEXT_HEAD), '.'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_has_stamp_level_thread_and_message),
        cmocka_unit_test(json_is_one_object),
        cmocka_unit_test(empty_message_is_an_entry_too),
        cmocka_unit_test(following_lines_are_indented_in_text),
        cmocka_unit_test(message_cannot_forge_an_entry),
        cmocka_unit_test(control_bytes_are_escaped),
        cmocka_unit_test(utf8_passes_and_other_bytes_are_escaped),
        cmocka_unit_test(too_long_is_cut_and_says_so),
        cmocka_unit_test(longest_message_that_fits_is_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
