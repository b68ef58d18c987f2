/* See inherited.h. */
#include "core/inherited.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "core/config.h"
#include "core/socket.h"

static int option(int fd, int level, int name)
{
    int value = 0;
    socklen_t len = sizeof(value);

    return getsockopt(fd, level, name, &value, &len) < 0 ? -errno : value;
}

static int look_at(struct inherited_socket *socket)
{
    int listens = option(socket->fd, SOL_SOCKET, SO_ACCEPTCONN);

    if (listens < 0)
        return listens;
    socket->addr.len = sizeof(socket->addr.storage);
    if (getsockname(socket->fd, &socket->addr.sa, &socket->addr.len) < 0)
        return -errno;
    if (!listens || option(socket->fd, SOL_SOCKET, SO_TYPE) != SOCK_STREAM)
        return -ENOTSUP;
    switch (socket->addr.sa.sa_family) {
    case AF_INET6: socket->is_v6_only = option(socket->fd, IPPROTO_IPV6, IPV6_V6ONLY) > 0; return 0;
    case AF_INET:
    case AF_UNIX: return 0;
    default: return -ENOTSUP;
    }
}

int inherited_add(struct inherited *inherited, int fd, bool stays_lent)
{
    struct inherited_socket socket = {.fd = fd, .stays_lent = stays_lent};
    struct inherited_socket *sockets;
    int rc = look_at(&socket);

    if (rc < 0)
        return rc;
    if (inherited->count == INHERITED_MAX)
        return -E2BIG;
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    sockets = realloc(inherited->sockets, (inherited->count + 1) * sizeof(*sockets));
    if (!sockets)
        return -ENOMEM;
    inherited->sockets = sockets;
    inherited->sockets[inherited->count++] = socket;
    return 0;
}

/* The wildcard of both families may be IPv4's, where the kernel has no IPv6. */
static bool is_ipv4_of(const struct inherited_socket *socket, const struct listener_config *config)
{
    return config->ip_version == IP_DUAL && config->addr.sa.sa_family == AF_INET6 &&
           IN6_IS_ADDR_UNSPECIFIED(&config->addr.in6.sin6_addr) && socket->addr.sa.sa_family == AF_INET &&
           socket->addr.in4.sin_addr.s_addr == htonl(INADDR_ANY) &&
           socket->addr.in4.sin_port == config->addr.in6.sin6_port;
}

static bool is_for(const struct inherited_socket *socket, const struct listener_config *config)
{
    if (!inherited_is_spare(socket))
        return false;
    if (!addr_equals(&socket->addr, &config->addr))
        return is_ipv4_of(socket, config);
    return config->addr.sa.sa_family != AF_INET6 || socket->is_v6_only == (config->ip_version == IP_V6) ||
           !IN6_IS_ADDR_UNSPECIFIED(&config->addr.in6.sin6_addr);
}

uint32_t inherited_count(const struct inherited *inherited, const struct listener_config *config)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < inherited->count; i++)
        count += is_for(&inherited->sockets[i], config);
    return count;
}

uint32_t inherited_take(struct inherited *inherited, const struct listener_config *config, int *fds, bool *stays_lent)
{
    uint32_t taken = 0;

    for (uint32_t i = 0; i < inherited->count; i++) {
        struct inherited_socket *socket = &inherited->sockets[i];

        if (!is_for(socket, config))
            continue;
        if (taken == 0)
            *stays_lent = socket->stays_lent;
        fds[taken++] = socket->fd;
        socket->is_taken = true;
    }
    return taken;
}

const struct addr *inherited_find_overlap(const struct inherited *inherited, const struct listener_config *config)
{
    for (uint32_t i = 0; i < inherited->count; i++) {
        const struct inherited_socket *socket = &inherited->sockets[i];

        if ((inherited_is_spare(socket) || (socket->fd >= 0 && socket->stays_lent)) &&
            socket_places_overlap(&socket->addr, socket->is_v6_only, &config->addr, config->ip_version == IP_V6))
            return &socket->addr;
    }
    return NULL;
}

bool inherited_has_taken(const struct inherited *inherited, int fd)
{
    for (uint32_t i = 0; i < inherited->count; i++) {
        if (inherited->sockets[i].fd == fd)
            return inherited->sockets[i].is_taken;
    }
    return false;
}

bool inherited_give_back(struct inherited *inherited, int fd)
{
    for (uint32_t i = 0; i < inherited->count; i++) {
        if (inherited->sockets[i].fd != fd)
            continue;
        inherited->sockets[i].is_taken = false;
        return true;
    }
    return false;
}

static void report(const struct inherited_socket *socket)
{
    char where[ADDR_TEXT_MAX];

    log_warn("no listener is for the socket at %s that the process was started with: it is %s",
             addr_format(&socket->addr, where), socket->stays_lent ? "kept for a reload that brings one" : "closed");
}

static void close_spare(struct inherited_socket *socket)
{
    if (!inherited_is_spare(socket))
        return;
    close(socket->fd);
    socket->fd = -1;
}

void inherited_drop(struct inherited *inherited)
{
    for (uint32_t i = 0; i < inherited->count; i++) {
        struct inherited_socket *socket = &inherited->sockets[i];

        if (!inherited_is_spare(socket))
            continue;
        report(socket);
        if (!socket->stays_lent)
            close_spare(socket);
    }
}

void inherited_close(struct inherited *inherited)
{
    for (uint32_t i = 0; i < inherited->count; i++)
        close_spare(&inherited->sockets[i]);
    free(inherited->sockets);
    *inherited = (struct inherited){0};
}
