/* Listening sockets that the process was started with: by the service manager, or by the process whose place it takes. A listener
 * takes those that are bound to its address in place of opening its own. Those of the service manager stay here while no
 * listener has them, as it gives them once only, and a later version may have one. Control thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/macros.h"

enum { INHERITED_MAX = 4096 };

struct listener_config;

struct inherited_socket {
    int fd; /* owned until it is taken; -1: it was closed */
    bool is_taken;
    struct addr addr;
    bool is_v6_only;
    bool stays_lent; /* the service manager has it too and goes on with it: it is never to be shut down */
};

/* Whether nobody has it. */
static inline bool inherited_is_spare(const struct inherited_socket *socket)
{
    return socket->fd >= 0 && !socket->is_taken;
}

struct inherited {
    struct inherited_socket *sockets; /* owned */
    uint32_t count;
};

/* Adds a descriptor, which becomes close-on-exec. 0, or a negative errno: it is no listening stream socket of a family that zerg
 * knows (-ENOTSUP), or no descriptor; it is the caller's still then. */
MUST_CHECK int inherited_add(struct inherited *inherited, int fd, bool stays_lent);
/* How many are bound as the listener is to be. */
uint32_t inherited_count(const struct inherited *inherited, const struct listener_config *config);
/* Takes them: how many, in fds, which has room. *stays_lent: as of the first. */
uint32_t inherited_take(struct inherited *inherited, const struct listener_config *config, int *fds, bool *stays_lent);
/* Whether that descriptor was taken. */
bool inherited_has_taken(const struct inherited *inherited, int fd);
/* Of one that keeps the listener from being bound, as nobody took it, or as it stays lent; NULL: there is none. Borrowed. */
const struct addr *inherited_find_overlap(const struct inherited *inherited, const struct listener_config *config);
/* Gives one back that was taken. False: it is none of them. */
MUST_CHECK bool inherited_give_back(struct inherited *inherited, int fd);
/* Closes what nobody took but for what stays lent, and says both in the log. */
void inherited_drop(struct inherited *inherited);
/* Closes what nobody has, and frees all. */
void inherited_close(struct inherited *inherited);
