/* http_framing: what fields say of the body, the connection and the host; and what they must not say. */
#include "proto/http_framing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http_heads.h"

#define POST "POST / HTTP/1.1\r\nHost: a.example\r\n"
#define POST_OF_1_0 "POST / HTTP/1.0\r\n"
#define END "\r\n"

static void assert_bad(struct bytes bytes, uint16_t status, const char *problem)
{
    struct http_head head;

    if (parse_request(&head, bytes) != PARSE_BAD)
        fail_msg("accepted: %s", bytes.at);
    assert_refused(&head, status, problem);
}

#define ASSERT_BAD(text, status, problem) assert_bad(BYTES(text), status, problem)

/* ---- length of the body ---- */

static void body_has_the_length_that_the_head_says(void **state)
{
    struct http_head none = request_of(BYTES(POST END));
    struct http_head empty = request_of(BYTES(POST "Content-Length: 0\r\n" END));
    struct http_head some = request_of(BYTES(POST "Content-Length: 0042\r\n" END));
    struct http_head most = request_of(BYTES(POST "Content-Length: 9223372036854775807\r\n" END));
    struct http_head chunked = request_of(BYTES(POST "Transfer-Encoding: Chunked\r\n" END));

    (void)state;
    assert_int_equal(none.body, HTTP_BODY_NONE);
    assert_false(none.has_content_length);
    assert_int_equal(empty.body, HTTP_BODY_NONE);
    assert_true(empty.has_content_length);
    assert_int_equal(some.body, HTTP_BODY_LENGTH);
    assert_int_equal(some.content_length, 42);
    assert_int_equal(most.content_length, INT64_MAX);
    assert_int_equal(chunked.body, HTTP_BODY_CHUNKED);
    assert_true(chunked.is_chunked);
}

static void content_length_is_one_plain_number(void **state)
{
    static const char problem[] = "a Content-Length that is no number";

    (void)state;
    ASSERT_BAD(POST "Content-Length:\r\n" END, 400, problem);
    ASSERT_BAD(POST "Content-Length: +1\r\n" END, 400, problem);
    ASSERT_BAD(POST "Content-Length: -1\r\n" END, 400, problem);
    ASSERT_BAD(POST "Content-Length: 0x10\r\n" END, 400, problem);
    ASSERT_BAD(POST "Content-Length: 1e3\r\n" END, 400, problem);
    ASSERT_BAD(POST "Content-Length: 1.0\r\n" END, 400, problem);
    ASSERT_BAD(POST "Content-Length: 1 2\r\n" END, 400, problem);
    ASSERT_BAD(POST "Content-Length: 5,5\r\n" END, 400, problem);
    ASSERT_BAD(POST "Content-Length: 5, 6\r\n" END, 400, problem);
    ASSERT_BAD(POST "Content-Length: five\r\n" END, 400, problem);
    ASSERT_BAD(POST "Content-Length: \xb2\r\n" END, 400, problem);
    ASSERT_BAD(POST "Content-Length: 5\r\nContent-Length: 6\r\n" END, 400, "more than one Content-Length");
    ASSERT_BAD(POST "Content-Length: 5\r\ncontent-length: 5\r\n" END, 400, "more than one Content-Length");
}

static void content_length_past_all_bounds_is_too_large(void **state)
{
    static const char problem[] = "a Content-Length past all bounds";

    (void)state;
    ASSERT_BAD(POST "Content-Length: 9223372036854775808\r\n" END, 413, problem);
    ASSERT_BAD(POST "Content-Length: 18446744073709551617\r\n" END, 413, problem);
    ASSERT_BAD(POST "Content-Length: 00000000000000000001\r\n" END, 413, problem);
}

static void transfer_encoding_is_one_chunked(void **state)
{
    static const char not_last[] = "a Transfer-Encoding that does not end in one chunked";
    static const char unknown[] = "a transfer coding other than chunked";
    static const char twice[] = "more than one Transfer-Encoding";

    (void)state;
    ASSERT_BAD(POST "Transfer-Encoding:\r\n" END, 400, not_last);
    ASSERT_BAD(POST "Transfer-Encoding: identity\r\n" END, 400, not_last);
    ASSERT_BAD(POST "Transfer-Encoding: gzip\r\n" END, 400, not_last);
    ASSERT_BAD(POST "Transfer-Encoding: xchunked\r\n" END, 400, not_last);
    ASSERT_BAD(POST "Transfer-Encoding: chunkedx\r\n" END, 400, not_last);
    ASSERT_BAD(POST "Transfer-Encoding: \"chunked\"\r\n" END, 400, not_last);
    ASSERT_BAD(POST "Transfer-Encoding: chunked;q=1\r\n" END, 400, not_last);
    ASSERT_BAD(POST "Transfer-Encoding: chunked, gzip\r\n" END, 400, not_last);
    ASSERT_BAD(POST "Transfer-Encoding: chunked, chunked\r\n" END, 400, not_last);
    ASSERT_BAD(POST "Transfer-Encoding: chunked,\r\n" END, 400, not_last);
    ASSERT_BAD(POST "Transfer-Encoding: ,chunked\r\n" END, 400, not_last);
    ASSERT_BAD(POST "Transfer-Encoding: chunked chunked\r\n" END, 400, not_last);
    ASSERT_BAD(POST "Transfer-Encoding: \xa0"
                    "chunked\r\n" END,
               400, not_last);
    ASSERT_BAD(POST "Transfer-Encoding: gzip, chunked\r\n" END, 501, unknown);
    ASSERT_BAD(POST "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n" END, 400, not_last);
    ASSERT_BAD(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" END, 400, twice);
    ASSERT_BAD(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n" END, 400, twice);
    ASSERT_BAD(POST_OF_1_0 "Transfer-Encoding: chunked\r\n" END, 400, "a Transfer-Encoding in 1.0");
}

static void tabs_around_what_frames_the_message_are_refused(void **state)
{
    static const char problem[] = "a tab around a value that frames the message";

    (void)state;
    ASSERT_BAD(POST "Content-Length:\t5\r\n" END, 400, problem);
    ASSERT_BAD(POST "Content-Length: 5 \t\r\n" END, 400, problem);
    ASSERT_BAD(POST "Transfer-Encoding: \tchunked\r\n" END, 400, problem);
    ASSERT_BAD(POST "Transfer-Encoding: chunked\t \r\n" END, 400, problem);
    assert_int_equal(request_of(BYTES(POST "Content-Length:  5  \r\n" END)).content_length, 5);
}

static void both_ways_to_say_a_length_are_one_too_many(void **state)
{
    static const char problem[] = "both Content-Length and Transfer-Encoding";

    (void)state;
    ASSERT_BAD(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n" END, 400, problem);
    ASSERT_BAD(POST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n" END, 400, problem);
}

/* ---- host ---- */

static void host_is_there_once_in_1_1(void **state)
{
    (void)state;
    ASSERT_BAD("GET / HTTP/1.1\r\n" END, 400, "no Host");
    ASSERT_BAD("GET http://a.example/ HTTP/1.1\r\n" END, 400, "no Host");
    ASSERT_BAD(POST "Host: a.example\r\n" END, 400, "more than one Host");
    ASSERT_BAD(POST "hOST: b.example\r\n" END, 400, "more than one Host");
    ASSERT_BAD("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n" END, 400, "more than one Host");
    assert_int_equal(http_span_len(request_of(BYTES(POST_OF_1_0 END)).authority.host), 0);
    assert_int_equal(http_span_len(request_of(BYTES("GET / HTTP/1.1\r\nHost:\r\n" END)).authority.host), 0);
}

static void host_is_a_host(void **state)
{
    static const char *const hosts[] = {"a b",           "a,b", "a/b", "a@b",      "a.example:x",
                                        "a.example:1:2", ":80", "a:0", "a:65536",  "a:+1",
                                        "[::1",          "::1", "[]",  "[::1]x",   "[fe80::1%25eth0]",
                                        "[a.example]",   "a?b", "%61", "http://a", "caf\xc3\xa9",
                                        "a:000080"};
    char text[128];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(hosts); i++) {
        int len = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", hosts[i]);

        assert_bad((struct bytes){text, (size_t)len}, 400, "a Host that is no host");
    }
}

static void host_may_be_a_name_or_an_address_with_a_port(void **state)
{
    struct bytes ip6 = BYTES("GET / HTTP/1.1\r\nHost: [2001:DB8::1.2.3.4]:65535\r\n" END);
    struct bytes name = BYTES("GET / HTTP/1.1\r\nHost: a_b-C.~9:\r\n" END);

    (void)state;
    assert_span(ip6, request_of(ip6).authority.host, "[2001:DB8::1.2.3.4]");
    assert_int_equal(request_of(ip6).authority.port, 65535);
    assert_span(name, request_of(name).authority.host, "a_b-C.~9");
    assert_int_equal(request_of(name).authority.port, 0);
}

static void host_agrees_with_an_absolute_target(void **state)
{
    static const char problem[] = "a Host other than that of the target";
    struct bytes bytes = BYTES("GET HTTP://A.example:80?q HTTP/1.1\r\nHost: a.EXAMPLE\r\n" END);
    struct http_head head = request_of(bytes);

    (void)state;
    assert_int_equal(head.target.form, HTTP_ABSOLUTE);
    assert_span(bytes, head.target.scheme, "HTTP");
    assert_span(bytes, head.target.authority, "A.example:80");
    assert_span(bytes, head.target.path, "");
    assert_span(bytes, head.target.query, "q");
    assert_span(bytes, head.authority.host, "A.example");
    request_of(BYTES("GET https://a.example/ HTTP/1.1\r\nHost: a.example:443\r\n" END));
    request_of(BYTES("GET http://a.example/ HTTP/1.0\r\n" END));
    ASSERT_BAD("GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n" END, 400, problem);
    ASSERT_BAD("GET http://a.example/ HTTP/1.1\r\nHost: a.example:81\r\n" END, 400, problem);
    ASSERT_BAD("GET https://a.example/ HTTP/1.1\r\nHost: a.example:80\r\n" END, 400, problem);
    ASSERT_BAD("GET http://a.example/ HTTP/1.1\r\nHost:\r\n" END, 400, problem);
    ASSERT_BAD("GET http://a.example/ HTTP/1.0\r\nHost: b.example\r\n" END, 400, problem);
}

/* ---- connection ---- */

static void connection_is_kept_by_the_rules_of_its_version(void **state)
{
    (void)state;
    assert_true(request_of(BYTES(POST END)).keeps_alive);
    assert_false(request_of(BYTES(POST "Connection: CLOSE\r\n" END)).keeps_alive);
    assert_false(request_of(BYTES(POST "Connection: keep-alive\r\nConnection: x, close\r\n" END)).keeps_alive);
    assert_false(request_of(BYTES(POST_OF_1_0 END)).keeps_alive);
    assert_true(request_of(BYTES(POST_OF_1_0 "Connection: Keep-Alive\r\n" END)).keeps_alive);
    assert_false(request_of(BYTES(POST_OF_1_0 "Connection: Keep-Alive, close\r\n" END)).keeps_alive);
}

static void fields_of_the_connection_are_marked(void **state)
{
    struct http_head head =
        request_of(BYTES(POST "X-A: 1\r\nConnection: ,close, \t x-a ,x-^c,,\r\nX-B: 2\r\nTE: trailers\r\n"
                              "Keep-Alive: 5\r\nX-~C: 3\r\nx-A: 4\r\n" END));
    static const bool expected[] = {false, true, true, false, true, true, false, true};

    (void)state;
    assert_int_equal(head.fields.count, COUNT_OF(expected));
    for (uint16_t i = 0; i < head.fields.count; i++)
        assert_int_equal(head.fields.list[i].is_hop_by_hop, expected[i]);
}

static void connection_names_no_field_of_the_message(void **state)
{
    static const char problem[] = "a Connection that names a field of the message";

    (void)state;
    ASSERT_BAD(POST "Connection: host\r\n" END, 400, problem);
    ASSERT_BAD(POST "Connection: close, Content-Length\r\n" END, 400, problem);
    ASSERT_BAD(POST "Connection: close; x\r\n" END, 400, "a Connection that is no list of tokens");
    ASSERT_BAD(POST "Connection: \"close\"\r\n" END, 400, "a Connection that is no list of tokens");
    request_of(BYTES(POST "Connection: 1,2,3,4,5,6,7,8\r\nConnection: 1,2,3,4,5,6,7,8\r\n" END));
    ASSERT_BAD(POST "Connection: 1,2,3,4,5,6,7,8\r\nConnection: 1,2,3,4,5,6,7,8,9\r\n" END, 400,
               "too many options in Connection");
}

static void upgrade_is_wanted_when_connection_says_so(void **state)
{
    struct bytes bytes = BYTES(POST "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" END);

    (void)state;
    assert_true(request_of(bytes).wants_upgrade);
    assert_span(bytes, request_of(bytes).upgrade, "websocket");
    assert_false(request_of(BYTES(POST "Upgrade: websocket\r\n" END)).wants_upgrade);
    assert_false(request_of(BYTES(POST "Connection: upgrade\r\n" END)).wants_upgrade);
    assert_false(request_of(BYTES(POST_OF_1_0 "Connection: upgrade\r\nUpgrade: x\r\n" END)).wants_upgrade);
}

static void expectation_is_100_continue(void **state)
{
    static const char problem[] = "an Expect other than 100-continue";

    (void)state;
    assert_true(request_of(BYTES(POST "Expect: 100-Continue\r\nContent-Length: 5\r\n" END)).expects_continue);
    assert_false(request_of(BYTES(POST_OF_1_0 "Expect: 100-continue\r\nContent-Length: 5\r\n" END)).expects_continue);
    ASSERT_BAD(POST "Expect: a-miracle\r\n" END, 417, problem);
    ASSERT_BAD(POST "Expect: 100-continue, a-miracle\r\n" END, 417, problem);
    ASSERT_BAD(POST "Expect:\r\n" END, 417, problem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(body_has_the_length_that_the_head_says),
        cmocka_unit_test(content_length_is_one_plain_number),
        cmocka_unit_test(content_length_past_all_bounds_is_too_large),
        cmocka_unit_test(transfer_encoding_is_one_chunked),
        cmocka_unit_test(tabs_around_what_frames_the_message_are_refused),
        cmocka_unit_test(both_ways_to_say_a_length_are_one_too_many),
        cmocka_unit_test(host_is_there_once_in_1_1),
        cmocka_unit_test(host_is_a_host),
        cmocka_unit_test(host_may_be_a_name_or_an_address_with_a_port),
        cmocka_unit_test(host_agrees_with_an_absolute_target),
        cmocka_unit_test(connection_is_kept_by_the_rules_of_its_version),
        cmocka_unit_test(fields_of_the_connection_are_marked),
        cmocka_unit_test(connection_names_no_field_of_the_message),
        cmocka_unit_test(upgrade_is_wanted_when_connection_says_so),
        cmocka_unit_test(expectation_is_100_continue),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
