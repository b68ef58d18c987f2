/* Targets are taken apart when all of one is there. The parser of heads does that of an origin form, nearly all there
 * are, on its way. */
#include "proto/http_target.h"

#include <string.h>

#include "proto/http_scan.h"

enum { PORT_DIGITS_MAX = 5 };

/* ---- authority ---- */

/* Without the port: the end of the host that begins at text.at. */
static uint16_t host_end(const uint8_t *data, struct http_span text)
{
    uint16_t at = text.at;

    if (at == text.end || data[at] != '[')
        return (uint16_t)http_scan_scalar(HTTP_IN_HOST, data, at, text.end);
    for (at++; at < text.end && (http_is(data[at], HTTP_IN_HEX) || data[at] == ':' || data[at] == '.');)
        at++;
    return at < text.end && data[at] == ']' && at > text.at + 2 ? (uint16_t)(at + 1) : text.at;
}

static bool read_port(uint16_t *port, const uint8_t *data, struct http_span digits)
{
    uint32_t value = 0;

    *port = 0;
    if (digits.at == digits.end)
        return true;
    if (http_span_len(digits) > PORT_DIGITS_MAX)
        return false;
    for (uint16_t at = digits.at; at < digits.end; at++) {
        if (!http_is(data[at], HTTP_IN_DIGIT))
            return false;
        value = value * 10 + (uint32_t)(data[at] - '0');
    }
    *port = (uint16_t)value;
    return value >= 1 && value <= UINT16_MAX;
}

bool http_authority_read(struct http_authority *authority, const uint8_t *data, struct http_span text)
{
    uint16_t end = host_end(data, text);

    authority->host = (struct http_span){text.at, end};
    authority->port = 0;
    if (end == text.at)
        return false;
    if (end == text.end)
        return true;
    return data[end] == ':' && read_port(&authority->port, data, (struct http_span){(uint16_t)(end + 1), text.end});
}

bool http_authority_is_same(const struct http_authority *a, const struct http_authority *b, const uint8_t *data,
                            uint16_t default_port)
{
    uint16_t a_port = a->port ? a->port : default_port;
    uint16_t b_port = b->port ? b->port : default_port;

    if (a_port != b_port && a_port && b_port)
        return false;
    return http_span_is_same(a->host, b->host, data);
}

/* ---- target ---- */

/* The first of these three characters, or the end. */
static uint16_t find_authority_end(const uint8_t *data, struct http_span text)
{
    uint16_t at = text.at;

    while (at < text.end && data[at] != '/' && data[at] != '?' && data[at] != '\\')
        at++;
    return at;
}

static const char *split_path(struct http_target *target, const uint8_t *data, struct http_span rest)
{
    uint16_t end = (uint16_t)http_scan(HTTP_IN_PATH, data, rest.at, rest.end);

    target->path = (struct http_span){rest.at, end};
    if (end == rest.end)
        return NULL;
    if (data[end] != '?')
        return "a character that no path has";
    target->has_query = true;
    target->query = (struct http_span){(uint16_t)(end + 1), rest.end};
    return NULL;
}

static const char *read_absolute(struct http_target *target, const uint8_t *data)
{
    struct http_span rest = target->all;
    const uint8_t *colon = memchr(data + rest.at, ':', http_span_len(rest));
    uint16_t scheme_end = colon ? (uint16_t)(colon - data) : rest.end;

    target->form = HTTP_ABSOLUTE;
    target->scheme = (struct http_span){rest.at, scheme_end};
    if (rest.end - scheme_end < 3 || memcmp(data + scheme_end, "://", 3) != 0)
        return "a target that is none of the four forms";
    if (!http_span_is(target->scheme, data, "http") && !http_span_is(target->scheme, data, "https"))
        return "a target of a scheme other than http and https";
    rest.at = (uint16_t)(scheme_end + 3);
    target->authority = (struct http_span){rest.at, find_authority_end(data, rest)};
    return split_path(target, data, (struct http_span){target->authority.end, rest.end});
}

const char *http_target_read(struct http_target *target, const uint8_t *data, enum http_method method)
{
    struct http_span all = target->all;

    if (method == HTTP_CONNECT) {
        target->form = HTTP_AUTHORITY;
        target->authority = all;
        return NULL;
    }
    if (data[all.at] == '/') {
        target->form = HTTP_ORIGIN;
        return split_path(target, data, all);
    }
    if (http_span_len(all) != 1 || data[all.at] != '*')
        return read_absolute(target, data);
    target->form = HTTP_ASTERISK;
    return method == HTTP_OPTIONS ? NULL : "the target * of a method other than OPTIONS";
}
