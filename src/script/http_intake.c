/* See http_intake.h. */
#include "script/http_intake.h"
#include "script/http_reason.h"

#include <errno.h>

#include "base/limits.h"
#include "core/conn.h"
#include "core/listener.h"
#include "core/reactor.h"
#include "script/http_exchange.h"
#include "script/runtime.h"

int http_intake_init(struct http_exchange *exchange)
{
    const struct http_config *config = &exchange->sc.conn->listener->config->http;
    struct http_limits limits = {.head_bytes = config->header_bytes, .fields = config->headers};

    if (exchange->head.body == HTTP_BODY_CHUNKED) {
        exchange->trailers = slab_new(&exchange->sc.runtime->trailers_slab);
        if (!exchange->trailers)
            return -ENOMEM;
    }
    http_body_init(&exchange->body, &exchange->head, config->body_bytes, &limits, exchange->trailers);
    return 0;
}

void http_intake_deinit(struct http_exchange *exchange)
{
    if (exchange->trailers)
        slab_free(&exchange->sc.runtime->trailers_slab, exchange->trailers);
    exchange->trailers = NULL;
}

void http_intake_fail(struct http_exchange *exchange, uint16_t status, const char *word)
{
    if (exchange->failure != 0)
        return;
    exchange->failure = status;
    exchange->failure_text = word;
}

static enum http_intake refuse(struct http_exchange *exchange)
{
    uint16_t status = exchange->body.refusal.status;

    http_intake_fail(exchange, status, status == STATUS_TOO_LARGE ? "limit" : "malformed");
    return HTTP_INTAKE_BAD;
}

static void skip(struct conn *conn, size_t bytes)
{
    if (bytes == 0)
        return;
    input_skip(&conn->in, (uint32_t)bytes);
    conn_on_consumed(conn);
}

/* One step of the framer on the first unread piece. True when there is an outcome. */
static bool step(struct http_exchange *exchange, enum http_intake *outcome, uint32_t *bytes)
{
    struct conn *conn = exchange->sc.conn;
    const struct lease *first = conn->in.first;
    struct http_body_step done;
    enum http_body_outcome result =
        http_body_next(&exchange->body, first ? first->data : NULL, first ? first->len : 0, &done);

    skip(conn, result == HTTP_BODY_CONTENT ? done.content_at : done.used);
    *bytes = (uint32_t)done.content_bytes;
    switch (result) {
    case HTTP_BODY_CONTENT: *outcome = HTTP_INTAKE_CONTENT; return true;
    case HTTP_BODY_DONE: *outcome = HTTP_INTAKE_DONE; return true;
    case HTTP_BODY_BAD: *outcome = refuse(exchange); return true;
    case HTTP_BODY_MORE: break;
    }
    *outcome = HTTP_INTAKE_MORE;
    if (done.used > 0)
        return !conn->in.first;
    /* Trailers, which have to be in one piece. */
    if (!conn->in.first || !conn->in.first->next)
        return true;
    if (input_gather(&conn->in, &conn->reactor->leases) == 0)
        return false;
    http_intake_fail(exchange, STATUS_UNAVAILABLE, "limit: out of memory");
    *outcome = HTTP_INTAKE_BAD;
    return true;
}

enum http_intake http_intake_next(struct http_exchange *exchange, uint32_t *bytes)
{
    enum http_intake outcome;

    while (!step(exchange, &outcome, bytes))
        ;
    return outcome;
}

enum http_intake http_intake_drain(struct http_exchange *exchange)
{
    enum http_intake outcome;
    uint32_t bytes;

    while ((outcome = http_intake_next(exchange, &bytes)) == HTTP_INTAKE_CONTENT) {
        exchange->drained += bytes;
        if (exchange->drained > HTTP_DRAIN_BYTES)
            return HTTP_INTAKE_BAD;
        skip(exchange->sc.conn, bytes);
    }
    return outcome;
}

bool http_intake_can_drain(const struct http_exchange *exchange)
{
    const struct http_head *head = &exchange->head;
    const struct http_body *body = &exchange->body;

    if (exchange->failure != 0)
        return false;
    if (http_body_may_end(body))
        return true;
    /* A client that waits for our word may send the body or not: there is no telling what comes next. */
    if (head->expects_continue && !exchange->continue_sent && exchange->taken == 0)
        return false;
    return body->left <= HTTP_DRAIN_BYTES;
}

bool http_intake_may_end(const struct http_exchange *exchange)
{
    return exchange->failure == 0 && (exchange->taken > 0 || http_intake_can_drain(exchange));
}
