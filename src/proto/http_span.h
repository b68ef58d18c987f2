/* A part of an HTTP/1 head, by where it is, and comparing such parts. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/macros.h"

static_assert(HTTP_HEAD_BYTES_MAX <= UINT16_MAX, "offsets into a head have 16 bits");

/* data[at] up to, without, data[end]. */
struct http_span {
    uint16_t at;
    uint16_t end;
};

static inline uint16_t http_span_len(struct http_span span)
{
    return (uint16_t)(span.end - span.at);
}

static inline bool http_span_is_empty(struct http_span span)
{
    return span.at == span.end;
}

/* Whether the bytes spell `word`, which is in lower case, in any case. */
bool http_span_is(struct http_span span, const uint8_t *data, const char *word);
/* Whether two parts spell the same, in any case. */
bool http_span_is_same(struct http_span a, struct http_span b, const uint8_t *data);
