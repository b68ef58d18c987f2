/* See program.h. */
#include "admin/program.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#define SELF "/proc/self/exe"

enum { PATH_BYTES = 4096 };

static struct {
    char path[PATH_BYTES];
    char **argv;
} program;

/* What execve(2) was given, made absolute. False: it does not fit. */
static bool name_started(const char *started, char *out)
{
    char *directory = started[0] == '/' ? NULL : get_current_dir_name(); /* by its symbolic links, too */
    int len;

    if (started[0] == '/')
        len = snprintf(out, PATH_BYTES, "%s", started);
    else
        len = snprintf(out, PATH_BYTES, "%s/%s", directory ? directory : "", started);
    free(directory);
    return len < PATH_BYTES;
}

/* An interpreter of programs, or a descriptor, was started in place of it. */
static bool is_other(const char *path)
{
    struct stat status, self;

    return stat(path, &status) < 0 || stat(SELF, &self) < 0 || status.st_dev != self.st_dev ||
           status.st_ino != self.st_ino;
}

void program_remember(char **argv)
{
    const char *started = (const char *)getauxval(AT_EXECFN);
    ssize_t len;

    program.argv = argv;
    if (started && name_started(started, program.path) && !is_other(program.path))
        return;
    len = readlink(SELF, program.path, sizeof(program.path) - 1);
    program.path[len > 0 ? len : 0] = '\0';
}

const char *program_path(void)
{
    return program.path;
}

char **program_argv(void)
{
    return program.argv;
}
