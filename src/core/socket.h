/* Options of TCP sockets, the same for those we listen on (accepted ones inherit them) and those we connect; and what is at an
 * address already. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/addr.h"
#include "base/macros.h"
#include "core/config.h"

/* One integer option. 0 or a negative errno. */
MUST_CHECK int socket_set(int fd, int level, int name, int value);
/* TCP_NODELAY, keep-alive and user time-out as configured. 0 or a negative errno. */
MUST_CHECK int socket_set_tcp(int fd, const struct tcp_options *tcp);
/* Whether a process listens at a unix socket's address, without waiting for it: 1, with its id, 0 when that is unknown; 0:
 * nobody does; or a negative errno. pid: NULL: nobody asks. */
MUST_CHECK int socket_find_listener(const struct addr *addr, pid_t *pid);
/* Removes a unix socket's file, which is told by its device and inode: one that took its place at the path stays. Nobody else has that
 * inode as long as the socket is open. 0, also when it is not there, or a negative errno. */
MUST_CHECK int socket_remove_file(const char *path, dev_t device, ino_t inode);
/* Whether sockets that listen at these cannot be there together: the same port, and addresses that have one in common. */
bool socket_places_overlap(const struct addr *left, bool left_is_v6_only, const struct addr *right,
                           bool right_is_v6_only);
