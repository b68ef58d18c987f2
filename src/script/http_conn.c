/* See http_conn.h. The time-outs are those of a parked read (conn_await_input()): conn->timeouts.read_ms is set to what is waited
 * for. */
#include "script/http_conn.h"

#include <errno.h>
#include <lauxlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"
#include "core/conn.h"
#include "core/listener.h"
#include "core/reactor.h"
#include "proto/http_path.h"
#include "script/http_exchange.h"
#include "script/http_intake.h"
#include "script/http_reason.h"
#include "script/runtime.h"
#include "script/task.h"

enum { EXCHANGES_PER_BLOCK = 16, TRAILERS_PER_BLOCK = 8 };
enum { EMPTY_LINE_BYTES = 2 };

/* Whether a task may be resumed now, or has to go through the ready queue, as another one is being resumed. */
enum start { START_NOW, START_LATER };

void http_conn_init_slabs(struct runtime *runtime)
{
    slab_init(&runtime->exchange_slab, sizeof(struct http_exchange), EXCHANGES_PER_BLOCK, 0);
    slab_init(&runtime->trailers_slab, sizeof(struct http_fields), TRAILERS_PER_BLOCK, 0);
}

static struct runtime *runtime_of_conn(const struct conn *conn)
{
    return conn->reactor->app_data;
}

static const struct http_config *config_of(const struct conn *conn)
{
    return &conn->listener->config->http;
}

static void await(struct conn *conn, uint32_t ms)
{
    conn_stop_awaiting(conn);
    conn->timeouts.read_ms = ms;
    conn_await_input(conn, 1);
}

/* ---- exchanges ---- */

static struct http_exchange *new_exchange(struct conn *conn)
{
    struct runtime *runtime = runtime_of_conn(conn);
    struct http_exchange *exchange = slab_new(&runtime->exchange_slab);
    struct http_limits limits = {.head_bytes = config_of(conn)->header_bytes, .fields = config_of(conn)->headers};

    if (!exchange)
        return NULL;
    exchange->shared = (struct zerg_http){._generation = exchange->shared._generation, ._status = 200};
    exchange->sc = (struct script_conn){.conn = conn, .runtime = runtime, .is_http = true};
    list_init(&exchange->sc.writers);
    list_init(&exchange->sc.ended_link);
    exchange->head_lease = NULL;
    exchange->stage = HTTP_READS_HEAD;
    exchange->has_returned = false;
    exchange->is_waiting = false;
    exchange->continue_sent = false;
    exchange->failure = 0;
    exchange->failure_text = NULL;
    exchange->taken = 0;
    exchange->drained = 0;
    exchange->trailers = NULL;
    http_answer_init(&exchange->answer);
    http_request_init(&exchange->head, &limits);
    conn->owner = exchange;
    return exchange;
}

static void free_exchange(struct http_exchange *exchange)
{
    struct runtime *runtime = exchange->sc.runtime;

    exchange->sc.conn->owner = NULL;
    exchange->shared._generation++;
    http_answer_deinit(exchange);
    http_intake_deinit(exchange);
    if (exchange->head_lease)
        lease_free(exchange->head_lease);
    slab_free(&runtime->exchange_slab, exchange);
}

/* Answers what no handler gets to see, and closes: the exchange is gone. */
static void refuse(struct http_exchange *exchange, uint16_t status)
{
    struct conn *conn = exchange->sc.conn;

    if (exchange->head.refusal.problem)
        log_debug("conn %llu: bad request: %s", (unsigned long long)conn->id, exchange->head.refusal.problem);
    exchange->answer.closes = true;
    if (http_answer_refuse(exchange, status) < ZERG_OK)
        conn_kill(conn, CLOSE_NO_MEMORY);
    conn_close(conn, CLOSE_LOCAL); /* on_end() frees the exchange */
}

/* ---- heads ---- */

/* Parses what is there. */
static enum parse_outcome parse(struct http_exchange *exchange)
{
    struct conn *conn = exchange->sc.conn;
    const struct lease *first = conn->in.first;
    enum parse_outcome outcome = http_head_parse(&exchange->head, first->data, first->len);

    if (outcome != PARSE_MORE || !first->next)
        return outcome;
    if (input_gather(&conn->in, &conn->reactor->leases) < 0) {
        exchange->head.refusal = (struct http_refusal){"out of memory", STATUS_UNAVAILABLE};
        return PARSE_BAD;
    }
    first = conn->in.first;
    return http_head_parse(&exchange->head, first->data, first->len);
}

/* Keeps the bytes of the head as long as the exchange; what follows them is the first that is unread. 0 or -ENOMEM. */
static int keep_head(struct http_exchange *exchange)
{
    struct conn *conn = exchange->sc.conn;
    struct input *in = &conn->in;
    struct lease *lease = lease_retain(in->first, 0, exchange->head.at);

    if (!lease)
        return -ENOMEM;
    lease_hold(lease, &in->count);
    input_skip(in, exchange->head.at);
    conn_on_consumed(conn);
    exchange->head_lease = lease;
    exchange->shared._head = lease->data;
    exchange->shared._method = exchange->head.method;
    exchange->shared._minor = exchange->head.minor;
    return 0;
}

static bool has_bad_escape(const struct http_exchange *exchange)
{
    struct http_span path = exchange->head.target.path;
    const uint8_t *text = exchange->shared._head + path.at;
    static _Thread_local char out[HTTP_HEAD_BYTES_MAX + 1];

    if (!memchr(text, '%', http_span_len(path)))
        return false;
    return http_path_normalize(out, text, http_span_len(path)) < 0;
}

/* What is wrong with a head that was parsed: a status, or 0. */
static uint16_t objection(const struct http_exchange *exchange)
{
    const struct http_head *head = &exchange->head;

    if (head->method == HTTP_CONNECT)
        return STATUS_NOT_IMPLEMENTED;
    if (head->body == HTTP_BODY_LENGTH && head->content_length > config_of(exchange->sc.conn)->body_bytes)
        return STATUS_TOO_LARGE;
    return has_bad_escape(exchange) ? STATUS_BAD_REQUEST : 0;
}

static bool accept_head(struct http_exchange *exchange)
{
    uint16_t status;

    if (keep_head(exchange) < 0 || http_intake_init(exchange) < 0) {
        conn_kill(exchange->sc.conn, CLOSE_NO_MEMORY);
        return false;
    }
    status = objection(exchange);
    if (status != 0)
        refuse(exchange, status);
    return status == 0;
}

static void await_rest_of_head(struct http_exchange *exchange)
{
    struct conn *conn = exchange->sc.conn;

    if (conn->input_ended) { /* nobody waits for an answer to half a request */
        conn_close(conn, CLOSE_PEER);
    } else if (!exchange->is_waiting) {
        exchange->is_waiting = true;
        await(conn, config_of(conn)->header_ms);
    }
}

/* True when a request is there to be run. */
static bool read_head(struct conn *conn)
{
    struct http_exchange *exchange = conn->owner ? conn->owner : new_exchange(conn);

    if (!exchange) {
        conn_kill(conn, CLOSE_NO_MEMORY);
        return false;
    }
    switch (parse(exchange)) {
    case PARSE_DONE: return accept_head(exchange);
    case PARSE_BAD: refuse(exchange, exchange->head.refusal.status); break;
    case PARSE_MORE: await_rest_of_head(exchange); break;
    }
    return false;
}

/* ---- running ---- */

/* runtime.serve_http(listener, address of the exchange, generation): see lua/zerg/runtime.lua. */
static int push_serve(struct runtime *runtime, lua_State *co, struct http_exchange *exchange)
{
    lua_rawgeti(co, LUA_REGISTRYINDEX, runtime->serve_http_ref);
    lua_pushinteger(co, (lua_Integer)exchange->sc.conn->listener->index + 1);
    lua_pushnumber(co, (lua_Number)(uintptr_t)exchange);
    lua_pushnumber(co, exchange->shared._generation);
    return 3;
}

static void run(struct http_exchange *exchange, enum start start)
{
    struct conn *conn = exchange->sc.conn;
    struct runtime *runtime = exchange->sc.runtime;
    struct task *task = task_new(runtime, runtime->L);
    int arguments;

    if (!task) {
        conn_kill(conn, CLOSE_NO_MEMORY);
        return;
    }
    conn_stop_awaiting(conn);
    conn->timeouts.read_ms = config_of(conn)->body_ms;
    exchange->stage = HTTP_RUNS;
    task->serves = &exchange->sc;
    task_pin(task, conn);
    arguments = push_serve(runtime, task->co, exchange);
    if (start == START_NOW)
        task_start(task, arguments);
    else
        task_start_later(task, arguments);
}

/* Between two requests, or within the next one's head, and the client takes what was answered. */
static bool may_take_next(const struct conn *conn)
{
    const struct http_exchange *exchange = conn->owner;

    return conn->state == CONN_OPEN && (!exchange || exchange->stage == HTTP_READS_HEAD) && conn->in.bytes > 0 &&
           !conn_is_full(conn);
}

/* Takes what requests are there, as far as they can be answered at once. */
static void advance(struct conn *conn, enum start start)
{
    struct runtime *runtime = runtime_of_conn(conn);

    for (int burst = 0; may_take_next(conn) && read_head(conn); burst++) {
        runtime->http_conn = conn;
        run(conn->owner, burst < HTTP_BURST ? start : START_LATER);
        runtime->http_conn = NULL;
    }
    if (conn->state != CONN_OPEN || conn->owner || conn_is_full(conn))
        return;
    if (conn->in.bytes > 0)
        return;
    if (conn->input_ended)
        conn_close(conn, CLOSE_PEER);
    else if (conn->reactor->state != REACTOR_RUNNING)
        conn_close(conn, CLOSE_SHUTDOWN);
    else if (conn->read_deadline_ms == 0)
        await(conn, config_of(conn)->keepalive_ms);
}

/* ---- ending ---- */

/* The handler did not come to its end: it raised, or the server stops. False when the connection cannot go on. */
static bool answer_for_failed(struct http_exchange *exchange)
{
    struct conn *conn = exchange->sc.conn;

    if (conn->reactor->state == REACTOR_STOPPING || conn->state != CONN_OPEN || exchange->shared._has_ended)
        return conn->reactor->state != REACTOR_STOPPING;
    if (!exchange->shared._has_begun)
        return http_answer_refuse(exchange, STATUS_FAILED) >= ZERG_OK;
    conn_close(conn, CLOSE_ABORTED); /* so that nobody takes it for the whole answer */
    return false;
}

/* The answer is out: the rest of the body has to be out of the way. */
static void drain(struct http_exchange *exchange)
{
    struct conn *conn = exchange->sc.conn;
    bool can_drain = !exchange->answer.closes && http_intake_can_drain(exchange);
    enum http_intake outcome = can_drain ? http_intake_drain(exchange) : HTTP_INTAKE_BAD;

    if (outcome == HTTP_INTAKE_MORE && !conn->input_ended) {
        if (exchange->stage != HTTP_DRAINS)
            await(conn, HTTP_DRAIN_MS);
        exchange->stage = HTTP_DRAINS;
        return;
    }
    conn_stop_awaiting(conn);
    free_exchange(exchange);
    if (outcome != HTTP_INTAKE_DONE)
        conn_close(conn, CLOSE_LOCAL);
}

void http_conn_handler_ended(struct script_conn *sc)
{
    struct http_exchange *exchange = http_exchange_of(sc);
    struct conn *conn = sc->conn;
    bool goes_on = exchange->has_returned || answer_for_failed(exchange);

    exchange->shared._generation++; /* also while the body is drained, nobody has any business with it */
    script_conn_dismiss_users(sc);
    input_end_borrow(&conn->in);
    if (!goes_on || conn->state != CONN_OPEN) {
        free_exchange(exchange);
        conn_close(conn, CLOSE_LOCAL);
        return;
    }
    drain(exchange);
    if (!conn->owner && sc->runtime->http_conn != conn)
        advance(conn, START_LATER);
}

/* ---- events ---- */

static void on_open(struct conn *conn)
{
    conn->owner = NULL;
    await(conn, config_of(conn)->keepalive_ms);
}

static void on_input(struct conn *conn)
{
    struct http_exchange *exchange = conn->owner;

    if (exchange && exchange->stage == HTTP_RUNS) {
        if (exchange->sc.reader && (conn->in.bytes >= exchange->sc.wanted || conn_ended(conn)))
            task_wake(exchange->sc.reader, ZERG_WAKE);
        return;
    }
    if (exchange && exchange->stage == HTTP_DRAINS)
        drain(exchange);
    advance(conn, START_NOW);
}

static void on_output(struct conn *conn)
{
    struct http_exchange *exchange = conn->owner;

    if (exchange && !list_is_empty(&exchange->sc.writers) && !conn_is_full(conn))
        script_conn_wake_writers(&exchange->sc);
    else
        advance(conn, START_NOW);
}

static void on_read_timeout(struct conn *conn)
{
    struct http_exchange *exchange = conn->owner;

    if (exchange && exchange->stage == HTTP_RUNS && exchange->sc.reader)
        task_wake(exchange->sc.reader, ZERG_WAKE_TIMEOUT);
    else if (exchange && exchange->stage == HTTP_READS_HEAD && conn->in.bytes > EMPTY_LINE_BYTES)
        refuse(exchange, STATUS_TIMED_OUT);
    else if (!exchange || exchange->stage != HTTP_RUNS)
        conn_close(conn, CLOSE_TIMEOUT);
}

static void on_end(struct conn *conn)
{
    struct http_exchange *exchange = conn->owner;

    if (exchange && exchange->stage == HTTP_RUNS)
        script_conn_tell_users(&exchange->sc);
    else if (exchange)
        free_exchange(exchange);
}

const struct conn_handler http_conn_handler = {
    .on_open = on_open,
    .on_input = on_input,
    .on_output = on_output,
    .on_read_timeout = on_read_timeout,
    .on_end = on_end,
};

void http_conn_drain(struct reactor *reactor)
{
    for (struct list *node = reactor->live.next; node != &reactor->live; node = node->next) {
        struct conn *conn = CONTAINER_OF(node, struct conn, link);

        if (conn->handler == &http_conn_handler && conn->state == CONN_OPEN && !conn->owner && conn->in.bytes == 0)
            conn_close(conn, CLOSE_SHUTDOWN);
    }
}
