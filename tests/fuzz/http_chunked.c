/* Chunked bodies. Whatever the bytes, and however they are cut: the same content, the same end, the same trailers. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "entries.h"
#include "http_same.h"
#include "proto/http_body.h"

enum { BYTES_MAX = 64 * 1024, CONTENT_MAX = 4096 };

struct reading {
    struct http_body body;
    struct http_fields trailers;
    enum http_body_outcome outcome;
    size_t used;
    size_t len;
    uint8_t content[BYTES_MAX];
};

static void start(struct reading *reading)
{
    static const struct http_limits limits = {512, 8};
    struct http_head head = {.kind = HTTP_REQUEST, .body = HTTP_BODY_CHUNKED};

    reading->used = 0;
    reading->len = 0;
    http_body_init(&reading->body, &head, CONTENT_MAX, &limits, &reading->trailers);
}

/* In memory of exactly that size. False when nothing more comes of these bytes. */
static bool take_step(struct reading *reading, const uint8_t *data, size_t end)
{
    size_t len = end - reading->used;
    uint8_t *copy = malloc(len ? len : 1);
    struct http_body_step step;

    memcpy(copy, data + reading->used, len);
    reading->outcome = http_body_next(&reading->body, copy, len, &step);
    assert(step.used <= len && step.content_at + step.content_bytes <= step.used);
    assert((reading->outcome == HTTP_BODY_CONTENT) == (step.content_bytes > 0));
    memcpy(reading->content + reading->len, copy + step.content_at, step.content_bytes);
    reading->len += step.content_bytes;
    reading->used += step.used;
    free(copy);
    return reading->outcome == HTTP_BODY_CONTENT;
}

static void read_pieces(struct reading *reading, const uint8_t *data, size_t size, size_t first, size_t step)
{
    size_t end = first;

    start(reading);
    for (;;) {
        while (take_step(reading, data, end))
            ;
        if (reading->outcome != HTTP_BODY_MORE || end == size)
            return;
        end = size - end < step ? size : end + step;
    }
}

static void check_same(const struct reading *a, const struct reading *b)
{
    assert(a->outcome == b->outcome && a->len == b->len && memcmp(a->content, b->content, a->len) == 0);
    if (a->outcome == HTTP_BODY_DONE)
        assert(a->used == b->used && http_same_fields(&a->trailers, &b->trailers));
    if (a->outcome == HTTP_BODY_BAD)
        assert(strcmp(a->body.refusal.problem, b->body.refusal.problem) == 0);
}

void fuzz_http_chunked(const uint8_t *data, size_t size)
{
    static struct reading whole;
    static struct reading other;

    if (size > BYTES_MAX)
        return;
    read_pieces(&whole, data, size, size, 1);
    assert(whole.len <= CONTENT_MAX);
    assert(whole.outcome == HTTP_BODY_BAD || whole.body.content_bytes <= CONTENT_MAX);
    for (size_t step = 1; step <= size; step = step * 3 + 1) {
        read_pieces(&other, data, size, step / 2, step);
        check_same(&whole, &other);
    }
}
