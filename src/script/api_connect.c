/* The part of api.h that connects to others: zerg.connect, keepalive, forward, relay, resolve. */
#include <errno.h>
#include <math.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/limits.h"
#include "core/reactor.h"
#include "proxy/group.h"
#include "proxy/pool.h"
#include "proxy/proxy.h"
#include "proxy/session.h"
#include "script/api_common.h"
#include "script/connecting.h"
#include "script/filtering.h"
#include "script/forward.h"
#include "script/lookup.h"
#include "script/pending.h"
#include "script/transfer.h"

/* What a call gives for a connection that it cannot use. */
static int refuse(const struct task *task, const struct zerg_conn *handle, int rc)
{
    const char *reason = zerg_conn_reason(handle);

    return rc == ZERG_END ? api_end_with(task->runtime, reason ? reason : close_reason_text(CLOSE_LOCAL)) : rc;
}

/* ---- connections of the script's own ---- */

int zerg_connect(const char *target, uint32_t len, const struct zerg_dial_options *options, struct zerg_conn *out)
{
    struct group_view *view;
    struct task *task;
    int rc = api_begin(&task);

    if (rc == ZERG_OK)
        rc = api_find_group(task, target, len, &view);
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
    assert(handle->_owned);
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
    return sc->conn->in.bytes == 0 && sc->conn->out.staged == 0 && !sc->reader && !sc->transfer && !sc->inflow &&
           !sc->forward;
}

int zerg_conn_keepalive(struct zerg_conn *handle, double idle_s)
{
    struct script_conn *sc = api_script_conn(handle);
    uint32_t max;

    if (!sc)
        return api_gone(handle);
    if (!sc->is_outgoing || !sc->slot.view)
        return ZERG_NO_TARGET;
    if (api_is_carried(sc, handle))
        return ZERG_FORWARDED;
    if (conn_ended(sc->conn) || !is_at_rest(sc)) {
        int rc = conn_ended(sc->conn) ? ZERG_END : ZERG_RANGE;

        api_let_go(handle);
        return rc;
    }
    max = group_view_settings(sc->slot.view)->keepalive;
    note_closer(handle);
    return script_conn_give_to_pool(sc, max, idle_s >= 0 ? api_ms(idle_s) : POOL_IDLE_MS) ? ZERG_OK : ZERG_END;
}

/* ---- forwarding ---- */

/* Whether its bytes can be taken, or others be sent on it, by somebody else than its script. */
static int check_source(struct script_conn *sc, const struct zerg_conn *handle)
{
    return sc->closed_by_script ? script_conn_closed_result(sc) : api_claim_input(sc, handle);
}

static int check_sink(const struct script_conn *sc, const struct zerg_conn *handle)
{
    if (sc->closed_by_script)
        return script_conn_closed_result(sc);
    if (api_is_carried(sc, handle))
        return ZERG_FORWARDED;
    if (sc->inflow)
        return ZERG_FED;
    if (sc->forward)
        return ZERG_FORWARDED;
    return sc->conn->state == CONN_OPEN && sc->conn->fin_wanted ? ZERG_SHUT : ZERG_OK;
}

/* A connection that can be handed on. OK, or what the call gives. */
static int check_free(const struct task *task, const struct zerg_conn *handle, struct script_conn **out)
{
    struct script_conn *sc = api_script_conn(handle);
    int rc;

    *out = sc;
    if (!sc)
        return refuse(task, handle, api_gone(handle));
    rc = check_source(sc, handle);
    if (rc == ZERG_OK)
        rc = check_sink(sc, handle);
    if (rc == ZERG_OK && sc->conn->state != CONN_OPEN)
        rc = ZERG_END;
    return refuse(task, handle, rc);
}

int zerg_forward(const struct zerg_conn *handle, const char *target, uint32_t len,
                 const struct zerg_dial_options *options)
{
    struct group_view *view;
    struct script_conn *sc;
    struct task *task;
    int rc = api_begin(&task);

    if (rc == ZERG_OK)
        rc = check_free(task, handle, &sc);
    if (rc == ZERG_OK)
        rc = api_find_group(task, target, len, &view);
    return rc == ZERG_OK ? forward_begin(task, sc, view, options) : rc;
}

int zerg_forward_conn(const struct zerg_conn *handle, const struct zerg_conn *to,
                      const struct zerg_dial_options *options)
{
    struct script_conn *client, *server;
    struct task *task;
    int rc = api_begin(&task);

    if (rc == ZERG_OK)
        rc = check_free(task, handle, &client);
    if (rc == ZERG_OK)
        rc = check_free(task, to, &server);
    if (rc == ZERG_OK && client == server)
        return ZERG_NO_TARGET;
    return rc == ZERG_OK ? forward_begin_conn(task, client, server, options) : rc;
}

int zerg_forward_finish(struct zerg_forward_result *out)
{
    struct task *task = api_task();

    return task ? forward_finish(task, out) : ZERG_NO_TASK;
}

/* ---- forwarding with filters ---- */

int zerg_forward_check(const struct zerg_conn *handle)
{
    struct script_conn *sc;
    struct task *task;
    int rc = api_begin(&task);

    return rc == ZERG_OK ? check_free(task, handle, &sc) : rc;
}

/* Handles as the script's own, but for the carrying. */
static struct zerg_conn carrying(const struct script_conn *sc)
{
    struct conn *conn = sc->conn;

    return (struct zerg_conn){
        ._conn = conn,
        ._generation = conn->generation,
        ._slot = conn->slot,
        ._id = (double)conn->id,
        ._carries = 1,
    };
}

int zerg_filter_begin(const struct zerg_conn *client, const struct zerg_conn *server, const char *target,
                      double connect_s, struct zerg_filtering *out)
{
    struct script_conn *up, *down;
    struct task *task;
    int rc = api_begin(&task);

    if (rc == ZERG_OK)
        rc = check_free(task, client, &up);
    if (rc == ZERG_OK)
        rc = check_free(task, server, &down);
    if (rc != ZERG_OK)
        return rc;
    out->_filtering = filtering_begin(up, down, target, (uint64_t)(connect_s * (double)MS_PER_S));
    if (!out->_filtering)
        return ZERG_NO_MEMORY;
    out->_client = carrying(up);
    out->_server = carrying(down);
    return ZERG_OK;
}

void zerg_filter_count(const struct zerg_conn *from, double bytes)
{
    struct script_conn *sc = api_script_conn(from);

    if (sc && sc->filtering)
        filtering_count(sc, (uint64_t)bytes);
}

/* It shall take what is there yet, and not for ever: as when it is closed. */
static void hurry(struct conn *conn)
{
    struct timeouts timeouts = conn->timeouts;

    if (timeouts.write_ms)
        return;
    timeouts.write_ms = CLOSE_FLUSH_MS;
    conn_set_timeouts(conn, &timeouts);
}

void zerg_forward_end(const struct zerg_conn *handle, int ending)
{
    struct script_conn *sc = api_script_conn(handle);

    if (!sc)
        return;
    switch ((enum zerg_ending)ending) {
    case ZERG_ENDING_ORDERLY: conn_close(sc->conn, CLOSE_LOCAL); break;
    case ZERG_ENDING_BROKEN: conn_close(sc->conn, CLOSE_ABORTED); break;
    case ZERG_ENDING_NOW: conn_kill(sc->conn, CLOSE_ABORTED); break;
    case ZERG_ENDING_SOON: hurry(sc->conn); break;
    }
}

int zerg_forward_ending(const struct zerg_conn *handle)
{
    const struct conn *conn = api_conn(handle);

    return conn && conn->state < CONN_DYING && !conn->is_aborted ? ZERG_ENDING_ORDERLY : ZERG_ENDING_BROKEN;
}

void zerg_filter_end(const struct zerg_filtering *handle, int cause, int phase, struct zerg_forward_result *out)
{
    filtering_end(handle->_filtering, (enum session_cause)cause, (enum session_phase)phase, out);
}

void zerg_filter_drop(struct zerg_filtering *handle)
{
    struct filtering *filtering = handle->_filtering;

    if (!filtering)
        return;
    filtering_end(filtering, SESSION_KILLED, SESSION_DATA, NULL);
    filtering_free(filtering, &runtime_current()->filtering_slab);
    handle->_filtering = NULL;
}

/* ---- relaying a part ---- */

/* The running task may take from the one and give to the other. OK, or what the call gives. */
static int check_relay(const struct task *task, const struct zerg_conn *from, const struct zerg_conn *to)
{
    struct script_conn *source = api_script_conn(from);
    const struct script_conn *sink = api_script_conn(to);
    int rc = source ? check_source(source, from) : api_gone(from);

    if (rc != ZERG_OK)
        return refuse(task, from, rc);
    return refuse(task, to, sink ? check_sink(sink, to) : api_gone(to));
}

int zerg_relay(const struct zerg_conn *from, const struct zerg_conn *to, double n)
{
    struct task *task;
    int rc = api_begin(&task);

    if (rc == ZERG_OK) {
        task->relay_moved = 0;
        rc = check_relay(task, from, to);
    }
    if (rc != ZERG_OK)
        return rc;
    return transfer_begin(task, api_script_conn(from), api_script_conn(to), isinf(n) ? UINT64_MAX : (uint64_t)n);
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

/* ---- names ---- */

int zerg_resolve(const char *name, uint32_t len)
{
    struct task *task;
    int rc = api_begin(&task);

    return rc == ZERG_OK ? lookup_begin(task, name, len) : rc;
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

void zerg_pending_shelve(void)
{
    struct task *task = api_task();

    if (task)
        pending_shelve(task);
}

void zerg_pending_unshelve(void)
{
    struct task *task = api_task();

    if (task)
        pending_unshelve(task);
}

const char *zerg_pending_reason(void)
{
    const struct runtime *runtime = runtime_current();

    return runtime ? runtime->pending_reason : "";
}
