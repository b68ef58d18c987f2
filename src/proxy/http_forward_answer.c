/* The way back: the server's answer, from its head to the end of its body. See http_forward.h. */
#include <errno.h>

#include "base/assert.h"
#include "base/limits.h"
#include "core/conn.h"
#include "core/reactor.h"
#include "http/http_exchange.h"
#include "http/http_reason.h"
#include "proxy/http_forward_internal.h"

/* No more will come of the answer, and what came is passed on. */
static void end_answer(struct http_forward *forward)
{
    if (!http_body_may_end(&forward->inflow.body))
        http_forward_fail(forward, STATUS_BAD_GATEWAY, "closed before the end of its answer");
    else if (http_pass_end(&forward->down) == HTTP_PASS_DONE)
        http_forward_complete(forward);
    else
        http_forward_fail(forward, STATUS_UNAVAILABLE, NO_MEMORY_WORD);
}

/* What the server sends cannot be understood, or we had no memory to do so, which is no fault of its. */
static void fail_bad(struct http_forward *forward, const struct http_refusal *refusal)
{
    uint16_t status = refusal->status == STATUS_UNAVAILABLE ? STATUS_UNAVAILABLE : STATUS_BAD_GATEWAY;

    http_forward_fail(forward, status, refusal->problem);
}

void http_forward_move_down(struct http_forward *forward)
{
    const struct conn *server = forward->server;

    switch (http_pass_move(&forward->down)) {
    case HTTP_PASS_DONE: http_forward_complete(forward); break;
    case HTTP_PASS_MORE:
        if (server->input_ended && !http_pass_is_full(&forward->down))
            end_answer(forward);
        else
            http_forward_await_server(forward);
        break;
    case HTTP_PASS_BAD: fail_bad(forward, &forward->inflow.body.refusal); break;
    case HTTP_PASS_LOST: http_forward_fail(forward, STATUS_UNAVAILABLE, NO_MEMORY_WORD); break;
    }
}

/* How the client learns where the answer ends. */
static enum http_framing framing_of(const struct http_forward *forward)
{
    switch ((enum http_body_kind)forward->head.body) {
    case HTTP_BODY_LENGTH: return HTTP_FRAMING_LENGTH;
    case HTTP_BODY_CHUNKED:
    case HTTP_BODY_UNTIL_CLOSE: return forward->exchange->head.minor == 0 ? HTTP_FRAMING_CLOSE : HTTP_FRAMING_CHUNKED;
    default: return HTTP_FRAMING_NONE;
    }
}

/* Without memory for the head, or with more of it than we pass on. */
static void fail_head(struct http_forward *forward, int error)
{
    if (error == -E2BIG)
        http_forward_fail(forward, STATUS_BAD_GATEWAY, "an answer with too much in its head");
    else
        http_forward_fail(forward, STATUS_UNAVAILABLE, NO_MEMORY_WORD);
}

/* bytes: of the head. False: that ended the forward. */
static bool begin_answer(struct http_forward *forward, const uint8_t *bytes)
{
    const struct http_rewrite *rewrite = forward->options.change.rewrite;
    struct http_exchange *exchange = forward->exchange;
    int rc;

    exchange->answer.framing = (uint8_t)framing_of(forward);
    http_answer_decide_end(exchange);
    rc = http_heads_answer(exchange, &forward->options.change, &forward->head, bytes);
    if (rc == 0) {
        exchange->has_begun = 1;
        exchange->status = forward->head.status;
        rc = http_inflow_init(&forward->inflow, forward->server, &forward->head, HTTP_CONTENT_UNLIMITED,
                              &http_answer_limits);
    }
    if (rc < 0) {
        fail_head(forward, rc);
        return false;
    }
    timer_stop(&forward->view->reactor->timers, &forward->gone); /* whom we write to will tell */
    forward->state = HTTP_FORWARD_PASSES;
    forward->down = (struct http_pass){
        .from = &forward->inflow,
        .to = exchange->conn,
        .is_chunked = exchange->answer.framing == HTTP_FRAMING_CHUNKED,
        .changes = rewrite ? rewrite->response_fields : NULL,
        .change_count = rewrite ? rewrite->response_field_count : 0,
    };
    return true;
}

static void hold(struct http_forward *forward)
{
    forward->head_lease = lease_retain(forward->server->in.first, 0, forward->head.at);
    if (!forward->head_lease) {
        http_forward_fail(forward, STATUS_UNAVAILABLE, NO_MEMORY_WORD);
        return;
    }
    lease_hold(forward->head_lease, &forward->server->in.count);
    http_forward_skip_head(forward);
    conn_stop_awaiting(forward->server);
    timer_stop(&forward->view->reactor->timers, &forward->gone);
    forward->state = HTTP_FORWARD_HELD;
    forward->options.watch->on_head(forward);
}

void http_forward_go_on(struct http_forward *forward)
{
    assert(forward->state == HTTP_FORWARD_HELD);
    if (begin_answer(forward, forward->head_lease->data))
        http_forward_move_down(forward);
}

static bool is_interim(uint16_t status)
{
    return status < 200 && status != STATUS_SWITCHING;
}

/* 100 Continue and its like: for those who know of them, as far as they take them; but the one that a client may wait for goes
 * whatever is staged. 0, or a negative errno. */
static int pass_interim(struct http_forward *forward, const uint8_t *bytes)
{
    struct http_exchange *exchange = forward->exchange;
    bool is_due = forward->head.status == STATUS_CONTINUE && !exchange->continue_sent;

    if (exchange->head.minor == 0 || (conn_is_full(exchange->conn) && !is_due))
        return 0;
    if (forward->head.status == STATUS_CONTINUE)
        exchange->continue_sent = true;
    return http_heads_interim(exchange, &forward->head, bytes);
}

/* The head of an answer is there, at the front of what is unread. Whether another one may follow. May end the forward. */
static bool take_head(struct http_forward *forward)
{
    struct conn *server = forward->server;
    const uint8_t *bytes = server->in.first->data;
    int rc;

    if (is_interim(forward->head.status)) {
        rc = pass_interim(forward, bytes);
        if (rc < 0) {
            fail_head(forward, rc);
            return false;
        }
        http_forward_skip_head(forward);
        http_response_init(&forward->head, &http_answer_limits, (enum http_method)forward->head.method);
        http_forward_await_server(forward);
        return true;
    }
    if (forward->head.body == HTTP_BODY_TUNNEL) {
        if (!forward->upgrades || !forward->up.is_done || !http_heads_agree(forward->exchange, &forward->head, bytes))
            http_forward_fail(forward, STATUS_BAD_GATEWAY, "another protocol that nobody asked for");
        else
            http_forward_switch(forward);
    } else if (forward->options.watch && forward->options.watch->on_head) {
        hold(forward);
    } else if (begin_answer(forward, bytes)) {
        http_forward_skip_head(forward);
        http_forward_move_down(forward);
    }
    return false;
}

/* ---- events of the server's connection ---- */

/* Reads heads as long as there are some. May end the forward. */
static void read_answer(struct http_forward *forward)
{
    struct conn *server = forward->server;
    enum parse_outcome outcome;

    while (server->in.first) {
        outcome = http_inflow_head(server, &forward->head);
        if (outcome == PARSE_BAD) {
            fail_bad(forward, &forward->head.refusal);
            return;
        }
        if (outcome == PARSE_MORE)
            break;
        if (!take_head(forward))
            return;
    }
    if (server->input_ended)
        http_forward_on_broken(forward, "closed before its answer");
}

/* Whether bytes came on a connection that was used before, while none of the request had left: they answer nothing of ours
 * (often they are a 408 to nobody, as a server has them that closes for lack of requests). */
static bool is_stale(const struct http_forward *forward)
{
    const struct conn *server = forward->server;

    return forward->was_used && server->in.first && server->bytes_out == forward->bytes_out_before &&
           server->out.in_flight == 0 && forward->up.bytes == 0;
}

static void on_server_input(struct conn *server)
{
    struct http_forward *forward = server->owner;

    if (!forward)
        return;
    if (forward->state == HTTP_FORWARD_AWAITS && is_stale(forward))
        http_forward_on_stale(forward);
    else if (forward->state == HTTP_FORWARD_AWAITS)
        read_answer(forward);
    else if (forward->state == HTTP_FORWARD_PASSES)
        http_forward_move_down(forward);
}

static void on_server_output(struct conn *server)
{
    struct http_forward *forward = server->owner;

    if (forward && http_pass_is_due(&forward->up))
        http_forward_move_up(forward);
}

static void on_server_timeout(struct conn *server)
{
    struct http_forward *forward = server->owner;

    if (forward)
        http_forward_fail(forward, STATUS_GATEWAY_TIMEOUT, "timeout");
}

static uint16_t status_for(enum close_reason reason)
{
    switch (reason) {
    case CLOSE_TIMEOUT: return STATUS_GATEWAY_TIMEOUT;
    case CLOSE_NO_MEMORY:
    case CLOSE_SHUTDOWN: return STATUS_UNAVAILABLE; /* our own doing */
    default: return STATUS_BAD_GATEWAY;
    }
}

static void on_server_end(struct conn *server)
{
    struct http_forward *forward = server->owner;
    enum close_reason reason = (enum close_reason)server->reason;
    uint16_t status = status_for(reason);

    if (!forward)
        return;
    if (status == STATUS_BAD_GATEWAY && forward->state == HTTP_FORWARD_AWAITS)
        http_forward_on_broken(forward, close_reason_text(reason));
    else
        http_forward_fail(forward, status, close_reason_text(reason));
}

static void ignore(struct conn *conn)
{
    (void)conn;
}

const struct conn_handler http_forward_server_handler = {
    .on_open = ignore,
    .on_connected = ignore,
    .on_input = on_server_input,
    .on_output = on_server_output,
    .on_read_timeout = on_server_timeout,
    .on_end = on_server_end,
};
