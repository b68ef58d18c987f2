/* Active checks: which servers are checked, and when. Once for the process, on reactor 0: every server of the present version
 * of every upstream that is configured to have checks. What is found out is kept in the servers (health.h), where all
 * reactors see it. Reactor thread only. */
#pragma once

#include "base/macros.h"

struct checks;
struct proxy;
struct routing;

/* Of nothing yet. 0 and *out, which is NULL on all reactors but the first; or -ENOMEM. */
MUST_CHECK int checks_open(struct checks **out, struct proxy *proxy);
/* Those upstreams are checked from now on that the routing has, as they are configured now. Servers that were checked before keep
 * their state and their turn, unless the interval has become shorter than that; to the others the first checks come in the next
 * turns, spread over the interval. A server that is checked no more is not held down any more. 0, or -ENOMEM: some have no
 * checks. NULL is ignored. */
MUST_CHECK int checks_configure(struct checks *checks, const struct routing *routing);
/* Ends those that are under way and begins no more. Idempotent; NULL is ignored. */
void checks_stop(struct checks *checks);
/* The same, and frees it. */
void checks_close(struct checks *checks);
