/* A forward that the script carries out itself, with filters: both connections are the carrying tasks' alone until it has ended, and
 * it ends with its record whatever becomes of those tasks. Reactor thread only. */
#pragma once

#include <stdint.h>

#include "base/addr.h"
#include "base/macros.h"
#include "proxy/session.h"

struct script_conn;
struct slab;
struct zerg_forward_result;

/* Owned by Lua's struct zerg_filtering. */
struct filtering {
    struct script_conn *client; /* borrowed until it is gone: NULL then */
    struct script_conn *server; /* the same */
    char *target;               /* owned */
    char server_name[ADDR_TEXT_MAX];
    struct session_record record; /* of which the ends and the times are still missing */
    uint64_t started_ms;
};

void filtering_init_slab(struct slab *slab);
/* Begins, for two connections that can be forwarded. NULL without memory. */
MUST_CHECK struct filtering *filtering_begin(struct script_conn *client, struct script_conn *server, const char *target,
                                             uint64_t connect_ms);
/* Bytes that came from this connection of it. */
void filtering_count(struct script_conn *from, uint64_t bytes);
/* One of its connections is gone. A reactor that stops cuts the other one then, too: what was kept back is lost. */
void filtering_lose(struct script_conn *sc);
/* Ends what is left of both in order, and reports. out, if given, is filled in; its strings live as long as this. */
void filtering_end(struct filtering *filtering, enum session_cause cause, enum session_phase phase,
                   struct zerg_forward_result *out);
void filtering_free(struct filtering *filtering, struct slab *slab);
