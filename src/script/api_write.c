/* The part of api.h that writes to connections and ends them. */
#include "base/limits.h"
#include "core/lease.h"
#include "proxy/pump.h"
#include "script/api_common.h"

/* What every writing call begins with: OK when bytes can be staged. */
static int begin_write(const struct zerg_conn *handle, struct script_conn **out)
{
    struct script_conn *sc = api_script_conn(handle);

    *out = sc;
    if (!sc)
        return api_gone(handle);
    if (sc->closed_by_script)
        return script_conn_closed_result(sc);
    if (api_is_carried(sc, handle))
        return ZERG_FORWARDED;
    if (sc->conn->state == CONN_OPEN && sc->conn->fin_wanted)
        return ZERG_CLOSED;
    return conn_is_writable(sc->conn) ? ZERG_OK : ZERG_END;
}

int zerg_conn_write(const struct zerg_conn *handle, const void *data, uint32_t len)
{
    struct script_conn *sc;
    int rc = begin_write(handle, &sc);

    if (rc != ZERG_OK)
        return rc;
    if (conn_write(sc->conn, data, len) < 0)
        return ZERG_NO_MEMORY;
    return api_fullness(sc->conn);
}

typedef int (*stage_fn)(const struct lease *lease, uint32_t offset, uint32_t len, struct conn *to);

/* Stages the bytes of a sequence, each piece by `stage`. */
static int stage_seq(const struct zerg_conn *handle, const struct zerg_seq *seq, stage_fn stage)
{
    const struct lease *lease = (const struct lease *)(const void *)seq->_first;
    uint32_t offset = seq->_offset;
    uint32_t left = seq->_len;
    struct script_conn *sc;
    int rc = begin_write(handle, &sc);

    if (rc != ZERG_OK)
        return rc;
    if (zerg_seq_check(seq) < 0)
        return ZERG_RELEASED;
    for (; left > 0; lease = lease->next) {
        uint32_t part = lease->len - offset < left ? lease->len - offset : left;

        if (stage(lease, offset, part, sc->conn) < 0)
            return ZERG_NO_MEMORY;
        left -= part;
        offset = 0;
    }
    return api_fullness(sc->conn);
}

static int stage_copy(const struct lease *lease, uint32_t offset, uint32_t len, struct conn *to)
{
    return conn_write(to, lease->data + offset, len);
}

int zerg_conn_write_seq(const struct zerg_conn *handle, const struct zerg_seq *seq)
{
    return stage_seq(handle, seq, stage_copy);
}

int zerg_conn_pass_seq(const struct zerg_conn *handle, const struct zerg_seq *seq)
{
    return stage_seq(handle, seq, pump_pass);
}

int zerg_conn_wait_room(const struct zerg_conn *handle)
{
    struct script_conn *sc;
    int rc = begin_write(handle, &sc);
    struct task *task;

    if (rc != ZERG_OK || api_fullness(sc->conn) == ZERG_OK)
        return rc;
    task = sc->runtime->running;
    if (!task)
        return sc->runtime->is_migrating ? ZERG_OK : ZERG_NO_TASK;
    return task_park_writing(task, sc);
}

int zerg_conn_reserve(const struct zerg_conn *handle, uint32_t n, uint8_t **out)
{
    struct script_conn *sc;
    int rc = begin_write(handle, &sc);

    if (rc != ZERG_OK)
        return rc;
    if (n == 0 || n > RESERVE_BYTES_MAX)
        return ZERG_RANGE;
    conn_mark_dirty(sc->conn);
    *out = output_reserve(&sc->conn->out, &sc->conn->reactor->chunks, n);
    return *out ? ZERG_OK : ZERG_NO_MEMORY;
}

int zerg_conn_commit(const struct zerg_conn *handle, uint32_t n)
{
    struct script_conn *sc;
    int rc = begin_write(handle, &sc);

    if (rc != ZERG_OK)
        return rc;
    if (output_commit(&sc->conn->out, n) < 0)
        return ZERG_RANGE;
    conn_mark_dirty(sc->conn);
    return api_fullness(sc->conn);
}

int zerg_conn_flush(const struct zerg_conn *handle)
{
    struct script_conn *sc = api_script_conn(handle);
    struct task *task;

    if (!sc)
        return api_gone(handle);
    if (sc->closed_by_script)
        return script_conn_closed_result(sc);
    if (api_is_carried(sc, handle))
        return ZERG_FORWARDED;
    if (sc->conn->state != CONN_OPEN)
        return ZERG_END;
    if (sc->conn->out.staged == 0)
        return ZERG_OK;
    task = sc->runtime->running;
    return task ? task_park_writing(task, sc) : ZERG_NO_TASK;
}

int zerg_conn_shutdown(const struct zerg_conn *handle)
{
    struct script_conn *sc = api_script_conn(handle);

    if (!sc)
        return api_gone(handle);
    if (sc->closed_by_script)
        return script_conn_closed_result(sc);
    if (api_is_carried(sc, handle))
        return ZERG_FORWARDED;
    if (sc->conn->state != CONN_OPEN)
        return ZERG_END;
    conn_shutdown(sc->conn);
    return ZERG_OK;
}

static void end_conn(struct conn *conn, enum close_reason reason)
{
    if (reason == CLOSE_ABORTED)
        conn_kill(conn, reason);
    else
        conn_close(conn, reason);
}

/* What the script closes that it made is let go of at once; what is being forwarded, by C or by filters, ends with that. */
static void close_handle(struct zerg_conn *handle, enum close_reason reason)
{
    struct script_conn *sc = api_script_conn(handle);
    struct conn *conn = api_conn(handle);
    bool is_forwarded = conn && (sc ? sc->filtering != NULL : api_gone(handle) == ZERG_FORWARDED);

    if (is_forwarded) {
        end_conn(conn, reason);
    } else if (sc && sc->is_outgoing) {
        if (reason == CLOSE_ABORTED)
            conn_kill(conn, reason);
        api_let_go(handle);
    } else if (sc) {
        script_conn_close(sc, reason == CLOSE_ABORTED);
    }
}

void zerg_conn_close(struct zerg_conn *handle)
{
    close_handle(handle, CLOSE_LOCAL);
}

void zerg_conn_abort(struct zerg_conn *handle)
{
    close_handle(handle, CLOSE_ABORTED);
}
