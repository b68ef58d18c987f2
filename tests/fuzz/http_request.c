/* HTTP/1 request heads. Whatever the bytes: they come to the same verdict however they are cut, and what is accepted
 * lies inside the head and is what it is said to be. Then what scripts see of the target; and scanning with SSE2 finds
 * what scanning without it finds. */
#include <stdlib.h>

#include "entries.h"
#include "http_check.h"
#include "proto/http_path.h"
#include "proto/http_scan.h"

static const struct http_limits limits = {2048, 16};

static void check_scans(const uint8_t *data, uint32_t size)
{
    for (uint32_t at = 0; at < size; at += 1 + at / 8) {
        assert(http_scan(HTTP_IN_TOKEN, data, at, size) == http_scan_scalar(HTTP_IN_TOKEN, data, at, size));
        assert(http_scan(HTTP_IN_VALUE, data, at, size) == http_scan_scalar(HTTP_IN_VALUE, data, at, size));
        assert(http_scan(HTTP_IN_PATH, data, at, size) == http_scan_scalar(HTTP_IN_PATH, data, at, size));
        assert(http_scan(HTTP_IN_QUERY, data, at, size) == http_scan_scalar(HTTP_IN_QUERY, data, at, size));
    }
}

static void check_segments(const char *path, size_t len)
{
    size_t start = 1;

    assert(len > 0 && path[0] == '/');
    for (size_t i = 1; i <= len; i++) {
        if (i < len && path[i] != '/')
            continue;
        assert(i - start != 1 || path[start] != '.');
        assert(i - start != 2 || path[start] != '.' || path[start + 1] != '.');
        start = i + 1;
    }
}

static void check_path(struct http_span span, const uint8_t *data)
{
    size_t room = http_span_len(span) + 1u;
    char *out = malloc(room);
    int len = http_path_normalize(out, data + span.at, http_span_len(span));

    assert(len < 0 || (size_t)len <= room);
    if (len > 0)
        check_segments(out, (size_t)len);
    free(out);
}

static void check_query(struct http_span span, const uint8_t *data)
{
    const uint8_t *text = data + span.at;
    size_t len = http_span_len(span);
    size_t seen = 0;
    struct http_pair pair;

    while (http_pair_next(&pair, &text, &len)) {
        char *out = malloc(pair.value_len + 1);

        assert(http_pair_decode(out, pair.value, pair.value_len) <= pair.value_len);
        free(out);
        seen += pair.name_len + pair.value_len;
    }
    assert(len == 0 && text == data + span.end && seen <= http_span_len(span));
}

static void check_target(const struct http_head *head, const uint8_t *data)
{
    const struct http_target *target = &head->target;

    check_inside(target->all, head);
    check_inside(target->scheme, head);
    check_inside(target->authority, head);
    check_inside(target->path, head);
    check_inside(target->query, head);
    assert(!http_span_is_empty(target->all));
    assert(target->form != HTTP_ASTERISK || head->method == HTTP_OPTIONS);
    assert((target->form == HTTP_AUTHORITY) == (head->method == HTTP_CONNECT));
    assert(head->minor == 0 || head->fields.count > 0);
    check_path(target->path, data);
    check_query(target->query, data);
}

static enum parse_outcome parse(struct http_head *head, const uint8_t *data, size_t size, size_t first, size_t step)
{
    http_request_init(head, &limits);
    return http_parse_pieces(head, data, size, first, step);
}

void fuzz_http_request(const uint8_t *data, size_t size)
{
    static struct http_head head;
    static struct http_head other;
    enum parse_outcome outcome = parse(&head, data, size, size, 1);

    assert((outcome == PARSE_BAD) == (head.refusal.problem != NULL));
    assert(outcome != PARSE_MORE || size < limits.head_bytes);
    for (size_t step = 1; step <= size; step = step * 3 + 1) {
        assert(parse(&other, data, size, step / 2, step) == outcome);
        assert(outcome == PARSE_MORE || http_same_head(&head, &other));
    }
    check_scans(data, (uint32_t)size);
    if (outcome == PARSE_DONE) {
        check_fields(&head, data);
        check_target(&head, data);
    }
}
