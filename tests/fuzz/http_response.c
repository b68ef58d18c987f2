/* HTTP/1 response heads, to a method that the first byte chooses. Whatever the bytes: they come to the same verdict
 * however they are cut, and what is accepted lies inside the head. */
#include "entries.h"
#include "http_check.h"

static const struct http_limits limits = {2048, 16};

static void check_body(const struct http_head *head)
{
    assert(head->status >= 100 && head->status <= 999);
    assert(head->body != HTTP_BODY_TUNNEL || head->status == 101 || head->method == HTTP_CONNECT);
    assert(head->method != HTTP_HEAD || head->body == HTTP_BODY_NONE || head->body == HTTP_BODY_TUNNEL);
    assert((head->status != 204 && head->status != 304) || head->body == HTTP_BODY_NONE ||
           head->body == HTTP_BODY_TUNNEL);
}

void fuzz_http_response(const uint8_t *data, size_t size)
{
    static struct http_head head;
    static struct http_head other;
    enum http_method method = size > 0 ? data[0] % HTTP_METHODS : HTTP_GET;
    const uint8_t *bytes = size > 0 ? data + 1 : data;
    size_t len = size > 0 ? size - 1 : 0;
    enum parse_outcome outcome;

    http_response_init(&head, &limits, method);
    outcome = http_parse_copy(&head, bytes, len);
    assert((outcome == PARSE_BAD) == (head.refusal.status == 502));
    for (size_t step = 1; step <= len; step = step * 3 + 1) {
        http_response_init(&other, &limits, method);
        assert(http_parse_pieces(&other, bytes, len, step / 2, step) == outcome);
        assert(outcome == PARSE_MORE || http_same_head(&head, &other));
    }
    if (outcome == PARSE_DONE) {
        check_fields(&head, bytes);
        check_inside(head.reason, &head);
        check_body(&head);
    }
}
