/* See forwarding.h. */
#include "forwarding.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_ring.h"
#include "http/http_server.h"
#include "proxy/proxy.h"

static const struct http_config usual = {
    .header_ms = 1000,
    .body_ms = BODY_MS,
    .keepalive_ms = 5000,
    .header_bytes = 1024,
    .headers = 10,
    .adds_x_forwarded = true,
    .adds_request_id = true,
};

int forwarding_setup(void **state)
{
    struct fixture *f = fixture_new(&(struct fixture_options){
        .script = "return function() end",
        .http = &usual,
        .forward = "unix:@backend",
        .buffers = 32,
        .buffer_bytes = BUFFER_BYTES,
    });

    f->route.body_bytes = 1 << 20;
    f->listener_config.write_buffer_max = QUEUE_BYTES;
    f->listener_config.connect_ms = 5000;
    *state = f;
    return 0;
}

const char *drained(struct fixture *f, const struct conn *conn)
{
    static char text[65536];

    text[fixture_drain(f, conn, text, sizeof(text) - 1)] = '\0';
    return text;
}

/* The kernel connects it: to a socket that is quiet, as the pool looks. */
static void connected(struct fixture *f, struct conn *server)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(dup2(pair[0], server->fd), server->fd);
    close(pair[0]);
    f->peers[f->peer_count++] = pair[1];
    fixture_connect_result(f, server, 0);
}

struct conn *asking(struct fixture *f, const char *request, struct conn **server)
{
    struct conn *client = fixture_open(f);

    fixture_feed_text(f, client, request);
    *server = fixture_outgoing(f);
    assert_non_null(*server);
    connected(f, *server);
    return client;
}

void assert_starts(const char *text, const char *start)
{
    assert_int_equal(strncmp(text, start, strlen(start)), 0);
}

uint32_t forwards(const struct fixture *f)
{
    return f->reactor.proxy->http_forwards.taken;
}

uint32_t idle(const struct fixture *f)
{
    return f->reactor.proxy->pool.idle.taken;
}

void assert_none_left(struct fixture *f)
{
    assert_int_equal(forwards(f), 0);
    assert_int_equal(f->reactor.http->exchanges.taken, 0);
    assert_int_equal(f->reactor.http->trailers.taken, 0);
    assert_int_equal(f->reactor.proxy->dials.taken, 0);
}
