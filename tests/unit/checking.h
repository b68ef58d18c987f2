/* A reactor on the fake ring that checks the servers of one upstream, "app": for tests of active checks. */
#pragma once

#include <stdint.h>

#include "core/config.h"
#include "fixture.h"
#include "proxy/server.h"

struct group_set;

enum { INTERVAL_MS = 2000, TIMEOUT_MS = 1000, SERVERS = 3 };

/* "127.0.0.1:3001" and so on. */
extern struct server_config checked_servers[SERVERS];

/* Checks by connecting to the first server: 3 failures are down, 2 passes are up. */
struct upstream_config usual_checks(void);
struct fixture *checking_fixture(const struct upstream_config *config);
/* The upstreams of another configuration, which is that upstream; not applied. */
struct group_set *checking_set(struct fixture *f, const struct upstream_config *config);
/* The reactor turns to it, as in a reload. */
void checking_configure(struct fixture *f, const struct upstream_config *config);
/* A test's setup with usual_checks(). */
int setup_checks(void **state);

/* A connection of a check that is not over, to the server of that name or the first one; NULL: there is none. */
struct conn *check_to(struct fixture *f, const char *server);
struct conn *present_check(struct fixture *f);
/* The one that is under way to the first server, or comes next. */
struct conn *next_check(struct fixture *f);
/* It connects, or fails to, and ends with that. */
void end_check(struct fixture *f, int32_t result);
const struct server *checked_server(struct fixture *f, uint32_t index);
enum server_state first_state(struct fixture *f);
