/* Who the process is and how many files it may open. */
#pragma once

#include "base/macros.h"

struct config;

/* Changes to config->user and config->group, supplementary groups included, if they are given and we are root. 0 or a negative
 * errno after logging why. */
MUST_CHECK int privileges_drop(const struct config *config);
/* Raises the soft limit of open files to the hard one, as every connection needs one. */
void privileges_raise_file_limit(void);
