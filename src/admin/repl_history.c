/* See repl_history.h. */
#include "admin/repl_history.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <editline/readline.h>

#include "base/limits.h"

static char path[PATH_MAX]; /* "": there is no place for it */

/* XDG Base Directory Specification: what is to persist between starts, but is not worth a backup. */
static void find_path(void)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    int len = -1;

    if (state && state[0] == '/')
        len = snprintf(path, sizeof(path), "%s/zerg/history", state);
    else if (home && home[0] == '/')
        len = snprintf(path, sizeof(path), "%s/.local/state/zerg/history", home);
    if (len < 0 || (size_t)len >= sizeof(path))
        path[0] = '\0';
}

/* All directories of the path that are missing. */
static void make_directories(void)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, 0700); /* what stays missing is found when the file is written */
        *slash = '/';
    }
}

void repl_history_load(void)
{
    umask(077); /* of this program from now on: lines may have secrets in them */
    find_path();
    using_history();
    stifle_history(REPL_HISTORY_LINES);
    if (path[0] == '\0')
        return;
    make_directories();
    (void)read_history(path);
}

void repl_history_add(const char *line)
{
    add_history(line);
    if (path[0] != '\0')
        (void)write_history(path);
}
