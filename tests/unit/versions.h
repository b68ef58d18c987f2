/* A version of the configuration made by hand: no socket is opened, and its parts are as version_new() leaves them. */
#pragma once

#include <stdint.h>

#include "core/listen_socket.h"
#include "core/version.h"

struct config;
struct engine;

enum { VERSION_SOCKET_FD = 900 }; /* of no use but to name it: that of socket N is 900 + N */

/* With a listening socket for each listener of the configuration, from sockets[0] on; borrowed until the version is freed. The
 * engine has its reactors already. */
struct version *version_by_hand(struct engine *engine, struct config *config, struct listen_socket *sockets);
/* Before it is used: it has no listener of that index after all. Those behind it move up. */
void version_by_hand_remove(struct version *version, uint32_t index);
void version_by_hand_free(struct version *version);
