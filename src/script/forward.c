/* See forward.h. */
#include "script/forward.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/slab.h"
#include "core/conn.h"
#include "core/listener.h"
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
    struct script_conn *client; /* borrowed: its task's, or pinned by its handle */
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

/* False: one of them has just ended, or there is no memory. */
static bool start_relay(struct forward *forward, struct conn *server, struct relay_options *options)
{
    struct conn *client = forward->client->conn;

    options->started_ms = forward->started_ms;
    options->total_ms = forward->total_ms;
    options->on_end = on_relay_end;
    options->context = forward;
    input_end_borrow(&client->in);
    set_idle(forward, client);
    set_idle(forward, server);
    if (greeting_send(&forward->greeting, server) < 0)
        return false;
    forward->client->forward = NULL;
    forward->stage = FORWARD_RELAYS; /* the relay may end at once */
    if (relay_join(client, server, options) == 0)
        return true;
    forward->stage = FORWARD_FAILED;
    return false;
}

/* ---- the dial ---- */

static struct runtime *runtime_of_forward(const struct forward *forward)
{
    return forward->pending.task->runtime;
}

static void fail(struct forward *forward)
{
    forward->stage = FORWARD_FAILED;
    forward->client->forward = NULL;
    pending_set_dial_reason(runtime_of_forward(forward), &forward->dial);
}

static void take_outcome(struct forward *forward)
{
    struct dial *dial = &forward->dial;
    struct relay_options options = {.group = dial->view->group->name, .slot = dial->slot};

    if (!dial->conn) {
        fail(forward);
        return;
    }
    if (start_relay(forward, dial->conn, &options))
        return;
    dial->failure = DIAL_NO_ROOM;
    fail(forward);
    conn_kill(dial->conn, CLOSE_NO_MEMORY);
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
    const struct conn *client = forward->client->conn;

    if (client->input_ended && client->in.bytes == 0) /* see relay.c */
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

static struct dial_options dial_options_of(const struct forward *forward, const struct group_view *view,
                                           const struct zerg_dial_options *options)
{
    const struct conn *client = forward->client->conn;
    struct dial_options dial;
    struct addr addr;

    conn_remote(client, &addr);
    dial = connecting_options(view, options, balance_hash_client(&addr));
    dial.timeouts = client->timeouts;
    dial.write_buffer_max = client->write_buffer_max;
    if (client->listener)
        dial.tcp = &client->listener->config->tcp;
    return dial;
}

int forward_begin(struct task *task, struct script_conn *client, struct group_view *view,
                  const struct zerg_dial_options *options)
{
    struct forward *forward = new_forward(task, client, options);
    struct dial_options dial;
    int rc;

    if (!forward)
        return ZERG_NO_MEMORY;
    rc = greeting_make(&forward->greeting, options, view->group->config->proxy_send, client->conn);
    if (rc != ZERG_OK) {
        drop(&forward->pending);
        return rc;
    }
    dial = dial_options_of(forward, view, options);
    forward->stage = FORWARD_DIALS;
    client->forward = forward;
    if (dial_start(&forward->dial, view, &dial, on_dial_done, forward) != DIAL_WAITS)
        take_outcome(forward);
    return forward_finish(task, NULL);
}

int forward_begin_conn(struct task *task, struct script_conn *client, struct script_conn *server,
                       const struct zerg_dial_options *options)
{
    struct relay_options relay = {.group = "conn"};
    struct forward *forward = new_forward(task, client, options);

    if (!forward)
        return ZERG_NO_MEMORY;
    forward->server = server;
    input_end_borrow(&server->conn->in);
    server->is_lent = server->is_outgoing;
    if (!start_relay(forward, server->conn, &relay)) {
        forward->dial.failure = DIAL_REFUSED;
        forward->dial.reason = CLOSE_PEER;
        pending_set_dial_reason(task->runtime, &forward->dial);
        server->is_lent = false;
        forward->stage = FORWARD_FAILED;
    }
    return forward_finish(task, NULL);
}

int forward_finish(struct task *task, struct zerg_forward_result *out)
{
    struct pending *pending = pending_of(task, drop);
    struct forward *forward;

    if (!pending)
        return ZERG_END;
    forward = CONTAINER_OF(pending, struct forward, pending);
    if (forward->stage == FORWARD_FAILED) {
        drop(pending);
        return ZERG_END;
    }
    if (forward->stage != FORWARD_ENDED)
        return pending_park(task);
    if (!out) /* it has ended already, and nobody will wake the task */
        return task_park(task, 0);
    *out = forward->result;
    snprintf(task->runtime->pending_reason, sizeof(task->runtime->pending_reason), "%s", forward->server_name);
    out->server = task->runtime->pending_reason;
    drop(pending);
    return ZERG_OK;
}
