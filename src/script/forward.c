/* See forward.h. */
#include "script/forward.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/slab.h"
#include "core/conn.h"
#include "core/reactor.h"
#include "proxy/dial.h"
#include "proxy/group.h"
#include "proxy/relay.h"
#include "script/api_common.h"
#include "script/connecting.h"
#include "script/greeting.h"
#include "script/pending.h"

enum { FORWARDS_PER_BLOCK = 16 };

enum forward_stage { FORWARD_DIALS, FORWARD_RELAYS, FORWARD_FAILED, FORWARD_ENDED };

struct forward {
    struct pending pending;
    struct script_conn *client; /* borrowed until it ends, or the relay does */
    struct script_conn *server; /* the same: the script's own target, NULL: there is none */
    enum forward_stage stage;
    struct dial dial;
    uint64_t started_ms;
    int64_t idle_ms; /* -1: as it is */
    uint32_t total_ms;
    struct greeting greeting;
    struct zerg_forward_result result; /* once it has ended */
    char server_name[ADDR_TEXT_MAX];
};

void forward_init_slab(struct slab *slab)
{
    slab_init(slab, sizeof(struct forward), FORWARDS_PER_BLOCK, 0);
}

static void drop(struct pending *pending)
{
    struct forward *forward = CONTAINER_OF(pending, struct forward, pending);
    struct runtime *runtime = pending->task->runtime;

    pending_end(pending); /* nobody is woken by what follows */
    if (forward->stage == FORWARD_DIALS) {
        forward->client->forward = NULL;
        dial_cancel(&forward->dial);
    } else if (forward->stage == FORWARD_RELAYS) {
        conn_kill(forward->client->conn, CLOSE_ABORTED); /* on_relay_end() comes from within */
    }
    greeting_free(&forward->greeting);
    slab_free(&runtime->forward_slab, forward);
}

/* ---- the relay ---- */

static void on_relay_end(void *context, const struct relay_end *end)
{
    struct forward *forward = context;

    forward->stage = FORWARD_ENDED;
    snprintf(forward->server_name, sizeof(forward->server_name), "%s", end->server);
    forward->result = (struct zerg_forward_result){
        .bytes_up = (double)end->bytes_up,
        .bytes_down = (double)end->bytes_down,
        .duration_s = (double)end->total_ms / (double)MS_PER_S,
        .server = forward->server_name,
        .reason = close_reason_text(end->reason),
    };
    script_conn_forward_ended(forward->client);
    if (forward->server)
        script_conn_forward_ended(forward->server);
    pending_wake(&forward->pending);
}

static void set_idle(const struct forward *forward, struct conn *conn)
{
    struct timeouts timeouts = conn->timeouts;

    if (forward->idle_ms < 0)
        return;
    timeouts.idle_ms = (uint32_t)forward->idle_ms;
    conn_set_timeouts(conn, &timeouts);
}

/* To the relay, or back. */
static void lend(struct forward *forward)
{
    script_conn_lend(forward->client);
    if (forward->server)
        script_conn_lend(forward->server);
}

static void take_back(struct forward *forward)
{
    forward->client->is_lent = false;
    if (forward->server)
        forward->server->is_lent = false;
}

/* 0, -EPIPE (one of them has just ended, or was shut down) or -ENOMEM: both have their time-outs as before. */
static int start_relay(struct forward *forward, struct conn *server, struct relay_options *options)
{
    struct conn *client = forward->client->conn;
    struct timeouts clients = client->timeouts;
    struct timeouts servers = server->timeouts;
    int rc;

    if (!conn_is_writable(client) || !conn_is_writable(server))
        return -EPIPE;
    options->started_ms = forward->started_ms;
    options->total_ms = forward->total_ms;
    options->on_end = on_relay_end;
    options->context = forward;
    rc = greeting_send(&forward->greeting, server);
    if (rc < 0)
        return rc;
    input_end_borrow(&client->in);
    set_idle(forward, client);
    set_idle(forward, server);
    forward->client->forward = NULL;
    forward->stage = FORWARD_RELAYS; /* the relay may end at once */
    lend(forward);
    rc = relay_join(client, server, options);
    if (rc < 0) {
        forward->stage = FORWARD_FAILED;
        conn_set_timeouts(client, &clients);
        conn_set_timeouts(server, &servers);
        take_back(forward);
    }
    return rc;
}

/* ---- the dial ---- */

static void fail(struct forward *forward)
{
    forward->stage = FORWARD_FAILED;
    forward->client->forward = NULL;
}

/* There is no relay; error: why. */
static void fail_to_relay(struct forward *forward, int error)
{
    forward->dial.failure = error == -ENOMEM ? DIAL_NO_ROOM : DIAL_REFUSED;
    forward->dial.reason = CLOSE_LOCAL;
    fail(forward);
}

static void take_outcome(struct forward *forward)
{
    struct dial *dial = &forward->dial;
    struct relay_options options = {.group = dial->view->group->name, .slot = dial->slot};
    struct conn *server = dial->conn;
    int rc;

    if (!server) {
        fail(forward);
        return;
    }
    rc = start_relay(forward, server, &options);
    if (rc == 0)
        return;
    fail_to_relay(forward, rc);
    conn_kill(server, CLOSE_LOCAL);
    slot_give(&dial->slot);
}

static void on_dial_done(struct dial *dial)
{
    struct forward *forward = dial->owner;

    take_outcome(forward);
    if (forward->stage == FORWARD_FAILED)
        pending_wake(&forward->pending);
}

void forward_on_client_input(struct forward *forward)
{
    if (conn_ended_silently(forward->client->conn)) /* see relay.c */
        dial_limit(&forward->dial, RELAY_GONE_MS);
}

void forward_on_client_end(struct forward *forward)
{
    dial_cancel(&forward->dial);
    forward->dial.failure = DIAL_REFUSED;
    forward->dial.reason = forward->client->conn->reason;
    fail(forward);
    pending_wake(&forward->pending);
}

/* ---- for the API ---- */

static struct forward *new_forward(struct task *task, struct script_conn *client,
                                   const struct zerg_dial_options *options)
{
    struct forward *forward = slab_new(&task->runtime->forward_slab);

    if (!forward)
        return NULL;
    memset(forward, 0, sizeof(*forward));
    forward->client = client;
    forward->started_ms = client->conn->reactor->now_ms;
    forward->idle_ms = options->idle_s >= 0 ? (int64_t)api_ms(options->idle_s) : -1;
    forward->total_ms = options->total_s > 0 ? api_ms(options->total_s) : 0;
    forward->stage = FORWARD_FAILED; /* until there is more of it */
    pending_begin(&forward->pending, task, drop);
    return forward;
}

/* There is a dial that waits. */
static void limit_dial(struct forward *forward)
{
    if (forward->total_ms)
        dial_limit(&forward->dial, forward->total_ms);
    forward_on_client_input(forward); /* it may have ended before */
}

int forward_begin(struct task *task, struct script_conn *client, struct group_view *view,
                  const struct zerg_dial_options *options)
{
    struct forward *forward = new_forward(task, client, options);
    struct dial_options dial;
    int rc;

    if (!forward)
        return ZERG_NO_MEMORY;
    rc = greeting_make(&forward->greeting, options, group_view_settings(view)->proxy_send, client->conn);
    if (rc != ZERG_OK) {
        drop(&forward->pending);
        return rc;
    }
    dial = connecting_options(view, options, client->conn);
    forward->stage = FORWARD_DIALS;
    client->forward = forward;
    if (dial_start(&forward->dial, view, &dial, on_dial_done, forward) != DIAL_WAITS)
        take_outcome(forward);
    else
        limit_dial(forward);
    return forward_finish(task, NULL);
}

int forward_begin_conn(struct task *task, struct script_conn *client, struct script_conn *server,
                       const struct zerg_dial_options *options)
{
    struct relay_options relay = {.group = "conn"};
    struct forward *forward = new_forward(task, client, options);
    int rc;

    if (!forward)
        return ZERG_NO_MEMORY;
    forward->server = server;
    input_end_borrow(&server->conn->in);
    rc = start_relay(forward, server->conn, &relay);
    if (rc < 0)
        fail_to_relay(forward, rc);
    return forward_finish(task, NULL);
}

/* Why there is no server. */
static void set_reason(const struct forward *forward)
{
    struct runtime *runtime = forward->pending.task->runtime;
    uint64_t overdue_ms = forward->total_ms ? forward->started_ms + forward->total_ms : TIMER_NEVER;

    if (forward->dial.failure == DIAL_GIVEN_UP && runtime->reactor->now_ms >= overdue_ms)
        pending_set_reason(runtime, close_reason_text(CLOSE_TIMEOUT));
    else
        pending_set_dial_reason(runtime, &forward->dial);
}

bool forward_is_of(const struct forward *forward, const struct task *task)
{
    return forward->pending.task == task;
}

int forward_finish(struct task *task, struct zerg_forward_result *out)
{
    struct pending *pending = pending_of(task, drop);
    struct forward *forward;

    if (!pending)
        return ZERG_END;
    forward = CONTAINER_OF(pending, struct forward, pending);
    if (forward->stage == FORWARD_FAILED) {
        set_reason(forward);
        drop(pending);
        return ZERG_END;
    }
    if (forward->stage != FORWARD_ENDED)
        return pending_park(task);
    if (!out) /* it has ended already, and nobody will wake the task */
        return task_park(task, 0);
    *out = forward->result;
    pending_set_reason(task->runtime, forward->server_name);
    out->server = task->runtime->pending_reason;
    drop(pending);
    return ZERG_OK;
}
