/* See connect.h. */
#include "core/connect.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "core/conn.h"
#include "core/conn_internal.h"
#include "core/reactor.h"
#include "core/socket.h"
#include "uring/ring.h"

/* 0 and an unconnected socket with its options set, or a negative errno. */
static int open_socket(const struct connect_options *options)
{
    static const struct tcp_options plain = {.nodelay = true};
    int family = options->addr->sa.sa_family;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc;

    if (fd < 0)
        return -errno;
    rc = addr_is_unix(options->addr) ? 0 : socket_set_tcp(fd, options->tcp ? options->tcp : &plain);
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

static void set_peer(struct conn *conn, const struct addr *addr)
{
    if (addr->sa.sa_family == AF_INET)
        conn->peer.in4 = addr->in4;
    else if (addr->sa.sa_family == AF_INET6)
        conn->peer.in6 = addr->in6;
    else
        conn->peer.family = AF_UNSPEC;
}

static struct addr *copy_target(const struct addr *addr)
{
    struct addr *copy = malloc(sizeof(*copy));

    if (copy)
        *copy = *addr;
    return copy;
}

int conn_connect(struct conn **out, struct reactor *reactor, const struct connect_options *options,
                 const struct conn_handler *handler, void *owner)
{
    int fd = open_socket(options);
    struct addr *target = NULL;
    struct conn *conn;

    assert(handler->on_connected);
    if (fd < 0)
        return fd;
    if (addr_is_unix(options->addr) && !(target = copy_target(options->addr))) {
        close(fd);
        return -ENOMEM;
    }
    conn = reactor_take_slot(reactor);
    if (!conn) {
        free(target);
        close(fd);
        return -EBUSY;
    }
    conn_init(conn, fd, handler, CONN_CONNECTING);
    conn->owner = owner;
    conn->timeouts = options->timeouts;
    conn->write_buffer_max = options->write_buffer_max;
    conn->target = target;
    set_peer(conn, options->addr);
    if (options->connect_ms)
        conn_limit_connect(conn, options->connect_ms);
    *out = conn;
    return 0;
}

void conn_limit_connect(struct conn *conn, uint32_t ms)
{
    uint64_t at_ms = conn->reactor->now_ms + ms;

    assert(conn->state == CONN_CONNECTING);
    if (conn->connect_deadline_ms && conn->connect_deadline_ms <= at_ms)
        return;
    conn->connect_deadline_ms = at_ms;
    conn_update_timer(conn);
}

/* The kernel reads the address when it takes the operation, which may be long after the connection was given up: it lives as
 * long as the slot. */
static void add_connect(struct conn *conn, const struct sockaddr *addr, socklen_t len)
{
    ring_add_connect(conn->reactor->ring, conn_op(conn, OP_CONNECT), conn->fd, addr, len);
}

void conn_settle_connect(struct conn *conn)
{
    if (conn->connect_armed)
        return;
    if (conn->target)
        add_connect(conn, &conn->target->sa, conn->target->len);
    else if (conn->peer.family == AF_INET)
        add_connect(conn, (const struct sockaddr *)&conn->peer.in4, sizeof(conn->peer.in4));
    else
        add_connect(conn, (const struct sockaddr *)&conn->peer.in6, sizeof(conn->peer.in6));
    conn->connect_armed = true;
    conn->operations++;
}

void conn_cancel_connect(struct conn *conn)
{
    if (conn->connect_cancelled)
        return;
    ring_add_cancel(conn->reactor->ring, conn_op(conn, OP_CANCEL), conn_op(conn, OP_CONNECT));
    conn->connect_cancelled = true;
    conn->operations++;
}

int connect_reason(int error)
{
    switch (error) {
    case -ECONNREFUSED:
    case -ENOENT: /* a unix socket without its file, */
    case -EAGAIN: /* or with a full backlog */ return CLOSE_REFUSED;
    case -ETIMEDOUT: return CLOSE_TIMEOUT;
    case -ECONNRESET: return CLOSE_RESET;
    case -ENETUNREACH:
    case -EHOSTUNREACH:
    case -ENETDOWN:
    case -EHOSTDOWN:
    case -EADDRNOTAVAIL: return CLOSE_UNREACHABLE;
    case -ENOMEM:
    case -ENOBUFS: return CLOSE_NO_MEMORY;
    default: return CLOSE_ERROR;
    }
}

void conn_on_connect(struct conn *conn, const struct completion *completion)
{
    conn->operations--;
    conn->connect_armed = false;
    conn->connect_cancelled = false;
    conn_mark_dirty(conn);
    if (conn->state != CONN_CONNECTING) /* closed meanwhile */
        return;
    if (completion->result == -EINTR) /* settling starts it anew */
        return;
    if (completion->result < 0) {
        conn_kill(conn, (enum close_reason)connect_reason(completion->result));
        return;
    }
    conn_set_state(conn, CONN_OPEN);
    conn->active_ms = conn->reactor->now_ms;
    conn_update_timer(conn); /* the idle time-out counts from here */
    conn->handler->on_connected(conn);
}
