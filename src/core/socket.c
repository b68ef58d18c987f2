/* See socket.h. */
#include "core/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
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

int socket_remove_file(const char *path, dev_t device, ino_t inode)
{
    struct stat status;

    if (lstat(path, &status) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (status.st_dev != device || status.st_ino != inode)
        return 0;
    return unlink(path) < 0 ? -errno : 0;
}

static bool is_wildcard(const struct addr *addr)
{
    if (addr->sa.sa_family == AF_INET6)
        return IN6_IS_ADDR_UNSPECIFIED(&addr->in6.sin6_addr);
    return addr->in4.sin_addr.s_addr == htonl(INADDR_ANY);
}

/* IPv4's addresses are among those of IPv6's wildcard, unless it was told otherwise. */
static bool has_ipv4(const struct addr *addr, bool is_v6_only)
{
    return addr->sa.sa_family == AF_INET || (is_wildcard(addr) && !is_v6_only);
}

bool socket_places_overlap(const struct addr *left, bool left_is_v6_only, const struct addr *right,
                           bool right_is_v6_only)
{
    if (addr_is_unix(left) || addr_is_unix(right) || addr_port(left) != addr_port(right))
        return false;
    if (left->sa.sa_family != right->sa.sa_family)
        return has_ipv4(left, left_is_v6_only) && has_ipv4(right, right_is_v6_only);
    return is_wildcard(left) || is_wildcard(right) || addr_equals(left, right);
}
