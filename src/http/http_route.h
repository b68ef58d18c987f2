/* Which route of its listener a request takes: by its host, and by how its path, without escapes and dot segments, begins. */
#pragma once

#include <stdint.h>

#include "base/macros.h"

struct http_head;
struct http_route;
struct listener_config;

/* The first route that fits, in the order of the configuration: that of best host and longest path; NULL: there is none. A request
 * without a path (*, CONNECT) is one for "/". bytes: what the spans of the head count from. 0, or -EINVAL: escapes in the path that
 * are none (http_path_normalize()). */
MUST_CHECK int http_route_find(const struct http_route **out, const struct listener_config *config,
                               const struct http_head *head, const uint8_t *bytes);
