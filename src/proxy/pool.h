/* Connections of one reactor that are open to a server and wait for somebody to use them again. One that got bytes, was
 * closed or grew too old while it waited is never handed out. Reactor thread only. */
#pragma once

#include <stdint.h>

#include "base/list.h"
#include "base/macros.h"
#include "base/slab.h"

struct addr;
struct conn;

enum { POOL_BUCKETS = 256 };

struct pool {
    struct slab idle;                  /* struct idle_conn */
    struct list buckets[POOL_BUCKETS]; /* by address, the one checked in last at the end */
};

void pool_init(struct pool *pool);
/* After pool_clear(), and the turns in which its connections ended. */
void pool_deinit(struct pool *pool);
/* Closes all. */
void pool_clear(struct pool *pool);

/* Takes over a connection that conn_connect() made to this address and on which nothing is staged or unread; idle_ms: how
 * long it may wait (0: for ever). Of each address at most `max` wait: the oldest one goes. One that cannot wait is closed. */
void pool_checkin(struct pool *pool, struct conn *conn, const struct addr *addr, uint32_t max, uint32_t idle_ms);
/* The connection to this address that was checked in last, NULL: there is none. Its handler is still the pool's, and its owner
 * NULL: the caller sets both at once. */
MUST_CHECK struct conn *pool_checkout(struct pool *pool, const struct addr *addr);
