/* Another protocol: from a 101 on, or an answer to CONNECT, a relay has both connections, and HTTP none. See
 * http_forward.h. */
#include "base/assert.h"
#include "core/conn.h"
#include "core/listener.h"
#include "core/reactor.h"
#include "http/http_exchange.h"
#include "http/http_reason.h"
#include "proxy/group.h"
#include "proxy/http_forward_internal.h"
#include "proxy/proxy_send.h"
#include "proxy/relay.h"

static void on_relay_end(void *context, const struct relay_end *end)
{
    struct http_forward *forward = context;

    forward->tunnel = *end;
    http_forward_end_tunnel(forward);
}

/* Time-outs of HTTP are of no use any more. */
static void set_timeouts(struct conn *conn, const struct listener_config *config)
{
    struct timeouts timeouts = {.write_ms = config->timeouts.write_ms, .idle_ms = config->timeouts.idle_ms};

    conn_stop_awaiting(conn);
    conn_set_timeouts(conn, &timeouts);
}

/* The exchange, and the server's connection with its slot, are ours no more. */
static struct relay_options leave(struct http_forward *forward)
{
    const struct listener_config *config = forward->exchange->conn->listener->config;
    struct relay_options options = {
        .slot = forward->slot,
        .group = forward->view->group->name,
        .started_ms = forward->started_ms,
        .total_ms = config->total_ms,
        .on_end = forward->options.watch ? on_relay_end : NULL,
        .context = forward,
    };

    if (forward->options.watch)
        forward->options.watch->on_tunnel(forward);
    forward->slot = (struct slot){0};
    forward->server = NULL;
    http_exchange_leave(forward->exchange);
    forward->exchange = NULL;
    return options;
}

/* The client has been told. May end the forward. */
static void begin(struct http_forward *forward)
{
    struct conn *client = forward->exchange->conn;
    struct conn *server = forward->server;
    bool is_watched = forward->options.watch != NULL;
    struct relay_options options;

    timer_stop(&forward->view->reactor->timers, &forward->gone);
    forward->state = HTTP_FORWARD_TUNNELS;
    set_timeouts(client, client->listener->config);
    set_timeouts(server, client->listener->config);
    forward->tunnel_client = client;
    options = leave(forward);
    if (relay_join(client, server, &options) == 0) {
        if (!is_watched) /* else the relay has it, or it has ended */
            http_forward_end_tunnel(forward);
        return;
    }
    server->owner = NULL;
    conn_kill(server, CLOSE_LOCAL);
    conn_kill(client, CLOSE_NO_MEMORY);
    slot_give(&options.slot);
    forward->tunnel = (struct relay_end){.reason = CLOSE_NO_MEMORY, .server = ""};
    http_forward_end_tunnel(forward);
}

void http_forward_switch(struct http_forward *forward)
{
    if (http_heads_interim(forward->exchange, &forward->head, forward->server->in.first->data) < 0) {
        http_forward_fail(forward, STATUS_UNAVAILABLE, NO_MEMORY_WORD);
        return;
    }
    http_forward_skip_head(forward);
    begin(forward);
}

void http_forward_connected(struct http_forward *forward)
{
    static const char established[] = "HTTP/1.1 200 Connection Established\r\n\r\n";

    const struct conn *client = forward->exchange->conn;

    if (proxy_send(forward->server, client, (enum proxy_send)forward->proxy_send, NULL, 0) < 0 ||
        conn_write(forward->exchange->conn, established, sizeof(established) - 1) < 0) {
        http_forward_fail(forward, STATUS_UNAVAILABLE, NO_MEMORY_WORD);
        return;
    }
    forward->head.status = STATUS_OK;
    begin(forward);
}

void http_forward_cut_tunnel(struct http_forward *forward)
{
    assert(forward->state == HTTP_FORWARD_TUNNELS);
    forward->is_forgotten = true;
    conn_kill(forward->tunnel_client, CLOSE_ABORTED); /* on_relay_end() comes from within */
}
