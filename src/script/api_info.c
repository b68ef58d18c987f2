/* The part of api.h about connections: who, where, how many bytes, time-outs, and the wish to be told of the end. */
#include <errno.h>

#include "base/addr.h"
#include "base/clock.h"
#include "core/listener.h"
#include "script/api_common.h"
#include "script/http_watch.h"

const char *zerg_conn_reason(const struct zerg_conn *handle)
{
    const struct conn *conn = api_conn(handle);

    if (api_has_moved(handle))
        return "migrated";
    return conn ? close_reason_text(conn->reason) : close_reason_text(CLOSE_LOCAL);
}

const char *zerg_conn_remote_addr(const struct zerg_conn *handle)
{
    static _Thread_local char text[ADDR_TEXT_MAX];
    const struct conn *conn = api_conn(handle);
    struct addr addr;

    if (!conn)
        return "";
    conn_remote(conn, &addr);
    return addr_format_host(&addr, text);
}

const char *zerg_conn_local_addr(const struct zerg_conn *handle)
{
    static _Thread_local char text[ADDR_TEXT_MAX];
    const struct conn *conn = api_conn(handle);
    struct addr addr;

    if (!conn)
        return "";
    conn_local(conn, &addr);
    return addr_format_host(&addr, text);
}

uint32_t zerg_conn_remote_port(const struct zerg_conn *handle)
{
    const struct conn *conn = api_conn(handle);
    struct addr addr;

    if (!conn)
        return 0;
    conn_remote(conn, &addr);
    return addr_port(&addr);
}

uint32_t zerg_conn_local_port(const struct zerg_conn *handle)
{
    const struct conn *conn = api_conn(handle);
    struct addr addr;

    if (!conn)
        return 0;
    conn_local(conn, &addr);
    return addr_port(&addr);
}

const char *zerg_conn_listener(const struct zerg_conn *handle)
{
    const struct conn *conn = api_conn(handle);

    return conn && conn->listener ? conn->listener->config->name : "";
}

double zerg_conn_bytes_in(const struct zerg_conn *handle)
{
    const struct conn *conn = api_conn(handle);

    return conn ? (double)conn->bytes_in - handle->_bytes_in_before : 0;
}

double zerg_conn_bytes_out(const struct zerg_conn *handle)
{
    const struct conn *conn = api_conn(handle);

    return conn ? (double)conn->bytes_out - handle->_bytes_out_before : 0;
}

uint32_t zerg_conn_held(const struct zerg_conn *handle)
{
    const struct conn *conn = api_conn(handle);

    return conn ? conn->in.count.held : 0;
}

/* Negative, or not a number: it stays. */
static uint32_t timeout_ms(double seconds, uint32_t present)
{
    return seconds >= 0 ? api_ms(seconds) : present;
}

int zerg_conn_set_timeouts(const struct zerg_conn *handle, double read_s, double write_s, double idle_s)
{
    struct script_conn *sc = api_script_conn(handle);
    struct timeouts timeouts;

    if (!sc)
        return api_gone(handle);
    if (sc->closed_by_script)
        return script_conn_closed_result(sc);
    if (api_is_carried(sc, handle))
        return ZERG_FORWARDED;
    timeouts = sc->conn->timeouts;
    timeouts.read_ms = timeout_ms(read_s, timeouts.read_ms);
    timeouts.write_ms = timeout_ms(write_s, timeouts.write_ms);
    timeouts.idle_ms = timeout_ms(idle_s, timeouts.idle_ms);
    conn_set_timeouts(sc->conn, &timeouts);
    return ZERG_OK;
}

static int watch_http(struct conn *conn)
{
    switch (http_watch_begin(runtime_current(), conn)) {
    case 0: return ZERG_OK;
    case -EPIPE: return ZERG_END;
    default: return ZERG_NO_MEMORY;
    }
}

int zerg_conn_keep(const struct zerg_conn *handle)
{
    struct conn *conn = api_conn(handle);

    if (!conn || conn->handler != &http_conn_handler || !runtime_current()->part)
        return ZERG_END;
    return watch_http(conn);
}

int zerg_conn_watch_close(const struct zerg_conn *handle)
{
    struct script_conn *sc = api_script_conn(handle);
    struct conn *conn = api_conn(handle);

    if (conn && conn->handler == &http_conn_handler)
        return conn_ended(conn) ? ZERG_END : watch_http(conn);
    if (!sc) {
        int rc = api_gone(handle);

        return rc == ZERG_CLOSED ? ZERG_END : rc;
    }
    if (api_is_carried(sc, handle))
        return ZERG_FORWARDED;
    return script_conn_watch(sc) ? ZERG_OK : ZERG_END;
}
