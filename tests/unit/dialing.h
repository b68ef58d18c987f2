/* Dials of a test: an upstream "app" on the fixture, callers that dial it, and what they are told. A caller takes a connection
 * over and gives its slot back when it ends. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fixture.h"
#include "proxy/dial.h"
#include "proxy/group_view.h"

/* A list of addresses, as dialing_answer() takes it. */
#define DIALING_ADDRS(...) ((const char *const[]){__VA_ARGS__, NULL})

enum { CALLERS_MAX = 8, DIALING_SERVERS_MAX = 4 };

struct server;

struct caller {
    struct dial dial;
    uint32_t done;   /* how often on_done was called */
    uint32_t served; /* which of all outcomes this was, from 1 */
    struct conn *conn;
    struct slot slot;
};

struct dialing {
    struct fixture *f;
    struct server_config servers[DIALING_SERVERS_MAX];
    struct upstream_config app;
    struct caller callers[CALLERS_MAX];
    uint32_t outcomes;
};

/* An upstream that picks in order: 10.0.0.1:80, 10.0.0.2:80, ... with one retry, half a second to connect and room for two
 * to wait, for a second. Tests change it before dialing_begin(). */
int dialing_setup(void **state);
int dialing_teardown(void **state);
/* The fixture, with so many of the servers. */
struct fixture *dialing_begin(struct dialing *t, uint32_t servers);

/* The same, with one server: a name that has these addresses. Returns the view of "app". */
struct group_view *dialing_begin_named(struct dialing *t, const char *const *addrs);

/* The view of "app". */
struct group_view *dialing_view(const struct dialing *t);
/* That of a plain target. */
struct group_view *dialing_plain(const struct dialing *t, const char *target);
/* A caller begins. */
enum dial_outcome dialing_start(struct dialing *t, struct caller *caller, struct group_view *view);
/* The same for "app", which must wait for something; then a turn. */
void dialing_call(struct dialing *t, struct caller *caller);
/* A caller whose connection is there. */
void dialing_connect(struct dialing *t, struct caller *caller);
/* Its connection ends. */
void dialing_hang_up(struct dialing *t, struct caller *caller);
/* The reactor looks for dials that were called, if it was told to; then a turn. */
void dialing_wake(struct dialing *t);

/* What the name of a source is found to be, as if another reactor had asked: addresses, ended by NULL. */
void dialing_answer(struct group_view *view, uint32_t source, uint32_t ttl_ms, const char *const *addrs);
void dialing_answer_problem(struct group_view *view, uint32_t source, const char *problem);

/* The connection that a caller waits for, which must be to that address. */
struct conn *dialing_attempt(const struct caller *caller, const char *addr);
/* How many are under way. */
uint32_t dialing_attempts(const struct caller *caller);
/* The kernel answers it. */
void dialing_result(struct dialing *t, const struct caller *caller, const char *addr, int32_t result);
/* That it was told that once. */
void dialing_assert_failed(const struct caller *caller, enum dial_failure failure);
void dialing_assert_served(const struct caller *caller, const char *addr);
/* A server of the present version. */
struct server *dialing_server(struct group_view *view, uint32_t index);
/* What every dial must leave, once those who took a connection have ended it. */
void dialing_assert_all_back(struct dialing *t, const struct group_view *view);
