/* http_head: request heads, good and bad. Each is parsed whole, cut at every place, and one byte at a time. */
#include "proto/http_head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http_heads.h"

#define HOST "Host: a.example\r\n"
#define END "\r\n"

struct bad_head {
    struct bytes bytes;
    uint16_t status;
    const char *problem;
};

#define BAD(text, status, problem)                      \
    {                                                   \
        {(text), sizeof(text) - 1}, (status), (problem) \
    }

static void assert_all_refused(const struct bad_head *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct http_head head;

        if (parse_request(&head, rows[i].bytes) != PARSE_BAD)
            fail_msg("accepted: %s", rows[i].bytes.at);
        if (strcmp(head.refusal.problem, rows[i].problem) != 0)
            print_message("in: %s\n", rows[i].bytes.at);
        assert_refused(&head, rows[i].status, rows[i].problem);
    }
}

#define ASSERT_ALL_REFUSED(rows) assert_all_refused(rows, COUNT_OF(rows))

/* ---- what is good ---- */

static void request_of_a_browser_is_taken_apart(void **state)
{
    struct bytes bytes = BYTES("POST /a/b%20c?x=1&y=%26 HTTP/1.1\r\n"
                               "host: www.example.com:8080\r\n"
                               "User-Agent:Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n"
                               "COOKIE: \t a=b; c=\"d e\"\t \r\n"
                               "X-Empty:\r\n"
                               "X-Odd!#$%&'*+-.^_`|~9: caf\xc3\xa9 \t\xff\r\n"
                               "Content-Length: 12\r\n"
                               "\r\n");
    struct http_head head = request_of(bytes);
    const struct http_field *list = head.fields.list;

    (void)state;
    assert_int_equal(head.method, HTTP_POST);
    assert_span(bytes, head.method_text, "POST");
    assert_int_equal(head.minor, 1);
    assert_int_equal(head.target.form, HTTP_ORIGIN);
    assert_span(bytes, head.target.all, "/a/b%20c?x=1&y=%26");
    assert_span(bytes, head.target.path, "/a/b%20c");
    assert_true(head.target.has_query);
    assert_span(bytes, head.target.query, "x=1&y=%26");
    assert_span(bytes, head.authority.host, "www.example.com");
    assert_int_equal(head.authority.port, 8080);
    assert_int_equal(head.fields.count, 6);
    assert_span(bytes, list[0].name, "host");
    assert_int_equal(list[0].known, HTTP_NAME_HOST);
    assert_span(bytes, list[1].value, "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36");
    assert_int_equal(list[1].known, HTTP_NAME_USER_AGENT);
    assert_span(bytes, list[2].value, "a=b; c=\"d e\"");
    assert_int_equal(list[2].known, HTTP_NAME_COOKIE);
    assert_span(bytes, list[3].value, "");
    assert_int_equal(list[3].known, HTTP_NAME_OTHER);
    assert_span(bytes, list[4].name, "X-Odd!#$%&'*+-.^_`|~9");
    assert_span(bytes, list[4].value, "caf\xc3\xa9 \t\xff");
    assert_int_equal(head.body, HTTP_BODY_LENGTH);
    assert_int_equal(head.content_length, 12);
}

static void what_follows_the_head_is_not_looked_at(void **state)
{
    struct bytes bytes = BYTES("GET / HTTP/1.1\r\n" HOST END "\0\n\r anything");
    struct http_head head;

    (void)state;
    assert_int_equal(parse_request(&head, bytes), PARSE_DONE);
    assert_int_equal(head.at, bytes.len - strlen("?\n\r anything"));
}

static void head_that_ends_early_wants_more(void **state)
{
    struct bytes bytes = BYTES("\r\nGET /?q HTTP/1.1\r\n" HOST "X: y\r\n" END);
    struct http_head head;

    (void)state;
    for (size_t len = 0; len < bytes.len; len++)
        assert_int_equal(parse_request(&head, (struct bytes){bytes.at, len}), PARSE_MORE);
}

static void methods_are_known_or_any_token(void **state)
{
    struct bytes patch = BYTES("PATCH / HTTP/1.1\r\n" HOST END);
    struct bytes other = BYTES("BREW-COFFEE! / HTTP/1.1\r\n" HOST END);
    struct bytes lower = BYTES("get / HTTP/1.1\r\n" HOST END);
    struct bytes longest = BYTES("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345 / HTTP/1.1\r\n" HOST END);

    (void)state;
    assert_int_equal(request_of(patch).method, HTTP_PATCH);
    assert_int_equal(request_of(other).method, HTTP_METHOD_OTHER);
    assert_span(other, request_of(other).method_text, "BREW-COFFEE!");
    assert_int_equal(request_of(lower).method, HTTP_METHOD_OTHER);
    assert_int_equal(request_of(longest).method, HTTP_METHOD_OTHER);
}

static void one_empty_line_before_a_request_is_skipped(void **state)
{
    static const struct bad_head rows[] = {
        BAD("\r\n\r\nGET / HTTP/1.1\r\n" HOST END, 400, "does not begin with a method and one space"),
        BAD("\nGET / HTTP/1.1\r\n" HOST END, 400, "does not begin with a method and one space"),
        BAD("\r\rGET / HTTP/1.1\r\n" HOST END, 400, "CR without LF"),
    };
    struct bytes bytes = BYTES("\r\nGET / HTTP/1.1\r\n" HOST END);

    (void)state;
    assert_span(bytes, request_of(bytes).method_text, "GET");
    ASSERT_ALL_REFUSED(rows);
}

/* ---- what is not ---- */

static void bad_methods_are_refused(void **state)
{
    static const struct bad_head rows[] = {
        BAD(" GET / HTTP/1.1\r\n", 400, "does not begin with a method and one space"),
        BAD("GET\t/ HTTP/1.1\r\n", 400, "does not begin with a method and one space"),
        BAD("GET\r\n", 400, "does not begin with a method and one space"),
        BAD("G(T / HTTP/1.1\r\n", 400, "does not begin with a method and one space"),
        BAD("G\xc3\x89T / HTTP/1.1\r\n", 400, "does not begin with a method and one space"),
        BAD("\x16\x03\x01\x02", 400, "does not begin with a method and one space"),
        BAD("\0GET / HTTP/1.1\r\n", 400, "does not begin with a method and one space"),
        BAD("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456 / HTTP/1.1\r\n", 501, "a method longer than any"),
        BAD("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456@/ HTTP/1.1\r\n", 501, "a method longer than any"),
    };

    (void)state;
    ASSERT_ALL_REFUSED(rows);
}

static void bad_targets_are_refused(void **state)
{
    static const struct bad_head rows[] = {
        BAD("GET  / HTTP/1.1\r\n", 400, "more than one space before the target"),
        BAD("GET /a b HTTP/1.1\r\n", 400, "no HTTP version where it belongs"),
        BAD("GET /\ta HTTP/1.1\r\n", 400, "a character that no target has"),
        BAD("GET /a\0b HTTP/1.1\r\n", 400, "a character that no target has"),
        BAD("GET /a\x7f HTTP/1.1\r\n", 400, "a character that no target has"),
        BAD("GET /a?b\x01 HTTP/1.1\r\n", 400, "a character that no target has"),
        BAD("GET /caf\xc3\xa9 HTTP/1.1\r\n", 400, "a character that no target has"),
        BAD("GET /a#b HTTP/1.1\r\n", 400, "a character that no target has"),
        BAD("GET /a?b#c HTTP/1.1\r\n", 400, "a character that no target has"),
        BAD("GET /<a> HTTP/1.1\r\n", 400, "a character that no target has"),
        BAD("GET /a\"b HTTP/1.1\r\n", 400, "a character that no target has"),
        BAD("GET /a\\b HTTP/1.1\r\n", 400, "a character that no target has"),
        BAD("GET /\rHTTP/1.1\r\n", 400, "a request line without a version"),
        BAD("GET /\n HTTP/1.1\r\n", 400, "a request line without a version"),
        BAD("GET a HTTP/1.1\r\n" HOST END, 400, "a target that is none of the four forms"),
        BAD("GET ?a HTTP/1.1\r\n" HOST END, 400, "a target that is none of the four forms"),
        BAD("GET ** HTTP/1.1\r\n" HOST END, 400, "a target that is none of the four forms"),
        BAD("GET a.example:80 HTTP/1.1\r\n" HOST END, 400, "a target that is none of the four forms"),
        BAD("GET http:/a HTTP/1.1\r\n" HOST END, 400, "a target that is none of the four forms"),
        BAD("GET ftp://a.example/ HTTP/1.1\r\n" HOST END, 400, "a target of a scheme other than http and https"),
        BAD("GET ://a.example/ HTTP/1.1\r\n" HOST END, 400, "a target of a scheme other than http and https"),
        BAD("GET http://a.example/\\ HTTP/1.1\r\n" HOST END, 400, "a character that no path has"),
        BAD("GET http://a.example\\/ HTTP/1.1\r\n" HOST END, 400, "a character that no path has"),
        BAD("GET http:/// HTTP/1.1\r\n" HOST END, 400, "a target whose authority is no host"),
        BAD("GET http://u@a.example/ HTTP/1.1\r\n" HOST END, 400, "a target whose authority is no host"),
        BAD("GET http://a.example:0/ HTTP/1.1\r\n" HOST END, 400, "a target whose authority is no host"),
    };

    (void)state;
    ASSERT_ALL_REFUSED(rows);
}

static void asterisk_is_for_options_and_authority_for_connect(void **state)
{
    static const struct bad_head rows[] = {
        BAD("GET * HTTP/1.1\r\n" HOST END, 400, "the target * of a method other than OPTIONS"),
        BAD("CONNECT * HTTP/1.1\r\n" HOST END, 400, "a target whose authority is no host"),
        BAD("CONNECT / HTTP/1.1\r\n" HOST END, 400, "a target whose authority is no host"),
        BAD("CONNECT http://a.example/ HTTP/1.1\r\n" HOST END, 400, "a target whose authority is no host"),
        BAD("CONNECT a.example HTTP/1.1\r\n" HOST END, 400, "a target of CONNECT without a port"),
        BAD("CONNECT a.example: HTTP/1.1\r\n" HOST END, 400, "a target of CONNECT without a port"),
        BAD("CONNECT a.example:65536 HTTP/1.1\r\n" HOST END, 400, "a target whose authority is no host"),
        BAD("CONNECT b.example:1 HTTP/1.1\r\n" HOST END, 400, "a Host other than that of the target"),
        BAD("CONNECT a.example:1 HTTP/1.1\r\n" HOST "Content-Length: 1\r\n" END, 400, "CONNECT with a body"),
    };
    struct bytes options = BYTES("OPTIONS * HTTP/1.1\r\n" HOST END);
    struct bytes connect = BYTES("CONNECT a.example:443 HTTP/1.1\r\n" HOST END);

    (void)state;
    assert_int_equal(request_of(options).target.form, HTTP_ASTERISK);
    assert_int_equal(request_of(connect).target.form, HTTP_AUTHORITY);
    assert_span(connect, request_of(connect).authority.host, "a.example");
    assert_int_equal(request_of(connect).authority.port, 443);
    ASSERT_ALL_REFUSED(rows);
}

static void bad_versions_are_refused(void **state)
{
    static const struct bad_head rows[] = {
        BAD("GET /\r\n", 400, "a request line without a version"),
        BAD("GET / \r\n", 400, "no HTTP version where it belongs"),
        BAD("GET / http/1.1\r\n", 400, "no HTTP version where it belongs"),
        BAD("GET / HTTP/1.x\r\n", 400, "no HTTP version where it belongs"),
        BAD("GET / HTTP/1,1\r\n", 400, "no HTTP version where it belongs"),
        BAD("GET / HTTP/11.1\r\n", 400, "no HTTP version where it belongs"),
        BAD("GET / HTTP/+1.1\r\n", 400, "no HTTP version where it belongs"),
        BAD("GET /  HTTP/1.1\r\n", 400, "no HTTP version where it belongs"),
        BAD("GET / HTTP/1.10\r\n", 400, "a start line that does not end where it should"),
        BAD("GET / HTTP/1.1 \r\n", 400, "a start line that does not end where it should"),
        BAD("GET / HTTP/1.1\n", 400, "LF without CR"),
        BAD("GET / HTTP/1.1\r\r\n", 400, "CR without LF"),
        BAD("GET / HTTP/1.2\r\n", 505, "a version other than 1.0 and 1.1"),
        BAD("GET / HTTP/0.9\r\n", 505, "a version other than 1.0 and 1.1"),
        BAD("GET / HTTP/2.0\r\n", 505, "a version other than 1.0 and 1.1"),
        BAD("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "a version other than 1.0 and 1.1"),
    };

    (void)state;
    ASSERT_ALL_REFUSED(rows);
}

#define LINE "GET / HTTP/1.1\r\n" HOST

static void bad_field_lines_are_refused(void **state)
{
    static const struct bad_head rows[] = {
        BAD(LINE "X: y\n", 400, "LF without CR"),
        BAD(LINE "X: y\r\rz", 400, "CR without LF"),
        BAD(LINE "X: a\rb\r\n", 400, "CR without LF"),
        BAD(LINE "\n", 400, "LF without CR"),
        BAD(LINE "\rx", 400, "CR without LF"),
        BAD(LINE "X: a\r\n b\r\n", 400, "a folded line, or blanks before a field name"),
        BAD(LINE "X: a\r\n\tb\r\n", 400, "a folded line, or blanks before a field name"),
        BAD("GET / HTTP/1.1\r\n Host: a\r\n", 400, "a folded line, or blanks before a field name"),
        BAD(LINE "X : y\r\n", 400, "a blank between field name and colon"),
        BAD(LINE "X\t: y\r\n", 400, "a blank between field name and colon"),
        BAD(LINE "X y: z\r\n", 400, "a blank between field name and colon"),
        BAD(LINE ": y\r\n", 400, "a field without a name"),
        BAD(LINE "X\r\n", 400, "a line without a colon"),
        BAD(LINE "X\n", 400, "a line without a colon"),
        BAD(LINE "X\0: y\r\n", 400, "a character that no field name has"),
        BAD(LINE "X(: y\r\n", 400, "a character that no field name has"),
        BAD(LINE "(X: y\r\n", 400, "a character that no field name has"),
        BAD(LINE "X\xc3\xa9: y\r\n", 400, "a character that no field name has"),
        BAD(LINE "\0X: y\r\n", 400, "a character that no field name has"),
        BAD(LINE "X: a\0b\r\n", 400, "a control character in a field value"),
        BAD(LINE "X: a\x01"
                 "b\r\n",
            400, "a control character in a field value"),
        BAD(LINE "X: a\x0b"
                 "b\r\n",
            400, "a control character in a field value"),
        BAD(LINE "X: 0123456789abcdef0123\x7f\r\n", 400, "a control character in a field value"),
    };

    (void)state;
    ASSERT_ALL_REFUSED(rows);
}

static void every_control_byte_is_refused_everywhere(void **state)
{
    static const char whole[] = "GET /abcdefghijklmnop?abcdefghijklmnopq HTTP/1.1\r\n"
                                "Host: a.example\r\nX-Abcdefghijklmnopqr: abcdefghijklmnopqrstuvwxyz\r\n\r\n";
    char damaged[sizeof(whole)];
    struct http_head head;

    (void)state;
    for (size_t i = 0; i < sizeof(whole) - 1; i++) {
        for (int byte = 0; byte < 128; byte++) {
            if ((byte >= ' ' && byte != 0x7f) || byte == '\t' || byte == whole[i] || (i == 0 && byte == '\r'))
                continue;
            memcpy(damaged, whole, sizeof(whole));
            damaged[i] = (char)byte;
            init_head(&head, HTTP_METHODS, &wide_limits);
            assert_int_equal(http_parse_copy(&head, damaged, sizeof(whole) - 1), PARSE_BAD);
            assert_int_equal(head.refusal.status, 400);
        }
    }
}

static void limits_have_their_answers(void **state)
{
    static const struct http_limits limits = {64, 2};
    struct bytes fits = BYTES("GET / HTTP/1.1\r\nHost: a\r\nX: 89012345678901234567890123456789\r\n\r\n");
    struct bytes long_head = BYTES("GET / HTTP/1.1\r\nHost: a\r\nX: 890123456789012345678901234567890\r\n\r\n");
    struct bytes long_target = BYTES("GET /5678901234567890123456789012345678901234567890123456789012345");
    struct bytes long_query = BYTES("GET /56?8901234567890123456789012345678901234567890123456789012345");
    struct bytes many = BYTES("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nZ: a\r\n\r\n");
    struct http_head head;

    (void)state;
    assert_int_equal(parse_all_ways(&head, HTTP_METHODS, &limits, fits), PARSE_DONE);
    assert_int_equal(parse_all_ways(&head, HTTP_METHODS, &limits, long_head), PARSE_BAD);
    assert_refused(&head, 431, "a head that does not fit");
    assert_int_equal(parse_all_ways(&head, HTTP_METHODS, &limits, long_target), PARSE_BAD);
    assert_refused(&head, 414, "a target that does not fit");
    assert_int_equal(parse_all_ways(&head, HTTP_METHODS, &limits, long_query), PARSE_BAD);
    assert_refused(&head, 414, "a target that does not fit");
    assert_int_equal(parse_all_ways(&head, HTTP_METHODS, &limits, many), PARSE_BAD);
    assert_refused(&head, 431, "too many fields");
}

static void largest_head_fits_its_offsets(void **state)
{
    static uint8_t data[HTTP_HEAD_BYTES_MAX + 1];
    static const char start[] = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    struct http_head head;

    (void)state;
    memset(data, 'x', sizeof(data));
    memcpy(data, start, sizeof(start) - 1);
    init_head(&head, HTTP_METHODS, &wide_limits);
    assert_int_equal(http_head_parse(&head, data, sizeof(data)), PARSE_BAD);
    assert_refused(&head, 431, "a head that does not fit");
    memcpy(data + HTTP_HEAD_BYTES_MAX - 4, "\r\n\r\n", 4);
    init_head(&head, HTTP_METHODS, &wide_limits);
    assert_int_equal(http_head_parse(&head, data, sizeof(data)), PARSE_DONE);
    assert_int_equal(head.at, HTTP_HEAD_BYTES_MAX);
    assert_int_equal(head.fields.list[1].value.end, HTTP_HEAD_BYTES_MAX - 4);
}

static void bytes_may_move_between_two_calls(void **state)
{
    struct bytes bytes = BYTES(LINE "X: y\r\n" END);
    struct http_head head;

    (void)state;
    init_head(&head, HTTP_METHODS, &wide_limits);
    assert_int_equal(http_parse_pieces(&head, bytes.at, bytes.len, 5, 7),
                     PARSE_DONE); /* each call has a copy of its own */
    assert_span(bytes, head.fields.list[1].value, "y");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_of_a_browser_is_taken_apart),
        cmocka_unit_test(what_follows_the_head_is_not_looked_at),
        cmocka_unit_test(head_that_ends_early_wants_more),
        cmocka_unit_test(methods_are_known_or_any_token),
        cmocka_unit_test(one_empty_line_before_a_request_is_skipped),
        cmocka_unit_test(bad_methods_are_refused),
        cmocka_unit_test(bad_targets_are_refused),
        cmocka_unit_test(asterisk_is_for_options_and_authority_for_connect),
        cmocka_unit_test(bad_versions_are_refused),
        cmocka_unit_test(bad_field_lines_are_refused),
        cmocka_unit_test(every_control_byte_is_refused_everywhere),
        cmocka_unit_test(limits_have_their_answers),
        cmocka_unit_test(largest_head_fits_its_offsets),
        cmocka_unit_test(bytes_may_move_between_two_calls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
