/* The server at the usual place, for commands whose configuration leads to none: whether there is one, and what it serves. Says
 * nothing itself. */
#pragma once

#include <limits.h>
#include <stdbool.h>

#include "admin/control_path.h"

struct usual_server {
    char path[CONTROL_PATH_BYTES];
    char config_path[PATH_MAX]; /* absolute; empty: it has none, or does not tell */
};

/* False: no server answers there that this user may ask. */
bool usual_server_find(struct usual_server *out);
