/* The head of an HTTP/1.0 or 1.1 message, as RFC 9112 has it and strictly: start line, fields, and what the two say
 * about the message's body and its connection, so that nobody else has to look at them again. Nothing is copied: what
 * is found are offsets into the head, which is in one piece. Resumable behind any byte, without starting over.
 *
 * What two programs could understand differently is refused. Beyond the RFC that is: LF without CR, which it lets a
 * recipient take for a line's end; a Content-Length twice, even with the same number, or with a Transfer-Encoding;
 * tabs around the value of either; userinfo in a target; and hosts with characters that no host has. One empty line in
 * front of a request is skipped, as old clients send one behind a body (section 2.2); a second is refused. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/http_fields.h"
#include "proto/http_name.h"
#include "proto/http_target.h"
#include "proto/parse.h"

struct http_limits {
    uint16_t head_bytes; /* with the empty line; at most HTTP_HEAD_BYTES_MAX. Past it: 414 within a target, else 431 */
    uint16_t fields;     /* at most HTTP_FIELDS_MAX */
};

enum http_kind { HTTP_REQUEST, HTTP_RESPONSE };

/* How the end of the body is known (RFC 9112 section 6.3). */
enum http_body_kind {
    HTTP_BODY_NONE,        /* there is none, whatever the fields say */
    HTTP_BODY_LENGTH,      /* content_length bytes, at least 1 */
    HTTP_BODY_CHUNKED,     /* in chunks, then trailers */
    HTTP_BODY_UNTIL_CLOSE, /* a response that ends with its connection */
    HTTP_BODY_TUNNEL, /* behind this response (101; 2xx to CONNECT) the connection does not speak HTTP/1 any more */
};

/* In Connection. */
enum http_option {
    HTTP_OPTION_CLOSE = 1,
    HTTP_OPTION_KEEP_ALIVE = 2,
    HTTP_OPTION_UPGRADE = 4,
};

struct http_head {
    /* Set from the start, and by the parser as it goes. */
    uint8_t kind;       /* enum http_kind */
    uint8_t state;      /* enum of http_head.c */
    uint8_t minor;      /* 0 or 1, of HTTP/1.x */
    uint8_t method;     /* enum http_method; of a response, that of its request */
    uint16_t bytes_max; /* limits.head_bytes */
    uint16_t at;        /* where the scan of the start line goes on; after PARSE_DONE, the length of the head */
    struct http_refusal refusal; /* after PARSE_BAD; for a response its status is 502 */

    /* Requests. */
    struct http_span method_text;
    struct http_target target;
    struct http_authority authority; /* from the target, or else from Host; empty when there is neither */

    /* Responses. */
    uint16_t status; /* 100 to 999 */
    struct http_span reason;

    /* What the fields say. */
    uint8_t body;              /* enum http_body_kind */
    uint8_t options;           /* a set of enum http_option */
    bool has_content_length;   /* also when there is no body: answers to HEAD, 304 */
    bool is_chunked;           /* the same */
    bool keeps_alive;          /* another message may follow on this connection */
    bool expects_continue;     /* Expect: 100-continue, of 1.1 */
    bool wants_upgrade;        /* Upgrade, and Connection says so, of 1.1 */
    uint64_t content_length;   /* at most INT64_MAX */
    struct http_span upgrade;  /* value of the first Upgrade field; empty: there is none */
    struct http_fields fields; /* last: only those that were found are touched */
};

void http_request_init(struct http_head *head, const struct http_limits *limits);
/* `method` is that of the request that is answered. After a status of 1xx other than 101 another response follows. */
void http_response_init(struct http_head *head, const struct http_limits *limits, enum http_method method);

/* Goes on where the last call stopped. `data` has all that there is so far, from the same first byte as then, but may
 * have moved in memory. After PARSE_DONE head->at bytes are the head; what follows is the body. After PARSE_BAD
 * nothing that follows may be interpreted. Neither may be asked again. */
enum parse_outcome http_head_parse(struct http_head *head, const uint8_t *data, size_t len);
