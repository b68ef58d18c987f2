/* The PROXY protocol header in front of an accepted connection: waits for it, believes it, and hands the connection to
 * whom its listener is for. Who is not trusted to send one is served as it is.
 *
 * The header is taken off the connection's input to the byte and counts for nothing afterwards, but for conn->proxied. A
 * connection whose header is bad, or not there in time, is reset at once, and the log has a line about it. Reactor thread
 * only. */
#pragma once

struct conn_handler;

/* For listeners with accepts_proxy. Keeps nothing of its own. */
extern const struct conn_handler proxy_accept_handler;
