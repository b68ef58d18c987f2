/* Starting the program anew, as a process that is nobody's child: its parent is one in between, which ends at once, so that the
 * service manager may take it for its own. What it gets and is told is the caller's matter. */
#pragma once

#include <sys/types.h>

#include "base/macros.h"

enum { SPAWN_PID_BYTES = 32 };

struct spawn {
    int *fds; /* what it has from TAKEOVER_FIRST_FD on, in this order, and nothing behind */
    int fd_count;
    char **environment;
    /* A string of the environment, with SPAWN_PID_BYTES bytes: becomes LISTEN_PID= of the process itself. */
    char *listen_pid;
};

/* Returns when it has become the program, with its process id; 0 or a negative errno: it could not. */
MUST_CHECK int spawn_program(struct spawn *spawn, pid_t *pid);
