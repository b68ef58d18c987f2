/* Who may stay on a listener that has limits.connections_per_ip: counts the connections of each client address, over all
 * reactors, and resets those past the limit before anybody serves them.
 *
 * The client is whom a believed PROXY protocol header names, and nobody when it names none: the proxy's own address is
 * never what limits. Without a header it is the peer of the socket, on a unix socket nobody. A connection counts from the
 * moment its client is known until its socket is closed, whatever ends it. */
#pragma once

#include <stdbool.h>

#include "base/macros.h"

struct admission;
struct conn;
struct conn_handler;

/* What all reactors share of one listening socket. 0 and *out, or a negative errno. Control thread. */
MUST_CHECK int admission_new(struct admission **out);
/* Says in the log what it has not said yet, of the socket bound to `where`. Asserts that every connection has left. NULL is
 * allowed. */
void admission_free(struct admission *admission, const char *where);

/* Stands above a connection whose client is known from the start, until it is admitted; then it goes on to
 * reactor_begin_serving(). Keeps nothing of its own. */
extern const struct conn_handler admission_handler;

/* For reactor.c. Counts a connection whose client is known now. False when that has too many: the connection is being reset
 * then, and the log says so, in a line now and again for all of the listener. The reactor's thread. */
MUST_CHECK bool admission_admit(struct conn *conn);
/* A connection that was admitted is closed. */
void admission_leave(struct conn *conn);
