/* req:forward: a task hands its request to a server, and goes on when the answer has been passed on, or there is none. In between it
 * may look at the answer's head. */
#pragma once

#include "script/api.h"

struct group_view;
struct http_exchange;
struct http_forwarding;
struct http_head;
struct script_conn;
struct slab;
struct task;

void http_forwarding_init_slab(struct slab *slab);
/* Begins, for the running task, which serves the exchange. ZERG_PARK, _END, _HEAD, _CANCELED, _NO_MEMORY. */
int http_forwarding_begin(struct task *task, struct script_conn *sc, struct group_view *view,
                          const struct zerg_http_forward_options *options);
/* After a wake. ZERG_OK and *out, _HEAD, _PARK, _END, _CANCELED. */
int http_forwarding_finish(struct task *task, struct zerg_http_forward_result *out);
/* After ZERG_HEAD, with changes in place of the ones that were asked for first, or NULL. As http_forwarding_finish() without
 * _OK. */
int http_forwarding_go_on(struct task *task, const struct zerg_http_field *fields, uint32_t count);
/* The head that HEAD tells of, and the bytes that its spans count from; NULL: there is none just now. */
const struct http_head *http_forwarding_head(const struct http_forwarding *forwarding, const uint8_t **bytes);

/* Events of its exchange. */
void http_forwarding_on_input(struct http_forwarding *forwarding);
void http_forwarding_on_output(struct http_forwarding *forwarding);
void http_forwarding_on_read_timeout(struct http_forwarding *forwarding);
/* Its client has gone, or its handler has ended: so has this, unless it is a tunnel, which goes on for the task that began it. */
void http_forwarding_abandon(struct http_forwarding *forwarding);
