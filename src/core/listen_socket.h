/* A listening socket: what is bound to one address, with every option set that accepted sockets inherit (TCP_NODELAY,
 * keep-alive, user time-out), so that accepting costs no further call. It outlives the version of the configuration that
 * opened it while a newer one listens there too: who waits in its backlog never notices. Opened and closed by the control
 * thread. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/addr.h"
#include "base/macros.h"
#include "core/config.h"

enum { LISTEN_ERROR_MAX = 512 };

struct admission;
struct inherited;

/* Shared by all threads; read-only but for what says otherwise. */
struct listen_socket {
    uint32_t slot; /* in engine->sockets */
    struct addr addr;
    enum ip_version ip_version;
    char where[ADDR_TEXT_MAX]; /* addr as text */
    dev_t device;              /* of a unix socket: its file, that which was there when it was opened, */
    ino_t inode;               /* 0: it has none */
    uint32_t fd_count;         /* 1, or one per reactor with SO_REUSEPORT; or what was there already */
    struct inherited *lender;  /* borrowed: where those that stay lent go back to; NULL: nowhere */
    int *fds;                  /* owned; borrowed by the accept groups until they have left */
    bool is_lent;              /* another process listens there too: it is left, not shut down; the control thread's */
    bool stays_lent;           /* by the service manager, which goes on with it: the control thread's */
    bool has_successor;        /* that other process takes our place: set before accept groups are told to stop */
    bool is_stopped;           /* by listen_socket_stop(): the control thread's */
    uint32_t versions;         /* that have a listener here: the control thread's */
    atomic_uint groups;        /* accept groups that have it as a source */
    atomic_uint open;          /* connections that were accepted and not closed yet */
    atomic_uint max_connections; /* as the present version says, 0: no limit */
    /* Owned; made before the first version that limits clients is served; NULL: none has. */
    struct admission *admission;
};

/* Takes what the process was started with, all that is bound there, as it is (listen_socket_configure() is to follow), else opens,
 * binds and listens. inherited, which is to outlive it: NULL: nothing. fd_count > 1 asks for SO_REUSEPORT (a unix socket has one
 * descriptor all the same, which all share). 0, or a negative errno with a sentence in error (LISTEN_ERROR_MAX bytes) that says what
 * to do. */
MUST_CHECK int listen_socket_open(struct listen_socket **out, const struct listener_config *config, uint32_t fd_count,
                                  struct inherited *inherited, char *error);
/* Whether it is bound as this listener is to be. */
bool listen_socket_is_for(const struct listen_socket *self, const struct listener_config *config);
/* Whether it keeps this listener from being bound. */
bool listen_socket_overlaps(const struct listen_socket *self, const struct listener_config *config);
/* Makes what limits.connections_per_ip needs, if the listener has it. 0 or -ENOMEM. */
MUST_CHECK int listen_socket_limit_clients(struct listen_socket *self, const struct listener_config *config);
/* The options of another version for the same address: a failure is logged, and the old ones stay. */
void listen_socket_configure(struct listen_socket *self, const struct listener_config *config);
/* Another process takes our place and goes on with it: it is neither shut down from now on nor is its file removed. */
void listen_socket_lend(struct listen_socket *self);
/* The process that had it before goes on without it. */
void listen_socket_own(struct listen_socket *self);
/* Refuses new connections from now on, unless another process listens there too; the descriptors stay until
 * listen_socket_free(), as accepts may be armed on them. Idempotent. */
void listen_socket_stop(struct listen_socket *self);
/* Closes the sockets and removes a unix socket's file; no connection is left, and no accept group has it. */
void listen_socket_free(struct listen_socket *self);
/* Refuses new connections on one of its descriptors: nobody goes on with it, but with others. */
void listen_socket_shut(struct listen_socket *self, uint32_t index);
/* The descriptor of that number, from 0 on, that one of several accept groups uses, -1: it has no more. Each has one at least, and
 * each descriptor is somebody's: the kernel chooses among all that share a port, whether anybody accepts there or not. */
int listen_socket_fd(const struct listen_socket *self, uint32_t group, uint32_t group_count, uint32_t number);
