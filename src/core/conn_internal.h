/* What conn.c and conn_end.c share; nobody else includes this. */
#pragma once

#include "core/conn.h"
#include "uring/op.h"

static inline uint64_t conn_op(const struct conn *conn, enum op_kind kind)
{
    return op_pack(kind, conn->slot, conn->generation);
}

/* A state change: asserts that it is one of the machine's. */
void conn_set_state(struct conn *conn, enum conn_state next);
/* Keeps the first reason. */
void conn_set_reason(struct conn *conn, enum close_reason reason);
/* Cancels the armed receive, once. */
void conn_cancel_recv(struct conn *conn);
/* Sends our FIN, once. */
void conn_send_fin(struct conn *conn);
/* FLUSHING → LINGERING → DYING, as far as it goes now. */
void conn_settle_state(struct conn *conn);
/* DYING: cancels, closes; DEAD: frees. */
void conn_settle_end(struct conn *conn);
/* Starts the timer when a deadline is nearer than what it is set to. */
void conn_update_timer(struct conn *conn);
void conn_on_timer(struct timer *timer, uint64_t now_ms);
