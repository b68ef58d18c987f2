/* The connection slots of one reactor. Blocks are mapped when first needed and stay: a slot never moves, and a stale
 * (slot, generation) can always be checked. A generation grows with each use of a slot. Reactor thread only. */
#pragma once

#include <stdint.h>

#include "base/list.h"
#include "base/macros.h"

struct conn;
struct reactor;

enum { CONN_BLOCK_SLOTS = 64 };

struct conn_table {
    struct conn **blocks; /* owned: CONN_BLOCK_SLOTS slots each, NULL until needed */
    struct list free;     /* LIFO: the hottest slot is reused first */
    uint32_t max;
    uint32_t mapped; /* slots */
    uint32_t taken;
};

/* 0 or -ENOMEM. */
MUST_CHECK int conn_table_init(struct conn_table *table, uint32_t max);
/* Asserts that every slot came back. */
void conn_table_deinit(struct conn_table *table);

/* A free slot under a new generation, zeroed but for slot and generation; NULL when all are taken or memory is out. */
MUST_CHECK struct conn *conn_table_take(struct conn_table *table);
/* Ends the generation and gives the slot back. */
void conn_table_return(struct conn_table *table, struct conn *conn);
/* Asks for the memory of a connection that will soon be found, and of what it points at. Any user_data will do. */
void conn_table_prefetch(const struct conn_table *table, uint64_t user_data);
void conn_table_prefetch_owner(const struct conn_table *table, uint64_t user_data);
/* What is in a slot, below table->mapped: a connection, or CONN_FREE. */
struct conn *conn_table_at(const struct conn_table *table, uint32_t slot);
/* The connection that an operation's user_data names, NULL when that generation is gone. */
struct conn *conn_table_find(const struct conn_table *table, uint64_t user_data);
