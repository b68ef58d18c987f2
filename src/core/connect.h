/* Connections of our own making: socket, IORING_OP_CONNECT, time-out. Once connected they are as accepted ones, but have no
 * listener. The outcome comes by the handler: on_connected, or on_end with a reason ("refused", "timeout", ...). Reactor
 * thread only. */
#pragma once

#include <stdint.h>

#include "base/macros.h"
#include "core/config.h"

struct addr;
struct completion;
struct conn;
struct conn_handler;
struct reactor;

/* Where to, and how. */
struct connect_options {
    const struct addr *addr;       /* borrowed during the call */
    const struct tcp_options *tcp; /* borrowed during the call; NULL: TCP_NODELAY alone */
    struct timeouts timeouts;      /* once it is open */
    uint32_t write_buffer_max;
    uint32_t connect_ms; /* 0: as long as the kernel tries */
};

/* Begins to connect, with `owner` as conn->owner. 0 and *out; -EBUSY (every slot is taken), -ENOMEM or another negative errno
 * of socket(2) and setsockopt(2): then the handler is not called. It is never called from within this call. */
MUST_CHECK int conn_connect(struct conn **out, struct reactor *reactor, const struct connect_options *options,
                            const struct conn_handler *handler, void *owner);
/* While CONNECTING: gives up no later than ms from now. */
void conn_limit_connect(struct conn *conn, uint32_t ms);
/* A completion of OP_CONNECT, dispatched by the reactor. */
void conn_on_connect(struct conn *conn, const struct completion *completion);
/* What a negative result of connecting amounts to (enum close_reason). */
int connect_reason(int error);
