/* Parsing heads in every way in which they may arrive: whole, cut at every place, and one byte at a time. All must
 * come to the same. */
#pragma once

#include "../fuzz/http_same.h"
#include "proto/http_head.h"

struct bytes {
    const char *at;
    size_t len;
};

#define BYTES(text) ((struct bytes){text, sizeof(text) - 1})

static const struct http_limits wide_limits = {HTTP_HEAD_BYTES_MAX, HTTP_FIELDS_MAX};

/* For requests: HTTP_METHODS. */
static inline void init_head(struct http_head *head, enum http_method method, const struct http_limits *limits)
{
    memset(head, 0xa5, sizeof(*head)); /* init and parsing must set all that counts */
    if (method == HTTP_METHODS)
        http_request_init(head, limits);
    else
        http_response_init(head, limits, method);
}

static inline enum parse_outcome parse_all_ways(struct http_head *head, enum http_method method,
                                                const struct http_limits *limits, struct bytes bytes)
{
    struct http_head other;
    enum parse_outcome outcome;

    init_head(head, method, limits);
    outcome = http_parse_copy(head, bytes.at, bytes.len);
    for (size_t cut = 0; cut <= bytes.len; cut++) {
        init_head(&other, method, limits);
        assert_int_equal(http_parse_pieces(&other, bytes.at, bytes.len, cut, bytes.len), outcome);
        assert_true(outcome == PARSE_MORE || http_same_head(head, &other));
    }
    init_head(&other, method, limits);
    assert_int_equal(http_parse_pieces(&other, bytes.at, bytes.len, 0, 1), outcome);
    assert_true(outcome == PARSE_MORE || http_same_head(head, &other));
    return outcome;
}

static inline enum parse_outcome parse_request(struct http_head *head, struct bytes bytes)
{
    return parse_all_ways(head, HTTP_METHODS, &wide_limits, bytes);
}

static inline struct http_head request_of(struct bytes bytes)
{
    struct http_head head;

    assert_int_equal(parse_request(&head, bytes), PARSE_DONE);
    assert_int_equal(head.at, bytes.len);
    return head;
}

static inline struct http_head response_to(enum http_method method, struct bytes bytes)
{
    struct http_head head;

    assert_int_equal(parse_all_ways(&head, method, &wide_limits, bytes), PARSE_DONE);
    assert_int_equal(head.at, bytes.len);
    return head;
}

static inline void assert_refused(const struct http_head *head, uint16_t status, const char *problem)
{
    assert_non_null(head->refusal.problem);
    assert_string_equal(head->refusal.problem, problem);
    assert_int_equal(head->refusal.status, status);
}

static inline void assert_span(struct bytes bytes, struct http_span span, const char *text)
{
    assert_true(span.at <= span.end && span.end <= bytes.len);
    assert_int_equal(http_span_len(span), strlen(text));
    assert_memory_equal(bytes.at + span.at, text, strlen(text));
}
