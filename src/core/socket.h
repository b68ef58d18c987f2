/* Options of TCP sockets, the same for those we listen on (accepted ones inherit them) and those we connect. */
#pragma once

#include "base/macros.h"
#include "core/config.h"

/* One integer option. 0 or a negative errno. */
MUST_CHECK int socket_set(int fd, int level, int name, int value);
/* TCP_NODELAY, keep-alive and user time-out as configured. 0 or a negative errno. */
MUST_CHECK int socket_set_tcp(int fd, const struct tcp_options *tcp);
