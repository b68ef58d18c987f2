/* The path is decoded and normalised in one pass: a segment is written decoded, and taken back if it was one of dots. */
#include "proto/http_path.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "proto/http_scan.h"

enum { ESCAPE_BYTES = 3 };

/* The byte that is written as %xx here, or -1. */
static int read_escape(const uint8_t *text, size_t len)
{
    if (len < ESCAPE_BYTES || !http_is(text[1], HTTP_IN_HEX) || !http_is(text[2], HTTP_IN_HEX))
        return -1;
    return http_hex_value(text[1]) << 4 | http_hex_value(text[2]);
}

/* ---- path ---- */

/* Decodes up to the next slash, at *out and *path, and moves both. */
static int decode_segment(char **out, const uint8_t **path, const uint8_t *end)
{
    while (*path < end && **path != '/') {
        int byte = **path == '%' ? read_escape(*path, (size_t)(end - *path)) : **path;
        size_t used = **path == '%' ? ESCAPE_BYTES : 1;

        if (byte <= 0)
            return -EINVAL;
        if (byte == '/') {
            memcpy(*out, "%2F", ESCAPE_BYTES);
            *out += ESCAPE_BYTES;
        } else {
            *(*out)++ = (char)byte;
        }
        *path += used;
    }
    return 0;
}

static bool is_text(const char *start, const char *end, const char *text)
{
    size_t len = strlen(text);

    return (size_t)(end - start) == len && memcmp(start, text, len) == 0;
}

/* The start of the segment before this one; the root has none before it. */
static char *parent(char *out, char *segment)
{
    if (segment - out <= 1)
        return segment;
    for (segment--; segment[-1] != '/';)
        segment--;
    return segment;
}

int http_path_normalize(char *out, const uint8_t *path, size_t len)
{
    const uint8_t *end = path + len;
    char *segment = out; /* where the present one begins, behind a slash */
    char *at;

    assert(len <= INT32_MAX);
    if (len > 0 && *path == '/')
        path++;
    *segment++ = '/';
    for (;;) {
        at = segment;
        if (decode_segment(&at, &path, end) < 0)
            return -EINVAL;
        if (is_text(segment, at, "."))
            at = segment;
        else if (is_text(segment, at, ".."))
            at = parent(out, segment);
        else if (path < end)
            *at++ = '/';
        if (path == end)
            return (int)(at - out);
        path++;
        segment = at;
    }
}

/* Whether a segment, with its escapes undone, is "." or "..": how many dots it has, 0 when it is anything else. */
static uint32_t count_dots(const uint8_t *segment, const uint8_t *end)
{
    uint32_t dots = 0;

    while (segment < end && dots <= 2) {
        bool is_escape = *segment == '%';

        if ((is_escape ? read_escape(segment, (size_t)(end - segment)) : *segment) != '.')
            return 0;
        segment += is_escape ? ESCAPE_BYTES : 1;
        dots++;
    }
    return dots <= 2 ? dots : 0;
}

/* Copies a path as it is written, without its dot segments. Returns the length. */
static size_t remove_dots(char *out, const uint8_t *path, size_t len)
{
    const uint8_t *end = path + len;
    char *segment = out;

    if (len > 0 && *path == '/')
        path++;
    *segment++ = '/';
    for (;;) {
        const uint8_t *slash = memchr(path, '/', (size_t)(end - path));
        const uint8_t *segment_end = slash ? slash : end;
        size_t bytes = (size_t)(segment_end - path);
        uint32_t dots = count_dots(path, segment_end);

        if (dots == 0) {
            memmove(segment, path, bytes); /* out may be where the path is */
            segment += bytes;
            if (slash)
                *segment++ = '/';
        } else if (dots == 2) {
            segment = parent(out, segment);
        }
        if (!slash)
            return (size_t)(segment - out);
        path = slash + 1;
    }
}

/* How many bytes of the path spell the prefix, escapes undone; -EINVAL: it begins with something else. */
static int find_prefix(const char *path, size_t len, const char *prefix)
{
    size_t at = 0;

    for (; *prefix; prefix++) {
        bool is_escape = at < len && path[at] == '%';
        int byte;

        if (at == len)
            return -EINVAL;
        byte = is_escape ? read_escape((const uint8_t *)path + at, len - at) : (uint8_t)path[at];
        if (byte != (uint8_t)*prefix || (is_escape && byte == '/'))
            return -EINVAL;
        at += is_escape ? ESCAPE_BYTES : 1;
    }
    return (int)at;
}

int http_path_strip(char *out, const uint8_t *path, size_t len, const char *prefix)
{
    size_t left = remove_dots(out, path, len);
    int front = find_prefix(out, left, prefix);

    if (front < 0)
        return front;
    left -= (size_t)front;
    if (left > 0 && out[front] == '/') {
        memmove(out, out + front, left);
    } else {
        assert(front > 0);
        memmove(out + 1, out + front, left);
        out[0] = '/';
        left++;
    }
    /* What followed the prefix within its segment may be dots by itself: /api.. without /api. */
    return (int)remove_dots(out, (const uint8_t *)out, left);
}

/* ---- pairs ---- */

static const uint8_t *find(const uint8_t *text, size_t len, char c)
{
    const uint8_t *found = len > 0 ? memchr(text, c, len) : NULL;

    return found ? found : text + len;
}

static void split_pair(struct http_pair *pair, const uint8_t *text, size_t len)
{
    const uint8_t *equals = find(text, len, '=');
    const uint8_t *end = text + len;

    pair->name = text;
    pair->name_len = (size_t)(equals - text);
    pair->value = equals < end ? equals + 1 : end;
    pair->value_len = (size_t)(end - pair->value);
}

bool http_pair_next(struct http_pair *pair, const uint8_t **text, size_t *len)
{
    while (*len > 0) {
        const uint8_t *start = *text;
        size_t pair_len = (size_t)(find(start, *len, '&') - start);
        size_t used = pair_len < *len ? pair_len + 1 : pair_len;

        *text += used;
        *len -= used;
        if (pair_len > 0) {
            split_pair(pair, start, pair_len);
            return true;
        }
    }
    return false;
}

size_t http_pair_decode(char *out, const uint8_t *text, size_t len)
{
    size_t written = 0;

    for (size_t i = 0; i < len; i++) {
        int escaped = text[i] == '%' ? read_escape(text + i, len - i) : -1;

        if (escaped >= 0)
            i += ESCAPE_BYTES - 1;
        out[written++] = (char)(escaped >= 0 ? escaped : text[i] == '+' ? ' ' : text[i]);
    }
    return written;
}
