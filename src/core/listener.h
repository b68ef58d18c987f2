/* Listening sockets: opened by the control thread before anything runs, with every option set that accepted sockets inherit
 * (TCP_NODELAY, keep-alive, user time-out), so that accepting costs no further call. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "core/config.h"

enum { LISTENER_ERROR_MAX = 256 };

struct admission;
struct conn_handler;
struct reactor_app;

/* Shared by all threads. */
struct listener {
    const struct listener_config *config; /* read-only */
    uint32_t index;                       /* in the configuration */
    uint32_t fd_count;                    /* 1, or one per reactor with SO_REUSEPORT */
    int *fds;                             /* owned; borrowed by the accept groups until they stopped */
    bool is_stopped;                      /* by listener_stop(): the control thread's */
    atomic_uint open;                     /* connections that were accepted and not closed yet */
    struct admission *admission;          /* owned; NULL: clients may have any number of them */
};

/* Opens, binds and listens. fd_count > 1 asks for SO_REUSEPORT (a unix socket has one descriptor all the same, which all
 * share). 0, or a negative errno with a sentence in error (LISTENER_ERROR_MAX bytes) that says what to do. */
MUST_CHECK int listener_open(struct listener *listener, const struct listener_config *config, uint32_t index,
                             uint32_t fd_count, char *error);
/* Refuses new connections from now on; the descriptors stay until listener_close(), as accepts may be armed on them. Idempotent. */
void listener_stop(struct listener *listener);
/* Closes the sockets and removes a unix socket's file; no connection is left. Idempotent. */
void listener_close(struct listener *listener);
/* The descriptor that accept group `group` uses. */
int listener_fd(const struct listener *listener, uint32_t group);

/* What of the app stands above its connections, */
const struct conn_handler *listener_handler(const struct listener *listener, const struct reactor_app *app);
/* and before that, where a PROXY protocol header comes first or clients may have so many connections only. */
const struct conn_handler *listener_first_handler(const struct listener *listener, const struct reactor_app *app);
