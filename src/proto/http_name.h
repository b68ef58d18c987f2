/* Words of HTTP/1 that have a number: request methods and the names of common fields, with what a proxy must know of
 * each. And what may be written as name or value of a field. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

enum http_method {
    HTTP_METHOD_OTHER, /* a token that stands for no method we know */
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_CONNECT,
    HTTP_OPTIONS,
    HTTP_TRACE,
    HTTP_PATCH,
    HTTP_METHODS,
};

/* What a name stands for. */
enum http_name_trait {
    HTTP_HOP_BY_HOP =
        1, /* about the connection, not the message: a proxy does not pass it on (RFC 9110 section 7.6.1) */
    HTTP_NO_TRAILER =
        2, /* frames, routes, authorises or describes the message: never behind the content (section 6.5.1) */
    HTTP_END_TO_END = 4, /* frames or routes the message: Connection must not name it */
};

/* The known names: enumerator, spelling, and for the look-up its first and its last but one character; traits. Those
 * whose values the parser itself reads come first. */
#define HTTP_KNOWN_NAMES(X)                                                                \
    X(CONNECTION, "connection", 'c', 'o', HTTP_HOP_BY_HOP | HTTP_NO_TRAILER)               \
    X(CONTENT_LENGTH, "content-length", 'c', 't', HTTP_NO_TRAILER | HTTP_END_TO_END)       \
    X(EXPECT, "expect", 'e', 'c', HTTP_NO_TRAILER)                                         \
    X(HOST, "host", 'h', 's', HTTP_NO_TRAILER | HTTP_END_TO_END)                           \
    X(TRANSFER_ENCODING, "transfer-encoding", 't', 'n', HTTP_HOP_BY_HOP | HTTP_NO_TRAILER) \
    X(UPGRADE, "upgrade", 'u', 'd', HTTP_HOP_BY_HOP | HTTP_NO_TRAILER)                     \
    X(ACCEPT, "accept", 'a', 'p', 0)                                                       \
    X(ACCEPT_ENCODING, "accept-encoding", 'a', 'n', 0)                                     \
    X(ACCEPT_LANGUAGE, "accept-language", 'a', 'g', 0)                                     \
    X(ACCEPT_RANGES, "accept-ranges", 'a', 'e', 0)                                         \
    X(AGE, "age", 'a', 'g', HTTP_NO_TRAILER)                                               \
    X(AUTHORIZATION, "authorization", 'a', 'o', HTTP_NO_TRAILER)                           \
    X(CACHE_CONTROL, "cache-control", 'c', 'o', HTTP_NO_TRAILER)                           \
    X(CONTENT_ENCODING, "content-encoding", 'c', 'n', HTTP_NO_TRAILER)                     \
    X(CONTENT_RANGE, "content-range", 'c', 'g', HTTP_NO_TRAILER)                           \
    X(CONTENT_TYPE, "content-type", 'c', 'p', HTTP_NO_TRAILER)                             \
    X(COOKIE, "cookie", 'c', 'i', HTTP_NO_TRAILER)                                         \
    X(DATE, "date", 'd', 't', HTTP_NO_TRAILER)                                             \
    X(ETAG, "etag", 'e', 'a', 0)                                                           \
    X(EXPIRES, "expires", 'e', 'e', HTTP_NO_TRAILER)                                       \
    X(FORWARDED, "forwarded", 'f', 'e', HTTP_NO_TRAILER)                                   \
    X(IF_MODIFIED_SINCE, "if-modified-since", 'i', 'c', HTTP_NO_TRAILER)                   \
    X(IF_NONE_MATCH, "if-none-match", 'i', 'c', HTTP_NO_TRAILER)                           \
    X(KEEP_ALIVE, "keep-alive", 'k', 'v', HTTP_HOP_BY_HOP | HTTP_NO_TRAILER)               \
    X(LAST_MODIFIED, "last-modified", 'l', 'e', 0)                                         \
    X(LOCATION, "location", 'l', 'o', HTTP_NO_TRAILER)                                     \
    X(MAX_FORWARDS, "max-forwards", 'm', 'd', HTTP_NO_TRAILER)                             \
    X(ORIGIN, "origin", 'o', 'i', HTTP_NO_TRAILER)                                         \
    X(PROXY_AUTHENTICATE, "proxy-authenticate", 'p', 't', HTTP_NO_TRAILER)                 \
    X(PROXY_AUTHORIZATION, "proxy-authorization", 'p', 'o', HTTP_NO_TRAILER)               \
    X(PROXY_CONNECTION, "proxy-connection", 'p', 'o', HTTP_HOP_BY_HOP | HTTP_NO_TRAILER)   \
    X(RANGE, "range", 'r', 'g', HTTP_NO_TRAILER)                                           \
    X(REFERER, "referer", 'r', 'e', 0)                                                     \
    X(SERVER, "server", 's', 'e', 0)                                                       \
    X(SET_COOKIE, "set-cookie", 's', 'i', HTTP_NO_TRAILER)                                 \
    X(TE, "te", 't', 't', HTTP_HOP_BY_HOP | HTTP_NO_TRAILER)                               \
    X(TRAILER, "trailer", 't', 'e', HTTP_NO_TRAILER)                                       \
    X(USER_AGENT, "user-agent", 'u', 'n', 0)                                               \
    X(VARY, "vary", 'v', 'r', HTTP_NO_TRAILER)                                             \
    X(VIA, "via", 'v', 'i', 0)                                                             \
    X(WWW_AUTHENTICATE, "www-authenticate", 'w', 't', HTTP_NO_TRAILER)                     \
    X(X_FORWARDED_FOR, "x-forwarded-for", 'x', 'o', HTTP_NO_TRAILER)                       \
    X(X_FORWARDED_HOST, "x-forwarded-host", 'x', 's', HTTP_NO_TRAILER)                     \
    X(X_FORWARDED_PORT, "x-forwarded-port", 'x', 'r', HTTP_NO_TRAILER)                     \
    X(X_FORWARDED_PROTO, "x-forwarded-proto", 'x', 't', HTTP_NO_TRAILER)                   \
    X(X_REAL_IP, "x-real-ip", 'x', 'i', HTTP_NO_TRAILER)                                   \
    X(X_REQUEST_ID, "x-request-id", 'x', 'i', HTTP_NO_TRAILER)

enum http_name {
    HTTP_NAME_OTHER, /* none of these */
#define HTTP_ENUMERATOR(name, spelling, first, late, traits) HTTP_NAME_##name,
    HTTP_KNOWN_NAMES(HTTP_ENUMERATOR)
#undef HTTP_ENUMERATOR
        HTTP_NAMES,
    HTTP_NAME_LAST_INTERPRETED = HTTP_NAME_UPGRADE,
};

/* Which of them these bytes spell; methods as they are, names whatever their case. `name` is of HTTP_IN_TOKEN
 * characters. */
enum http_method http_method_find(const uint8_t *method, size_t len);
enum http_name http_name_find(const uint8_t *name, size_t len);

extern const uint8_t http_name_trait_sets[HTTP_NAMES];

/* A set of enum http_name_trait. */
static inline uint8_t http_name_traits(enum http_name name)
{
    return http_name_trait_sets[name];
}

/* Static; names in lower case. NULL for the one that is none of the known. */
const char *http_name_text(enum http_name name);
const char *http_method_text(enum http_method method);

/* For fields of our own: a name is a token; a value has no control character but tabs, and neither blanks at its ends. */
MUST_CHECK bool http_name_is_valid(const char *name, size_t len);
MUST_CHECK bool http_value_is_valid(const char *value, size_t len);
