/* See http_span.h. The case of ASCII letters alone is nothing. */
#include "proto/http_span.h"

static uint8_t lower(uint8_t byte)
{
    return byte >= 'A' && byte <= 'Z' ? byte | ' ' : byte;
}

bool http_spells(const uint8_t *data, const char *word, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (lower(data[i]) != (uint8_t)word[i])
            return false;
    }
    return true;
}

bool http_span_is_same(struct http_span a, struct http_span b, const uint8_t *data)
{
    uint16_t len = http_span_len(a);

    if (len != http_span_len(b))
        return false;
    for (uint16_t i = 0; i < len; i++) {
        if (lower(data[a.at + i]) != lower(data[b.at + i]))
            return false;
    }
    return true;
}
