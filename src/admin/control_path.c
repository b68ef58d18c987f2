/* See control_path.h. */
#include "admin/control_path.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int control_path_default(char *out)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    int len;

    if (geteuid() == 0)
        len = snprintf(out, CONTROL_PATH_BYTES, "/run/zerg/control.sock");
    else if (runtime && runtime[0] == '/') /* others are to be ignored, says the XDG Base Directory Specification */
        len = snprintf(out, CONTROL_PATH_BYTES, "%s/zerg/control.sock", runtime);
    else
        len = snprintf(out, CONTROL_PATH_BYTES, "/tmp/zerg-%u/control.sock", (unsigned)geteuid());
    return len < 0 || len >= CONTROL_PATH_BYTES ? -ENAMETOOLONG : 0;
}
