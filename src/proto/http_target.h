/* Where a request is to go (RFC 9112 section 3.2): the four forms of a target, and the host and port in it or in Host. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "proto/http_name.h"
#include "proto/http_span.h"

enum http_form {
    HTTP_ORIGIN,    /* /path?query */
    HTTP_ABSOLUTE,  /* http://authority/path?query */
    HTTP_AUTHORITY, /* host:port, of CONNECT */
    HTTP_ASTERISK,  /* *, of OPTIONS */
};

struct http_target {
    struct http_span all;
    struct http_span scheme;    /* absolute form: http or https, in any case */
    struct http_span authority; /* absolute and authority form */
    struct http_span path;      /* origin and absolute form; empty when an absolute one has none: that means / */
    struct http_span query;     /* behind the ?, which `has_query` tells from none */
    uint8_t form;               /* enum http_form */
    bool has_query;
};

struct http_authority {
    struct http_span host; /* IPv6 addresses with their brackets */
    uint16_t port;         /* 0: none was given */
};

/* What is wrong with target->all of a request of this method, or NULL. The other fields are set. The bytes are of
 * HTTP_IN_QUERY. */
MUST_CHECK const char *http_target_read(struct http_target *target, const uint8_t *data, enum http_method method);

/* host[:port]. A host is of letters, digits and -._~ or an IPv6 address in brackets, without a zone; not empty. What
 * else RFC 3986 allows (escapes, !$&'()*+,;=) is in no name that exists, and understood differently. A port is 1 to
 * 65535; a colon without one is as none. False when it is anything else. */
MUST_CHECK bool http_authority_read(struct http_authority *authority, const uint8_t *data, struct http_span text);

/* Whether both are the same, for this port being the one that goes without saying (0: no port is like any). */
bool http_authority_is_same(const struct http_authority *a, const struct http_authority *b, const uint8_t *data,
                            uint16_t default_port);
