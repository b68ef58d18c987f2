/* Where the control socket is when nobody says: the same for servers and for those who ask them. */
#pragma once

#include "base/macros.h"

enum {
    CONTROL_PATH_BYTES = 96
}; /* with the NUL; what is left of a unix socket's 108 is for a temporary name beside it */

/* control.sock in $RUNTIME_DIRECTORY, which systemd makes for a service (systemd.exec(5), RuntimeDirectory=). Outside of
 * one, /run/zerg/control.sock for root; for others control.sock in $XDG_RUNTIME_DIR/zerg or /tmp/zerg-UID. out has
 * CONTROL_PATH_BYTES bytes. 0 or -ENAMETOOLONG. */
MUST_CHECK int control_path_default(char *out);
