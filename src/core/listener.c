/* See listener.h. */
#include "core/listener.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/assert.h"
#include "core/admission.h"
#include "core/reactor.h"
#include "core/socket.h"

static int set_tcp_options(int fd, const struct listener_config *config, bool is_shared_port)
{
    const struct tcp_options *tcp = &config->tcp;
    int rc = socket_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);

    if (rc == 0 && is_shared_port)
        rc = socket_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (rc == 0 && config->addr.sa.sa_family == AF_INET6)
        rc = socket_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, config->ip_version == IP_V6);
    if (rc == 0 && tcp->fastopen)
        rc = socket_set(fd, IPPROTO_TCP, TCP_FASTOPEN, (int)tcp->fastopen);
    return rc < 0 ? rc : socket_set_tcp(fd, tcp);
}

/* A socket file that no process listens on any more is left from a server that was killed: it may go. */
static void remove_stale_socket(const struct addr *addr)
{
    struct stat status;
    int fd;

    if (addr->un.sun_path[0] == '\0' || lstat(addr->un.sun_path, &status) < 0 || !S_ISSOCK(status.st_mode))
        return;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (connect(fd, &addr->sa, addr->len) < 0 && errno == ECONNREFUSED)
        unlink(addr->un.sun_path);
    close(fd);
}

static int bind_unix(int fd, const struct listener_config *config)
{
    const char *path = config->addr.un.sun_path;

    if (bind(fd, &config->addr.sa, config->addr.len) < 0)
        return -errno;
    if (path[0] != '\0' && config->mode != 0 && chmod(path, config->mode) < 0)
        return -errno;
    return 0;
}

/* True for "any address, either family". */
static bool is_dual_wildcard(const struct listener_config *config)
{
    return config->ip_version == IP_DUAL && config->addr.sa.sa_family == AF_INET6 &&
           IN6_IS_ADDR_UNSPECIFIED(&config->addr.in6.sin6_addr);
}

/* The wildcard address of a dual-stack listener, on a kernel without IPv6, is IPv4's. */
static struct addr without_ipv6(const struct listener_config *config)
{
    struct addr addr = {.len = sizeof(addr.in4)};

    addr.in4.sin_family = AF_INET;
    addr.in4.sin_port = config->addr.in6.sin6_port;
    return addr;
}

static int open_tcp(const struct listener_config *config, bool is_shared_port)
{
    struct addr addr = config->addr;
    int fd = socket(addr.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc;

    if (fd < 0 && errno == EAFNOSUPPORT && is_dual_wildcard(config)) {
        struct listener_config ipv4 = *config;

        ipv4.addr = without_ipv6(config);
        ipv4.ip_version = IP_V4;
        return open_tcp(&ipv4, is_shared_port);
    }
    if (fd < 0)
        return -errno;
    rc = set_tcp_options(fd, config, is_shared_port);
    if (rc == 0 && bind(fd, &addr.sa, addr.len) < 0)
        rc = -errno;
    if (rc == 0 && listen(fd, (int)config->backlog) < 0)
        rc = -errno;
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

static int open_unix(const struct listener_config *config)
{
    int fd;
    int rc;

    remove_stale_socket(&config->addr);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    rc = bind_unix(fd, config);
    if (rc == 0 && listen(fd, (int)config->backlog) < 0)
        rc = -errno;
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

static void explain(const struct listener_config *config, int rc, char *error)
{
    char where[ADDR_TEXT_MAX];
    const char *advice = "";

    addr_format(&config->addr, where);
    if (rc == -EADDRINUSE)
        advice = addr_is_unix(&config->addr)
                     ? ": another server listens there; stop it, or choose another path"
                     : ": stop the program that uses it (`ss -ltnp` names it), or choose another port";
    else if (rc == -EACCES && !addr_is_unix(&config->addr))
        advice = ": ports below 1024 need root, CAP_NET_BIND_SERVICE, or sysctl net.ipv4.ip_unprivileged_port_start";
    else if (rc == -EADDRNOTAVAIL)
        advice = ": this machine has no such address (`ip address` lists them)";
    else if (rc == -ENOENT)
        advice = ": the directory does not exist; create it first";
    snprintf(error, LISTENER_ERROR_MAX, "cannot listen on %s: %s%s", where, strerror(-rc), advice);
}

int listener_open(struct listener *listener, const struct listener_config *config, uint32_t index, uint32_t fd_count,
                  char *error)
{
    bool is_unix = addr_is_unix(&config->addr);
    uint32_t wanted = is_unix ? 1 : fd_count;
    int rc = -ENOMEM;

    *listener = (struct listener){.config = config, .index = index};
    listener->fds = calloc(wanted, sizeof(*listener->fds));
    if (!listener->fds)
        goto fail;
    while (listener->fd_count < wanted) {
        rc = is_unix ? open_unix(config) : open_tcp(config, wanted > 1);
        if (rc < 0)
            goto fail;
        listener->fds[listener->fd_count++] = rc;
    }
    rc = config->connections_per_ip > 0 ? admission_new(&listener->admission, config) : 0;
    if (rc < 0)
        goto fail;
    return 0;
fail:
    explain(config, rc, error);
    listener_close(listener);
    return rc;
}

void listener_stop(struct listener *listener)
{
    if (listener->is_stopped)
        return;
    listener->is_stopped = true;
    assert(listener->fds || listener->fd_count == 0);
    for (uint32_t i = 0; i < listener->fd_count; i++)
        (void)shutdown(listener->fds[i], SHUT_RDWR); /* Linux: a TCP socket stops to listen; later calls fail */
    if (listener->fd_count > 0 && addr_is_unix(&listener->config->addr) &&
        listener->config->addr.un.sun_path[0] != '\0')
        unlink(listener->config->addr.un.sun_path);
}

void listener_close(struct listener *listener)
{
    listener_stop(listener);
    assert(listener->fds || listener->fd_count == 0);
    for (uint32_t i = 0; i < listener->fd_count; i++)
        close(listener->fds[i]);
    free(listener->fds);
    listener->fds = NULL;
    listener->fd_count = 0;
    admission_free(listener->admission);
    listener->admission = NULL;
}

int listener_fd(const struct listener *listener, uint32_t group)
{
    assert(listener->fd_count > 0);
    return listener->fds[group % listener->fd_count];
}

/* ---- what stands above its connections ---- */

const struct conn_handler *listener_handler(const struct listener *listener, const struct reactor_app *app)
{
    if (listener->config->forward)
        return app->forward_handler;
    return listener->config->protocol == PROTOCOL_HTTP ? app->http_handler : app->conn_handler;
}

const struct conn_handler *listener_first_handler(const struct listener *listener, const struct reactor_app *app)
{
    if (listener->config->accepts_proxy) /* which admits clients when it knows them */
        return app->proxy_accept_handler;
    return UNLIKELY(listener->admission) ? &admission_handler : listener_handler(listener, app);
}
