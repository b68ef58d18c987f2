/* See control_path.h. */
#include "admin/control_path.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The first directory of a colon-separated list; 0: there is none. */
static int first_len(const char *list)
{
    return list && list[0] == '/' ? (int)strcspn(list, ":") : 0;
}

int control_path_default(char *out)
{
    const char *service = getenv("RUNTIME_DIRECTORY");
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    int len;

    if (first_len(service) > 0)
        len = snprintf(out, CONTROL_PATH_BYTES, "%.*s/control.sock", first_len(service), service);
    else if (geteuid() == 0)
        len = snprintf(out, CONTROL_PATH_BYTES, "/run/zerg/control.sock");
    else if (runtime && runtime[0] == '/') /* others are to be ignored, says the XDG Base Directory Specification */
        len = snprintf(out, CONTROL_PATH_BYTES, "%s/zerg/control.sock", runtime);
    else
        len = snprintf(out, CONTROL_PATH_BYTES, "/tmp/zerg-%u/control.sock", (unsigned)geteuid());
    return len < 0 || len >= CONTROL_PATH_BYTES ? -ENAMETOOLONG : 0;
}
