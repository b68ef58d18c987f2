/* zerg.connect: a task that dials, and what becomes of the connection. */
#pragma once

#include <stdint.h>

struct conn;
struct group_view;
struct task;
struct zerg_conn;
struct zerg_dial_options;
struct dial_options;
struct slab;

void connecting_init_slab(struct slab *slab);
/* What the options of a script say of a dial; client: for whom, NULL: nobody. */
struct dial_options connecting_options(struct group_view *view, const struct zerg_dial_options *options,
                                       const struct conn *client);
/* Begins, for the running task. ZERG_OK, _PARK, _END, _CANCELED, _NO_MEMORY. */
int connecting_begin(struct task *task, struct group_view *view, const struct zerg_dial_options *options,
                     struct zerg_conn *out);
/* After a wake. ZERG_OK, _PARK, _END, _CANCELED. */
int connecting_finish(struct task *task, struct zerg_conn *out);
