/* See pool.h. */
#include "proxy/pool.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "base/addr.h"
#include "base/assert.h"
#include "base/hash.h"
#include "core/conn.h"
#include "core/reactor.h"

enum { IDLE_PER_BLOCK = 64 };

/* conn->owner while it waits. */
struct idle_conn {
    struct list link;
    struct pool *pool;
    struct conn *conn;
    struct addr addr;
};

static struct list *bucket_of(struct pool *pool, const struct addr *addr)
{
    return &pool->buckets[hash_bytes(&addr->sa, addr->len) % POOL_BUCKETS];
}

static bool is_to(const struct idle_conn *idle, const struct addr *addr)
{
    return idle->addr.len == addr->len && memcmp(&idle->addr.sa, &addr->sa, addr->len) == 0;
}

static void forget(struct idle_conn *idle)
{
    list_del(&idle->link);
    idle->conn->owner = NULL;
    slab_free(&idle->pool->idle, idle);
}

static void drop(struct idle_conn *idle)
{
    struct conn *conn = idle->conn;

    forget(idle);
    conn_close(conn, CLOSE_LOCAL);
}

/* ---- events ---- */

/* Bytes that nobody asked for, or the end of the stream: either way it is of no more use. */
static void on_input(struct conn *conn)
{
    if (conn->owner)
        drop(conn->owner);
}

static void on_end(struct conn *conn)
{
    if (conn->owner)
        forget(conn->owner);
}

static void ignore(struct conn *conn)
{
    (void)conn;
}

static const struct conn_handler pool_handler = {
    .on_open = ignore,
    .on_connected = ignore,
    .on_input = on_input,
    .on_output = ignore,
    .on_read_timeout = ignore,
    .on_end = on_end,
};

/* ---- for users ---- */

void pool_init(struct pool *pool)
{
    slab_init(&pool->idle, sizeof(struct idle_conn), IDLE_PER_BLOCK, 0);
    for (uint32_t i = 0; i < POOL_BUCKETS; i++)
        list_init(&pool->buckets[i]);
}

void pool_deinit(struct pool *pool)
{
    slab_deinit(&pool->idle);
}

void pool_clear(struct pool *pool)
{
    for (uint32_t i = 0; i < POOL_BUCKETS; i++) {
        while (!list_is_empty(&pool->buckets[i]))
            drop(CONTAINER_OF(pool->buckets[i].next, struct idle_conn, link));
    }
}

/* Drops the oldest ones to this address until fewer than max are left. */
static void make_room(struct pool *pool, const struct addr *addr, uint32_t max)
{
    struct list *bucket = bucket_of(pool, addr);
    struct list *next;
    uint32_t count = 0;

    for (struct list *node = bucket->next; node != bucket; node = node->next)
        count += is_to(CONTAINER_OF(node, struct idle_conn, link), addr);
    for (struct list *node = bucket->next; node != bucket && count >= max; node = next) {
        struct idle_conn *idle = CONTAINER_OF(node, struct idle_conn, link);

        next = node->next;
        if (!is_to(idle, addr))
            continue;
        drop(idle);
        count--;
    }
}

void pool_checkin(struct pool *pool, struct conn *conn, const struct addr *addr, uint32_t max, uint32_t idle_ms)
{
    struct timeouts timeouts = {.idle_ms = idle_ms};
    struct idle_conn *idle = NULL;

    assert(conn->in.bytes == 0 && conn->out.staged == 0);
    conn->handler = &pool_handler;
    conn->owner = NULL;
    if (max > 0 && conn->reactor->state == REACTOR_RUNNING && conn_is_writable(conn) && !conn_ended(conn))
        idle = slab_new(&pool->idle);
    if (!idle) {
        conn_close(conn, CLOSE_LOCAL);
        return;
    }
    make_room(pool, addr, max);
    *idle = (struct idle_conn){.pool = pool, .conn = conn, .addr = *addr};
    conn->owner = idle;
    conn_stop_awaiting(conn);
    conn_set_timeouts(conn, &timeouts);
    list_add_tail(bucket_of(pool, addr), &idle->link);
}

/* Whether the kernel has taken bytes off the socket for us whose completion we have not seen. Only TCP counts them. */
static bool has_unseen_bytes(const struct conn *conn)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);

    if (getsockopt(conn->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
        len < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(info.tcpi_bytes_received))
        return false;
    return info.tcpi_bytes_received > conn->bytes_in;
}

/* Whether the peer has neither sent nor closed since the last completion that we saw. */
static bool is_quiet(const struct conn *conn)
{
    char byte;

    if (recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
        return false;
    return !has_unseen_bytes(conn);
}

struct conn *pool_checkout(struct pool *pool, const struct addr *addr)
{
    struct list *bucket = bucket_of(pool, addr);
    struct list *before;

    for (struct list *node = bucket->prev; node != bucket; node = before) {
        struct idle_conn *idle = CONTAINER_OF(node, struct idle_conn, link);
        struct conn *conn = idle->conn;

        before = node->prev;
        if (!is_to(idle, addr))
            continue;
        if (!is_quiet(conn)) {
            drop(idle);
            continue;
        }
        forget(idle);
        conn->id = reactor_next_conn_id(conn->reactor); /* what is known by the old one is not the new user's */
        return conn;
    }
    return NULL;
}
