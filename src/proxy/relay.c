/* See relay.h. A connection that has ended calls its handler no more, and a relay ends one side as soon as the other has
 * ended: so both pointers of a relay are valid in every event, and need no pin. */
#include "proxy/relay.h"

#include <errno.h>
#include <string.h>

#include "base/addr.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"
#include "core/listener.h"
#include "core/part.h"
#include "core/reactor.h"
#include "core/version.h"
#include "proxy/balance.h"
#include "proxy/dial.h"
#include "proxy/group.h"
#include "proxy/proxy.h"
#include "proxy/proxy_send.h"
#include "proxy/pump.h"
#include "proxy/routing.h"
#include "proxy/server.h"
#include "proxy/session.h"

/* ---- moving bytes ---- */

static uint64_t *counter_of(struct relay *relay, const struct conn *from)
{
    return from == relay->client ? &relay->bytes_up : &relay->bytes_down;
}

/* Both sides have said all they had, or this one has. */
static void end_direction(struct relay *relay, struct conn *from, struct conn *to)
{
    if (to->input_ended && !to->in.first) {
        relay->is_complete = true;
        conn_close(from, CLOSE_LOCAL); /* on_end closes the other */
    } else {
        conn_shutdown(to);
    }
}

/* Moves what one side has to the other, as far as its queue takes it. May end the relay. */
static void move(struct relay *relay, struct conn *from, struct conn *to)
{
    int64_t moved;

    if (from->state != CONN_OPEN || to->state != CONN_OPEN)
        return;
    moved = pump_move(from, to, UINT64_MAX);
    if (moved < 0) {
        input_skip(&from->in, from->in.bytes); /* nothing may follow the piece that is lost */
        conn_kill(from, CLOSE_NO_MEMORY);
        return;
    }
    *counter_of(relay, from) += (uint64_t)moved;
    if (from->input_ended && !from->in.first)
        end_direction(relay, from, to);
}

static struct conn *other_side(const struct relay *relay, const struct conn *conn)
{
    return conn == relay->client ? relay->server : relay->client;
}

/* ---- the record ---- */

static uint64_t now_ms(const struct relay *relay)
{
    return relay->client->reactor->now_ms;
}

/* Why a connection of ours that ended first did. */
static enum session_cause cause_of(const struct relay *relay, const struct conn *conn)
{
    bool is_client = conn == relay->client;

    if (relay->is_complete)
        return SESSION_NORMAL;
    if (relay->is_overdue)
        return SESSION_PROXY_LIMIT;
    switch ((enum close_reason)conn->reason) {
    case CLOSE_TIMEOUT: return is_client ? SESSION_CLIENT_TIMEOUT : SESSION_SERVER_TIMEOUT;
    case CLOSE_NO_MEMORY: return SESSION_NO_RESOURCE;
    case CLOSE_SHUTDOWN:
    case CLOSE_LOCAL:
    case CLOSE_ABORTED: return SESSION_KILLED;
    default: return is_client ? SESSION_CLIENT_ABORTED : SESSION_SERVER_ABORTED;
    }
}

static enum session_phase phase_of(const struct relay *relay, const struct conn *conn)
{
    if (relay->is_complete)
        return SESSION_DONE;
    if (!relay->server)
        return relay->dial && relay->dial->state == DIAL_QUEUED ? SESSION_QUEUED : SESSION_CONNECTING;
    return conn == relay->client && relay->server->input_ended ? SESSION_LAST_DATA : SESSION_DATA;
}

static void report(const struct relay *relay, const char *server, enum session_cause cause, enum session_phase phase)
{
    const struct conn *client = relay->client;
    uint64_t connected_ms = relay->server ? relay->connected_ms : now_ms(relay);
    struct session_record record = {
        .conn_id = client->id,
        .listener = client->listener ? client->listener->config->name : "",
        .group = relay->options.group,
        .server = server,
        .bytes_up = relay->bytes_up,
        .bytes_down = relay->bytes_down,
        .connect_ms = connected_ms - relay->options.started_ms,
        .total_ms = now_ms(relay) - relay->options.started_ms,
        .cause = cause,
        .phase = phase,
    };

    conn_remote(client, &record.client);
    session_report(&record);
}

static void tell_owner(const struct relay *relay, const char *server, enum close_reason reason)
{
    struct relay_end end = {
        .bytes_up = relay->bytes_up,
        .bytes_down = relay->bytes_down,
        .total_ms = now_ms(relay) - relay->options.started_ms,
        .reason = relay->is_complete ? CLOSE_PEER : reason,
        .server = server,
    };

    if (relay->options.on_end)
        relay->options.on_end(relay->options.context, &end);
}

/* The server's name in its upstream; of a connection that a script made, its address. */
static const char *server_name(const struct relay *relay, char text[ADDR_TEXT_MAX])
{
    struct addr addr;

    if (relay->options.slot.server)
        return relay->options.slot.server->name;
    if (!relay->server)
        return "";
    conn_remote(relay->server, &addr);
    return addr_format(&addr, text);
}

/* ---- starting ---- */

static void on_overdue(struct timer *timer, uint64_t time_ms)
{
    struct relay *relay = CONTAINER_OF(timer, struct relay, total);

    (void)time_ms;
    relay->is_overdue = true;
    conn_kill(relay->client, CLOSE_TIMEOUT);
}

static struct relay *new_relay(struct conn *client, const struct relay_options *options)
{
    struct reactor *reactor = client->reactor;
    struct relay *relay = slab_new(&reactor->proxy->relays);

    if (!relay)
        return NULL;
    *relay = (struct relay){.client = client, .options = *options};
    timer_init(&relay->total, on_overdue);
    if (options->total_ms)
        timer_start(&reactor->timers, &relay->total, options->started_ms + options->total_ms);
    return relay;
}

static void free_relay(struct relay *relay)
{
    struct reactor *reactor = relay->client->reactor;

    timer_stop(&reactor->timers, &relay->total);
    if (relay->dial)
        slab_free(&reactor->proxy->dials, relay->dial);
    slab_free(&reactor->proxy->relays, relay);
}

/* Nothing of it is its version's, unless a script waits for it, or the options of dialling are still needed. */
static void catch_up(const struct relay *relay)
{
    if (relay->server && !relay->options.on_end && relay->client->listener)
        part_catch_up(relay->client);
}

/* There are two connections. */
static void take_over(struct relay *relay, struct conn *server)
{
    struct conn *client = relay->client;

    relay->server = server;
    relay->connected_ms = now_ms(relay);
    client->owner = relay;
    server->owner = relay;
    client->handler = &relay_handler;
    server->handler = &relay_handler;
    catch_up(relay);
}

/* Bytes may move. May end the relay. */
static void begin(struct relay *relay)
{
    struct conn *client = relay->client;
    struct conn *server = relay->server;

    move(relay, client, server);
    if (server->owner == relay) /* it goes on */
        move(relay, server, client);
}

int relay_join(struct conn *client, struct conn *server, const struct relay_options *options)
{
    struct relay *relay;

    assert(client->reactor == server->reactor && client != server);
    if (!conn_is_writable(client) || !conn_is_writable(server))
        return -EPIPE;
    relay = new_relay(client, options);
    if (!relay)
        return -ENOMEM;
    conn_stop_awaiting(client);
    conn_stop_awaiting(server);
    take_over(relay, server);
    begin(relay);
    return 0;
}

/* ---- from a listener ---- */

static enum session_cause cause_of_failure(const struct dial *dial)
{
    switch (dial->failure) {
    case DIAL_TIMEOUT:
    case DIAL_QUEUE_TIMEOUT: return SESSION_SERVER_TIMEOUT;
    case DIAL_QUEUE_FULL:
    case DIAL_NO_ROOM: return SESSION_NO_RESOURCE;
    case DIAL_GIVEN_UP: return dial->reason == CLOSE_SHUTDOWN ? SESSION_KILLED : SESSION_CLIENT_ABORTED;
    default: return SESSION_SERVER_ABORTED;
    }
}

static void fail_client(struct relay *relay)
{
    struct conn *client = relay->client;
    enum dial_failure failure = relay->dial->failure;
    bool was_queued = relay->dial->was_queued;

    if (failure != DIAL_GIVEN_UP)
        log_warn("listener %s: cannot reach %s for conn %llu: %s", client->listener->config->name, relay->options.group,
                 (unsigned long long)client->id, dial_failure_text(relay->dial));
    report(relay, "", cause_of_failure(relay->dial), was_queued ? SESSION_QUEUED : SESSION_CONNECTING);
    client->owner = NULL;
    free_relay(relay);
    conn_kill(client, CLOSE_ABORTED);
}

static void on_dialled(struct relay *relay)
{
    struct dial *dial = relay->dial;
    struct conn *server = dial->conn;
    enum proxy_send version;

    if (!server) {
        fail_client(relay);
        return;
    }
    version = group_view_settings(dial->view)->proxy_send;
    relay->options.slot = dial->slot;
    relay->dial = NULL;
    slab_free(&server->reactor->proxy->dials, dial);
    take_over(relay, server);
    if (proxy_send(server, relay->client, version, NULL, 0) < 0)
        conn_kill(relay->client, CLOSE_NO_MEMORY); /* nothing may go without its header */
    else
        begin(relay);
}

static void on_dial_done(struct dial *dial)
{
    on_dialled(dial->owner);
}

static void dial_server(struct relay *relay, struct group_view *view)
{
    const struct listener_config *config = relay->client->listener->config;
    struct dial_options options = dial_defaults(view, 0);
    struct addr addr;

    conn_remote(relay->client, &addr);
    options.key_hash = balance_hash_client(&addr);
    options.tcp = &config->tcp;
    options.timeouts = config->timeouts;
    options.write_buffer_max = config->write_buffer_max;
    if (view->group->is_plain)
        options.connect_ms = config->connect_ms;
    if (dial_start(relay->dial, view, &options, on_dial_done, relay) != DIAL_WAITS)
        on_dialled(relay);
}

static void on_open(struct conn *client)
{
    struct reactor *reactor = client->reactor;
    struct group_view *view = routing_forward(part_of(client)->routing, client->listener->index);
    struct relay_options options = {
        .group = view->group->name,
        .started_ms = reactor->now_ms,
        .total_ms = client->listener->config->total_ms,
    };
    struct relay *relay = new_relay(client, &options);

    if (relay)
        relay->dial = slab_new(&reactor->proxy->dials);
    if (!relay || !relay->dial) {
        if (relay)
            free_relay(relay);
        conn_kill(client, CLOSE_NO_MEMORY);
        return;
    }
    client->owner = relay;
    dial_server(relay, view);
}

/* ---- events ---- */

static void on_input(struct conn *conn)
{
    struct relay *relay = conn->owner;

    if (relay->server)
        move(relay, conn, other_side(relay, conn));
    else if (conn_ended_silently(conn))
        /* Has it gone, or does it only listen? TCP does not tell: it gets its answer if the server is quick. */
        dial_limit(relay->dial, RELAY_GONE_MS);
}

static void on_output(struct conn *conn)
{
    struct relay *relay = conn->owner;
    struct conn *from = other_side(relay, conn);

    if (from && pump_is_due(from, conn))
        move(relay, from, conn);
}

static void on_newer_version(struct conn *client)
{
    if (client->owner)
        catch_up(client->owner);
}

/* Its servers are connected already, and nobody reads: conn_await_input() is not called. */
static void ignore(struct conn *conn)
{
    (void)conn;
}

/* ---- ending ---- */

/* One side has ended first. A side that was closed in order, as both had ended or by the idle time-out, has the other closed
 * in order; from one that broke, the other must not take its last bytes for all there was. */
static void end_other(struct relay *relay, struct conn *conn, struct conn *other)
{
    bool is_broken = conn->state == CONN_DYING;
    int64_t moved = 0;

    if (other->state == CONN_OPEN && !other->fin_wanted)
        moved = pump_move_rest(conn, other);
    if (moved < 0)
        is_broken = true;
    else
        *counter_of(relay, conn) += (uint64_t)moved;
    conn_close(other, is_broken ? CLOSE_ABORTED : (enum close_reason)conn->reason);
}

static void on_end(struct conn *conn)
{
    struct relay *relay = conn->owner;
    enum session_cause cause;
    enum session_phase phase;
    char text[ADDR_TEXT_MAX];
    const char *server;

    if (!relay) /* the other side, which end_other() closes, or a client without a relay */
        return;
    cause = cause_of(relay, conn);
    phase = phase_of(relay, conn);
    server = server_name(relay, text);
    conn->owner = NULL;
    if (relay->server) {
        struct conn *other = other_side(relay, conn);

        other->owner = NULL;
        end_other(relay, conn, other);
    } else {
        dial_cancel(relay->dial);
    }
    report(relay, server, cause, phase);
    tell_owner(relay, server, (enum close_reason)conn->reason);
    slot_give(&relay->options.slot);
    free_relay(relay);
}

const struct conn_handler relay_handler = {
    .on_open = on_open,
    .on_connected = ignore,
    .on_input = on_input,
    .on_output = on_output,
    .on_read_timeout = ignore,
    .on_newer_version = on_newer_version,
    .on_end = on_end,
};
