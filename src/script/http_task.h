/* HTTP requests that a script answers: a task for each, from the head until the handler has ended. Implements struct
 * http_handler; exchange->owner is the script side of its connection. Reactor thread only. */
#pragma once

struct http_handler;
struct script_conn;

extern const struct http_handler http_task_handler;

/* The task has ended. */
void http_task_ended(struct script_conn *sc);
