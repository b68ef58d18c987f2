/* See http_intake.h. */
#include "http/http_intake.h"

#include <errno.h>

#include "base/limits.h"
#include "core/conn.h"
#include "core/listener.h"
#include "http/http_exchange.h"
#include "http/http_reason.h"

uint64_t http_intake_max(const struct http_exchange *exchange)
{
    return exchange->route ? exchange->route->body_bytes : HTTP_CONTENT_UNLIMITED;
}

int http_intake_init(struct http_exchange *exchange)
{
    const struct http_config *config = &exchange->conn->listener->config->http;
    struct http_limits limits = {.head_bytes = config->header_bytes, .fields = config->headers};

    return http_inflow_init(&exchange->inflow, exchange->conn, &exchange->head, http_intake_max(exchange), &limits);
}

void http_intake_fail(struct http_exchange *exchange, uint16_t status, const char *word)
{
    if (exchange->failure != 0)
        return;
    exchange->failure = status;
    exchange->failure_text = word;
}

static const char *word_for(uint16_t status)
{
    switch (status) {
    case STATUS_TOO_LARGE: return "limit";
    case STATUS_UNAVAILABLE: return NO_MEMORY_WORD;
    default: return "malformed";
    }
}

enum http_inflow_outcome http_intake_next(struct http_exchange *exchange, uint32_t *bytes)
{
    enum http_inflow_outcome outcome = http_inflow_next(&exchange->inflow, bytes);
    uint16_t status = exchange->inflow.body.refusal.status;

    if (outcome == HTTP_INFLOW_BAD) {
        exchange->is_malformed = status != STATUS_TOO_LARGE && status != STATUS_UNAVAILABLE;
        http_intake_fail(exchange, status, word_for(status));
    }
    return outcome;
}

enum http_inflow_outcome http_intake_drain(struct http_exchange *exchange)
{
    struct conn *conn = exchange->conn;
    enum http_inflow_outcome outcome;
    uint32_t bytes;

    while ((outcome = http_intake_next(exchange, &bytes)) == HTTP_INFLOW_CONTENT) {
        exchange->drained += bytes;
        input_skip(&conn->in, bytes);
        conn_on_consumed(conn);
        if (exchange->drained > HTTP_DRAIN_BYTES) {
            http_intake_fail(exchange, STATUS_TOO_LARGE, "limit"); /* the connection is of no further use */
            return HTTP_INFLOW_BAD;
        }
    }
    return outcome;
}

bool http_intake_can_drain(const struct http_exchange *exchange)
{
    const struct http_body *body = &exchange->inflow.body;

    if (exchange->failure != 0)
        return false;
    if (http_body_may_end(body))
        return true;
    /* A client that waits for our word may send the body or not: there is no telling what comes next. */
    if (exchange->head.expects_continue && !exchange->continue_sent && exchange->taken == 0)
        return false;
    return body->left <= HTTP_DRAIN_BYTES;
}

bool http_intake_may_end(const struct http_exchange *exchange)
{
    return exchange->failure == 0 && (exchange->taken > 0 || http_intake_can_drain(exchange));
}
