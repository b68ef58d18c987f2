/* See relay.h. A connection that has ended calls its handler no more, and a relay ends one side as soon as the other has
 * ended: so both pointers of a relay are valid in every event but on_end, and need no pin. */
#include "proxy/relay.h"

#include <errno.h>
#include <string.h>

#include "base/addr.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"
#include "core/conn.h"
#include "core/connect.h"
#include "core/listener.h"
#include "core/reactor.h"
#include "proxy/proxy.h"
#include "uring/bufring.h"

/* ---- moving bytes ---- */

/* Whether so many buffers are held that what is queued now may not hold one more. The buffer of a piece that a plain ring
 * just gave is held already; in an incremental ring it may be once it is full. */
static bool buffers_are_scarce(const struct bufring *bufs)
{
    uint32_t held = bufring_held(bufs) + bufring_is_incremental(bufs);

    return held * RELAY_SHARE_OF_ALL > bufring_entries(bufs);
}

static bool is_copied(const struct conn *to, const struct lease *lease)
{
    if (lease->len <= RELAY_COPY_BYTES || to->out.views >= SEND_PIECES_MAX)
        return true;
    return !lease->chunk && buffers_are_scarce(to->reactor->bufs);
}

/* Takes over the lease. 0 or a negative errno. */
static int stage_piece(struct conn *to, struct lease *lease)
{
    int rc;

    if (!is_copied(to, lease))
        return conn_write_lease(to, lease);
    rc = conn_write(to, lease->data, lease->len);
    lease_free(lease);
    return rc;
}

/* Both sides have said all they had, or this one has. */
static void end_direction(struct conn *from, struct conn *to)
{
    if (to->input_ended && !to->in.first)
        conn_close(from, CLOSE_LOCAL); /* on_end closes the other */
    else
        conn_shutdown(to);
}

/* Moves what one side has to the other, as far as its queue takes it. May end the relay. */
static void pump(struct conn *from, struct conn *to)
{
    if (from->state != CONN_OPEN || to->state != CONN_OPEN)
        return;
    while (from->in.first && to->out.staged < to->write_buffer_max) {
        if (stage_piece(to, input_shift(&from->in)) < 0) {
            input_skip(&from->in, from->in.bytes); /* nothing may follow the piece that is lost */
            conn_kill(from, CLOSE_NO_MEMORY);
            return;
        }
    }
    if (to->out.staged >= to->write_buffer_max)
        conn_pause_input(from);
    else
        conn_on_consumed(from);
    conn_mark_dirty(from); /* it may hold no buffer any more */
    if (from->input_ended && !from->in.first)
        end_direction(from, to);
}

/* The last bytes of a side that has ended, however full the queue of the other: no more than one turn can bring. 0 or a
 * negative errno. */
static int move_rest(struct conn *from, struct conn *to)
{
    while (from->in.first) {
        int rc = stage_piece(to, input_shift(&from->in));

        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- starting ---- */

static struct conn *other_side(const struct relay *relay, const struct conn *conn)
{
    return conn == relay->client ? relay->server : relay->client;
}

static struct relay *new_relay(struct conn *client, struct conn *server)
{
    struct relay *relay = slab_new(&client->reactor->proxy->relays);

    if (relay)
        *relay = (struct relay){.client = client, .server = server};
    return relay;
}

static void log_unreached(const struct conn *client, const char *why)
{
    const struct listener_config *config = client->listener->config;

    log_warn("listener %s: cannot reach %s for conn %llu: %s", config->name, config->forward,
             (unsigned long long)client->id, why);
}

static void on_open(struct conn *client)
{
    const struct listener_config *config = client->listener->config;
    struct relay *relay = new_relay(client, NULL);
    int rc = -ENOMEM;

    client->owner = relay;
    if (relay) {
        struct connect_options options = {
            .addr = &config->forward_addr,
            .tcp = &config->tcp,
            .timeouts = config->timeouts,
            .write_buffer_max = config->write_buffer_max,
            .connect_ms = config->connect_ms,
        };

        rc = conn_connect(&relay->server, client->reactor, &options, &relay_handler, relay);
    }
    if (rc < 0) {
        log_unreached(client, rc == -EBUSY ? "reactor.max_connections are open" : strerror(-rc));
        conn_kill(client, CLOSE_ABORTED);
    }
}

int relay_join(struct conn *client, struct conn *server)
{
    struct relay *relay;

    assert(client->reactor == server->reactor && client != server);
    if (client->state != CONN_OPEN || server->state != CONN_OPEN)
        return -EPIPE;
    relay = new_relay(client, server);
    if (!relay)
        return -ENOMEM;
    relay->is_connected = true;
    client->owner = relay;
    server->owner = relay;
    client->handler = &relay_handler;
    server->handler = &relay_handler;
    conn_stop_awaiting(client);
    conn_stop_awaiting(server);
    pump(client, server);
    pump(server, client);
    return 0;
}

/* ---- events ---- */

static void on_connected(struct conn *server)
{
    struct relay *relay = server->owner;

    relay->is_connected = true;
    pump(relay->client, server);
}

static void on_input(struct conn *conn)
{
    struct relay *relay = conn->owner;

    if (relay->is_connected)
        pump(conn, other_side(relay, conn));
    else if (conn->input_ended && conn->bytes_in == 0)
        /* Has it gone, or does it only listen? TCP does not tell: it gets its answer if the server is quick. */
        conn_limit_connect(relay->server, RELAY_GONE_MS);
}

static void on_output(struct conn *conn)
{
    struct conn *from = other_side(conn->owner, conn);
    bool is_waiting = from->in.first || from->is_paused;

    if (is_waiting && conn->out.staged <= conn->write_buffer_max / 2)
        pump(from, conn);
}

/* Nobody reads: conn_await_input() is not called. */
static void on_read_timeout(struct conn *conn)
{
    (void)conn;
}

/* ---- ending ---- */

static void on_connect_failed(struct conn *client, const struct conn *server)
{
    if (server->reason != CLOSE_SHUTDOWN)
        log_unreached(client, close_reason_text(server->reason));
    conn_kill(client, CLOSE_ABORTED);
}

/* One side has ended first. A side that was closed in order, as both had ended or by the idle time-out, has the other closed
 * in order; from one that broke, the other must not take its last bytes for all there was. */
static void end_other(struct conn *conn, struct conn *other)
{
    bool is_broken = conn->state == CONN_DYING;

    if (move_rest(conn, other) < 0)
        is_broken = true;
    conn_close(other, is_broken ? CLOSE_ABORTED : (enum close_reason)conn->reason);
}

static void on_end(struct conn *conn)
{
    struct relay *relay = conn->owner;
    struct conn *other;
    bool is_client;

    if (!relay) /* on_open() found no memory */
        return;
    is_client = conn == relay->client;
    other = other_side(relay, conn);
    conn->owner = NULL;
    if (is_client)
        relay->client = NULL;
    else
        relay->server = NULL;
    /* What follows may end the other, and with it the relay. */
    if (!other)
        slab_free(&conn->reactor->proxy->relays, relay);
    else if (relay->is_connected)
        end_other(conn, other);
    else if (is_client)
        conn_close(other, CLOSE_LOCAL); /* cancels connecting */
    else
        on_connect_failed(other, conn);
}

const struct conn_handler relay_handler = {
    .on_open = on_open,
    .on_connected = on_connected,
    .on_input = on_input,
    .on_output = on_output,
    .on_read_timeout = on_read_timeout,
    .on_end = on_end,
};
