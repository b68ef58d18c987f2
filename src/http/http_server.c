/* See http_server.h. */
#include "http/http_server.h"

#include "base/clock.h"
#include "base/list.h"
#include "core/conn.h"
#include "core/reactor.h"
#include "http/http_conn.h"
#include "http/http_exchange.h"

enum { EXCHANGES_PER_BLOCK = 16, TRAILERS_PER_BLOCK = 8 };

void http_server_init(struct http_server *server, struct reactor *reactor, const struct http_handler *script_handler,
                      const struct http_handler *forward_handler)
{
    *server = (struct http_server){
        .reactor = reactor,
        .script_handler = script_handler,
        .forward_handler = forward_handler,
    };
    slab_init(&server->exchanges, sizeof(struct http_exchange), EXCHANGES_PER_BLOCK, 0);
    slab_init(&server->trailers, sizeof(struct http_fields), TRAILERS_PER_BLOCK, 0);
    reactor->http = server;
}

void http_server_deinit(struct http_server *server)
{
    slab_deinit(&server->trailers);
    slab_deinit(&server->exchanges);
}

void http_server_drain(struct reactor *reactor)
{
    for (struct list *node = reactor->live.next; node != &reactor->live; node = node->next) {
        struct conn *conn = CONTAINER_OF(node, struct conn, link);

        if (conn->handler == &http_conn_handler)
            http_conn_drain(conn);
    }
}

const char *http_server_date(struct http_server *server)
{
    struct http_clock *clock = &server->clock;
    int64_t second;

    if (clock->at_ms == server->reactor->now_ms && clock->second != 0)
        return clock->text;
    clock->at_ms = server->reactor->now_ms;
    second = (int64_t)(clock_wall_ns() / NS_PER_S);
    if (second != clock->second)
        http_date_format(clock->text, second);
    clock->second = second;
    return clock->text;
}
