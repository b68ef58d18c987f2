/* HTTP status lines: in any pieces, and what is none. */
#include "proto/http_status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static enum parse_outcome parse(const char *text, uint16_t *status)
{
    return http_status_parse(status, (const uint8_t *)text, strlen(text));
}

static void assert_status(const char *text, uint16_t expected)
{
    uint16_t status = 0;

    assert_int_equal(parse(text, &status), PARSE_DONE);
    assert_int_equal(status, expected);
}

static void assert_bad(const char *text)
{
    uint16_t status = 7;

    assert_int_equal(parse(text, &status), PARSE_BAD);
    assert_int_equal(status, 7);
}

static void a_status_line_is_read(void **state)
{
    (void)state;
    assert_status("HTTP/1.1 200 OK\r\n", 200);
    assert_status("HTTP/1.0 503 Service Unavailable\r\nServer: x\r\n\r\n", 503);
    assert_status("HTTP/1.1 099 \r\n", 99);
}

static void lines_that_leave_something_out_are_read_too(void **state)
{
    (void)state;
    assert_status("HTTP/1.1 204\r\n", 204);
    assert_status("HTTP/1.1 204 \r\n", 204);
    assert_status("HTTP/1.1 204 No Content\n", 204);
    assert_status("HTTP/1.1 204\n", 204);
}

static void every_shorter_piece_asks_for_more(void **state)
{
    static const char line[] = "HTTP/1.1 404 Not Found\r\n";
    uint16_t status = 0;

    (void)state;
    for (size_t len = 0; len < sizeof(line) - 1; len++)
        assert_int_equal(http_status_parse(&status, (const uint8_t *)line, len), PARSE_MORE);
    assert_status(line, 404);
}

static void what_is_no_answer_is_known_with_its_first_wrong_byte(void **state)
{
    (void)state;
    assert_bad("S");
    assert_bad("HTTQ");
    assert_bad("http/1.1 200 OK\r\n");
    assert_bad("HTTP/2");
    assert_bad("HTTP/1.2");
    assert_bad("HTTP/1.1  2");
    assert_bad("HTTP/1.1 2x");
    assert_bad("HTTP/1.1 20\r");
    assert_bad("HTTP/1.1 2000");
    assert_bad("HTTP/1.1 200OK");
    assert_bad("\r\nHTTP/1.1 200 OK\r\n");
}

static void a_line_that_is_too_long_is_bad(void **state)
{
    static char line[HTTP_STATUS_LINE_BYTES_MAX + 2];
    uint16_t status = 0;

    (void)state;
    memset(line, 'x', sizeof(line) - 1);
    memcpy(line, "HTTP/1.1 200 ", 13);
    line[HTTP_STATUS_LINE_BYTES_MAX] = '\n';
    assert_bad(line);
    assert_int_equal(http_status_parse(&status, (const uint8_t *)line, HTTP_STATUS_LINE_BYTES_MAX - 1), PARSE_MORE);
    line[HTTP_STATUS_LINE_BYTES_MAX - 1] = '\n';
    assert_status(line, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_status_line_is_read),
        cmocka_unit_test(lines_that_leave_something_out_are_read_too),
        cmocka_unit_test(every_shorter_piece_asks_for_more),
        cmocka_unit_test(what_is_no_answer_is_known_with_its_first_wrong_byte),
        cmocka_unit_test(a_line_that_is_too_long_is_bad),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
