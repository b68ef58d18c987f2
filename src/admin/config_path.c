/* See config_path.h. */
#include "admin/config_path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void config_path_absolute(const char *path, char out[PATH_MAX])
{
    char *directory;
    int len;

    if (realpath(path, out))
        return;
    directory = path[0] == '/' ? NULL : getcwd(NULL, 0);
    if (path[0] == '/')
        len = snprintf(out, PATH_MAX, "%s", path);
    else
        len = snprintf(out, PATH_MAX, "%s/%s", directory ? directory : "", path);
    if (len >= PATH_MAX || (path[0] != '/' && !directory))
        out[0] = '\0';
    free(directory);
}

bool config_path_is(const char *path, const char *absolute)
{
    char own[PATH_MAX];
    struct stat left, right;

    config_path_absolute(path, own);
    if (own[0] != '\0' && strcmp(own, absolute) == 0)
        return true;
    return stat(path, &left) == 0 && stat(absolute, &right) == 0 && left.st_dev == right.st_dev &&
           left.st_ino == right.st_ino;
}
