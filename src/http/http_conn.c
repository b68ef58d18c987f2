/* See http_conn.h. The time-outs are those of a parked read (conn_await_input()): conn->timeouts.read_ms is set to what is waited
 * for. */
#include "http/http_conn.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"
#include "core/conn.h"
#include "core/listener.h"
#include "core/part.h"
#include "core/reactor.h"
#include "http/http_exchange.h"
#include "http/http_intake.h"
#include "http/http_reason.h"
#include "http/http_route.h"
#include "http/http_server.h"

enum { EMPTY_LINE_BYTES = 2 }; /* which old clients send behind a body: who sends no more than that begins no request */

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

/* Each request is the current version's. */
static struct http_exchange *new_exchange(struct conn *conn)
{
    struct http_server *server = conn->reactor->http;
    struct http_exchange *exchange = slab_new(&server->exchanges);
    struct http_limits limits;
    uint32_t generation;

    if (!exchange)
        return NULL;
    part_catch_up(conn);
    limits = (struct http_limits){.head_bytes = config_of(conn)->header_bytes, .fields = config_of(conn)->headers};
    generation = exchange->generation;
    memset(exchange, 0, offsetof(struct http_exchange, head));
    exchange->generation = generation;
    exchange->status = STATUS_OK;
    exchange->conn = conn;
    exchange->server = server;
    http_answer_init(&exchange->answer);
    http_request_init(&exchange->head, &limits);
    conn->owner = exchange;
    return exchange;
}

static void free_exchange(struct http_exchange *exchange)
{
    exchange->conn->owner = NULL;
    exchange->generation++;
    http_answer_deinit(exchange);
    http_inflow_deinit(&exchange->inflow);
    if (exchange->head_lease)
        lease_free(exchange->head_lease);
    slab_free(&exchange->server->exchanges, exchange);
}

/* Answers what no handler gets to see, and closes: the exchange is gone. */
static void refuse(struct http_exchange *exchange, uint16_t status)
{
    struct conn *conn = exchange->conn;

    if (exchange->head.refusal.problem)
        log_debug("conn %llu: bad request: %s", (unsigned long long)conn->id, exchange->head.refusal.problem);
    exchange->answer.closes = true;
    if (http_answer_refuse(exchange, status) < 0)
        conn_kill(conn, CLOSE_NO_MEMORY);
    conn_close(conn, CLOSE_LOCAL); /* on_end() frees the exchange */
}

/* ---- heads ---- */

/* Keeps the bytes of the head as long as the exchange; what follows them is the first that is unread. 0 or -ENOMEM. */
static int keep_head(struct http_exchange *exchange)
{
    struct conn *conn = exchange->conn;
    struct input *in = &conn->in;
    struct lease *lease = lease_retain(in->first, 0, exchange->head.at);

    if (!lease)
        return -ENOMEM;
    lease_hold(lease, &in->count);
    input_skip(in, exchange->head.at);
    conn_on_consumed(conn);
    exchange->head_lease = lease;
    exchange->head_bytes = lease->data;
    exchange->method = exchange->head.method;
    exchange->minor = exchange->head.minor;
    return 0;
}

/* What is wrong with a request for this route: a status, or 0. */
static uint16_t objection(const struct http_exchange *exchange)
{
    const struct http_head *head = &exchange->head;

    if (head->method == HTTP_CONNECT && (!exchange->route || exchange->route->forward))
        return STATUS_NOT_IMPLEMENTED; /* a script may know better */
    if (head->body == HTTP_BODY_LENGTH && head->content_length > http_intake_max(exchange))
        return STATUS_TOO_LARGE;
    return 0;
}

/* Finds who answers. 0, or the status of an answer that nobody else gives. */
static uint16_t find_route(struct http_exchange *exchange)
{
    const struct listener_config *config = exchange->conn->listener->config;

    if (http_route_find(&exchange->route, config, &exchange->head, exchange->head_bytes) < 0)
        return STATUS_BAD_REQUEST;
    return objection(exchange);
}

static bool accept_head(struct http_exchange *exchange)
{
    uint16_t status;

    if (keep_head(exchange) < 0) {
        conn_kill(exchange->conn, CLOSE_NO_MEMORY);
        return false;
    }
    status = find_route(exchange);
    if (status != 0) {
        refuse(exchange, status);
        return false;
    }
    if (http_intake_init(exchange) < 0) {
        conn_kill(exchange->conn, CLOSE_NO_MEMORY);
        return false;
    }
    return true;
}

static void await_rest_of_head(struct http_exchange *exchange)
{
    struct conn *conn = exchange->conn;

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
    switch (http_inflow_head(conn, &exchange->head)) {
    case PARSE_DONE: return accept_head(exchange);
    case PARSE_BAD: refuse(exchange, exchange->head.refusal.status); break;
    case PARSE_MORE: await_rest_of_head(exchange); break;
    }
    return false;
}

/* ---- running ---- */

static void answer_not_found(struct http_exchange *exchange, enum http_start start)
{
    (void)start;
    http_exchange_done(exchange, http_answer_refuse(exchange, STATUS_NOT_FOUND) == 0);
}

static void ignore(struct http_exchange *exchange)
{
    (void)exchange;
}

/* Of requests that no route is for. It is done before anything can come. */
static const struct http_handler not_found_handler = {
    .run = answer_not_found,
    .on_input = ignore,
    .on_output = ignore,
    .on_read_timeout = ignore,
    .on_end = ignore,
};

static const struct http_handler *handler_of(const struct http_exchange *exchange)
{
    if (!exchange->route)
        return &not_found_handler;
    return exchange->route->forward ? exchange->server->forward_handler : exchange->server->script_handler;
}

static void run(struct http_exchange *exchange, enum http_start start)
{
    struct conn *conn = exchange->conn;

    conn_stop_awaiting(conn);
    conn->timeouts.read_ms = config_of(conn)->body_ms;
    exchange->stage = HTTP_RUNS;
    exchange->handler = handler_of(exchange);
    exchange->handler->run(exchange, start);
}

/* Between two requests, or within the next one's head, and the client takes what was answered. */
static bool may_take_next(const struct conn *conn)
{
    const struct http_exchange *exchange = conn->owner;

    return conn->state == CONN_OPEN && (!exchange || exchange->stage == HTTP_READS_HEAD) && conn->in.bytes > 0 &&
           !conn_is_full(conn);
}

/* Between two requests. Closing at once when the server drains would cut off a request that is on its way: there is some time
 * for a last one, whose answer says that the connection ends. */
static void await_next(struct conn *conn)
{
    uint32_t ms = config_of(conn)->keepalive_ms;

    await(conn, part_is_draining(conn) && (ms == 0 || ms > HTTP_LAST_REQUEST_MS) ? HTTP_LAST_REQUEST_MS : ms);
}

/* Takes what requests are there, as far as they can be answered at once. */
static void advance(struct conn *conn, enum http_start start)
{
    struct http_server *server = conn->reactor->http;

    for (int burst = 0; may_take_next(conn) && read_head(conn); burst++) {
        server->current = conn;
        run(conn->owner, burst < HTTP_BURST ? start : HTTP_START_LATER);
        server->current = NULL;
    }
    if (conn->state != CONN_OPEN || conn->owner || conn_is_full(conn))
        return;
    if (conn->in.bytes > 0)
        return;
    part_catch_up(conn);
    if (conn->input_ended)
        conn_close(conn, CLOSE_PEER);
    else if (conn->read_deadline_ms == 0)
        await_next(conn);
}

/* ---- ending ---- */

bool http_exchange_fail(struct http_exchange *exchange, uint16_t status)
{
    struct conn *conn = exchange->conn;

    if (conn->reactor->state == REACTOR_STOPPING || conn->state != CONN_OPEN || exchange->has_ended)
        return conn->reactor->state != REACTOR_STOPPING;
    if (!exchange->has_begun)
        return http_answer_refuse(exchange, status) == 0;
    conn_close(conn, CLOSE_ABORTED); /* so that nobody takes it for the whole answer */
    return false;
}

/* The answer is out: the rest of the body has to be out of the way. */
static void drain(struct http_exchange *exchange)
{
    struct conn *conn = exchange->conn;
    bool can_drain = !exchange->answer.closes && http_intake_can_drain(exchange);
    enum http_inflow_outcome outcome = can_drain ? http_intake_drain(exchange) : HTTP_INFLOW_BAD;

    if (outcome == HTTP_INFLOW_MORE && !conn->input_ended) {
        if (exchange->stage != HTTP_DRAINS)
            await(conn, HTTP_DRAIN_MS);
        exchange->stage = HTTP_DRAINS;
        return;
    }
    conn_stop_awaiting(conn);
    free_exchange(exchange);
    if (outcome != HTTP_INFLOW_DONE)
        conn_close(conn, CLOSE_LOCAL);
}

/* Half an answer must not be taken for a whole one: without framing the end of the connection would say so. */
static void cut_half_answer(const struct http_exchange *exchange)
{
    if (exchange->has_begun && !exchange->has_ended)
        conn_end_by_reset(exchange->conn);
}

void http_exchange_done(struct http_exchange *exchange, bool goes_on)
{
    struct conn *conn = exchange->conn;

    exchange->generation++; /* also while the body is drained, nobody has any business with it */
    exchange->handler = NULL;
    input_end_borrow(&conn->in);
    conn_on_consumed(conn); /* a forward may have paused it */
    if (!goes_on || conn->state != CONN_OPEN) {
        cut_half_answer(exchange);
        free_exchange(exchange);
        conn_close(conn, CLOSE_LOCAL);
        return;
    }
    drain(exchange);
    if (!conn->owner && conn->reactor->http->current != conn)
        advance(conn, HTTP_START_LATER);
}

static void tell(struct conn *conn, bool is_over)
{
    const struct http_server *server = conn->reactor->http;

    if (server->on_news)
        server->on_news(conn, is_over);
}

void http_exchange_leave(struct http_exchange *exchange)
{
    assert(exchange->stage == HTTP_RUNS);
    tell(exchange->conn, true);
    free_exchange(exchange);
}

/* ---- events ---- */

static void on_open(struct conn *conn)
{
    conn->owner = NULL;
    await(conn, part_is_draining(conn) ? config_of(conn)->header_ms : config_of(conn)->keepalive_ms);
}

/* One that has just come is about to ask, and may take its time for that; a client that has opened one to have it at hand is not. */
void http_conn_drain(struct conn *conn)
{
    bool was_answered = conn->bytes_out > 0 || conn->out.staged > 0;
    bool is_young = conn->reactor->now_ms - conn->began_ms < HTTP_LAST_REQUEST_MS;

    if (conn->state != CONN_OPEN || conn->owner || conn->in.bytes > 0)
        return;
    if (is_young && !was_answered)
        await(conn, config_of(conn)->header_ms);
    else
        await_next(conn);
}

/* Idle connections and those in the middle of a head go over; what runs already, after its request. The time that an idle one
 * has begins again only if it is another, or reloads would keep such connections for ever. */
static void on_newer_version(struct conn *conn)
{
    const struct http_exchange *exchange = conn->owner;
    uint32_t keepalive_ms = config_of(conn)->keepalive_ms;

    if (exchange && exchange->stage != HTTP_READS_HEAD)
        return;
    part_catch_up(conn);
    if (part_is_draining(conn))
        http_conn_drain(conn);
    else if (!exchange && conn->in.bytes == 0 && config_of(conn)->keepalive_ms != keepalive_ms)
        await_next(conn);
}

static void on_input(struct conn *conn)
{
    struct http_exchange *exchange = conn->owner;

    if (UNLIKELY(conn->input_ended))
        tell(conn, false);
    if (exchange && exchange->stage == HTTP_RUNS) {
        exchange->handler->on_input(exchange);
        return;
    }
    if (exchange && exchange->stage == HTTP_DRAINS)
        drain(exchange);
    advance(conn, HTTP_START_NOW);
}

static void on_output(struct conn *conn)
{
    struct http_exchange *exchange = conn->owner;

    if (exchange && exchange->stage == HTTP_RUNS)
        exchange->handler->on_output(exchange);
    else
        advance(conn, HTTP_START_NOW);
}

static void on_read_timeout(struct conn *conn)
{
    struct http_exchange *exchange = conn->owner;

    if (exchange && exchange->stage == HTTP_RUNS)
        exchange->handler->on_read_timeout(exchange);
    else if (exchange && exchange->stage == HTTP_READS_HEAD && conn->in.bytes > EMPTY_LINE_BYTES)
        refuse(exchange, STATUS_TIMED_OUT);
    else
        conn_close(conn, part_is_draining(conn) ? CLOSE_SHUTDOWN : CLOSE_TIMEOUT);
}

static void on_end(struct conn *conn)
{
    struct http_exchange *exchange = conn->owner;

    tell(conn, true);
    if (exchange)
        cut_half_answer(exchange);
    if (exchange && exchange->stage == HTTP_RUNS)
        exchange->handler->on_end(exchange);
    else if (exchange)
        free_exchange(exchange);
}

const struct conn_handler http_conn_handler = {
    .on_open = on_open,
    .on_input = on_input,
    .on_output = on_output,
    .on_read_timeout = on_read_timeout,
    .on_newer_version = on_newer_version,
    .on_end = on_end,
};
