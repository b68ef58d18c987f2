/* See inspect.h. */
#include "script/inspect.h"

#include <stdio.h>

#include "core/config.h"
#include "core/conn.h"
#include "core/conn_table.h"
#include "core/listener.h"
#include "core/reactor.h"
#include "core/version.h"
#include "http/http_conn.h"
#include "http/http_exchange.h"
#include "proxy/pool.h"
#include "proxy/proxy_accept.h"
#include "proxy/relay.h"
#include "proxy/server.h"
#include "script/http_task.h"
#include "script/place.h"
#include "script/runtime.h"
#include "script/script_conn.h"
#include "script/task.h"

static const char *state_text(const struct conn *conn)
{
    static const char *const texts[CONN_STATE_COUNT] = {
        [CONN_FREE] = "free",         [CONN_CONNECTING] = "connecting", [CONN_OPEN] = "open",
        [CONN_FLUSHING] = "flushing", [CONN_LINGERING] = "lingering",   [CONN_DYING] = "dying",
        [CONN_DEAD] = "dead",
    };

    return texts[conn->state];
}

/* ---- scripts ---- */

/* WAITING is for anything: a time, another task, a server. What the script calls says which. */
static void describe_wait(const struct task *task, char out[PLACE_CALL_MAX])
{
    static const char *const texts[] = {[TASK_READING] = "read", [TASK_WRITING] = "write", [TASK_WAITING] = "wait"};
    bool is_parked = task->wait >= TASK_READING;

    if (task->wait != TASK_WAITING || !place_find_call(task->co, out))
        snprintf(out, PLACE_CALL_MAX, "%s", is_parked ? texts[task->wait] : "its turn");
}

static void describe_task(const struct task *task, char *out, size_t out_bytes)
{
    char call[PLACE_CALL_MAX];
    char place[PLACE_MAX];

    describe_wait(task, call);
    if (place_find(task->co, place))
        snprintf(out, out_bytes, "%s at %s", call, place);
    else
        snprintf(out, out_bytes, "%s", call);
}

/* A connection that a script has: that of a handler, or one that it made, which only who waits for it tells of. */
static void describe_script(const struct script_conn *sc, char *out, size_t out_bytes)
{
    const struct task *task = sc->handler_task ? sc->handler_task : sc->reader;

    if (task)
        describe_task(task, out, out_bytes);
    else
        snprintf(out, out_bytes, "the script that made it");
}

/* ---- HTTP ---- */

/* Who answers the request. */
static void describe_answering(const struct http_exchange *exchange, char *out, size_t out_bytes)
{
    const struct script_conn *sc = exchange->handler == &http_task_handler ? exchange->owner : NULL;

    if (sc && sc->http_forwarding)
        snprintf(out, out_bytes, "a server's answer, for its script");
    else if (sc && sc->handler_task)
        describe_task(sc->handler_task, out, out_bytes);
    else
        snprintf(out, out_bytes, "a server's answer");
}

static void describe_http(const struct http_exchange *exchange, char *out, size_t out_bytes)
{
    const struct http_head *head = &exchange->head;
    char answering[PLACE_MAX + PLACE_CALL_MAX];

    if (exchange->stage != HTTP_RUNS) {
        snprintf(out, out_bytes, "%s", exchange->stage == HTTP_DRAINS ? "the rest of a body" : "the rest of a head");
        return;
    }
    describe_answering(exchange, answering, sizeof(answering));
    snprintf(out, out_bytes, "%s, %.*s", answering, (int)http_span_len(head->target.all),
             (const char *)exchange->head_bytes + head->target.all.at);
}

/* ---- relays ---- */

static void describe_relay(const struct relay *relay, char *out, size_t out_bytes)
{
    if (!relay)
        return;
    if (!relay->server)
        snprintf(out, out_bytes, "a server of %s", relay->options.group);
    else if (relay->options.slot.server)
        snprintf(out, out_bytes, "both sides, relayed to %s", relay->options.slot.server->name);
    else
        snprintf(out, out_bytes, "both sides, relayed");
}

/* ---- all ---- */

/* Nobody has an owner who could tell more. */
static const char *idle_text(const struct conn *conn)
{
    if (conn->handler == &http_conn_handler)
        return "a request";
    if (conn->handler == &proxy_accept_handler)
        return "a PROXY protocol header";
    if (pool_has(conn))
        return "its next use";
    return conn->listener ? "" : "an answer";
}

/* A script may be at work for a connection that has ended: that is what keeps its place. */
static bool is_worth_describing(const struct conn *conn)
{
    const struct http_exchange *exchange = conn->owner;

    if (conn->state == CONN_OPEN || conn->handler == &script_conn_handler)
        return true;
    return conn->handler == &http_conn_handler && exchange && exchange->stage == HTTP_RUNS;
}

static void describe(const struct conn *conn, char *out, size_t out_bytes)
{
    out[0] = '\0';
    if (!is_worth_describing(conn))
        return;
    if (conn->handler == &http_conn_handler && conn->owner)
        describe_http(conn->owner, out, out_bytes);
    else if (conn->handler == &relay_handler)
        describe_relay(conn->owner, out, out_bytes);
    else if (conn->handler == &script_conn_handler && conn->owner)
        describe_script(conn->owner, out, out_bytes);
    else
        snprintf(out, out_bytes, "%s", conn->state == CONN_OPEN ? idle_text(conn) : "");
}

/* Clients of a unix socket have no name. */
static void name_peer(const struct conn *conn, char *out)
{
    struct addr peer;

    conn_remote(conn, &peer);
    addr_format(&peer, out);
    if (out[0] == '\0' && conn->listener && addr_is_unix(&conn->listener->config->addr))
        snprintf(out, ADDR_TEXT_MAX, "unix");
}

/* One that a script made is served by nobody's listener, but belongs to the version of that script. */
static uint32_t version_of(const struct conn *conn)
{
    const struct script_conn *sc = conn->handler == &script_conn_handler ? conn->owner : NULL;

    if (conn->listener)
        return conn->listener->version->number;
    return sc && !sc->runtime->is_retired ? sc->runtime->part->version->number : 0;
}

static void fill_in(const struct conn *conn, struct conn_info *out)
{
    name_peer(conn, out->peer);
    out->id = conn->id;
    out->state = state_text(conn);
    out->version = version_of(conn);
    snprintf(out->listener, sizeof(out->listener), "%s", conn->listener ? conn->listener->config->name : "");
    out->age_ms = conn->reactor->now_ms - conn->began_ms;
    out->bytes_in = conn->bytes_in;
    out->bytes_out = conn->bytes_out;
    describe(conn, out->waits, sizeof(out->waits));
}

uint32_t inspect_conns(const struct reactor *reactor, uint32_t *slot, struct conn_info *out, uint32_t max)
{
    const struct conn_table *table = &reactor->conns;
    uint32_t count = 0;

    for (; *slot < table->mapped && count < max; (*slot)++) {
        const struct conn *conn = conn_table_at(table, *slot);

        if (conn->state != CONN_FREE)
            fill_in(conn, &out[count++]);
    }
    if (*slot == table->mapped)
        *slot = 0;
    return count;
}
