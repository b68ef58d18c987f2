/* The body of a message on its way from a connection's unread bytes to whoever takes it: framing goes, content comes piece by
 * piece where it was received. Of requests and of answers alike. */
#pragma once

#include <stdint.h>

#include "base/macros.h"
#include "proto/http_body.h"

struct conn;
struct http_server;
struct lease;

enum http_inflow_outcome {
    HTTP_INFLOW_MORE,    /* nothing is there yet */
    HTTP_INFLOW_CONTENT, /* the first unread bytes, all in one piece, are content: to be taken off the connection */
    HTTP_INFLOW_DONE,    /* the next message begins there */
    HTTP_INFLOW_BAD,     /* inflow->body.refusal says what; the connection is of no further use */
};

struct http_inflow {
    struct conn *conn;          /* borrowed */
    struct http_server *server; /* borrowed */
    struct http_body body;
    struct http_fields *trailers; /* owned, of its slab, while a chunked body is read and after that; else NULL */
    struct lease *trailer_bytes;  /* owned: what they count from, when they are there; NULL: there are none */
};

/* Of the message whose head is this one. A body of more than content_max bytes is refused. 0, or -ENOMEM. */
MUST_CHECK int http_inflow_init(struct http_inflow *inflow, struct conn *conn, const struct http_head *head,
                                uint64_t content_max, const struct http_limits *limits);
/* Idempotent; also of one that was never made, but is zeroed. */
void http_inflow_deinit(struct http_inflow *inflow);
/* Takes framing away. *bytes: of content. */
enum http_inflow_outcome http_inflow_next(struct http_inflow *inflow, uint32_t *bytes);

/* Parses the head that the unread bytes begin with, which are gathered into one piece when it is in several: as
 * http_head_parse(). They stay unread. */
enum parse_outcome http_inflow_head(struct conn *conn, struct http_head *head);
