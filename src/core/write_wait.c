/* See write_wait.h. */
#include "core/write_wait.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/assert.h"
#include "core/conn_internal.h"
#include "core/reactor.h"

enum { EVENTS_MAX = 64 };

void write_waits_init(struct write_waits *waits)
{
    *waits = (struct write_waits){.epoll_fd = -1};
}

void write_waits_deinit(struct write_waits *waits)
{
    assert(waits->count == 0 && !watch_is_started(&waits->watch));
    if (waits->epoll_fd >= 0)
        close(waits->epoll_fd);
}

static void on_ready(struct fd_watch *watch, uint32_t events)
{
    struct write_waits *waits = CONTAINER_OF(watch, struct write_waits, watch);
    struct reactor *reactor = CONTAINER_OF(waits, struct reactor, write_waits);
    struct epoll_event ready[EVENTS_MAX];
    int count = epoll_wait(waits->epoll_fd, ready, EVENTS_MAX, 0);

    if (!(events & POLLIN)) /* polling failed, and is not tried again by itself */
        watch_change(watch, POLLIN);
    for (int i = 0; i < count; i++) {
        struct conn *conn = conn_table_find(&reactor->conns, ready[i].data.u64);

        if (!conn || !conn->is_blocked)
            continue;
        write_wait_end(conn);
        conn_mark_dirty(conn);
    }
}

static int open_epoll(struct write_waits *waits)
{
    if (waits->epoll_fd >= 0)
        return 0;
    waits->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return waits->epoll_fd < 0 ? -errno : 0;
}

int write_wait_begin(struct conn *conn)
{
    struct reactor *reactor = conn->reactor;
    struct write_waits *waits = &reactor->write_waits;
    struct epoll_event event = {.events = EPOLLOUT, .data.u64 = conn_op(conn, OP_SEND)};
    int rc = open_epoll(waits);

    assert(!conn->is_blocked);
    waits->watch.on_ready = on_ready;
    if (rc == 0 && !watch_is_started(&waits->watch))
        rc = watch_start(&reactor->watches, &waits->watch, waits->epoll_fd, POLLIN);
    if (rc < 0)
        return rc;
    waits->count++;
    conn->is_blocked = true;
    if (epoll_ctl(waits->epoll_fd, EPOLL_CTL_ADD, conn->fd, &event) == 0)
        return 0;
    rc = -errno;
    write_wait_end(conn);
    return rc;
}

void write_wait_end(struct conn *conn)
{
    struct write_waits *waits = &conn->reactor->write_waits;

    if (!conn->is_blocked)
        return;
    conn->is_blocked = false;
    (void)epoll_ctl(waits->epoll_fd, EPOLL_CTL_DEL, conn->fd, NULL);
    if (--waits->count == 0)
        watch_stop(&waits->watch);
}
