/* conn:forward: a task hands its connection to a server. The server is dialled while the connection is still the script's; then
 * a relay has both, until both ends are done and the task goes on. */
#pragma once

#include <stdbool.h>

#include "proxy/group_view.h"
#include "script/api.h"

struct forward;
struct script_conn;
struct slab;
struct task;

void forward_init_slab(struct slab *slab);
/* Begins, for the running task. ZERG_PARK, _END, _CANCELED, _NO_MEMORY, _RANGE (the fields of the header). */
int forward_begin(struct task *task, struct script_conn *client, struct group_view *view,
                  const struct zerg_dial_options *options);
/* The same, to a connection of the script's. */
int forward_begin_conn(struct task *task, struct script_conn *client, struct script_conn *server,
                       const struct zerg_dial_options *options);
/* After a wake. ZERG_OK and *out, _PARK, _END, _CANCELED. */
int forward_finish(struct task *task, struct zerg_forward_result *out);
bool forward_is_of(const struct forward *forward, const struct task *task);

/* Events of the client while a server is being looked for. */
void forward_on_client_input(struct forward *forward);
void forward_on_client_end(struct forward *forward);
