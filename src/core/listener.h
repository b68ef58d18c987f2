/* A listener of one version of the configuration: what is to be done with the connections of a listening socket. */
#pragma once

#include <stdint.h>

#include "core/config.h"

struct conn_handler;
struct listen_socket;
struct reactor_app;
struct version;

/* Shared by all threads, read-only. */
struct listener {
    const struct listener_config *config;
    uint32_t index;               /* in the configuration */
    struct listen_socket *socket; /* borrowed from the engine while the version lives */
    struct version *version;      /* which it belongs to */
};

/* What of the app stands above its connections, */
const struct conn_handler *listener_handler(const struct listener *listener, const struct reactor_app *app);
/* and before that, where a PROXY protocol header comes first or clients may have so many connections only. */
const struct conn_handler *listener_first_handler(const struct listener *listener, const struct reactor_app *app);
