/* See http_forward.h. What ends a connection calls its handler from within: whoever ends one takes itself off its owner first. */
#include "proxy/http_forward_internal.h"

#include <stddef.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"
#include "core/conn.h"
#include "core/listener.h"
#include "core/part.h"
#include "core/reactor.h"
#include "core/version.h"
#include "http/http_exchange.h"
#include "http/http_intake.h"
#include "http/http_reason.h"
#include "proxy/balance.h"
#include "proxy/dial.h"
#include "proxy/group.h"
#include "proxy/health_report.h"
#include "proxy/pool.h"
#include "proxy/proxy.h"
#include "proxy/proxy_send.h"
#include "proxy/routing.h"
#include "proxy/server.h"

const struct http_limits http_answer_limits = {.head_bytes = HTTP_RESPONSE_HEAD_BYTES, .fields = HTTP_FIELDS_MAX};

struct proxy *http_forward_proxy(const struct http_forward *forward)
{
    return forward->view->reactor->proxy;
}

enum { TARGET_BYTES_LOGGED = 200 };

static struct conn *client_of(const struct http_forward *forward)
{
    return forward->exchange->conn;
}

const char *http_forward_server(const struct http_forward *forward)
{
    return forward->slot.server ? forward->slot.server->name : "";
}

/* ---- ending ---- */

/* Whether another request may follow on the server's connection. */
static bool is_in_step(const struct http_forward *forward)
{
    const struct conn *server = forward->server;

    return forward->failure == 0 && forward->down.is_done && forward->up.is_done && forward->head.keeps_alive &&
           server->state == CONN_OPEN && !server->input_ended && server->in.bytes == 0 && server->out.staged == 0 &&
           forward->proxy_send == PROXY_SEND_NONE;
}

static void keep_server(struct http_forward *forward)
{
    pool_checkin(&http_forward_proxy(forward)->pool, forward->server, &forward->slot,
                 group_view_settings(forward->view)->keepalive, POOL_IDLE_MS);
    forward->server = NULL;
}

void http_forward_drop_server(struct http_forward *forward)
{
    struct conn *server = forward->server;

    if (!server)
        return;
    forward->server = NULL;
    server->owner = NULL;
    if (forward->failure == 0 && forward->down.is_done && forward->up.is_done)
        conn_close(server, CLOSE_LOCAL);
    else
        conn_kill(server, CLOSE_ABORTED);
    slot_give(&forward->slot);
}

static void drop_dial(struct http_forward *forward)
{
    if (!forward->dial)
        return;
    dial_cancel(forward->dial);
    slab_free(&http_forward_proxy(forward)->dials, forward->dial);
    forward->dial = NULL;
}

static void free_forward(struct http_forward *forward)
{
    struct group_view *view = forward->view;

    timer_stop(&view->reactor->timers, &forward->gone);
    http_forward_drop_server(forward);
    drop_dial(forward);
    http_inflow_deinit(&forward->inflow);
    if (forward->head_lease)
        lease_free(forward->head_lease);
    if (forward->broken)
        server_release(forward->broken);
    slab_free(&view->reactor->proxy->http_forwards, forward);
    group_view_unuse(view);
}

void http_forward_cancel(struct http_forward *forward)
{
    struct http_exchange *exchange = forward->exchange;

    if (exchange)
        conn_stop_awaiting(exchange->conn);
    else
        http_forward_cut_tunnel(forward);
    free_forward(forward);
    if (exchange && exchange->has_begun)
        conn_close(exchange->conn, CLOSE_ABORTED); /* so that nobody takes it for the whole answer */
}

/* For a route: what went wrong is answered. */
static void answer_for(struct http_exchange *exchange, uint16_t failure)
{
    exchange->owner = NULL; /* on_end() may come from here */
    http_exchange_done(exchange, failure == 0 || http_exchange_fail(exchange, failure));
}

static void end(struct http_forward *forward)
{
    const struct http_forward_watch *watch = forward->options.watch;
    struct http_exchange *exchange = forward->exchange;
    uint16_t failure = forward->failure;

    conn_stop_awaiting(exchange->conn);
    if (watch)
        watch->on_end(forward);
    if (watch && failure != 0 && exchange->has_begun)
        conn_close(exchange->conn, CLOSE_ABORTED); /* so that nobody takes it for the whole answer */
    if (forward->server && is_in_step(forward))
        keep_server(forward);
    free_forward(forward);
    if (!watch)
        answer_for(exchange, failure);
}

/* Which server it was. */
static const char *blamed_server(const struct http_forward *forward)
{
    const char *name = forward->dial ? forward->dial->failed : http_forward_server(forward);

    return name[0] != '\0' ? name : "none";
}

static void log_failure(const struct http_forward *forward)
{
    const struct http_exchange *exchange = forward->exchange;
    const struct http_head *head = &exchange->head;
    const struct conn *client = exchange->conn;
    const char *bytes = (const char *)exchange->head_bytes;
    int target_len = http_span_len(head->target.all);

    if (target_len > TARGET_BYTES_LOGGED)
        target_len = TARGET_BYTES_LOGGED;
    log_warn("listener %s: upstream %s, server %s: conn %llu, %.*s %.*s: %s: %u %s", client->listener->config->name,
             forward->view->group->name, blamed_server(forward), (unsigned long long)client->id,
             (int)http_span_len(head->method_text), bytes + head->method_text.at, target_len,
             bytes + head->target.all.at, forward->failure_text, forward->failure,
             exchange->has_begun ? "after the answer had begun" : http_reason(forward->failure));
}

void http_forward_blame(const struct http_forward *forward)
{
    struct pick pick = {.server = forward->slot.server};

    health_report(forward->view, group_view_upstream(forward->view), &pick, ATTEMPT_FAILED);
}

/* Whether that says something about the server: not how connecting went, which is told already, nor that an old connection was
 * closed. */
static bool is_server_s_fault(const struct http_forward *forward)
{
    const struct conn *server = forward->server;

    if (!server)
        return false;
    if (forward->failure == STATUS_BAD_GATEWAY)
        return !forward->was_used || server->bytes_in > forward->bytes_in_before;
    return forward->failure == STATUS_GATEWAY_TIMEOUT;
}

void http_forward_fail(struct http_forward *forward, uint16_t status, const char *text)
{
    forward->failure = status;
    forward->failure_text = text;
    if (status >= STATUS_FAILED)
        log_failure(forward);
    if (is_server_s_fault(forward))
        http_forward_blame(forward);
    end(forward);
}

void http_forward_complete(struct http_forward *forward)
{
    forward->exchange->has_ended = 1;
    end(forward);
}

void http_forward_skip_head(const struct http_forward *forward)
{
    struct conn *server = forward->server;

    input_skip(&server->in, forward->head.at);
    conn_on_consumed(server);
}

void http_forward_end_tunnel(struct http_forward *forward)
{
    const struct http_forward_watch *watch = forward->options.watch;

    if (forward->is_forgotten)
        return;
    if (watch)
        watch->on_end(forward);
    free_forward(forward);
}

/* ---- waiting ---- */

/* Whether the client waits for the server's word before it sends anything. */
static bool awaits_continue(const struct http_forward *forward)
{
    const struct http_exchange *exchange = forward->exchange;

    return exchange->head.expects_continue && !exchange->continue_sent && forward->up.bytes == 0;
}

/* The server's time runs while it is its turn: not while the client sends the body, or does not take the answer. While it takes
 * the body, however slowly, timeouts.write looks after it. */
void http_forward_await_server(struct http_forward *forward)
{
    bool is_its_turn = forward->up.is_done || (forward->state == HTTP_FORWARD_AWAITS && awaits_continue(forward));

    if (forward->state == HTTP_FORWARD_HELD) /* it has answered */
        is_its_turn = false;
    if (forward->state == HTTP_FORWARD_PASSES && http_pass_is_full(&forward->down))
        is_its_turn = false;
    if (is_its_turn)
        conn_await_input(forward->server, 1);
    else
        conn_stop_awaiting(forward->server);
}

/* The client has ended its stream. Has it gone, or does it only listen? TCP does not tell: it gets its answer if that begins
 * soon. */
static void suspect_client(struct http_forward *forward)
{
    struct reactor *reactor = forward->view->reactor;

    if (forward->state <= HTTP_FORWARD_AWAITS && !timer_is_armed(&forward->gone))
        timer_start(&reactor->timers, &forward->gone, reactor->now_ms + RELAY_GONE_MS);
}

static void on_gone(struct timer *timer, uint64_t time_ms)
{
    struct http_forward *forward = CONTAINER_OF(timer, struct http_forward, gone);

    (void)time_ms;
    conn_kill(client_of(forward), CLOSE_PEER); /* the end of the exchange is ours */
}

/* ---- the body of the request ---- */

bool http_forward_move_up(struct http_forward *forward)
{
    struct http_exchange *exchange = forward->exchange;
    struct conn *client = exchange->conn;
    enum http_pass_outcome outcome = http_pass_move(&forward->up);

    exchange->taken = forward->up.bytes;
    exchange->has_sent_body = exchange->taken > 0;
    switch (outcome) {
    case HTTP_PASS_DONE:
        conn_stop_awaiting(client);
        http_forward_await_server(forward);
        return true;
    case HTTP_PASS_MORE:
        http_forward_await_server(forward);
        if (http_pass_is_full(&forward->up)) {
            conn_stop_awaiting(client);
            return true;
        }
        if (!client->input_ended) {
            conn_await_input(client, 1);
            return true;
        }
        http_forward_fail(forward, STATUS_BAD_REQUEST, "closed");
        return false;
    case HTTP_PASS_BAD:
        http_intake_fail(exchange, exchange->inflow.body.refusal.status, "malformed");
        http_forward_fail(forward, exchange->failure, exchange->inflow.body.refusal.problem);
        return false;
    case HTTP_PASS_LOST: break;
    }
    http_forward_fail(forward, STATUS_UNAVAILABLE, NO_MEMORY_WORD);
    return false;
}

/* ---- for whose exchange it is ---- */

struct http_forward_options http_forward_defaults(struct group_view *view, const struct http_exchange *exchange)
{
    const struct upstream_config *config = group_view_settings(view);
    const struct listener_config *listener = exchange->conn->listener->config;
    struct addr addr;

    conn_remote(exchange->conn, &addr);
    return (struct http_forward_options){
        .key_hash = balance_hash_client(&addr),
        .connect_ms = view->group->is_plain ? listener->connect_ms : config->connect_ms,
        .read_ms = config->read_ms,
        .retries = view->group->is_plain ? 1 : config->retries,
    };
}

struct http_forward *http_forward_new(struct http_exchange *exchange, struct group_view *view,
                                      const struct http_forward_options *options)
{
    struct http_forward *forward = slab_new(&view->reactor->proxy->http_forwards);

    if (!forward)
        return NULL;
    memset(forward, 0, offsetof(struct http_forward, head));
    forward->exchange = exchange;
    forward->view = view;
    forward->options = *options;
    forward->method = (uint8_t)(options->change.method ? http_method_find((const uint8_t *)options->change.method,
                                                                          options->change.method_len)
                                                       : (enum http_method)exchange->head.method);
    forward->upgrades = http_heads_passes_upgrade(&exchange->head, exchange->head_bytes);
    forward->started_ms = view->reactor->now_ms;
    timer_init(&forward->gone, on_gone);
    group_view_use(view);
    return forward;
}

void http_forward_start(struct http_forward *forward)
{
    if (client_of(forward)->input_ended)
        suspect_client(forward);
    http_forward_connect(forward);
}

void http_forward_on_input(struct http_forward *forward)
{
    const struct conn *client = client_of(forward);

    if (forward->server && !forward->up.is_done && !http_forward_move_up(forward))
        return;
    if (client->input_ended)
        suspect_client(forward);
}

void http_forward_on_output(struct http_forward *forward)
{
    if (forward->state == HTTP_FORWARD_PASSES && http_pass_is_due(&forward->down))
        http_forward_move_down(forward);
}

void http_forward_on_read_timeout(struct http_forward *forward)
{
    http_intake_fail(forward->exchange, STATUS_TIMED_OUT, "timeout: of the request's body");
    http_forward_fail(forward, STATUS_TIMED_OUT, "timeout: of the request's body");
}

/* ---- for routes ---- */

static void run(struct http_exchange *exchange, enum http_start start)
{
    struct group_view *view = routing_route(part_of(exchange->conn)->routing, exchange->route->index);
    struct http_forward_options options = http_forward_defaults(view, exchange);

    (void)start; /* it costs little */
    options.change.rewrite = &exchange->route->rewrite;
    exchange->owner = http_forward_new(exchange, view, &options);
    if (exchange->owner)
        http_forward_start(exchange->owner);
    else
        http_exchange_done(exchange, http_exchange_fail(exchange, STATUS_UNAVAILABLE));
}

static void on_input(struct http_exchange *exchange)
{
    http_forward_on_input(exchange->owner);
}

static void on_output(struct http_exchange *exchange)
{
    http_forward_on_output(exchange->owner);
}

static void on_read_timeout(struct http_exchange *exchange)
{
    http_forward_on_read_timeout(exchange->owner);
}

static void on_end(struct http_exchange *exchange)
{
    struct http_forward *forward = exchange->owner;

    if (!forward) /* we have it closed */
        return;
    exchange->owner = NULL;
    http_forward_cancel(forward);
    http_exchange_done(exchange, false);
}

const struct http_handler http_forward_handler = {
    .run = run,
    .on_input = on_input,
    .on_output = on_output,
    .on_read_timeout = on_read_timeout,
    .on_end = on_end,
};
