/* See http_status.h. The fixed part is matched byte by byte, so that what is no answer is known with its first wrong byte. */
#include "proto/http_status.h"

#include <stdbool.h>
#include <string.h>

/* '#' stands for a digit, '?' for 0 or 1. */
static const char head[] = "HTTP/1.? ###";
enum { HEAD_BYTES = sizeof(head) - 1, STATUS_AT = HEAD_BYTES - 3 };

static bool fits(char expected, uint8_t byte)
{
    switch (expected) {
    case '#': return byte >= '0' && byte <= '9';
    case '?': return byte == '0' || byte == '1';
    default: return byte == (uint8_t)expected;
    }
}

static bool begins_well(const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len && i < HEAD_BYTES; i++) {
        if (!fits(head[i], data[i]))
            return false;
    }
    /* The reason phrase, and even the space before it, is left out by some. */
    return len <= HEAD_BYTES || data[HEAD_BYTES] == ' ' || data[HEAD_BYTES] == '\r' || data[HEAD_BYTES] == '\n';
}

enum parse_outcome http_status_parse(uint16_t *status, const uint8_t *data, size_t len)
{
    size_t looked_at = len < HTTP_STATUS_LINE_BYTES_MAX ? len : HTTP_STATUS_LINE_BYTES_MAX;

    if (!begins_well(data, looked_at))
        return PARSE_BAD;
    if (looked_at <= HEAD_BYTES)
        return PARSE_MORE;
    if (!memchr(data + HEAD_BYTES, '\n', looked_at - HEAD_BYTES))
        return looked_at < HTTP_STATUS_LINE_BYTES_MAX ? PARSE_MORE : PARSE_BAD;
    *status = 0;
    for (size_t i = STATUS_AT; i < HEAD_BYTES; i++)
        *status = (uint16_t)(*status * 10 + (data[i] - '0'));
    return PARSE_DONE;
}
