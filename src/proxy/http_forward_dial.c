/* The way to the server: a connection to it, the head of the request, and doing both once more. See http_forward.h. */
#include <errno.h>

#include "base/limits.h"
#include "base/log.h"
#include "core/conn.h"
#include "core/listener.h"
#include "core/reactor.h"
#include "http/http_exchange.h"
#include "http/http_reason.h"
#include "proxy/dial.h"
#include "proxy/group.h"
#include "proxy/http_forward_internal.h"
#include "proxy/proxy.h"
#include "proxy/proxy_send.h"
#include "proxy/server.h"

static uint16_t status_of(const struct dial *dial)
{
    switch (dial->failure) {
    case DIAL_TIMEOUT: return STATUS_GATEWAY_TIMEOUT;
    case DIAL_NO_SERVER:
    case DIAL_QUEUE_FULL:
    case DIAL_QUEUE_TIMEOUT:
    case DIAL_NO_ROOM:
    case DIAL_GIVEN_UP: return STATUS_UNAVAILABLE;
    default: return STATUS_BAD_GATEWAY;
    }
}

static void fail_request(struct http_forward *forward, int error)
{
    switch (error) {
    case -E2BIG: http_forward_fail(forward, STATUS_HEADERS_TOO_LARGE, "too much in the head for the server"); break;
    case -EINVAL: http_forward_fail(forward, STATUS_BAD_REQUEST, "a path without the front to be stripped"); break;
    default: http_forward_fail(forward, STATUS_UNAVAILABLE, NO_MEMORY_WORD);
    }
}

/* What to call the server, where the client does not say. */
static const char *host_of(const struct http_forward *forward)
{
    return addr_is_unix(&forward->slot.server->addr) ? "localhost" : forward->slot.server->name;
}

static int stage_request(struct http_forward *forward)
{
    struct conn *server = forward->server;
    const struct http_change *change = &forward->options.change;
    int rc = proxy_send(server, forward->exchange->conn, (enum proxy_send)forward->proxy_send, NULL, 0);

    if (rc == 0)
        rc = http_heads_request(forward->exchange, change, host_of(forward), server);
    if (rc == 0 && change->body)
        rc = conn_write(server, change->body, (uint32_t)change->body_len);
    return rc;
}

static void take_server(struct http_forward *forward)
{
    struct dial *dial = forward->dial;
    struct conn *server = dial->conn;

    forward->server = server;
    forward->slot = dial->slot;
    forward->was_used = dial->is_reused;
    if (!forward->view->group->is_plain) /* those that could not be connected to count */
        forward->options.retries = dial->attempts_left - (dial->is_reused ? 1 : 0);
    forward->bytes_in_before = server->bytes_in;
    forward->bytes_out_before = server->bytes_out;
    server->handler = &http_forward_server_handler;
    server->owner = forward;
    conn_set_timeouts(server, &dial->options.timeouts);
    forward->dial = NULL;
    slab_free(&http_forward_proxy(forward)->dials, dial);
}

/* May end the forward. */
static void on_dialled(struct http_forward *forward)
{
    const struct http_rewrite *rewrite = forward->options.change.rewrite;
    struct dial *dial = forward->dial;
    int rc;

    if (!dial->conn) {
        http_forward_fail(forward, status_of(dial), dial_failure_text(dial));
        return;
    }
    take_server(forward);
    if (forward->exchange->head.method == HTTP_CONNECT) {
        http_forward_connected(forward);
        return;
    }
    rc = stage_request(forward);
    if (rc < 0) {
        fail_request(forward, rc);
        return;
    }
    http_response_init(&forward->head, &http_answer_limits, forward->method);
    forward->up = (struct http_pass){
        .from = &forward->exchange->inflow,
        .to = forward->server,
        .is_chunked = forward->exchange->head.body == HTTP_BODY_CHUNKED,
        .is_done = forward->options.change.body != NULL,
        .changes = rewrite ? rewrite->request_fields : NULL,
        .change_count = rewrite ? rewrite->request_field_count : 0,
    };
    forward->state = HTTP_FORWARD_AWAITS;
    if (forward->up.is_done)
        http_forward_await_server(forward);
    else
        (void)http_forward_move_up(forward);
}

static void on_dial_done(struct dial *dial)
{
    on_dialled(dial->owner);
}

static bool is_idempotent(enum http_method method)
{
    return method == HTTP_GET || method == HTTP_HEAD || method == HTTP_PUT || method == HTTP_DELETE ||
           method == HTTP_OPTIONS || method == HTTP_TRACE;
}

static bool has_no_body(const struct http_forward *forward)
{
    return forward->options.change.body || forward->exchange->head.body == HTTP_BODY_NONE;
}

/* As the client's connection is, so its server's shall be. */
static struct dial_options dial_options_of(const struct http_forward *forward)
{
    const struct listener_config *config = forward->exchange->conn->listener->config;
    struct dial_options options = dial_defaults(forward->view, forward->options.key_hash);

    options.connect_ms = forward->options.connect_ms;
    options.avoid = forward->broken;
    if (!forward->view->group->is_plain) /* else all of its addresses are tried */
        options.attempts = forward->options.retries + 1;
    options.tcp = &config->tcp;
    options.timeouts = (struct timeouts){.read_ms = forward->options.read_ms, .write_ms = config->timeouts.write_ms};
    options.write_buffer_max = config->write_buffer_max;
    options.uses_pool =
        !forward->is_fresh && forward->exchange->head.method != HTTP_CONNECT && forward->proxy_send == PROXY_SEND_NONE;
    /* What can be repeated need not look first whether the kernel knows better: see also is_stale(). */
    options.takes_unseen = is_idempotent((enum http_method)forward->method) && has_no_body(forward);
    return options;
}

void http_forward_connect(struct http_forward *forward)
{
    struct dial_options options;

    forward->proxy_send = (uint8_t)group_view_settings(forward->view)->proxy_send;
    options = dial_options_of(forward);
    forward->state = HTTP_FORWARD_CONNECTS;
    conn_stop_awaiting(forward->exchange->conn);
    forward->dial = slab_new(&http_forward_proxy(forward)->dials);
    if (!forward->dial) {
        http_forward_fail(forward, STATUS_UNAVAILABLE, NO_MEMORY_WORD);
        return;
    }
    if (dial_start(forward->dial, forward->view, &options, on_dial_done, forward) != DIAL_WAITS)
        on_dialled(forward);
}

/* ---- once more ---- */

/* Whether the request can be made again, on another connection: nothing of an answer has come, the body is still all there, and
 * doing it twice is as doing it once, or it was not done at all (RFC 9110 section 9.2.2). */
static bool can_repeat(const struct http_forward *forward)
{
    const struct conn *server = forward->server;
    bool was_sent = server->bytes_out != forward->bytes_out_before || server->out.in_flight > 0;

    return server->bytes_in == forward->bytes_in_before && forward->up.bytes == 0 &&
           (!was_sent || is_idempotent((enum http_method)forward->head.method));
}

/* One that was used before may have been closed while the request was on its way: that is no failure of the server, and a new
 * connection tells more. */
static bool claim_retry(struct http_forward *forward)
{
    if (!can_repeat(forward) || forward->view->reactor->state == REACTOR_STOPPING)
        return false;
    if (forward->was_used) {
        forward->is_fresh = true;
        return true;
    }
    if (forward->options.retries == 0)
        return false;
    forward->options.retries--;
    if (forward->broken)
        server_release(forward->broken);
    forward->broken = forward->slot.server;
    server_hold(forward->broken);
    return true;
}

void http_forward_on_broken(struct http_forward *forward, const char *text)
{
    if (claim_retry(forward)) {
        log_debug("upstream %s, server %s: %s: the request is made again", forward->view->group->name,
                  http_forward_server(forward), text);
        if (!forward->was_used)
            http_forward_blame(forward);
        http_forward_drop_server(forward);
        http_forward_connect(forward);
    } else {
        http_forward_fail(forward, STATUS_BAD_GATEWAY, text);
    }
}

void http_forward_on_stale(struct http_forward *forward)
{
    forward->is_fresh = true;
    http_forward_drop_server(forward);
    http_forward_connect(forward);
}
