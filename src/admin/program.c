/* See program.h. */
#include "admin/program.h"

#include <sys/types.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

static struct {
    char path[PATH_BYTES];
    char **argv;
} program;

void program_remember(char **argv)
{
    ssize_t len = readlink("/proc/self/exe", program.path, sizeof(program.path) - 1);

    program.path[len > 0 ? len : 0] = '\0';
    program.argv = argv;
}

const char *program_path(void)
{
    return program.path;
}

char **program_argv(void)
{
    return program.argv;
}
