/* See http_inflow.h. */
#include "http/http_inflow.h"

#include <errno.h>

#include "core/conn.h"
#include "core/reactor.h"
#include "http/http_reason.h"
#include "http/http_server.h"

static const struct http_refusal no_memory = {"out of memory", STATUS_UNAVAILABLE};

int http_inflow_init(struct http_inflow *inflow, struct conn *conn, const struct http_head *head, uint64_t content_max,
                     const struct http_limits *limits)
{
    inflow->conn = conn;
    inflow->server = conn->reactor->http;
    inflow->trailers = NULL;
    inflow->trailer_bytes = NULL;
    if (head->body == HTTP_BODY_CHUNKED) {
        inflow->trailers = slab_new(&inflow->server->trailers);
        if (!inflow->trailers)
            return -ENOMEM;
        inflow->trailers->count = 0;
    }
    http_body_init(&inflow->body, head, content_max, limits, inflow->trailers);
    return 0;
}

void http_inflow_deinit(struct http_inflow *inflow)
{
    if (inflow->trailers)
        slab_free(&inflow->server->trailers, inflow->trailers);
    if (inflow->trailer_bytes)
        lease_free(inflow->trailer_bytes);
    inflow->trailers = NULL;
    inflow->trailer_bytes = NULL;
}

static void skip(struct conn *conn, size_t bytes)
{
    if (bytes == 0)
        return;
    input_skip(&conn->in, (uint32_t)bytes);
    conn_on_consumed(conn);
}

/* The body has ended: keeps its trailers, if there are any, which are the last that was read. */
static enum http_inflow_outcome end_body(struct http_inflow *inflow, size_t used)
{
    struct conn *conn = inflow->conn;
    const struct http_fields *trailers = inflow->trailers;

    if (used > 0 && trailers && trailers->count > 0) { /* and not asked once more */
        inflow->trailer_bytes = lease_retain(conn->in.first, (uint32_t)used - trailers->at, trailers->at);
        if (!inflow->trailer_bytes) {
            inflow->body.refusal = no_memory;
            return HTTP_INFLOW_BAD;
        }
        lease_hold(inflow->trailer_bytes, &conn->in.count);
    }
    skip(conn, used);
    return HTTP_INFLOW_DONE;
}

/* One step of the framer on the first unread piece. True when there is an outcome. */
static bool step(struct http_inflow *inflow, enum http_inflow_outcome *outcome, uint32_t *bytes)
{
    struct conn *conn = inflow->conn;
    const struct lease *first = conn->in.first;
    struct http_body_step done;
    enum http_body_outcome result =
        http_body_next(&inflow->body, first ? first->data : NULL, first ? first->len : 0, &done);

    *bytes = (uint32_t)done.content_bytes;
    switch (result) {
    case HTTP_BODY_CONTENT:
        skip(conn, done.content_at);
        *outcome = HTTP_INFLOW_CONTENT;
        return true;
    case HTTP_BODY_DONE: *outcome = end_body(inflow, done.used); return true;
    case HTTP_BODY_BAD: *outcome = HTTP_INFLOW_BAD; return true;
    case HTTP_BODY_MORE: break;
    }
    skip(conn, done.used);
    *outcome = HTTP_INFLOW_MORE;
    if (done.used > 0)
        return !conn->in.first;
    /* Trailers, which have to be in one piece. */
    if (!conn->in.first || !conn->in.first->next)
        return true;
    if (input_gather(&conn->in, &conn->reactor->leases) == 0)
        return false;
    inflow->body.refusal = no_memory;
    *outcome = HTTP_INFLOW_BAD;
    return true;
}

enum http_inflow_outcome http_inflow_next(struct http_inflow *inflow, uint32_t *bytes)
{
    enum http_inflow_outcome outcome;

    while (!step(inflow, &outcome, bytes))
        ;
    return outcome;
}

enum parse_outcome http_inflow_head(struct conn *conn, struct http_head *head)
{
    const struct lease *first = conn->in.first;
    enum parse_outcome outcome = http_head_parse(head, first->data, first->len);

    if (outcome != PARSE_MORE || !first->next)
        return outcome;
    if (input_gather(&conn->in, &conn->reactor->leases) < 0) {
        head->refusal = no_memory;
        return PARSE_BAD;
    }
    first = conn->in.first;
    return http_head_parse(head, first->data, first->len);
}
