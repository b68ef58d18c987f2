/* See starved.h. */
#include "core/starved.h"

#include "core/conn.h"
#include "core/reactor.h"
#include "uring/bufring.h"

void starved_add(struct conn *conn)
{
    struct reactor *reactor = conn->reactor;

    bufring_on_empty(reactor->bufs);
    reactor->stats.starved++;
    conn->is_starved = true;
    list_move_tail(conn->was_starved ? &reactor->starved_again : &reactor->starved, &conn->starved_link);
}

/* Buffers ran out: copy unread bytes out of them, so that nobody who waits for more bytes keeps others from theirs. */
static void reclaim_buffers(struct reactor *reactor)
{
    while (!list_is_empty(&reactor->holding) && bufring_free(reactor->bufs) == 0) {
        struct conn *conn = CONTAINER_OF(list_pop(&reactor->holding), struct conn, holding_link);

        if (input_compact(&conn->in, &reactor->leases) < 0) {
            list_add_tail(&reactor->holding, &conn->holding_link);
            return; /* no memory either: wait for what scripts release */
        }
        reactor->stats.compacted++;
    }
}

bool starved_is_any(const struct reactor *reactor)
{
    return !list_is_empty(&reactor->starved) || !list_is_empty(&reactor->starved_again);
}

void starved_rearm(struct reactor *reactor)
{
    uint32_t buffers;

    if (!starved_is_any(reactor))
        return;
    if (bufring_published(reactor->bufs) == 0 && bufring_free(reactor->bufs) == 0)
        reclaim_buffers(reactor);
    bufring_publish(reactor->bufs);
    for (buffers = bufring_published(reactor->bufs); buffers > 0; buffers--) {
        struct list *node = list_pop(&reactor->starved_again);
        struct conn *conn;

        if (!node)
            node = list_pop(&reactor->starved);
        if (!node)
            return;
        conn = CONTAINER_OF(node, struct conn, starved_link);
        conn->is_starved = false;
        conn->was_starved = true;
        conn_mark_dirty(conn);
    }
}
