/* When a server is usable: passive health, from how connections to it went, and active health, from the results of
 * checks. Only what follows from results; connecting and checking are done elsewhere. Both say what changed, so that
 * the caller logs each change once. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct pick;
struct server;
struct upstream;

enum attempt_result {
    ATTEMPT_OK,        /* connected, or answered: the server works */
    ATTEMPT_FAILED,    /* refused, timed out, reset, or an answer that says so */
    ATTEMPT_ABANDONED, /* ended for another reason, so nothing is known: the client went away */
};

enum check_result { CHECK_PASSED, CHECK_FAILED };

enum health_change {
    HEALTH_SAME,
    HEALTH_EJECTED,  /* passive: no connections for fail_timeout, then one trial */
    HEALTH_RETURNED, /* passive: the trial, or a last resort, succeeded */
    HEALTH_DOWN,     /* active: `fall` checks in a row failed */
    HEALTH_UP,       /* active: `rise` checks in a row passed */
};

/* What came of a pick; once for each, any thread.
 *
 * max_fails failures within fail_timeout (counted from the first of them, whatever succeeded in between) eject the
 * server for fail_timeout. After that one connection tries it: if it succeeds the server is back (with slow start), if
 * it fails the server is ejected for another fail_timeout. Other connections that began before the ejection and end
 * during it change nothing, nor do those that were made to an ejected server as a last resort and fail; one that succeeds brings
 * the server back at once. The last server of the upstream that can be used is not ejected: to refuse
 * everybody would help nobody. upstream: any version that has the server; its limits hold. */
enum health_change health_on_attempt(const struct upstream *upstream, const struct pick *pick,
                                     enum attempt_result result, uint64_t now_ms);

/* The result of one active check; for each server in order and from one thread. A server that comes up starts slowly,
 * and its ejection is forgotten: that it works is known better now. */
enum health_change health_on_check(const struct upstream *upstream, struct server *server, enum check_result result,
                                   uint64_t now_ms);

/* The server is not checked any more. True when checks held it down, which ends with this. From the thread that checked. */
bool health_forget_checks(struct server *server);
