/* A connection that speaks HTTP/1 to clients: reads one request after the other, finds its route, has a handler answer it, and
 * makes the connection ready for the next. Implements struct conn_handler; conn->owner is the struct http_exchange of the present
 * request, NULL between two. Reactor thread only.
 *
 *     idle ──first byte──▶ READS_HEAD ──all of it──▶ RUNS ──handler is done──▶ DRAINS ──end of the body──▶ idle
 *
 * Requests that were sent ahead wait in the connection's unread bytes: they are answered in order, and what is answered in one
 * turn leaves in one send. */
#pragma once

struct conn;
struct conn_handler;

extern const struct conn_handler http_conn_handler;

/* The connection is to end, and may wait for a request: the first one of a connection that has just come has the time of a head,
 * any other HTTP_LAST_REQUEST_MS. */
void http_conn_drain(struct conn *conn);
