/* How connections end: close, abort, linger, time-outs, and the way from the last operation to a free slot. */
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "base/limits.h"
#include "core/conn_internal.h"
#include "core/part.h"
#include "core/reactor.h"
#include "core/write_wait.h"

#define BIT(n) (1u << (n))

enum { PROGRESS_SAMPLES = 4 }; /* looks at a slow send within one time-out */

/* Which states may follow a state. */
static const uint8_t next_states[CONN_STATE_COUNT] = {
    [CONN_FREE] = BIT(CONN_CONNECTING) | BIT(CONN_OPEN),
    [CONN_CONNECTING] = BIT(CONN_OPEN) | BIT(CONN_DYING),
    [CONN_OPEN] = BIT(CONN_FLUSHING) | BIT(CONN_DYING),
    [CONN_FLUSHING] = BIT(CONN_LINGERING) | BIT(CONN_DYING),
    [CONN_LINGERING] = BIT(CONN_DYING),
    [CONN_DYING] = BIT(CONN_DEAD),
    [CONN_DEAD] = BIT(CONN_FREE),
};

static const char *const reason_texts[CLOSE_REASON_COUNT] = {
    [CLOSE_PEER] = "closed",       [CLOSE_LOCAL] = "closed",    [CLOSE_ABORTED] = "aborted",
    [CLOSE_RESET] = "reset",       [CLOSE_TIMEOUT] = "timeout", [CLOSE_NO_MEMORY] = "limit: out of memory",
    [CLOSE_SHUTDOWN] = "shutdown", [CLOSE_REFUSED] = "refused", [CLOSE_UNREACHABLE] = "unreachable",
    [CLOSE_ERROR] = "error",
};

const char *close_reason_text(enum close_reason reason)
{
    assert(reason < CLOSE_REASON_COUNT);
    return reason_texts[reason];
}

void conn_set_state(struct conn *conn, enum conn_state next)
{
    assert(next_states[conn->state] & BIT(next));
    conn->state = (uint8_t)next;
    conn->state_since_ms = conn->reactor->now_ms;
}

void conn_set_reason(struct conn *conn, enum close_reason reason)
{
    if (conn->reason == CLOSE_NONE)
        conn->reason = (uint8_t)reason;
}

static void report_end(struct conn *conn)
{
    if (conn->end_reported)
        return;
    conn->end_reported = true;
    conn->read_deadline_ms = 0; /* whoever waited is told of the end, and may be gone after that */
    conn->handler->on_end(conn);
}

void conn_close(struct conn *conn, enum close_reason reason)
{
    if (conn->state == CONN_CONNECTING)
        conn_kill(conn, reason);
    if (conn->state != CONN_OPEN)
        return;
    conn_set_reason(conn, reason);
    if (reason == CLOSE_ABORTED)
        conn->is_aborted = true;
    conn_set_state(conn, CONN_FLUSHING);
    conn->send_progress_ms = conn->reactor->now_ms;
    conn_mark_dirty(conn);
    conn_update_timer(conn);
    report_end(conn);
}

void conn_end_by_reset(struct conn *conn)
{
    conn->is_aborted = true;
}

void conn_kill(struct conn *conn, enum close_reason reason)
{
    if (conn->state >= CONN_DYING)
        return;
    /* A reset that follows the peer's end of stream tells more than that did. */
    if (conn->reason == CLOSE_PEER)
        conn->reason = CLOSE_NONE;
    conn_set_reason(conn, reason);
    if (reason == CLOSE_ABORTED || reason == CLOSE_TIMEOUT)
        conn->is_aborted = true;
    conn_set_state(conn, CONN_DYING);
    output_drop(&conn->out, &conn->reactor->chunks);
    conn_mark_dirty(conn);
    report_end(conn);
}

void conn_cancel_recv(struct conn *conn)
{
    if (conn->recv_cancelled)
        return;
    ring_add_cancel(conn->reactor->ring, conn_op(conn, OP_CANCEL), conn_op(conn, OP_RECV));
    conn->recv_cancelled = true;
    conn->operations++;
}

void conn_cancel_send(struct conn *conn)
{
    if (conn->send_cancelled)
        return;
    ring_add_cancel(conn->reactor->ring, conn_op(conn, OP_CANCEL), conn_op(conn, OP_SEND));
    conn->send_cancelled = true;
    conn->operations++;
}

void conn_on_cancel(struct conn *conn, const struct completion *completion)
{
    conn->operations--;
    /* Not found, or just then at work: either its last completion is there already or it goes on, and then wants another
     * cancel. Which of the operations was meant does not matter: one cancel too many finds nothing. */
    if (completion->result < 0) {
        conn->recv_cancelled = false;
        conn->send_cancelled = false;
        conn->connect_cancelled = false;
    }
    conn_mark_dirty(conn);
}

void conn_send_fin(struct conn *conn)
{
    if (conn->fin_sent)
        return;
    /* The system call: IORING_OP_SHUTDOWN would go through a kernel worker thread. Fails only when the peer has gone,
     * which the armed receive reports. */
    (void)shutdown(conn->fd, SHUT_WR);
    conn->fin_sent = true;
}

void conn_settle_state(struct conn *conn)
{
    if (conn->state == CONN_FLUSHING && conn->out.staged == 0 && conn->is_aborted)
        conn_set_state(conn, CONN_DYING);
    if (conn->state == CONN_FLUSHING && conn->out.staged == 0) {
        if (!conn->input_ended)
            conn_send_fin(conn);
        conn_set_state(conn, CONN_LINGERING);
        conn_update_timer(conn);
    }
    if (conn->state == CONN_LINGERING && conn->input_ended)
        conn_set_state(conn, CONN_DYING);
}

/* Nothing is in flight: the descriptor can go. */
static void close_socket(struct conn *conn)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};

    if (conn->is_aborted)
        (void)setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    ring_add_close(conn->reactor->ring, conn_op(conn, OP_CLOSE), conn->fd);
    conn->fd = -1;
    conn->operations++;
}

void conn_settle_end(struct conn *conn)
{
    struct reactor *reactor = conn->reactor;

    if (conn->state == CONN_DYING) {
        if (conn->recv_armed)
            conn_cancel_recv(conn);
        if (conn->out.in_flight > 0)
            conn_cancel_send(conn);
        write_wait_end(conn);
        if (conn->connect_armed)
            conn_cancel_connect(conn);
        if (conn->operations == 0 && conn->fd >= 0) {
            close_socket(conn);
        } else if (conn->operations == 0) {
            timer_stop(&reactor->timers, &conn->timer);
            output_deinit(&conn->out, &reactor->chunks);
            list_del(&conn->starved_link);
            conn_set_state(conn, CONN_DEAD);
            reactor_on_conn_closed(conn);
        }
    }
    if (conn->state == CONN_DEAD && conn->pins == 0) {
        list_del(&conn->holding_link);
        list_del(&conn->link);
        input_deinit(&conn->in);
        free(conn->proxied);
        conn->proxied = NULL;
        free(conn->target);
        conn->target = NULL;
        if (conn->listener)
            part_remove_conn(conn);
        conn_set_state(conn, CONN_FREE);
        conn_table_return(&reactor->conns, conn);
        reactor_on_slot_free(reactor);
    }
}

void conn_pin(struct conn *conn)
{
    assert(conn->pins < UINT16_MAX);
    conn->pins++;
}

void conn_unpin(struct conn *conn)
{
    assert(conn->pins > 0);
    if (--conn->pins == 0)
        conn_mark_dirty(conn);
}

/* ---- time-outs ---- */

void conn_set_timeouts(struct conn *conn, const struct timeouts *timeouts)
{
    conn->timeouts = *timeouts;
    conn->active_ms = conn->reactor->now_ms;
    if (conn_is_sending(conn))
        conn->send_progress_ms = conn->reactor->now_ms;
    conn_update_timer(conn);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* When the socket itself is given up, TIMER_NEVER: not at all. */
static uint64_t end_deadline(const struct conn *conn)
{
    uint64_t at = TIMER_NEVER;

    if (conn->state == CONN_CONNECTING)
        return conn->connect_deadline_ms ? conn->connect_deadline_ms : at;
    if (conn->state == CONN_LINGERING)
        return conn->state_since_ms + LINGER_MS;
    if (conn->state == CONN_FLUSHING)
        return conn->send_progress_ms + (conn->timeouts.write_ms ? conn->timeouts.write_ms : CLOSE_FLUSH_MS);
    if (conn->state != CONN_OPEN)
        return at;
    if (conn->timeouts.idle_ms)
        at = conn->active_ms + conn->timeouts.idle_ms;
    if (conn->timeouts.write_ms && conn_is_sending(conn))
        at = earlier(at, conn->send_progress_ms + conn->timeouts.write_ms);
    return at;
}

/* A gathered send completes when all of it is with the kernel, which for a slow peer is much later than its first byte: so
 * that slow is not taken for stuck, we look now and then whether bytes leave. TCP counts what was acknowledged; elsewhere
 * what is queued will do. */
static uint64_t kernel_progress(int fd)
{
    struct tcp_info info;
    socklen_t len = sizeof(info);
    int queued = 0;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
        len >= offsetof(struct tcp_info, tcpi_bytes_acked) + sizeof(info.tcpi_bytes_acked))
        return info.tcpi_bytes_acked;
    (void)ioctl(fd, SIOCOUTQ, &queued);
    return (uint64_t)queued;
}

static void sample_progress(struct conn *conn, uint64_t now_ms)
{
    uint64_t progress = kernel_progress(conn->fd);

    if (progress != conn->send_progress) {
        conn->send_progress_ms = now_ms;
        conn->active_ms = now_ms;
    }
    conn->send_progress = progress;
    conn->send_sampled_ms = now_ms;
}

/* When to look next, while a send is in flight under a time-out. */
static uint64_t sample_deadline(const struct conn *conn)
{
    uint32_t limit = conn->timeouts.write_ms;

    if (!conn_is_sending(conn))
        return TIMER_NEVER;
    if (conn->timeouts.idle_ms && (limit == 0 || conn->timeouts.idle_ms < limit))
        limit = conn->timeouts.idle_ms;
    if (limit == 0)
        limit = conn->state == CONN_FLUSHING ? CLOSE_FLUSH_MS : 0;
    return limit ? conn->send_sampled_ms + limit / PROGRESS_SAMPLES + 1 : TIMER_NEVER;
}

void conn_update_timer(struct conn *conn)
{
    uint64_t at = earlier(end_deadline(conn), sample_deadline(conn));

    if (conn->read_deadline_ms)
        at = earlier(at, conn->read_deadline_ms);
    /* Deadlines that move away are not followed: the timer then fires early and is set anew. */
    if (at != TIMER_NEVER && (!timer_is_armed(&conn->timer) || at < conn->timer.at_ms))
        timer_start(&conn->reactor->timers, &conn->timer, at);
}

static void on_end_deadline(struct conn *conn)
{
    if (conn->state == CONN_LINGERING) { /* said all, heard enough: an ordinary end */
        conn_set_state(conn, CONN_DYING);
        conn_mark_dirty(conn);
    } else if (conn->state == CONN_OPEN && conn->out.staged == 0) {
        conn_close(conn, CLOSE_TIMEOUT); /* idle: nothing is lost by an orderly end */
    } else {
        conn_kill(conn, CLOSE_TIMEOUT);
    }
}

void conn_on_timer(struct timer *timer, uint64_t now_ms)
{
    struct conn *conn = CONTAINER_OF(timer, struct conn, timer);

    if (now_ms >= sample_deadline(conn))
        sample_progress(conn, now_ms);
    if (now_ms >= end_deadline(conn)) {
        on_end_deadline(conn);
        return;
    }
    if (conn->read_deadline_ms && now_ms >= conn->read_deadline_ms) {
        conn->read_deadline_ms = 0;
        conn->handler->on_read_timeout(conn);
    }
    conn_update_timer(conn);
}
