/* Who the process is and how many files it may open. */
#pragma once

#include <sys/types.h>

#include "base/macros.h"

struct config;

struct identity {
    uid_t uid;
    gid_t gid;
};

/* Who we are to be, by config->user and config->group: who we are, unless they are given. 0 or a negative errno after logging
 * why. */
MUST_CHECK int privileges_find(const struct config *config, struct identity *identity);
/* Changes to config->user and config->group, supplementary groups included, if they are given and we are root. 0 or a negative
 * errno after logging why. */
MUST_CHECK int privileges_drop(const struct config *config);
/* Raises the soft limit of open files to the hard one, as every connection needs one. */
void privileges_raise_file_limit(void);
