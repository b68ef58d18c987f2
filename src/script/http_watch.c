/* See http_watch.h. */
#include "script/http_watch.h"

#include <errno.h>
#include <stdlib.h>

#include "core/conn.h"
#include "script/host.h"
#include "script/runtime.h"
#include "script/script_conn.h"

enum { WATCHES_PER_BLOCK = 64 };

struct http_watch {
    struct list link;  /* runtime->http_news, when there is something to tell */
    struct conn *conn; /* pinned while that is so */
    bool is_over;
};

void http_watch_init(struct runtime *runtime)
{
    slab_init(&runtime->http_watch_slab, sizeof(struct http_watch), WATCHES_PER_BLOCK, 0);
    list_init(&runtime->http_news);
}

static void forget(struct runtime *runtime, struct http_watch *watch)
{
    if (list_is_linked(&watch->link))
        conn_unpin(watch->conn);
    list_del(&watch->link);
    slab_free(&runtime->http_watch_slab, watch);
}

void http_watch_deinit(struct runtime *runtime)
{
    uint32_t places = runtime->http_watches ? runtime->reactor->conns.max : 0;

    for (uint32_t slot = 0; slot < places; slot++) { /* of connections that are another version's by now */
        if (runtime->http_watches[slot])
            forget(runtime, runtime->http_watches[slot]);
    }
    free(runtime->http_watches);
    runtime->http_watches = NULL;
}

/* The table is made when it is first needed, and touched where it is used. */
static struct http_watch **place_of(struct runtime *runtime, const struct conn *conn)
{
    if (!runtime->http_watches)
        runtime->http_watches = calloc(runtime->reactor->conns.max, sizeof(struct http_watch *));
    return runtime->http_watches ? &runtime->http_watches[conn->slot] : NULL;
}

int http_watch_begin(struct runtime *runtime, struct conn *conn)
{
    struct http_watch **place = place_of(runtime, conn);

    if (conn->state > CONN_OPEN)
        return -EPIPE;
    if (!place)
        return -ENOMEM;
    if (*place)
        return 0;
    *place = slab_new(&runtime->http_watch_slab);
    if (!*place)
        return -ENOMEM;
    **place = (struct http_watch){.conn = conn};
    list_init(&(*place)->link);
    return 0;
}

/* That of one runtime. */
static void note(struct runtime *runtime, struct conn *conn, bool is_over)
{
    struct http_watch *watch = runtime->http_watches ? runtime->http_watches[conn->slot] : NULL;

    if (!watch)
        return;
    watch->is_over = is_over;
    if (list_is_linked(&watch->link))
        return;
    conn_pin(conn);
    list_add_tail(&runtime->http_news, &watch->link);
}

void http_watch_on_news(struct conn *conn, bool is_over)
{
    struct host *host = host_of(conn->reactor);

    /* Not only that of the present version: on_close callbacks belong to the one in which they were set. */
    for (struct list *node = host->runtimes.next; node != &host->runtimes; node = node->next)
        note(CONTAINER_OF(node, struct runtime, link), conn, is_over);
}

void http_watch_announce(struct runtime *runtime)
{
    struct list *node;

    while ((node = list_pop(&runtime->http_news))) {
        struct http_watch *watch = CONTAINER_OF(node, struct http_watch, link);
        struct conn *conn = watch->conn;
        bool is_over = watch->is_over;

        if (is_over) {
            runtime->http_watches[conn->slot] = NULL;
            slab_free(&runtime->http_watch_slab, watch);
        }
        if (runtime->reactor->state != REACTOR_STOPPING)
            script_conn_start_closed(runtime, conn, is_over);
        conn_unpin(conn);
    }
}

bool http_watch_has_news(const struct runtime *runtime)
{
    return !list_is_empty(&runtime->http_news);
}
