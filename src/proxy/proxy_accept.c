/* See proxy_accept.h. There is no state but the connection's unread bytes. They are parsed anew when more have come: so
 * few are looked at before a header is whole that it does not matter. */
#include "proxy/proxy_accept.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/log.h"
#include "core/conn.h"
#include "core/listener.h"
#include "core/reactor.h"
#include "proto/proxy_protocol.h"

enum { PROBLEM_MAX = 64 };

static bool is_trusted(const struct conn *conn)
{
    const struct listener_config *config = conn->listener->config;
    struct addr peer;

    conn_peer(conn, &peer);
    for (uint32_t i = 0; i < config->trusted_count; i++)
        if (addr_range_has(&config->trusted[i], &peer))
            return true;
    return config->trusted_count == 0;
}

/* At level info: on a public port anybody can cause this as often as they like. */
static void refuse(struct conn *conn, enum close_reason reason, const char *problem)
{
    struct addr peer;
    char text[ADDR_TEXT_MAX];

    conn_peer(conn, &peer);
    addr_format(&peer, text);
    log_info("listener %s: conn %llu from %s sent no good PROXY protocol header: %s", conn->listener->config->name,
             (unsigned long long)conn->id, text[0] ? text : "a unix socket", problem);
    conn_kill(conn, reason);
}

/* ---- a whole header ---- */

/* 0, or -1 without memory. */
static int keep_header(struct conn *conn, const struct proxy_header *header, const uint8_t *bytes)
{
    struct proxied *proxied = malloc(sizeof(*proxied) + header->bytes);

    if (!proxied)
        return -1;
    proxied->source = (struct addr){.sa.sa_family = AF_UNSPEC};
    proxied->destination = proxied->source;
    if (header->has_addrs) {
        proxied->source = header->source;
        proxied->destination = header->destination;
    }
    proxied->header_bytes = header->bytes;
    memcpy(proxied->header, bytes, header->bytes);
    conn->proxied = proxied;
    return 0;
}

static void accept_header(struct conn *conn, const struct proxy_header *header)
{
    if (keep_header(conn, header, conn->in.first->data) < 0) {
        conn_kill(conn, CLOSE_NO_MEMORY);
        return;
    }
    input_skip(&conn->in, header->bytes);
    conn->bytes_in -= header->bytes; /* it is not the client's */
    conn_on_consumed(conn);
    reactor_begin_serving(conn);
}

/* ---- events ---- */

static void on_open(struct conn *conn)
{
    struct timeouts waiting = {.read_ms = conn->listener->config->handshake_ms};

    if (!is_trusted(conn)) {
        reactor_begin_serving(conn);
        return;
    }
    conn_set_timeouts(conn, &waiting);
    conn_await_input(conn, 1); /* once: the time is for all of the header */
}

static void on_ended(struct conn *conn)
{
    char problem[PROBLEM_MAX];

    if (conn->in.bytes == 0) { /* somebody looked whether we listen, as checks do all the time */
        conn_kill(conn, CLOSE_PEER);
        return;
    }
    snprintf(problem, sizeof(problem), "the stream ended after %u bytes", conn->in.bytes);
    refuse(conn, CLOSE_PEER, problem);
}

static void on_input(struct conn *conn)
{
    struct input *in = &conn->in;
    enum parse_outcome outcome = PARSE_MORE;
    struct proxy_header header;

    /* Pieces are copied together, each byte once; the first chunk has room for any header. */
    if (in->first && in->first->next && input_compact(in, &conn->reactor->leases) < 0) {
        conn_kill(conn, CLOSE_NO_MEMORY);
        return;
    }
    if (in->first)
        outcome = proxy_protocol_parse(&header, in->first->data, in->first->len);
    if (outcome == PARSE_DONE)
        accept_header(conn, &header);
    else if (outcome == PARSE_BAD)
        refuse(conn, CLOSE_ABORTED, header.problem);
    else if (conn->input_ended)
        on_ended(conn);
}

static void on_output(struct conn *conn)
{
    (void)conn; /* nothing is ever written */
}

static void on_read_timeout(struct conn *conn)
{
    char problem[PROBLEM_MAX];

    snprintf(problem, sizeof(problem), "none within %.1f s", (double)conn->listener->config->handshake_ms / 1000);
    refuse(conn, CLOSE_TIMEOUT, problem);
}

static void on_end(struct conn *conn)
{
    (void)conn; /* it was logged, or the peer or the server has gone */
}

const struct conn_handler proxy_accept_handler = {
    .on_open = on_open,
    .on_input = on_input,
    .on_output = on_output,
    .on_read_timeout = on_read_timeout,
    .on_end = on_end,
};
