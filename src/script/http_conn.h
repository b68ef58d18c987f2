/* A connection that speaks HTTP/1 to a script: reads one request after the other, starts a task for each, and makes the
 * connection ready for the next when that has ended. Implements struct conn_handler; conn->owner is the struct http_exchange of the
 * present request, NULL between two. Reactor thread only.
 *
 *     idle ──first byte──▶ READS_HEAD ──all of it──▶ RUNS ──handler ended──▶ DRAINS ──end of the body──▶ idle
 *
 * Requests that were sent ahead wait in the connection's unread bytes: they are answered in order, and what is answered in one
 * turn leaves in one send. */
#pragma once

struct conn_handler;
struct reactor;
struct runtime;
struct script_conn;

extern const struct conn_handler http_conn_handler;

void http_conn_init_slabs(struct runtime *runtime);
/* The task that ran the handler has ended. */
void http_conn_handler_ended(struct script_conn *sc);
/* Closes the connections that only wait for a further request. */
void http_conn_drain(struct reactor *reactor);
