/* See check.h. The connection is let go of before the result is told: it may end, linger and free itself behind our back. */
#include "proxy/check.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/limits.h"
#include "core/config.h"
#include "core/conn.h"
#include "core/connect.h"
#include "core/reactor.h"
#include "proto/http_status.h"
#include "proxy/group_config.h"
#include "proxy/proxy_send.h"

enum { REQUEST_BYTES_MAX = CHECK_PATH_BYTES_MAX + CHECK_HOST_BYTES_MAX + 256, PROBLEM_BYTES_MAX = 32 };
static_assert(HOST_NAME_BYTES_MAX + 128 <= CHECK_HOST_BYTES_MAX + 256, "a server's own target fits, too");

static const struct conn_handler check_handler;

/* No more events. */
static struct conn *let_go(struct check *check)
{
    struct conn *conn = check->conn;

    timer_stop(&check->reactor->timers, &check->limit);
    group_config_release(check->config);
    check->config = NULL;
    check->conn = NULL;
    conn->owner = NULL;
    return conn;
}

static void tell(struct check *check, enum check_outcome outcome, enum check_result result, const char *problem)
{
    check->on_done(check, &(struct check_end){.outcome = outcome, .result = result, .problem = problem});
}

/* In order: what the server still sends is taken for a while, so that it sees no reset. */
static void pass(struct check *check)
{
    conn_close(let_go(check), CLOSE_LOCAL);
    tell(check, CHECK_JUDGED, CHECK_PASSED, NULL);
}

static void fail(struct check *check, const char *problem)
{
    conn_close(let_go(check), CLOSE_LOCAL);
    tell(check, CHECK_JUDGED, CHECK_FAILED, problem);
}

static void give_up(struct check *check)
{
    conn_close(let_go(check), CLOSE_LOCAL);
    tell(check, CHECK_NO_ROOM, CHECK_FAILED, close_reason_text(CLOSE_NO_MEMORY));
}

/* ---- events ---- */

static void on_limit(struct timer *timer, uint64_t now_ms)
{
    struct check *check = CONTAINER_OF(timer, struct check, limit);

    (void)now_ms;
    conn_kill(let_go(check), CLOSE_TIMEOUT);
    tell(check, CHECK_JUDGED, CHECK_FAILED, close_reason_text(CLOSE_TIMEOUT));
}

static int ask(const struct check *check, struct conn *conn)
{
    const struct check_config *config = &check->config->settings.check;
    char request[REQUEST_BYTES_MAX];
    int len = snprintf(request, sizeof(request),
                       "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: zerg-check\r\nConnection: close\r\n\r\n",
                       config->path, config->host ? config->host : check->host);

    assert(len > 0 && (size_t)len < sizeof(request));
    return conn_write(conn, request, (uint32_t)len);
}

static void on_connected(struct conn *conn)
{
    struct check *check = conn->owner;
    bool wants_answer = check->config->settings.check.path;
    int rc = proxy_send(conn, NULL, check->config->settings.proxy_send, NULL, 0);

    if (rc == 0 && wants_answer)
        rc = ask(check, conn);
    if (rc < 0)
        give_up(check);
    else if (!wants_answer)
        pass(check);
}

static void judge(struct check *check, uint16_t status)
{
    const struct check_config *config = &check->config->settings.check;
    char problem[PROBLEM_BYTES_MAX];

    if (status >= config->status_min && status <= config->status_max) {
        pass(check);
        return;
    }
    snprintf(problem, sizeof(problem), "status %03u", status);
    fail(check, problem);
}

static void on_input(struct conn *conn)
{
    struct check *check = conn->owner;
    uint8_t line[HTTP_STATUS_LINE_BYTES_MAX];
    uint32_t len = conn->in.bytes < sizeof(line) ? conn->in.bytes : (uint32_t)sizeof(line);
    uint16_t status = 0;

    if (!check) /* let go of */
        return;
    input_copy(&conn->in, 0, len, line);
    switch (http_status_parse(&status, line, len)) {
    case PARSE_DONE: judge(check, status); break;
    case PARSE_BAD: fail(check, "the answer has no HTTP status line"); break;
    case PARSE_MORE:
        if (conn_ended(conn))
            fail(check, "closed without an answer");
        break;
    }
}

static void ignore(struct conn *conn)
{
    (void)conn;
}

static void on_end(struct conn *conn)
{
    struct check *check = conn->owner;
    enum close_reason reason = conn->reason;

    if (!check) /* let go of */
        return;
    (void)let_go(check);
    if (reason == CLOSE_SHUTDOWN)
        tell(check, CHECK_CUT_OFF, CHECK_FAILED, close_reason_text(reason));
    else if (reason == CLOSE_NO_MEMORY)
        tell(check, CHECK_NO_ROOM, CHECK_FAILED, close_reason_text(reason));
    else
        tell(check, CHECK_JUDGED, CHECK_FAILED, close_reason_text(reason));
}

static const struct conn_handler check_handler = {
    .on_open = ignore,
    .on_connected = on_connected,
    .on_input = on_input,
    .on_output = ignore,
    .on_read_timeout = ignore,
    .on_end = on_end,
};

/* ---- for the owner ---- */

void check_init(struct check *check, struct reactor *reactor,
                void (*on_done)(struct check *check, const struct check_end *end))
{
    *check = (struct check){.reactor = reactor, .on_done = on_done};
    timer_init(&check->limit, on_limit);
}

int check_start(struct check *check, struct group_config *config, const struct addr *addr, const char *host)
{
    struct reactor *reactor = check->reactor;
    struct connect_options options = {.addr = addr, .write_buffer_max = WRITE_BUFFER_BYTES};
    int rc;

    assert(!check->conn);
    rc = conn_connect(&check->conn, reactor, &options, &check_handler, check);
    if (rc < 0)
        return rc;
    group_config_hold(config);
    check->config = config;
    check->host = host;
    timer_start(&reactor->timers, &check->limit, reactor->now_ms + config->settings.check.timeout_ms);
    return 0;
}

void check_cancel(struct check *check)
{
    if (check->conn)
        conn_kill(let_go(check), CLOSE_SHUTDOWN);
}
