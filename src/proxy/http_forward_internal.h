/* What the files http_forward*.c share. Those functions that say so may end the forward: nothing of it may be touched then. */
#pragma once

#include "proxy/http_forward.h"

struct conn_handler;
struct proxy;

extern const struct http_limits http_answer_limits;
extern const struct conn_handler http_forward_server_handler;

struct proxy *http_forward_proxy(const struct http_forward *forward);

/* http_forward.c: status and text say why there is no (whole) answer. Both end the forward. */
void http_forward_fail(struct http_forward *forward, uint16_t status, const char *text);
/* All of the answer is staged. */
void http_forward_complete(struct http_forward *forward);
/* Closes the server's connection: at once, when it is still at something that nobody wants any more. */
void http_forward_drop_server(struct http_forward *forward);
/* Has the time of the server run, or not, as it is its turn. */
void http_forward_await_server(struct http_forward *forward);
/* The head of the answer is dealt with. */
void http_forward_skip_head(const struct http_forward *forward);
/* Passes on what there is of the request's body. False: that ended the forward. */
bool http_forward_move_up(struct http_forward *forward);

/* The relay has ended, or nobody asks how it will. Ends the forward, unless it is being cancelled. */
void http_forward_end_tunnel(struct http_forward *forward);

/* The server is to blame for what fails. */
void http_forward_blame(const struct http_forward *forward);

/* http_forward_dial.c: looks for a server and sends it the head. May end the forward. */
void http_forward_connect(struct http_forward *forward);
/* The server's connection has ended before the head of an answer was there: tries once more, or fails. May end the forward. */
void http_forward_on_broken(struct http_forward *forward, const char *text);
/* A connection that was used before turns out to be of no use, before anything of the request has left: a new one is made. May
 * end the forward. */
void http_forward_on_stale(struct http_forward *forward);

/* http_forward_answer.c: passes on what there is of the answer's body. May end the forward. */
void http_forward_move_down(struct http_forward *forward);

/* http_forward_tunnel.c: the server has agreed to another protocol. May end the forward. */
void http_forward_switch(struct http_forward *forward);
/* There is the connection that CONNECT asked for. May end the forward. */
void http_forward_connected(struct http_forward *forward);
/* Cuts the relay; nobody is told. */
void http_forward_cut_tunnel(struct http_forward *forward);
