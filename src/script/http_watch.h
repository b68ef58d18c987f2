/* What a script keeps of a connection that speaks HTTP (conn.ctx, on_close callbacks) outlives its requests: the connection is
 * watched, and Lua told when the client has ended its stream and when the connection is over. Reactor thread only. */
#pragma once

#include <stdbool.h>

#include "base/macros.h"

struct conn;
struct runtime;

void http_watch_init(struct runtime *runtime);
/* Of connections that are there still, another version tells. */
void http_watch_deinit(struct runtime *runtime);
/* From now on Lua is told. Idempotent. 0, -EPIPE (the connection has ended), -ENOMEM. */
MUST_CHECK int http_watch_begin(struct runtime *runtime, struct conn *conn);
/* For struct http_server: the client has ended its stream, or the connection is over for HTTP. */
void http_watch_on_news(struct conn *conn, bool is_over);
/* Starts the tasks that tell Lua. Outside of any task. */
void http_watch_announce(struct runtime *runtime);
/* Whether there is anything to tell. */
bool http_watch_has_news(const struct runtime *runtime);
