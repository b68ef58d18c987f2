/* See conn_table.h. */
#include "core/conn_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "core/conn.h"
#include "uring/op.h"

int conn_table_init(struct conn_table *table, uint32_t max)
{
    uint32_t blocks = (max + CONN_BLOCK_SLOTS - 1) / CONN_BLOCK_SLOTS;

    *table = (struct conn_table){.max = max};
    list_init(&table->free);
    table->blocks = calloc(blocks, sizeof(*table->blocks));
    return table->blocks ? 0 : -ENOMEM;
}

void conn_table_deinit(struct conn_table *table)
{
    assert(table->taken == 0);
    for (uint32_t i = 0; i < table->mapped / CONN_BLOCK_SLOTS; i++)
        free(table->blocks[i]);
    free(table->blocks);
    table->blocks = NULL;
}

static int map_block(struct conn_table *table)
{
    struct conn *block = aligned_alloc(CACHE_LINE_BYTES, CONN_BLOCK_SLOTS * sizeof(*block));

    if (!block)
        return -ENOMEM;
    memset(block, 0, CONN_BLOCK_SLOTS * sizeof(*block));
    table->blocks[table->mapped / CONN_BLOCK_SLOTS] = block;
    for (uint32_t i = 0; i < CONN_BLOCK_SLOTS; i++) {
        block[i].slot = table->mapped + i;
        list_init(&block[i].link);
        if (block[i].slot < table->max)
            list_add_tail(&table->free, &block[i].link);
    }
    table->mapped += CONN_BLOCK_SLOTS;
    return 0;
}

struct conn *conn_table_take(struct conn_table *table)
{
    struct conn *conn;
    uint32_t slot;
    uint32_t generation;

    if (list_is_empty(&table->free) && (table->mapped >= table->max || map_block(table) < 0))
        return NULL;
    conn = CONTAINER_OF(list_pop(&table->free), struct conn, link);
    slot = conn->slot;
    generation = conn->generation;
    memset(conn, 0, sizeof(*conn));
    conn->slot = slot;
    conn->generation = generation;
    list_init(&conn->link);
    table->taken++;
    return conn;
}

void conn_table_return(struct conn_table *table, struct conn *conn)
{
    assert(table->taken > 0 && !list_is_linked(&conn->link));
    conn->generation++;
    table->taken--;
    list_add_tail(table->free.next, &conn->link); /* before the first: at the head */
}

struct conn *conn_table_at(const struct conn_table *table, uint32_t slot)
{
    return &table->blocks[slot / CONN_BLOCK_SLOTS][slot % CONN_BLOCK_SLOTS];
}

void conn_table_prefetch(const struct conn_table *table, uint64_t user_data)
{
    const char *conn;

    if (op_slot(user_data) >= table->mapped)
        return;
    conn = (const char *)conn_table_at(table, op_slot(user_data));
    __builtin_prefetch(conn);
    __builtin_prefetch(conn + CACHE_LINE_BYTES);
    __builtin_prefetch(conn + 2 * (size_t)CACHE_LINE_BYTES);
}

void conn_table_prefetch_owner(const struct conn_table *table, uint64_t user_data)
{
    if (op_slot(user_data) < table->mapped)
        __builtin_prefetch(conn_table_at(table, op_slot(user_data))->owner);
}

struct conn *conn_table_find(const struct conn_table *table, uint64_t user_data)
{
    struct conn *conn;

    assert(op_slot(user_data) < table->mapped);
    conn = conn_table_at(table, op_slot(user_data));
    return (conn->generation & OP_GENERATION_MASK) == op_generation(user_data) ? conn : NULL;
}
