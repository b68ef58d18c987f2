/* See socket.h. */
#include "core/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

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
