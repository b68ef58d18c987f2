/* The part of api.h that connects to others: zerg.connect, keepalive, forward, relay, resolve. */
#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "core/reactor.h"
#include "proxy/group.h"
#include "proxy/pool.h"
#include "proxy/proxy.h"
#include "proxy/pump.h"
#include "proxy/session.h"
#include "script/api_common.h"
#include "script/connecting.h"
#include "script/forward.h"
#include "script/lookup.h"
#include "script/pending.h"
#include "script/transfer.h"

/* How long a connection waits in the pool when the script does not say. */
enum { KEEPALIVE_IDLE_MS = 60 * 1000 };

/* The group of a target. OK, or what the call gives. */
static int find_group(const struct task *task, const char *target, uint32_t len, struct group_view **out)
{
    switch (proxy_find_group(task->runtime->reactor->proxy, target, len, out)) {
    case 0: return ZERG_OK;
    case -ENOMEM: return ZERG_NO_MEMORY;
    default: return ZERG_NO_TARGET;
    }
}

/* ---- connections of the script's own ---- */

int zerg_connect(const char *target, uint32_t len, const struct zerg_dial_options *options, struct zerg_conn *out)
{
    struct task *task = api_task();
    struct group_view *view;
    int rc;

    if (!task)
        return ZERG_NO_TASK;
    rc = find_group(task, target, len, &view);
    return rc == ZERG_OK ? connecting_begin(task, view, options, out) : rc;
}

int zerg_connect_finish(struct zerg_conn *out)
{
    struct task *task = api_task();

    return task ? connecting_finish(task, out) : ZERG_NO_TASK;
}

/* The task that closed a connection of its own is told so when it goes on to use it. */
static void note_closer(struct zerg_conn *handle)
{
    struct task *task = api_task();

    handle->_closer = task;
    handle->_closer_generation = task ? task->generation : 0;
}

void api_let_go(struct zerg_conn *handle)
{
    note_closer(handle);
    script_conn_let_go(handle->_owned);
}

void zerg_conn_let_go(struct zerg_conn *handle)
{
    struct script_conn *sc = handle->_owned;

    if (!sc)
        return;
    if (sc->is_lent) /* the relay's end lets go of it */
        sc->handle = NULL;
    else
        script_conn_let_go(sc);
}

/* Whether it is at a point where another can begin. */
static bool is_at_rest(const struct script_conn *sc)
{
    return sc->conn->in.bytes == 0 && sc->conn->out.staged == 0 && !sc->reader && !sc->transfer && !sc->inflow;
}

int zerg_conn_keepalive(struct zerg_conn *handle, double idle_s)
{
    struct script_conn *sc = api_script_conn(handle);
    uint32_t max;

    if (!sc)
        return api_gone(handle);
    if (!sc->is_outgoing || !sc->slot.view)
        return ZERG_NO_TARGET;
    if (conn_ended(sc->conn) || !is_at_rest(sc)) {
        int rc = conn_ended(sc->conn) ? ZERG_END : ZERG_RANGE;

        api_let_go(handle);
        return rc;
    }
    max = sc->slot.view->group->config->keepalive;
    note_closer(handle);
    script_conn_give_to_pool(sc, max, idle_s >= 0 ? api_ms(idle_s) : KEEPALIVE_IDLE_MS);
    return ZERG_OK;
}

/* ---- forwarding ---- */

/* A connection that can be handed on. OK, or what the call gives. */
static int check_free(const struct zerg_conn *handle, struct script_conn **out)
{
    struct script_conn *sc = api_script_conn(handle);

    *out = sc;
    if (!sc)
        return api_gone(handle);
    if (sc->closed_by_script)
        return script_conn_closed_result(sc);
    if (sc->reader && sc->reader != sc->runtime->running)
        return ZERG_BUSY;
    if (sc->transfer || sc->inflow || sc->forward)
        return ZERG_BUSY;
    if (sc->reader)
        task_forget_park(sc->reader);
    if (sc->conn->state != CONN_OPEN) {
        snprintf(sc->runtime->pending_reason, sizeof(sc->runtime->pending_reason), "%s",
                 close_reason_text(sc->conn->reason));
        return ZERG_END;
    }
    return ZERG_OK;
}

int zerg_forward(const struct zerg_conn *handle, const char *target, uint32_t len,
                 const struct zerg_dial_options *options)
{
    struct task *task = api_task();
    struct group_view *view;
    struct script_conn *sc;
    int rc = task ? check_free(handle, &sc) : ZERG_NO_TASK;

    if (rc == ZERG_OK)
        rc = find_group(task, target, len, &view);
    return rc == ZERG_OK ? forward_begin(task, sc, view, options) : rc;
}

int zerg_forward_conn(const struct zerg_conn *handle, const struct zerg_conn *to,
                      const struct zerg_dial_options *options)
{
    struct task *task = api_task();
    struct script_conn *client, *server;
    int rc = task ? check_free(handle, &client) : ZERG_NO_TASK;

    if (rc == ZERG_OK)
        rc = check_free(to, &server);
    if (rc == ZERG_OK && client == server)
        return ZERG_NO_TARGET;
    return rc == ZERG_OK ? forward_begin_conn(task, client, server, options) : rc;
}

int zerg_forward_finish(struct zerg_forward_result *out)
{
    struct task *task = api_task();

    return task ? forward_finish(task, out) : ZERG_NO_TASK;
}

/* ---- relaying a part ---- */

int zerg_relay(const struct zerg_conn *from, const struct zerg_conn *to, double n)
{
    struct task *task = api_task();
    struct script_conn *source = api_script_conn(from);
    struct script_conn *sink = api_script_conn(to);

    if (!task)
        return ZERG_NO_TASK;
    task->relay_moved = 0;
    if (!source || !sink)
        return api_gone(source ? to : from);
    if (source->closed_by_script)
        return script_conn_closed_result(source);
    if (sink->closed_by_script)
        return script_conn_closed_result(sink);
    if (source->reader && source->reader != task)
        return ZERG_BUSY;
    if (source->reader)
        task_forget_park(task);
    return transfer_begin(task, source, sink, isinf(n) ? UINT64_MAX : (uint64_t)n);
}

int zerg_relay_finish(void)
{
    struct task *task = api_task();

    return task ? transfer_finish(task) : ZERG_NO_TASK;
}

double zerg_relay_moved(void)
{
    const struct task *task = api_task();

    return task ? task->relay_moved : 0;
}

int zerg_conn_pass_seq(const struct zerg_conn *handle, const struct zerg_seq *seq)
{
    struct script_conn *sc = api_script_conn(handle);
    const struct lease *lease = (const struct lease *)(const void *)seq->_first;
    uint32_t offset = seq->_offset;
    uint32_t left = seq->_len;

    if (!sc)
        return api_gone(handle);
    if (zerg_seq_check(seq) < 0)
        return ZERG_RELEASED;
    for (; left > 0; lease = lease->next) {
        uint32_t part = lease->len - offset < left ? lease->len - offset : left;
        int rc = pump_pass(lease, offset, part, sc->conn);

        if (rc < 0)
            return rc == -EPIPE ? ZERG_END : ZERG_NO_MEMORY;
        left -= part;
        offset = 0;
    }
    return sc->conn->out.staged > sc->conn->write_buffer_max ? ZERG_FULL : ZERG_OK;
}

/* ---- names ---- */

int zerg_resolve(const char *name, uint32_t len)
{
    struct task *task = api_task();

    return task ? lookup_begin(task, name, len) : ZERG_NO_TASK;
}

int zerg_resolve_finish(void)
{
    struct task *task = api_task();

    return task ? lookup_finish(task) : ZERG_NO_TASK;
}

const char *zerg_resolved(uint32_t place)
{
    const struct task *task = api_task();

    return task ? lookup_address(task, place) : "";
}

/* ---- all of them ---- */

void zerg_pending_drop(void)
{
    struct task *task = api_task();

    if (task)
        pending_drop(task);
}

const char *zerg_pending_reason(void)
{
    const struct runtime *runtime = runtime_current();

    return runtime ? runtime->pending_reason : "";
}

void zerg_session_report(const struct zerg_conn *client, const char *target, const struct zerg_forward_result *result,
                         double connect_s, int cause, int phase)
{
    const struct conn *conn = api_conn(client);
    struct session_record record = {
        .conn_id = (uint64_t)client->_id,
        .listener = zerg_conn_listener(client),
        .group = target,
        .server = result->server,
        .bytes_up = (uint64_t)result->bytes_up,
        .bytes_down = (uint64_t)result->bytes_down,
        .connect_ms = (uint64_t)(connect_s * (double)MS_PER_S),
        .total_ms = (uint64_t)(result->duration_s * (double)MS_PER_S),
        .cause = (enum session_cause)cause,
        .phase = (enum session_phase)phase,
    };

    if (conn)
        conn_remote(conn, &record.client);
    session_report(&record);
}
