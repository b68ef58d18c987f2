/* http_body: bodies whole, cut at every place, and one byte at a time. */
#include "proto/http_body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http_heads.h"

enum { CONTENT_BYTES_MAX = 512 };

#define CHUNKED_HEAD "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

/* What came of a body. */
struct reading {
    struct http_body body;
    struct http_fields trailers;
    enum http_body_outcome outcome;
    size_t used; /* of the bytes behind the head */
    size_t len;
    char content[CONTENT_BYTES_MAX];
};

static void start(struct reading *reading, const struct http_head *head, uint64_t content_max)
{
    static const struct http_limits limits = {128, 4};

    memset(reading, 0, sizeof(*reading));
    http_body_init(&reading->body, head, content_max, &limits, &reading->trailers);
}

/* Gives bytes up to `end` as often as something comes of it, in memory of exactly that size. */
static void give_up_to(struct reading *reading, struct bytes bytes, size_t end)
{
    do {
        size_t len = end - reading->used;
        uint8_t *copy = malloc(len + 1);
        uint8_t *data = copy + 1; /* at an odd address */
        struct http_body_step step;

        memcpy(data, bytes.at + reading->used, len);
        reading->outcome = http_body_next(&reading->body, data, len, &step);
        assert_true(step.used <= len && step.content_at + step.content_bytes <= step.used);
        assert_true(reading->outcome == HTTP_BODY_CONTENT ? step.content_bytes > 0 : step.content_bytes == 0);
        assert_true(reading->len + step.content_bytes < CONTENT_BYTES_MAX);
        memcpy(reading->content + reading->len, data + step.content_at, step.content_bytes);
        reading->len += step.content_bytes;
        reading->used += step.used;
        free(copy);
    } while (reading->outcome == HTTP_BODY_CONTENT);
}

static void assert_same(const struct reading *a, const struct reading *b)
{
    assert_int_equal(a->outcome, b->outcome);
    assert_int_equal(a->len, b->len);
    assert_memory_equal(a->content, b->content, a->len);
    if (a->outcome == HTTP_BODY_DONE) {
        assert_int_equal(a->used, b->used);
        assert_true(http_same_fields(&a->trailers, &b->trailers));
    }
    if (a->outcome == HTTP_BODY_BAD) {
        assert_string_equal(a->body.refusal.problem, b->body.refusal.problem);
        assert_int_equal(a->body.refusal.status, b->body.refusal.status);
    }
}

static void read_all_ways(struct reading *reading, const struct http_head *head, uint64_t content_max,
                          struct bytes bytes)
{
    struct reading other;

    start(reading, head, content_max);
    give_up_to(reading, bytes, bytes.len);
    for (size_t cut = 0; cut <= bytes.len; cut++) {
        start(&other, head, content_max);
        give_up_to(&other, bytes, cut);
        give_up_to(&other, bytes, bytes.len);
        assert_same(reading, &other);
    }
    start(&other, head, content_max);
    for (size_t end = 0; end <= bytes.len && other.outcome == HTTP_BODY_MORE; end++)
        give_up_to(&other, bytes, end);
    assert_same(reading, &other);
}

static void read_chunks(struct reading *reading, struct bytes bytes)
{
    struct http_head head = request_of(BYTES(CHUNKED_HEAD));

    read_all_ways(reading, &head, HTTP_CONTENT_UNLIMITED, bytes);
}

static void assert_content(const struct reading *reading, const char *expected)
{
    assert_int_equal(reading->len, strlen(expected));
    assert_memory_equal(reading->content, expected, strlen(expected));
}

static void assert_bad(struct bytes bytes, uint16_t status, const char *problem)
{
    struct reading reading;

    read_chunks(&reading, bytes);
    if (reading.outcome != HTTP_BODY_BAD)
        fail_msg("accepted: %s", bytes.at);
    if (strcmp(reading.body.refusal.problem, problem) != 0)
        print_message("in: %s\n", bytes.at);
    assert_string_equal(reading.body.refusal.problem, problem);
    assert_int_equal(reading.body.refusal.status, status);
}

#define ASSERT_BAD(text, status, problem) assert_bad(BYTES(text), status, problem)

/* ---- without chunks ---- */

static void sized_body_ends_with_its_last_byte(void **state)
{
    struct http_head head = request_of(BYTES("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"));
    struct reading reading;

    (void)state;
    read_all_ways(&reading, &head, 5, BYTES("helloGET / HTTP/1.1\r\n"));
    assert_int_equal(reading.outcome, HTTP_BODY_DONE);
    assert_int_equal(reading.used, 5);
    assert_content(&reading, "hello");
    assert_true(http_body_may_end(&reading.body));
    read_all_ways(&reading, &head, 5, BYTES("hell"));
    assert_int_equal(reading.outcome, HTTP_BODY_MORE);
    assert_false(http_body_may_end(&reading.body));
}

static void no_body_is_done_before_it_begins(void **state)
{
    struct http_head head = request_of(BYTES("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    struct reading reading;

    (void)state;
    read_all_ways(&reading, &head, 0, BYTES("GET / HTTP/1.1\r\n"));
    assert_int_equal(reading.outcome, HTTP_BODY_DONE);
    assert_int_equal(reading.used, 0);
}

static void body_until_close_is_all_that_comes(void **state)
{
    struct http_head head = response_to(HTTP_GET, BYTES("HTTP/1.0 200 OK\r\n\r\n"));
    struct reading reading;

    (void)state;
    read_all_ways(&reading, &head, 7, BYTES("0\r\n\r\nab"));
    assert_int_equal(reading.outcome, HTTP_BODY_MORE);
    assert_content(&reading, "0\r\n\r\nab");
    assert_true(http_body_may_end(&reading.body));
}

static void content_past_its_limit_is_refused_when_announced(void **state)
{
    struct http_head sized = request_of(BYTES("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"));
    struct http_head chunked = request_of(BYTES(CHUNKED_HEAD));
    struct reading reading;

    (void)state;
    read_all_ways(&reading, &sized, 4, BYTES(""));
    assert_int_equal(reading.outcome, HTTP_BODY_BAD);
    assert_int_equal(reading.body.refusal.status, 413);
    read_all_ways(&reading, &chunked, 4, BYTES("3\r\nabc\r\n2\r\n"));
    assert_int_equal(reading.outcome, HTTP_BODY_BAD);
    assert_content(&reading, "abc");
    assert_string_equal(reading.body.refusal.problem, "more content than is allowed");
    read_all_ways(&reading, &chunked, 4, BYTES("3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"));
    assert_int_equal(reading.outcome, HTTP_BODY_DONE);
}

/* ---- chunks ---- */

static void chunks_are_put_together(void **state)
{
    struct bytes bytes = BYTES("5\r\nhello\r\n0000a\r\n, chunked \r\nF\r\n0123456789abcde\r\n00\r\n\r\nGET");
    struct reading reading;

    (void)state;
    read_chunks(&reading, bytes);
    assert_int_equal(reading.outcome, HTTP_BODY_DONE);
    assert_content(&reading, "hello, chunked 0123456789abcde");
    assert_int_equal(reading.used, bytes.len - 3);
    assert_int_equal(reading.trailers.count, 0);
}

static void chunk_size_is_plain_hex(void **state)
{
    static const char problem[] = "a chunk size that is no number";

    (void)state;
    ASSERT_BAD("\r\n", 400, problem);
    ASSERT_BAD("-1\r\n", 400, problem);
    ASSERT_BAD("+1\r\n", 400, problem);
    ASSERT_BAD(" 1\r\n", 400, problem);
    ASSERT_BAD("1 \r\n", 400, problem);
    ASSERT_BAD("1\t\r\n", 400, problem);
    ASSERT_BAD("1 ;a\r\n", 400, problem);
    ASSERT_BAD("1 1\r\n", 400, problem);
    ASSERT_BAD("0x1\r\n", 400, problem);
    ASSERT_BAD("1_0\r\n", 400, problem);
    ASSERT_BAD("g\r\n", 400, problem);
    ASSERT_BAD("1\0\r\n", 400, problem);
    ASSERT_BAD("\"1\"\r\n", 400, problem);
}

static void chunk_size_past_all_bounds_is_too_large(void **state)
{
    static const char problem[] = "a chunk size past all bounds";
    struct reading reading;

    (void)state;
    ASSERT_BAD("8000000000000000\r\n", 413, problem);
    ASSERT_BAD("ffffffffffffffff\r\n", 413, problem);
    ASSERT_BAD("10000000000000001\r\n", 413, problem);
    ASSERT_BAD("00000000000000001\r\n", 413, problem);
    read_chunks(&reading, BYTES("7fffffffffffffff\r\n"));
    assert_int_equal(reading.outcome, HTTP_BODY_MORE);
}

static void chunk_lines_end_with_cr_and_lf(void **state)
{
    static const char end[] = "a chunk that does not end where it should";

    (void)state;
    ASSERT_BAD("1\na\r\n", 400, "LF without CR");
    ASSERT_BAD("1\ra\r\n", 400, "CR without LF");
    ASSERT_BAD("1\r\r\n", 400, "CR without LF");
    ASSERT_BAD("1;a\na\r\n", 400, "LF without CR");
    ASSERT_BAD("1\r\na\n0\r\n", 400, end);
    ASSERT_BAD("1\r\na\rb", 400, end);
    ASSERT_BAD("1\r\nab\r\n", 400, end);
    ASSERT_BAD("1\r\na0\r\n\r\n", 400, end);
    ASSERT_BAD("0\r\n\n", 400, "LF without CR");
    ASSERT_BAD("0\r\n\rX", 400, "CR without LF");
    ASSERT_BAD("0\n\r\n", 400, "LF without CR");
}

static void extensions_are_read_over(void **state)
{
    struct reading reading;

    (void)state;
    read_chunks(&reading, BYTES("1;a\r\nx\r\n1;a=b;c=\"d;\\\"\r\\\\\";e\r\ny\r\n"));
    assert_int_equal(reading.outcome, HTTP_BODY_BAD); /* a CR in quotes */
    read_chunks(&reading, BYTES("1;a\r\nx\r\n1;a=b;c=\"d; \\\"\\\\\";e\r\ny\r\n0;f=\"\"\r\n\r\n"));
    assert_int_equal(reading.outcome, HTTP_BODY_DONE);
    assert_content(&reading, "xy");
}

static void malformed_extensions_are_refused(void **state)
{
    static const char problem[] = "a malformed chunk extension";

    (void)state;
    ASSERT_BAD("1;\r\n", 400, problem);
    ASSERT_BAD("1;;a\r\n", 400, problem);
    ASSERT_BAD("1; a\r\n", 400, problem);
    ASSERT_BAD("1;a =b\r\n", 400, problem);
    ASSERT_BAD("1;a=\r\n", 400, problem);
    ASSERT_BAD("1;=b\r\n", 400, problem);
    ASSERT_BAD("1;a=b c\r\n", 400, problem);
    ASSERT_BAD("1;a=\"b\n\"\r\n", 400, problem);
    ASSERT_BAD("1;a=\"b\\\r\"\r\n", 400, problem);
    ASSERT_BAD("1;a=\"b\"c\r\n", 400, problem);
    ASSERT_BAD("1;a\0\r\n", 400, problem);
}

static void extensions_have_a_budget_for_the_whole_body(void **state)
{
    struct http_head head = request_of(BYTES(CHUNKED_HEAD));
    struct bytes chunk = BYTES("1;0123456789\r\na\r\n");
    struct reading reading;
    int chunks = 0;

    (void)state;
    start(&reading, &head, HTTP_CONTENT_UNLIMITED);
    while (reading.outcome == HTTP_BODY_MORE) {
        reading.used = 0;
        reading.len = 0;
        give_up_to(&reading, chunk, chunk.len);
        chunks++;
    }
    assert_string_equal(reading.body.refusal.problem, "too many bytes of chunk extensions");
    assert_int_equal(chunks, HTTP_CHUNK_EXTENSION_BYTES / 11 + 1);
}

/* ---- trailers ---- */

static void trailers_are_given(void **state)
{
    struct bytes bytes = BYTES("1\r\na\r\n0\r\nX-Sum: 42 \r\nETag: \"e\"\r\n\r\nGET");
    struct bytes section;
    struct reading reading;

    (void)state;
    read_chunks(&reading, bytes);
    assert_int_equal(reading.outcome, HTTP_BODY_DONE);
    assert_int_equal(reading.used, bytes.len - 3);
    assert_int_equal(reading.trailers.count, 2);
    section = (struct bytes){bytes.at + 9, bytes.len - 9};
    assert_span(section, reading.trailers.list[0].name, "X-Sum");
    assert_span(section, reading.trailers.list[0].value, "42");
    assert_int_equal(reading.trailers.list[1].known, HTTP_NAME_ETAG);
}

static void trailers_are_fields_like_others(void **state)
{
    (void)state;
    ASSERT_BAD("0\r\nX: a\n\r\n", 400, "LF without CR");
    ASSERT_BAD("0\r\nX : a\r\n", 400, "a blank between field name and colon");
    ASSERT_BAD("0\r\nX: a\r\n b\r\n", 400, "a folded line, or blanks before a field name");
    ASSERT_BAD("0\r\nGET / HTTP/1.1\r\n", 400, "a blank between field name and colon");
    ASSERT_BAD("0\r\na:1\r\nb:2\r\nc:3\r\nd:4\r\ne:5\r\n", 431, "too many fields");
    ASSERT_BAD("0\r\na: 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123"
               "4567890123456789012345678901234567890123456789\r\n\r\n",
               431, "trailers that do not fit");
}

static void trailers_that_belong_into_the_head_are_refused(void **state)
{
    static const char *const names[] = {"Transfer-Encoding", "content-length", "Host",    "Connection",
                                        "Set-Cookie",        "Authorization",  "Trailer", "Content-Type",
                                        "Content-Encoding",  "X-Forwarded-For"};
    char text[128];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        int len = snprintf(text, sizeof(text), "0\r\nX: a\r\n%s: x\r\n\r\n", names[i]);

        assert_bad((struct bytes){text, (size_t)len}, 400, "a trailer that belongs into the head");
    }
}

static void bad_body_of_a_response_is_a_bad_gateway(void **state)
{
    struct http_head head = response_to(HTTP_GET, BYTES("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"));
    struct reading reading;

    (void)state;
    read_all_ways(&reading, &head, HTTP_CONTENT_UNLIMITED, BYTES("x"));
    assert_int_equal(reading.outcome, HTTP_BODY_BAD);
    assert_int_equal(reading.body.refusal.status, 502);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sized_body_ends_with_its_last_byte),
        cmocka_unit_test(no_body_is_done_before_it_begins),
        cmocka_unit_test(body_until_close_is_all_that_comes),
        cmocka_unit_test(content_past_its_limit_is_refused_when_announced),
        cmocka_unit_test(chunks_are_put_together),
        cmocka_unit_test(chunk_size_is_plain_hex),
        cmocka_unit_test(chunk_size_past_all_bounds_is_too_large),
        cmocka_unit_test(chunk_lines_end_with_cr_and_lf),
        cmocka_unit_test(extensions_are_read_over),
        cmocka_unit_test(malformed_extensions_are_refused),
        cmocka_unit_test(extensions_have_a_budget_for_the_whole_body),
        cmocka_unit_test(trailers_are_given),
        cmocka_unit_test(trailers_are_fields_like_others),
        cmocka_unit_test(trailers_that_belong_into_the_head_are_refused),
        cmocka_unit_test(bad_body_of_a_response_is_a_bad_gateway),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
