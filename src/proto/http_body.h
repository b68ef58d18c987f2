/* The body of an HTTP/1 message: which of the bytes behind its head are content, and where the next message begins
 * (RFC 9112 sections 6 and 7). Framing is taken away as it comes, however it is cut; content is never copied or waited
 * for. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/http_fields.h"
#include "proto/http_head.h"

#define HTTP_CONTENT_UNLIMITED UINT64_MAX

struct http_body {
    uint8_t state;             /* enum of http_body.c */
    uint8_t kind;              /* enum http_kind, of the message */
    uint8_t digits;            /* of the chunk size being read */
    struct http_limits limits; /* for the trailers */
    uint32_t extension_bytes;  /* so far, in all chunks; at most HTTP_CHUNK_EXTENSION_BYTES */
    uint64_t left;             /* content to come: of the whole, or of this chunk */
    uint64_t content_bytes;    /* what was announced so far: all of it, or these chunks; without framing, what came */
    uint64_t content_max;
    struct http_refusal refusal;
    struct http_fields *trailers; /* borrowed until the body ends; http_body.c begins to use it behind the last chunk */
};

enum http_body_outcome {
    HTTP_BODY_MORE,    /* there is neither content nor an end yet in what was given */
    HTTP_BODY_CONTENT, /* some */
    HTTP_BODY_DONE,    /* the next message begins behind what was used */
    HTTP_BODY_BAD,     /* see body->refusal; the connection is of no further use */
};

struct http_body_step {
    size_t used; /* bytes that are dealt with, content included. The rest is to be given again */
    size_t content_at;
    size_t content_bytes; /* 0 unless HTTP_BODY_CONTENT */
};

/* For the body that this head, which was parsed, announces; not for a tunnel. Of more than content_max bytes it is
 * refused (413) as soon as that is announced: at once, by a Content-Length. `limits` and `trailers` are for those
 * behind chunks; the latter may be NULL when the body is not chunked. */
void http_body_init(struct http_body *body, const struct http_head *head, uint64_t content_max,
                    const struct http_limits *limits, struct http_fields *trailers);

/* Goes on with data, which begins behind what the last step used. Ask again until it says DONE, BAD, or MORE: then with
 * more bytes. The trailers, if only the empty line that stands for none, are used when all of them are there, in one
 * piece: the last trailers->at of the step->used bytes before DONE, from whose first byte the spans of
 * body->trailers count. */
enum http_body_outcome http_body_next(struct http_body *body, const uint8_t *data, size_t len,
                                      struct http_body_step *step);

/* Whether the end of the connection, here, ends the body as it should. */
bool http_body_may_end(const struct http_body *body);
