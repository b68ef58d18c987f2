/* Active checks: which servers are checked, and when. Once for the process, on reactor 0: every server of the present version
 * of every upstream that is configured to have checks. What is found out is kept in the servers (health.h), where all
 * reactors see it. */
#pragma once

#include "base/macros.h"

struct checks;
struct proxy;

/* The first checks come in the next turns, spread over the interval. 0 and *out, which is NULL when this reactor has nothing to
 * check; or -ENOMEM. */
MUST_CHECK int checks_open(struct checks **out, struct proxy *proxy);
/* Ends those that are under way and begins no more. Idempotent; NULL is ignored. */
void checks_stop(struct checks *checks);
/* The same, and frees it. */
void checks_close(struct checks *checks);
