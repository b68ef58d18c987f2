/* http_head: response heads, and which body follows them. */
#include "proto/http_head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http_heads.h"

#define END "\r\n"
#define OK "HTTP/1.1 200 OK\r\n"

static void assert_bad(struct bytes bytes, const char *problem)
{
    struct http_head head;

    if (parse_all_ways(&head, HTTP_GET, &wide_limits, bytes) != PARSE_BAD)
        fail_msg("accepted: %s", bytes.at);
    assert_refused(&head, 502, problem);
}

#define ASSERT_BAD(text, problem) assert_bad(BYTES(text), problem)

static void status_line_is_taken_apart(void **state)
{
    struct bytes bytes = BYTES("HTTP/1.0 404 Not  Found, caf\xe9\t\r\nServer: x\r\n\r\n");
    struct bytes empty = BYTES("HTTP/1.1 999 \r\n\r\n");
    struct bytes none = BYTES("HTTP/1.1 200\r\n\r\n");
    struct http_head head = response_to(HTTP_GET, bytes);

    (void)state;
    assert_int_equal(head.minor, 0);
    assert_int_equal(head.status, 404);
    assert_span(bytes, head.reason, "Not  Found, caf\xe9\t");
    assert_int_equal(head.fields.count, 1);
    assert_int_equal(response_to(HTTP_GET, empty).status, 999);
    assert_span(empty, response_to(HTTP_GET, empty).reason, "");
    assert_span(none, response_to(HTTP_GET, none).reason, "");
}

static void bad_status_lines_are_refused(void **state)
{
    (void)state;
    ASSERT_BAD("\r\nHTTP/1.1 200 OK\r\n", "no HTTP version where it belongs");
    ASSERT_BAD("ICY 200 OK\r\n", "no HTTP version where it belongs");
    ASSERT_BAD("http/1.1 200 OK\r\n", "no HTTP version where it belongs");
    ASSERT_BAD("HTTP/2.0 200 OK\r\n", "a version other than 1.0 and 1.1");
    ASSERT_BAD("HTTP/1.1\t200 OK\r\n", "no space before the status");
    ASSERT_BAD("HTTP/1.1  200 OK\r\n", "a status that is not three digits");
    ASSERT_BAD("HTTP/1.1 20 OK\r\n", "a status that is not three digits");
    ASSERT_BAD("HTTP/1.1 2000 OK\r\n", "a status that is not three digits");
    ASSERT_BAD("HTTP/1.1 +20 OK\r\n", "a status that is not three digits");
    ASSERT_BAD("HTTP/1.1 099 OK\r\n", "a status below 100");
    ASSERT_BAD("HTTP/1.1 200 OK\n", "LF without CR");
    ASSERT_BAD("HTTP/1.1 200\n", "LF without CR");
    ASSERT_BAD("HTTP/1.1 200 O\rK\r\n", "CR without LF");
    ASSERT_BAD("HTTP/1.1 200 O\0K\r\n", "a start line that does not end where it should");
    ASSERT_BAD(OK "X: a\r\n b\r\n", "a folded line, or blanks before a field name");
}

static void response_is_framed_as_strictly_as_a_request(void **state)
{
    (void)state;
    ASSERT_BAD(OK "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n" END,
               "both Content-Length and Transfer-Encoding");
    ASSERT_BAD(OK "Content-Length: 1\r\nContent-Length: 1\r\n" END, "more than one Content-Length");
    ASSERT_BAD(OK "Content-Length: 1, 1\r\n" END, "a Content-Length that is no number");
    ASSERT_BAD(OK "Transfer-Encoding: gzip, chunked\r\n" END, "a transfer coding other than chunked");
    ASSERT_BAD("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n" END, "a Transfer-Encoding in 1.0");
    ASSERT_BAD("HTTP/1.1 100 Continue\r\nContent-Length: 1\r\n" END, "a status of 1xx with a body");
    ASSERT_BAD("HTTP/1.1 101 Switching\r\nTransfer-Encoding: chunked\r\n" END, "a status of 1xx with a body");
}

struct body_row {
    enum http_method method;
    struct bytes bytes;
    enum http_body_kind body;
    bool keeps_alive;
};

#define ROW(method, text, body, keeps_alive)                        \
    {                                                               \
        (method), {(text), sizeof(text) - 1}, (body), (keeps_alive) \
    }
#define FIVE "Content-Length: 5\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n"

static void body_follows_from_status_fields_and_request(void **state)
{
    static const struct body_row rows[] = {
        ROW(HTTP_GET, OK FIVE END, HTTP_BODY_LENGTH, true),
        ROW(HTTP_GET, OK CHUNKED END, HTTP_BODY_CHUNKED, true),
        ROW(HTTP_GET, OK "Content-Length: 0\r\n" END, HTTP_BODY_NONE, true),
        ROW(HTTP_GET, OK FIVE "Connection: close\r\n" END, HTTP_BODY_LENGTH, false),
        ROW(HTTP_GET, OK END, HTTP_BODY_UNTIL_CLOSE, false),
        ROW(HTTP_GET, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" END, HTTP_BODY_UNTIL_CLOSE, false),
        ROW(HTTP_GET, "HTTP/1.0 200 OK\r\n" FIVE "Connection: keep-alive\r\n" END, HTTP_BODY_LENGTH, true),
        ROW(HTTP_GET, "HTTP/1.0 200 OK\r\n" FIVE END, HTTP_BODY_LENGTH, false),
        ROW(HTTP_HEAD, OK FIVE END, HTTP_BODY_NONE, true),
        ROW(HTTP_HEAD, OK CHUNKED END, HTTP_BODY_NONE, true),
        ROW(HTTP_HEAD, OK END, HTTP_BODY_NONE, true),
        ROW(HTTP_GET, "HTTP/1.1 304 Not Modified\r\n" FIVE END, HTTP_BODY_NONE, true),
        ROW(HTTP_GET, "HTTP/1.1 204 No Content\r\n" END, HTTP_BODY_NONE, true),
        ROW(HTTP_GET, "HTTP/1.1 204 No Content\r\n" FIVE END, HTTP_BODY_NONE, false),
        ROW(HTTP_GET, "HTTP/1.1 204 No Content\r\n" CHUNKED END, HTTP_BODY_NONE, false),
        ROW(HTTP_GET, "HTTP/1.1 100 Continue\r\n" END, HTTP_BODY_NONE, true),
        ROW(HTTP_GET, "HTTP/1.1 103 Early Hints\r\n" END, HTTP_BODY_NONE, true),
        ROW(HTTP_GET, "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n" END, HTTP_BODY_TUNNEL, false),
        ROW(HTTP_CONNECT, OK END, HTTP_BODY_TUNNEL, false),
        ROW(HTTP_CONNECT, "HTTP/1.1 403 No\r\n" FIVE END, HTTP_BODY_LENGTH, true),
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct http_head head = response_to(rows[i].method, rows[i].bytes);

        assert_int_equal(head.body, rows[i].body);
        assert_int_equal(head.keeps_alive, rows[i].keeps_alive);
    }
}

static void length_of_an_absent_body_is_kept(void **state)
{
    struct http_head head = response_to(HTTP_HEAD, BYTES(OK FIVE END));

    (void)state;
    assert_true(head.has_content_length);
    assert_int_equal(head.content_length, 5);
}

static void fields_of_requests_mean_nothing_in_responses(void **state)
{
    struct http_head head = response_to(HTTP_GET, BYTES(OK FIVE "Host: a b\r\nHost: x\r\nExpect: nothing\r\n" END));

    (void)state;
    assert_int_equal(http_span_len(head.authority.host), 0);
    assert_false(head.expects_continue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_line_is_taken_apart),
        cmocka_unit_test(bad_status_lines_are_refused),
        cmocka_unit_test(response_is_framed_as_strictly_as_a_request),
        cmocka_unit_test(body_follows_from_status_fields_and_request),
        cmocka_unit_test(length_of_an_absent_body_is_kept),
        cmocka_unit_test(fields_of_requests_mean_nothing_in_responses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
