/* What conn.c, conn_end.c and connect.c share; nobody else includes this. */
#pragma once

#include "core/conn.h"
#include "uring/op.h"

static inline uint64_t conn_op(const struct conn *conn, enum op_kind kind)
{
    return op_pack(kind, conn->slot, conn->generation);
}

/* Puts a connection that conn_table_take() gave on its feet, in state CONN_OPEN or CONN_CONNECTING. */
void conn_init(struct conn *conn, int fd, const struct conn_handler *handler, enum conn_state state);
/* A state change: asserts that it is one of the machine's. */
void conn_set_state(struct conn *conn, enum conn_state next);
/* Keeps the first reason. */
void conn_set_reason(struct conn *conn, enum close_reason reason);
/* Cancels the armed receive, once. */
void conn_cancel_recv(struct conn *conn);
/* Cancels the send in flight, once. */
void conn_cancel_send(struct conn *conn);
/* Bytes are on their way into the socket, or wait for room in it. */
static inline bool conn_is_sending(const struct conn *conn)
{
    return conn->out.in_flight > 0 || conn->is_blocked;
}
/* Sends our FIN, once. */
void conn_send_fin(struct conn *conn);
/* CONNECTING: starts the operation. */
void conn_settle_connect(struct conn *conn);
/* Cancels it, once. */
void conn_cancel_connect(struct conn *conn);
/* FLUSHING → LINGERING → DYING, as far as it goes now. */
void conn_settle_state(struct conn *conn);
/* DYING: cancels, closes; DEAD: frees. */
void conn_settle_end(struct conn *conn);
/* Starts the timer when a deadline is nearer than what it is set to. */
void conn_update_timer(struct conn *conn);
void conn_on_timer(struct timer *timer, uint64_t now_ms);
