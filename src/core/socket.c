/* See socket.h. */
#include "core/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

int socket_set(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

int socket_set_tcp(int fd, const struct tcp_options *tcp)
{
    int rc = 0;

    if (tcp->nodelay)
        rc = socket_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (rc == 0 && tcp->keepalive)
        rc = socket_set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    if (rc == 0 && tcp->user_timeout_ms)
        rc = socket_set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)tcp->user_timeout_ms);
    return rc;
}

/* The process that listens on the unix socket that fd is connected to; 0: unknown. */
static pid_t listening_process(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ? 0 : peer.pid;
}

int socket_find_listener(const struct addr *addr, pid_t *pid)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc;

    if (fd < 0)
        return -errno;
    rc = connect(fd, &addr->sa, addr->len) < 0 ? -errno : 1;
    if (rc == -EAGAIN) /* its queue is full, so there is one */
        rc = 1;
    if (rc == -ECONNREFUSED || rc == -ENOENT)
        rc = 0;
    if (pid)
        *pid = rc == 1 ? listening_process(fd) : 0;
    close(fd);
    return rc;
}
