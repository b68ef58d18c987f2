/* See conn.h: what happens to a connection between events. The state machine's end (flush, linger, close, free) and
 * the time-outs are in conn_end.c. */
#include "core/conn.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "base/limits.h"
#include "core/conn_internal.h"
#include "core/listener.h"
#include "core/part.h"
#include "core/reactor.h"
#include "core/starved.h"
#include "core/write_wait.h"
#include "uring/op.h"

void conn_init(struct conn *conn, int fd, const struct conn_handler *handler, enum conn_state state)
{
    struct reactor *reactor = conn->reactor;

    conn->fd = fd;
    conn->id = reactor_next_conn_id(reactor);
    conn->handler = handler;
    conn->active_ms = reactor->now_ms;
    list_init(&conn->dirty_link);
    list_init(&conn->starved_link);
    list_init(&conn->holding_link);
    input_init(&conn->in, conn->generation);
    output_init(&conn->out);
    timer_init(&conn->timer, conn_on_timer);
    conn->began_ms = reactor->now_ms;
    conn_set_state(conn, state);
    list_add_tail(&reactor->live, &conn->link);
    conn_mark_dirty(conn);
}

void conn_open(struct conn *conn, int fd, struct listener *listener, const struct conn_handler *handler)
{
    socklen_t len = sizeof(conn->peer);

    conn_init(conn, fd, handler, CONN_OPEN);
    conn->listener = listener;
    part_add_conn(conn);
    conn->timeouts = listener->config->timeouts;
    conn->write_buffer_max = listener->config->write_buffer_max;
    /* Asked now, because a peer that resets takes its address with it. An unnamed unix peer has none. */
    if (addr_is_unix(&listener->config->addr) || getpeername(fd, (struct sockaddr *)&conn->peer, &len) < 0)
        conn->peer.family = AF_UNSPEC;
    conn_update_timer(conn); /* the idle time-out counts from the start */
    handler->on_open(conn);
}

void conn_mark_dirty(struct conn *conn)
{
    if (conn->is_dirty)
        return;
    conn->is_dirty = true;
    list_add_tail(&conn->reactor->dirty, &conn->dirty_link);
}

bool conn_ended(const struct conn *conn)
{
    return conn->input_ended || conn->state > CONN_OPEN;
}

bool conn_ended_silently(const struct conn *conn)
{
    return conn->input_ended && conn->bytes_in == 0;
}

bool conn_is_writable(const struct conn *conn)
{
    return conn->state == CONN_OPEN && !conn->fin_wanted;
}

/* ---- input ---- */

static uint32_t input_high(const struct conn *conn)
{
    return conn->input_wanted > INPUT_HIGH_BYTES ? conn->input_wanted : INPUT_HIGH_BYTES;
}

static void deliver(struct conn *conn, const struct buf_piece *piece)
{
    struct reactor *reactor = conn->reactor;
    struct lease *lease;

    conn->bytes_in += piece->len;
    conn->active_ms = reactor->now_ms;
    if (conn->state != CONN_OPEN) { /* nobody reads any more: FLUSHING and LINGERING discard */
        bufring_release(reactor->bufs, piece->bid);
        return;
    }
    lease = lease_new(&reactor->leases, piece);
    if (!lease) {
        conn_kill(conn, CLOSE_NO_MEMORY);
        return;
    }
    input_append(&conn->in, lease);
    conn->is_paused = conn->in.bytes >= input_high(conn);
    conn->handler->on_input(conn);
}

static void on_recv_error(struct conn *conn, int error)
{
    switch (error) {
    case -ECANCELED: break;
    case -ENOBUFS: starved_add(conn); break;
    case -EINTR:
    case -EAGAIN: break; /* ended without cause: conn_settle() arms it again */
    case -ECONNRESET:
    case -EPIPE: conn_kill(conn, CLOSE_RESET); break;
    case -ETIMEDOUT: conn_kill(conn, CLOSE_TIMEOUT); break;
    case -ENOMEM: conn_kill(conn, CLOSE_NO_MEMORY); break;
    default: conn_kill(conn, CLOSE_ERROR);
    }
}

void conn_on_recv(struct conn *conn, const struct completion *completion)
{
    struct buf_piece piece;
    bool has_bytes = false;

    if (!conn->recv_armed) { /* some kernels post one more after the last: only its buffer matters */
        reactor_discard(conn->reactor, completion);
        return;
    }
    if (!(completion->flags & COMPLETION_MORE)) {
        conn->recv_armed = false;
        conn->recv_cancelled = false;
        conn->operations--;
    }
    conn_mark_dirty(conn);
    if (completion->flags & COMPLETION_BUFFER)
        has_bytes = bufring_take(conn->reactor->bufs, completion, &piece);
    if (has_bytes) {
        conn->was_starved = false;
        deliver(conn, &piece);
    } else if (completion->result < 0) {
        on_recv_error(conn, completion->result);
    } else if (completion->result == 0 && !conn->input_ended) {
        conn->input_ended = true;
        if (conn->state == CONN_OPEN) {
            conn_set_reason(conn, CLOSE_PEER);
            conn->handler->on_input(conn);
        }
    }
}

void conn_await_input(struct conn *conn, uint32_t bytes)
{
    conn->input_wanted = bytes;
    if (conn->is_paused && conn->in.bytes < bytes) {
        conn->is_paused = false;
        conn_mark_dirty(conn);
    }
    conn->read_deadline_ms = 0; /* of an earlier wait under another time-out */
    if (conn->timeouts.read_ms > 0) {
        conn->read_deadline_ms = conn->reactor->now_ms + conn->timeouts.read_ms;
        conn_update_timer(conn);
    }
}

void conn_stop_awaiting(struct conn *conn)
{
    conn->input_wanted = 0;
    conn->read_deadline_ms = 0;
}

void conn_on_consumed(struct conn *conn)
{
    if (conn->is_paused && conn->in.bytes <= input_high(conn) / 2) {
        conn->is_paused = false;
        conn_mark_dirty(conn);
    }
}

void conn_pause_input(struct conn *conn)
{
    if (conn->is_paused)
        return;
    conn->is_paused = true;
    conn_mark_dirty(conn);
}

/* Small pieces, each of which may hold a whole buffer. */
static bool has_crumbs(const struct input *in)
{
    return in->loose > INPUT_LEASES_MAX && input_loose_bytes(in) / in->loose < INPUT_CRUMB_BYTES;
}

/* Keeps the reactor's list of connections from which buffers can be had back, and copies together what came in crumbs. */
static void settle_holding(struct conn *conn)
{
    struct reactor *reactor = conn->reactor;

    if (UNLIKELY(has_crumbs(&conn->in)) && input_compact(&conn->in, &reactor->leases) < 0)
        log_debug("conn %llu: no memory to compact its input", (unsigned long long)conn->id);
    if (conn->in.loose == 0)
        list_del(&conn->holding_link);
    else if (!list_is_linked(&conn->holding_link))
        list_add_tail(&reactor->holding, &conn->holding_link);
}

static void settle_input(struct conn *conn)
{
    bool is_wanted = conn->state < CONN_DYING && !conn->input_ended && !conn->is_starved &&
                     !(conn->state == CONN_OPEN && conn->is_paused);

    if (is_wanted && !conn->recv_armed) {
        ring_add_recv(conn->reactor->ring, conn_op(conn, OP_RECV), conn->fd, REACTOR_BUFFER_GROUP);
        conn->recv_armed = true;
        conn->operations++;
    } else if (!is_wanted && conn->recv_armed) {
        conn_cancel_recv(conn);
    }
}

/* ---- output ---- */

int conn_write(struct conn *conn, const void *data, uint32_t len)
{
    if (!conn_is_writable(conn))
        return -EPIPE;
    if (output_append(&conn->out, &conn->reactor->chunks, data, len) < 0)
        return -ENOMEM;
    conn_mark_dirty(conn);
    return 0;
}

int conn_write_lease(struct conn *conn, struct lease *lease)
{
    if (!conn_is_writable(conn)) {
        lease_free(lease);
        return -EPIPE;
    }
    conn_mark_dirty(conn);
    return output_append_lease(&conn->out, &conn->reactor->chunks, lease);
}

void conn_shutdown(struct conn *conn)
{
    if (conn->state != CONN_OPEN)
        return;
    conn->fin_wanted = true;
    conn_mark_dirty(conn);
}

static void on_send_error(struct conn *conn, int error)
{
    switch (error) {
    case -ECANCELED: /* to be sent without waiting: see settle_output() */
    case -EINTR: break;
    case -EAGAIN:
        if (conn->sends_now && write_wait_begin(conn) < 0)
            conn_kill(conn, CLOSE_NO_MEMORY);
        break;
    case -ETIMEDOUT: conn_kill(conn, CLOSE_TIMEOUT); break;
    default: conn_kill(conn, CLOSE_RESET);
    }
}

void conn_on_send(struct conn *conn, const struct completion *completion)
{
    struct reactor *reactor = conn->reactor;
    uint32_t sent = completion->result > 0 ? (uint32_t)completion->result : 0;

    conn->operations--;
    conn->send_cancelled = false;
    conn->bytes_out += sent;
    output_on_sent(&conn->out, &reactor->chunks, sent);
    conn_mark_dirty(conn);
    if (sent > 0) {
        conn->active_ms = reactor->now_ms;
        conn->send_progress_ms = reactor->now_ms;
    }
    if (conn->state >= CONN_DYING)
        output_drop(&conn->out, &reactor->chunks);
    else if (completion->result < 0)
        on_send_error(conn, completion->result);
    else if (conn->state == CONN_OPEN)
        conn->handler->on_output(conn);
}

static void start_send(struct conn *conn)
{
    struct reactor *reactor = conn->reactor;
    struct iovec *pieces = reactor_send_pieces(reactor);
    struct iovec one;
    uint32_t count = output_gather(&conn->out, pieces ? pieces : &one, pieces ? SEND_PIECES_MAX : 1);
    enum ring_send how = conn->input_ended ? RING_SEND_NOW : RING_SEND_ALL;

    if (count == 1) {
        const struct iovec *piece = pieces ? pieces : &one;

        ring_add_send(reactor->ring, conn_op(conn, OP_SEND), conn->fd, piece->iov_base, (uint32_t)piece->iov_len, how);
    } else {
        struct msghdr *message = reactor_send_message(reactor, count);

        ring_add_sendmsg(reactor->ring, conn_op(conn, OP_SEND), conn->fd, message, how);
    }
    conn->sends_now = how == RING_SEND_NOW;
    conn->send_progress_ms = reactor->now_ms;
    conn->send_sampled_ms = reactor->now_ms;
    conn->operations++;
    if (conn->timeouts.write_ms)
        conn_update_timer(conn);
}

/* The peer has half-closed while a send waits for room: from now on that wait would keep a kernel thread busy. */
static void stop_waiting_send(struct conn *conn)
{
    conn->sends_now = true; /* once for each send */
    conn_cancel_send(conn);
}

static void settle_output(struct conn *conn)
{
    if (conn->state > CONN_FLUSHING)
        return;
    if (conn->out.staged == 0 &&
        conn->out.first) /* reserved but never committed: no coroutine runs any more that could */
        output_drop(&conn->out, &conn->reactor->chunks);
    if (conn->out.staged > 0 && conn->out.in_flight == 0 && !conn->is_blocked)
        start_send(conn);
    else if (UNLIKELY(conn->input_ended) && conn->out.in_flight > 0 && !conn->sends_now)
        stop_waiting_send(conn);
    else if (conn->out.staged == 0 && conn->fin_wanted)
        conn_send_fin(conn);
}

void conn_settle(struct conn *conn)
{
    conn->is_dirty = false;
    if (UNLIKELY(conn->state <= CONN_CONNECTING)) {
        assert(conn->state == CONN_CONNECTING);
        conn_settle_connect(conn);
        return;
    }
    settle_output(conn);
    conn_settle_state(conn);
    settle_holding(conn);
    settle_input(conn);
    conn_settle_end(conn);
}

void conn_remote(const struct conn *conn, struct addr *out)
{
    if (conn->proxied && conn->proxied->source.sa.sa_family != AF_UNSPEC)
        *out = conn->proxied->source;
    else
        conn_peer(conn, out);
}

void conn_local(const struct conn *conn, struct addr *out)
{
    if (conn->proxied && conn->proxied->destination.sa.sa_family != AF_UNSPEC) {
        *out = conn->proxied->destination;
        return;
    }
    *out = (struct addr){.len = sizeof(out->storage)};
    if (conn->fd < 0 || getsockname(conn->fd, &out->sa, &out->len) < 0)
        *out = (struct addr){.sa.sa_family = AF_UNSPEC};
}

/* Whom a connection of our own making on a unix socket goes to: we have no room for paths. */
static void ask_peer(const struct conn *conn, struct addr *out)
{
    *out = (struct addr){.len = sizeof(out->storage)};
    if (conn->listener || conn->fd < 0 || getpeername(conn->fd, &out->sa, &out->len) < 0 ||
        out->len <= offsetof(struct sockaddr_un, sun_path))
        *out = (struct addr){.sa.sa_family = AF_UNSPEC};
}

void conn_peer(const struct conn *conn, struct addr *out)
{
    if (conn->peer.family == AF_UNSPEC) {
        ask_peer(conn, out);
        return;
    }
    *out = (struct addr){.sa.sa_family = conn->peer.family};
    if (conn->peer.family == AF_INET) {
        out->in4 = conn->peer.in4;
        out->len = sizeof(out->in4);
    } else if (conn->peer.family == AF_INET6) {
        out->in6 = conn->peer.in6;
        out->len = sizeof(out->in6);
    }
}
