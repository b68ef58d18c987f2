/* The part of api.h that reads from connections. */
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "core/lease.h"
#include "script/api_common.h"

/* Records that the running task waits for `bytes` unread bytes. */
static int park_reader(struct script_conn *sc, uint32_t bytes)
{
    struct task *task = sc->runtime->running;
    int rc;

    if (!task)
        return ZERG_NO_TASK;
    rc = task_park_reading(task, sc);
    if (rc == ZERG_PARK)
        script_conn_set_reader(sc, task, bytes);
    return rc;
}

/* What every reading call begins with: ends the borrow, and says whether `bytes` are there. */
static int begin_read(const struct zerg_conn *handle, uint32_t bytes, struct conn **out)
{
    struct script_conn *sc = api_script_conn(handle);
    struct conn *conn;
    int rc;

    if (!sc)
        return api_gone(handle);
    conn = sc->conn;
    *out = conn;
    if (sc->closed_by_script)
        return script_conn_closed_result(sc);
    rc = api_claim_input(sc, handle);
    if (rc != ZERG_OK)
        return rc;
    if (bytes > INPUT_WANT_BYTES_MAX)
        return ZERG_RANGE;
    input_end_borrow(&conn->in);
    if (conn->in.bytes >= bytes)
        return ZERG_OK;
    return conn_ended(conn) ? ZERG_END : park_reader(sc, bytes);
}

static void fill_seq(struct zerg_seq *out, struct lease *first, uint32_t len)
{
    out->_first = (struct zerg_lease *)(void *)first;
    out->_generation = first->generation;
    out->_offset = 0;
    out->_len = len;
    out->_kind = ZERG_SEQ_BORROWED;
}

int zerg_conn_want(const struct zerg_conn *handle, uint32_t bytes)
{
    struct conn *conn;

    return begin_read(handle, bytes, &conn);
}

void zerg_conn_set_partial(const struct zerg_conn *handle, int is_partial)
{
    struct script_conn *sc = api_script_conn(handle);

    if (sc)
        sc->is_partial = is_partial != 0;
}

int zerg_conn_next_view(const struct zerg_conn *handle, struct zerg_view *out)
{
    struct script_conn *sc = api_script_conn(handle);
    struct lease *lease;
    int rc;

    if (!sc)
        return api_gone(handle);
    if (sc->closed_by_script)
        return script_conn_closed_result(sc);
    rc = api_claim_input(sc, handle);
    if (rc != ZERG_OK)
        return rc;
    lease = input_next(&sc->conn->in);
    if (!lease)
        return ZERG_END;
    conn_on_consumed(sc->conn);
    out->_data = lease->data;
    out->_len = lease->len;
    out->_generation = lease->generation;
    out->_lease = (struct zerg_lease *)(void *)lease;
    out->_kind = ZERG_SEQ_BORROWED;
    return ZERG_OK;
}

static int take(struct conn *conn, uint32_t bytes, struct zerg_seq *out)
{
    struct lease *first = input_take(&conn->in, bytes);

    if (!first)
        return ZERG_NO_MEMORY;
    conn_on_consumed(conn);
    fill_seq(out, first, bytes);
    return ZERG_OK;
}

int zerg_conn_read(const struct zerg_conn *handle, struct zerg_seq *out)
{
    struct conn *conn;
    int rc = begin_read(handle, 1, &conn);

    return rc == ZERG_OK ? take(conn, conn->in.bytes, out) : rc;
}

int zerg_conn_take(const struct zerg_conn *handle, uint32_t bytes, struct zerg_seq *out)
{
    struct conn *conn;
    int rc = begin_read(handle, bytes, &conn);

    if (rc != ZERG_OK || bytes > 0)
        return rc == ZERG_OK ? take(conn, bytes, out) : rc;
    *out = (struct zerg_seq){0};
    return ZERG_OK;
}

int zerg_conn_peek(const struct zerg_conn *handle, uint32_t bytes, struct zerg_seq *out)
{
    struct conn *conn;
    struct lease *first;
    int rc = begin_read(handle, bytes, &conn);

    if (rc != ZERG_OK)
        return rc;
    if (conn->in.bytes == 0) {
        *out = (struct zerg_seq){0};
        return ZERG_OK;
    }
    first = input_peek(&conn->in);
    if (!first)
        return ZERG_NO_MEMORY;
    fill_seq(out, first, conn->in.bytes);
    return ZERG_OK;
}

int zerg_conn_skip(const struct zerg_conn *handle, uint32_t bytes)
{
    struct script_conn *sc = api_script_conn(handle);

    if (!sc)
        return api_gone(handle);
    if (sc->closed_by_script)
        return script_conn_closed_result(sc);
    if (api_is_carried(sc, handle))
        return ZERG_FORWARDED;
    if (bytes > sc->conn->in.bytes)
        return ZERG_RANGE;
    input_end_borrow(&sc->conn->in);
    input_skip(&sc->conn->in, bytes);
    conn_on_consumed(sc->conn);
    return ZERG_OK;
}

double zerg_conn_unread(const struct zerg_conn *handle)
{
    const struct script_conn *sc = api_script_conn(handle);

    return sc ? sc->conn->in.bytes : 0;
}

const uint8_t *zerg_conn_front(const struct zerg_conn *handle, uint32_t n)
{
    const struct script_conn *sc = api_script_conn(handle);
    const struct input *in;

    if (!sc || n == 0 || sc->conn->in.bytes < n || n > sizeof(sc->runtime->scratch))
        return NULL;
    in = &sc->conn->in;
    if (LIKELY(in->first->len >= n))
        return in->first->data;
    input_copy(in, 0, n, sc->runtime->scratch);
    return sc->runtime->scratch;
}

double zerg_conn_find(const struct zerg_conn *handle, const uint8_t *needle, uint32_t needle_len, uint32_t from)
{
    const struct script_conn *sc = api_script_conn(handle);
    struct zerg_seq unread;

    if (!sc || !sc->conn->in.first)
        return -1;
    fill_seq(&unread, sc->conn->in.first, sc->conn->in.bytes);
    return zerg_seq_find(&unread, needle, needle_len, from);
}

void zerg_conn_wake_reader(const struct zerg_conn *handle)
{
    struct script_conn *sc = api_script_conn(handle);

    if (sc && sc->reader)
        task_wake_later(sc->reader, ZERG_WAKE);
}
