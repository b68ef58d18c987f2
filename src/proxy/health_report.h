/* Telling health how it went with a server, and those whom it concerns what that changes. Reactor thread only. */
#pragma once

#include "proxy/health.h"

struct group_view;

/* As health_on_attempt(): a change is logged, and who waits in line for a server is called. */
void health_report(const struct group_view *view, const struct upstream *upstream, const struct pick *pick,
                   enum attempt_result result);
