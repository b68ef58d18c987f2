/* Sockets that listen, for tests of what has or takes them. */
#pragma once

#include <stdint.h>

#include "base/addr.h"
#include "core/config.h"
#include "core/listen_socket.h"

/* Opens a listening socket of its own; the test fails when it cannot. */
void open_ok(struct listen_socket **out, const struct listener_config *config, uint32_t fd_count);
/* The outcome of connecting to an address: 0 or a negative errno. */
int connect_to(const struct addr *addr);
/* A descriptor that listens at an abstract address of its own. */
int listen_somewhere(void);
