/* See filtering.h. */
#include "script/filtering.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/slab.h"
#include "core/conn.h"
#include "core/listener.h"
#include "core/reactor.h"
#include "proxy/server.h"
#include "script/api.h"
#include "script/runtime.h"
#include "script/script_conn.h"

enum { FILTERINGS_PER_BLOCK = 16 };

void filtering_init_slab(struct slab *slab)
{
    slab_init(slab, sizeof(struct filtering), FILTERINGS_PER_BLOCK, 0);
}

static void name_server(struct filtering *filtering, const struct script_conn *server)
{
    char text[ADDR_TEXT_MAX];
    struct addr addr;

    conn_remote(server->conn, &addr);
    snprintf(filtering->server_name, sizeof(filtering->server_name), "%s",
             server->slot.server ? server->slot.server->name : addr_format(&addr, text));
}

static void begin_record(struct filtering *filtering, const struct conn *client, uint64_t connect_ms)
{
    filtering->started_ms = client->reactor->now_ms - connect_ms;
    filtering->record = (struct session_record){
        .conn_id = client->id,
        .listener = client->listener ? client->listener->config->name : "",
        .group = filtering->target,
        .server = filtering->server_name,
        .connect_ms = connect_ms,
    };
    conn_remote(client, &filtering->record.client);
}

struct filtering *filtering_begin(struct script_conn *client, struct script_conn *server, const char *target,
                                  uint64_t connect_ms)
{
    struct slab *slab = &client->runtime->filtering_slab;
    struct filtering *filtering = slab_new(slab);

    if (!filtering)
        return NULL;
    *filtering = (struct filtering){.client = client, .server = server, .target = strdup(target)};
    if (!filtering->target) {
        slab_free(slab, filtering);
        return NULL;
    }
    name_server(filtering, server);
    begin_record(filtering, client->conn, connect_ms);
    script_conn_carry(client, filtering);
    script_conn_carry(server, filtering);
    return filtering;
}

void filtering_count(struct script_conn *from, uint64_t bytes)
{
    struct filtering *filtering = from->filtering;

    if (from == filtering->client)
        filtering->record.bytes_up += bytes;
    else
        filtering->record.bytes_down += bytes;
}

static void cut(const struct filtering *filtering)
{
    if (filtering->client)
        conn_kill(filtering->client->conn, CLOSE_ABORTED);
    if (filtering->server)
        conn_kill(filtering->server->conn, CLOSE_ABORTED);
}

void filtering_lose(struct script_conn *sc)
{
    struct filtering *filtering = sc->filtering;

    if (sc->conn->reactor->state == REACTOR_STOPPING)
        cut(filtering);
    sc->filtering = NULL;
    if (sc == filtering->client)
        filtering->client = NULL;
    else
        filtering->server = NULL;
}

static void end_side(struct script_conn *sc)
{
    if (!sc)
        return;
    conn_close(sc->conn, CLOSE_LOCAL);
    if (sc->is_outgoing)
        script_conn_let_go(sc); /* which loses it */
    else
        filtering_lose(sc);
}

void filtering_end(struct filtering *filtering, enum session_cause cause, enum session_phase phase,
                   struct zerg_forward_result *out)
{
    struct session_record *record = &filtering->record;

    if (!filtering->target) /* it has ended before */
        return;
    record->total_ms = runtime_current()->reactor->now_ms - filtering->started_ms;
    record->cause = cause;
    record->phase = phase;
    end_side(filtering->client);
    end_side(filtering->server);
    session_report(record);
    free(filtering->target);
    filtering->target = NULL;
    if (out)
        *out = (struct zerg_forward_result){
            .bytes_up = (double)record->bytes_up,
            .bytes_down = (double)record->bytes_down,
            .duration_s = (double)record->total_ms / (double)MS_PER_S,
            .server = filtering->server_name,
        };
}

void filtering_free(struct filtering *filtering, struct slab *slab)
{
    assert(!filtering->client && !filtering->server && !filtering->target);
    slab_free(slab, filtering);
}
