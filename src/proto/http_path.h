/* What a script sees of a target: the path with its escapes undone and its dot segments removed, and the pairs of the
 * query. For looking at only: what a proxy passes on is the target as it came, or without the front of its path. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

/* Writes the path to out, which has room for len + 1 bytes, and returns its length, at least 1; or -EINVAL for an
 * escape that is none (% without two hex digits), and for %00, which would end a string in C. Both ought to be
 * answered with 400. An empty path is /.
 *
 * Escapes are undone once, and before segments are looked at: /a/%2e%2e/b is /b, and %252e is %2e. But an escaped
 * slash separates nothing, and stays (as %2F): /a%2F../b has the segment "a%2F..". A .. in the root stays in the root
 * (RFC 3986 section 5.2.4). Empty segments (//) stay. */
MUST_CHECK int http_path_normalize(char *out, const uint8_t *path, size_t len);

/* Writes what is left of the path behind `prefix` to out, which has room for len + 1 bytes, and returns its length, at least 1:
 * it begins with a slash, if need be with one of ours. Dot segments are removed, escapes stay as they are written; the prefix
 * is compared with the path's bytes, as http_path_normalize() gives them. -EINVAL: the path begins otherwise. `prefix`
 * begins with a slash. */
MUST_CHECK int http_path_strip(char *out, const uint8_t *path, size_t len, const char *prefix);

/* A name and its value, as they are written. Borrowed from the query. */
struct http_pair {
    const uint8_t *name;
    size_t name_len;
    const uint8_t *value; /* without a = it is empty */
    size_t value_len;
};

/* Takes the next pair of application/x-www-form-urlencoded text off its front: of a query, or a form in a body. Pairs
 * are separated by &; empty ones are skipped. False when there is no further one. */
bool http_pair_next(struct http_pair *pair, const uint8_t **text, size_t *len);

/* Writes a name or a value to out, which has room for len bytes: + is a space, escapes are undone, and what is no
 * escape stays as it is, as browsers do (WHATWG URL, section 5.1). Returns the length. What comes out may be any
 * bytes, also NUL. */
size_t http_pair_decode(char *out, const uint8_t *text, size_t len);
