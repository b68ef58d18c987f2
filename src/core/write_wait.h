/* Waiting for room in the sockets of half-closed peers. io_uring polls for the peer's half-close whether that is asked for
 * or not (IO_POLL_UNMASK of io_uring/poll.c, Linux 6.x), so on a socket where it has come, a send that waits for room is
 * tried again at once, 128 times, and then given to a kernel worker thread, one for each connection. Such a send does not wait,
 * and its socket is put into this epoll instance, which reports room alone and is itself watched on the ring. Reactor
 * thread only. */
#pragma once

#include <stdint.h>

#include "base/macros.h"
#include "core/watch.h"

struct conn;
struct reactor;

struct write_waits {
    int epoll_fd;   /* owned; -1 until it is first needed */
    uint32_t count; /* connections that wait */
    struct fd_watch watch;
};

void write_waits_init(struct write_waits *waits);
/* Asserts that nobody waits. */
void write_waits_deinit(struct write_waits *waits);
/* Marks the connection dirty, with is_blocked false again, when its socket has room. 0 or a negative errno. */
MUST_CHECK int write_wait_begin(struct conn *conn);
/* It waits no more. Idempotent. */
void write_wait_end(struct conn *conn);
