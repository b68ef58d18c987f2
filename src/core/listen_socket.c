/* See listen_socket.h. */
#include "core/listen_socket.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/assert.h"
#include "base/log.h"
#include "core/admission.h"
#include "core/inherited.h"
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

    if (addr->un.sun_path[0] == '\0' || lstat(addr->un.sun_path, &status) < 0 || !S_ISSOCK(status.st_mode))
        return;
    if (socket_find_listener(addr, NULL) == 0)
        unlink(addr->un.sun_path);
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

/* fd, which rc says was bound, or what failed; it is closed then. */
static int begin_listening(int fd, int rc, const struct listener_config *config)
{
    if (rc == 0 && listen(fd, (int)config->backlog) < 0)
        rc = -errno;
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
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
    return begin_listening(fd, rc, config);
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
    return begin_listening(fd, rc, config);
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
    snprintf(error, LISTEN_ERROR_MAX, "cannot listen on %s: %s%s", where, strerror(-rc), advice);
}

/* The same, where the address is in use by a socket that the process was started with. */
static void explain_given(const struct listener_config *config, const struct addr *given, char *error)
{
    char where[ADDR_TEXT_MAX];
    char other[ADDR_TEXT_MAX];

    snprintf(error, LISTEN_ERROR_MAX,
             "cannot listen on %s: the process was started with a socket on %s, which overlaps it: only a restart "
             "without that one changes it",
             addr_format(&config->addr, where), addr_format(given, other));
}

static int open_all(struct listen_socket *self, const struct listener_config *config, uint32_t wanted)
{
    while (self->fd_count < wanted) {
        int rc = addr_is_unix(&config->addr) ? open_unix(config) : open_tcp(config, wanted > 1);

        if (rc < 0)
            return rc;
        self->fds[self->fd_count++] = rc;
    }
    return 0;
}

static bool has_file(const struct listen_socket *self)
{
    return addr_is_unix(&self->addr) && self->addr.un.sun_path[0] != '\0';
}

static void note_file(struct listen_socket *self)
{
    struct stat status;

    if (!has_file(self) || lstat(self->addr.un.sun_path, &status) < 0)
        return;
    self->device = status.st_dev;
    self->inode = status.st_ino;
}

static void remove_file(const struct listen_socket *self)
{
    int rc = socket_remove_file(self->addr.un.sun_path, self->device, self->inode);

    if (rc < 0)
        log_debug("listener on %s: its file cannot be removed: %s", self->where, strerror(-rc));
}

int listen_socket_open(struct listen_socket **out, const struct listener_config *config, uint32_t fd_count,
                       struct inherited *inherited, char *error)
{
    uint32_t wanted = addr_is_unix(&config->addr) ? 1 : fd_count;
    uint32_t there = inherited ? inherited_count(inherited, config) : 0;
    struct listen_socket *self = calloc(1, sizeof(*self));
    const struct addr *given;
    int rc = -ENOMEM;

    if (!self)
        goto fail;
    self->addr = config->addr;
    self->ip_version = config->ip_version;
    addr_format(&config->addr, self->where);
    atomic_init(&self->max_connections, config->max_connections);
    self->fds = calloc(there > wanted ? there : wanted, sizeof(*self->fds));
    if (!self->fds)
        goto fail;
    self->lender = inherited;
    if (there > 0)
        self->fd_count = inherited_take(inherited, config, self->fds, &self->stays_lent);
    self->is_lent = self->fd_count > 0; /* until listen_socket_own(): we may not come to serve */
    if (self->fd_count == 0 && (rc = open_all(self, config, wanted)) < 0)
        goto fail;
    note_file(self);
    *out = self;
    return 0;
fail:
    given = rc == -EADDRINUSE && inherited ? inherited_find_overlap(inherited, config) : NULL;
    if (given)
        explain_given(config, given, error);
    else
        explain(config, rc, error);
    if (self)
        listen_socket_free(self);
    return rc;
}

bool listen_socket_is_for(const struct listen_socket *self, const struct listener_config *config)
{
    bool is_same = addr_equals(&self->addr, &config->addr);

    return is_same && (addr_is_unix(&self->addr) || self->ip_version == config->ip_version);
}

bool listen_socket_overlaps(const struct listen_socket *self, const struct listener_config *config)
{
    return socket_places_overlap(&self->addr, self->ip_version == IP_V6, &config->addr, config->ip_version == IP_V6);
}

int listen_socket_limit_clients(struct listen_socket *self, const struct listener_config *config)
{
    if (config->connections_per_ip == 0 || self->admission)
        return 0;
    return admission_new(&self->admission);
}

/* Of those that accepted sockets inherit: each set, as it may have been another before. */
static int change_tcp_options(int fd, const struct tcp_options *tcp)
{
    int rc = socket_set(fd, IPPROTO_TCP, TCP_NODELAY, tcp->nodelay);

    if (rc == 0)
        rc = socket_set(fd, SOL_SOCKET, SO_KEEPALIVE, tcp->keepalive);
    if (rc == 0)
        rc = socket_set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)tcp->user_timeout_ms);
    if (rc == 0)
        rc = socket_set(fd, IPPROTO_TCP, TCP_FASTOPEN, (int)tcp->fastopen);
    return rc;
}

void listen_socket_configure(struct listen_socket *self, const struct listener_config *config)
{
    bool is_unix = addr_is_unix(&self->addr);

    atomic_store(&self->max_connections, config->max_connections);
    for (uint32_t i = 0; i < self->fd_count; i++) {
        int rc = listen(self->fds[i], (int)config->backlog) < 0 ? -errno : 0;

        if (rc == 0 && !is_unix)
            rc = change_tcp_options(self->fds[i], &config->tcp);
        if (rc < 0)
            log_warn("listener %s: cannot change the options of its socket: %s", config->name, strerror(-rc));
    }
    if (is_unix && self->addr.un.sun_path[0] != '\0' && config->mode != 0 &&
        chmod(self->addr.un.sun_path, config->mode) < 0)
        log_warn("listener %s: cannot change the mode of its file: %s", config->name, strerror(errno));
}

void listen_socket_lend(struct listen_socket *self)
{
    self->is_lent = true;
    self->has_successor = true;
}

void listen_socket_own(struct listen_socket *self)
{
    self->is_lent = self->stays_lent;
}

void listen_socket_stop(struct listen_socket *self)
{
    assert(self->fds || self->fd_count == 0);
    if (self->is_stopped || self->is_lent)
        return;
    self->is_stopped = true;
    for (uint32_t i = 0; i < self->fd_count; i++)
        (void)shutdown(self->fds[i], SHUT_RDWR); /* Linux: a TCP socket stops to listen; later calls fail */
    if (self->inode != 0)
        remove_file(self);
}

void listen_socket_free(struct listen_socket *self)
{
    listen_socket_stop(self);
    assert(self->fds || self->fd_count == 0);
    for (uint32_t i = 0; i < self->fd_count; i++) {
        if (!self->stays_lent || !self->lender || !inherited_give_back(self->lender, self->fds[i]))
            close(self->fds[i]);
    }
    free(self->fds);
    admission_free(self->admission, self->where);
    free(self);
}

void listen_socket_shut(struct listen_socket *self, uint32_t index)
{
    assert(index < self->fd_count);
    if (!self->stays_lent)
        (void)shutdown(self->fds[index], SHUT_RDWR);
}

int listen_socket_fd(const struct listen_socket *self, uint32_t group, uint32_t group_count, uint32_t number)
{
    uint32_t index;

    assert(self->fd_count > 0 && group < group_count);
    index = group % self->fd_count + number * group_count;
    return index < self->fd_count ? self->fds[index] : -1;
}
