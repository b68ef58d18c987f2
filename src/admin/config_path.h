/* Which file a configuration is, whatever it is called: a server and who asks it may have different working directories. */
#pragma once

#include <limits.h>
#include <stdbool.h>

/* The absolute path, without symbolic links as far as they can be read; also of a file that is not there. Empty: unknown. */
void config_path_absolute(const char *path, char out[PATH_MAX]);
/* Whether both lead to the same file; absolute: as config_path_absolute() made it, here or in another process. */
bool config_path_is(const char *path, const char *absolute);
