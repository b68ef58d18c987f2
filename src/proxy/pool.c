/* See pool.h. */
#include "proxy/pool.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/addr.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/limits.h"
#include "core/conn.h"
#include "core/reactor.h"
#include "proxy/group.h"
#include "proxy/group_view.h"
#include "proxy/server.h"
#include "proxy/upstream.h"
#include "proxy/waitline.h"

enum { IDLE_PER_BLOCK = 64 };

/* conn->owner while it waits. */
struct idle_conn {
    struct list link;      /* in its bucket, */
    struct list age_link;  /* pool->by_age */
    struct list view_link; /* and view->idle */
    struct pool *pool;
    struct conn *conn;
    struct slot slot;
};

static struct list *bucket_of(struct pool *pool, const struct group_view *view, const struct addr *addr)
{
    return &pool->buckets[(hash_bytes(&addr->sa, addr->len) ^ hash_mix((uintptr_t)view)) % POOL_BUCKETS];
}

static bool is_to(const struct idle_conn *idle, const struct group_view *view, const struct addr *addr)
{
    return idle->slot.view == view && addr_equals(&idle->slot.server->addr, addr);
}

/* From here on it waits. */
static void remember(struct idle_conn *idle)
{
    struct pool *pool = idle->pool;
    struct group_view *view = idle->slot.view;

    list_add_tail(bucket_of(pool, view, &idle->slot.server->addr), &idle->link);
    list_add_tail(&pool->by_age, &idle->age_link);
    if (list_is_empty(&view->idle))
        list_add_tail(&pool->views, &view->idle_link);
    list_add_tail(&view->idle, &idle->view_link);
    atomic_fetch_add(&view->group->idle, 1);
}

/* It waits no more; its slot is the caller's. */
static struct slot forget(struct idle_conn *idle)
{
    struct slot slot = idle->slot;

    list_del(&idle->link);
    list_del(&idle->age_link);
    list_del(&idle->view_link);
    if (list_is_empty(&slot.view->idle))
        list_del(&slot.view->idle_link);
    atomic_fetch_sub(&slot.view->group->idle, 1);
    idle->conn->owner = NULL;
    slab_free(&idle->pool->idle, idle);
    return slot;
}

static void drop(struct idle_conn *idle)
{
    struct conn *conn = idle->conn;
    struct slot slot = forget(idle);

    conn_close(conn, CLOSE_LOCAL);
    slot_give(&slot);
}

static struct idle_conn *oldest(const struct pool *pool)
{
    return list_is_empty(&pool->by_age) ? NULL : CONTAINER_OF(pool->by_age.next, struct idle_conn, age_link);
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
    struct slot slot;

    if (!conn->owner)
        return;
    slot = forget(conn->owner);
    slot_give(&slot);
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

void pool_init(struct pool *pool, struct reactor *reactor)
{
    uint32_t share = reactor->conns.max / POOL_SHARE_OF_CONNS;

    pool->reactor = reactor;
    pool->max = share > 0 ? share : 1;
    slab_init(&pool->idle, sizeof(struct idle_conn), IDLE_PER_BLOCK, 0);
    for (uint32_t i = 0; i < POOL_BUCKETS; i++)
        list_init(&pool->buckets[i]);
    list_init(&pool->by_age);
    list_init(&pool->views);
}

void pool_deinit(struct pool *pool)
{
    slab_deinit(&pool->idle);
}

void pool_clear(struct pool *pool)
{
    while (!list_is_empty(&pool->by_age))
        drop(oldest(pool));
}

/* Drops the oldest ones to this address until fewer than max are left. */
static void make_room(struct pool *pool, struct group_view *view, const struct addr *addr, uint32_t max)
{
    struct list *bucket = bucket_of(pool, view, addr);
    uint32_t count = 0;

    for (struct list *node = bucket->next; node != bucket; node = node->next)
        count += is_to(CONTAINER_OF(node, struct idle_conn, link), view, addr);
    while (count >= max && pool_drop_one(pool, view, addr))
        count--;
    if (pool->idle.taken >= pool->max)
        drop(oldest(pool));
}

static bool may_wait(const struct conn *conn)
{
    return conn->reactor->state == REACTOR_RUNNING && conn_is_writable(conn) && !conn_ended(conn);
}

static bool is_wanted(const struct slot *slot)
{
    return (slot->view->group->is_plain || slot->view->holders > 0) && server_is_wanted(slot->server);
}

/* Others wait for what it keeps: the first of them may take it from here, or it goes. */
static void offer(struct idle_conn *idle)
{
    const struct reactor *reactor = idle->pool->reactor;
    struct waitline *line = &idle->slot.view->group->waitline;

    /* In one order with who joins the line and then looks for those that wait here: one of us sees the other. */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load(&line->waiting) > 0 && !waitline_call_own(line, reactor->index, reactor->ring))
        drop(idle);
}

void pool_checkin(struct pool *pool, struct conn *conn, struct slot *slot, uint32_t max, uint32_t idle_ms)
{
    struct timeouts timeouts = {.idle_ms = idle_ms};
    struct idle_conn *idle = NULL;

    assert(conn->in.bytes == 0 && conn->out.staged == 0 && slot->view);
    conn->handler = &pool_handler;
    conn->owner = NULL;
    if (max > 0 && may_wait(conn) && is_wanted(slot)) {
        make_room(pool, slot->view, &slot->server->addr, max);
        idle = slab_new(&pool->idle);
    }
    if (!idle) {
        conn_close(conn, CLOSE_LOCAL);
        slot_give(slot);
        return;
    }
    *idle = (struct idle_conn){.pool = pool, .conn = conn, .slot = *slot};
    *slot = (struct slot){0};
    conn->owner = idle;
    conn_stop_awaiting(conn);
    conn_set_timeouts(conn, &timeouts);
    remember(idle);
    offer(idle);
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

struct conn *pool_checkout(struct pool *pool, struct group_view *view, const struct addr *addr, uint64_t told,
                           bool looks, struct slot *slot)
{
    struct list *bucket = bucket_of(pool, view, addr);
    struct list *before;

    for (struct list *node = bucket->prev; node != bucket; node = before) {
        struct idle_conn *idle = CONTAINER_OF(node, struct idle_conn, link);
        struct conn *conn = idle->conn;

        before = node->prev;
        if (!is_to(idle, view, addr) || idle->slot.told != told)
            continue;
        if (looks && !is_quiet(conn)) {
            drop(idle);
            continue;
        }
        *slot = forget(idle);
        conn->id = reactor_next_conn_id(conn->reactor); /* what is known by the old one is not the new user's */
        return conn;
    }
    return NULL;
}

bool pool_has(const struct conn *conn)
{
    return conn->handler == &pool_handler && conn->owner;
}

bool pool_drop_one(struct pool *pool, struct group_view *view, const struct addr *addr)
{
    struct list *bucket = bucket_of(pool, view, addr);

    for (struct list *node = bucket->next; node != bucket; node = node->next) {
        struct idle_conn *idle = CONTAINER_OF(node, struct idle_conn, link);

        if (is_to(idle, view, addr)) {
            drop(idle);
            return true;
        }
    }
    return false;
}

void pool_drop_all_of(struct group_view *view)
{
    while (!list_is_empty(&view->idle))
        drop(CONTAINER_OF(view->idle.next, struct idle_conn, view_link));
}

static bool is_useful(const struct upstream *upstream, const struct server *server)
{
    for (uint32_t i = 0; i < upstream_member_count(upstream); i++) {
        if (upstream->members[i].server == server)
            return server_is_wanted(server);
    }
    return false;
}

static void drop_useless_of(struct group_view *view)
{
    const struct upstream *upstream = group_view_upstream(view);
    struct list *next;

    for (struct list *node = view->idle.next; node != &view->idle; node = next) {
        struct idle_conn *idle = CONTAINER_OF(node, struct idle_conn, view_link);

        next = node->next;
        if (!is_useful(upstream, idle->slot.server))
            drop(idle);
    }
}

void pool_drop_useless(struct pool *pool)
{
    struct list *next;

    for (struct list *node = pool->views.next; node != &pool->views; node = next) {
        struct group_view *view = CONTAINER_OF(node, struct group_view, idle_link);
        uint32_t changes = atomic_load(&view->group->changes);

        next = node->next;
        if (view->changes == changes)
            continue;
        view->changes = changes;
        drop_useless_of(view);
    }
}

void pool_spare(struct pool *pool)
{
    const struct reactor *reactor = pool->reactor;
    uint32_t spare = reactor->conns.max / POOL_SPARE_OF_CONNS;
    struct idle_conn *idle = oldest(pool);

    if (LIKELY(atomic_load(&reactor->open) + spare < reactor->conns.max) || !idle)
        return;
    conn_kill(idle->conn, CLOSE_LOCAL); /* at once, without waiting for the peer's end; on_end forgets it */
}

void pool_make_way(struct pool *pool)
{
    struct list *next;

    for (struct list *node = pool->views.next; node != &pool->views; node = next) {
        struct group_view *view = CONTAINER_OF(node, struct group_view, idle_link);

        next = node->next;
        while (!list_is_empty(&view->idle) && atomic_load(&view->group->waitline.waiting) > 0)
            drop(CONTAINER_OF(view->idle.next, struct idle_conn, view_link));
    }
}
