/* Replies of a server as people read them: `status`, `connections` and `servers` as tables. What a reply does not have is shown
 * as "-", and a table that it does not have not at all: servers of other versions are understood as far as possible. */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "base/macros.h"

/* 0, or -ENOMEM: not all was printed. */
MUST_CHECK int report_status(const json_t *reply, FILE *out);
MUST_CHECK int report_connections(const json_t *reply, FILE *out);
MUST_CHECK int report_servers(const json_t *reply, FILE *out);
