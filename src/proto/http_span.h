/* A part of an HTTP/1 head, by where it is, and comparing such parts. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

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

/* Whether so many bytes spell `word`, which is in lower case, in any case. */
bool http_spells(const uint8_t *data, const char *word, size_t len);

static inline bool http_span_is(struct http_span span, const uint8_t *data, const char *word)
{
    size_t len = strlen(word);

    return http_span_len(span) == len && http_spells(data + span.at, word, len);
}

/* Whether two parts spell the same, in any case. */
bool http_span_is_same(struct http_span a, struct http_span b, const uint8_t *data);
