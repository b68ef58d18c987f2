/* See admission.h. */
#include "core/admission.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/addr.h"
#include "base/limits.h"
#include "base/log.h"
#include "core/client_table.h"
#include "core/conn.h"
#include "core/listen_socket.h"
#include "core/listener.h"
#include "core/reactor.h"

struct admission {
    struct client_table *clients;     /* owned */
    _Atomic uint64_t refused;         /* connections that the log does not know of yet */
    _Atomic uint64_t report_again_ms; /* not before is it told */
};

int admission_new(struct admission **out)
{
    struct admission *admission = calloc(1, sizeof(*admission));
    int rc;

    if (!admission)
        return -ENOMEM;
    rc = client_table_new(&admission->clients);
    if (rc < 0) {
        free(admission);
        return rc;
    }
    *out = admission;
    return 0;
}

void admission_free(struct admission *admission, const char *where)
{
    uint64_t refused;

    if (!admission)
        return;
    refused = atomic_load(&admission->refused);
    if (refused > 0)
        log_warn("listener %s: refused %llu more connections by limits.connections_per_ip", where,
                 (unsigned long long)refused);
    client_table_free(admission->clients);
    free(admission);
}

/* Whose connection it is: family AF_UNSPEC when nobody's. */
static void client_of(const struct conn *conn, struct addr *out)
{
    if (conn->proxied)
        *out = conn->proxied->source;
    else
        conn_peer(conn, out);
}

/* The first refusal is told at once; who refuses many is told how many. */
static void report(struct admission *admission, const struct listener_config *config, const struct addr *client,
                   uint64_t now_ms)
{
    uint64_t again_ms = atomic_load(&admission->report_again_ms);
    char host[ADDR_TEXT_MAX];

    atomic_fetch_add(&admission->refused, 1);
    if (now_ms < again_ms ||
        !atomic_compare_exchange_strong(&admission->report_again_ms, &again_ms, now_ms + ADMISSION_REPORT_MS))
        return;
    log_warn("listener %s: refused %llu connections of clients that have %u (limits.connections_per_ip), the last "
             "from %s",
             config->name, (unsigned long long)atomic_exchange(&admission->refused, 0), config->connections_per_ip,
             addr_format_host(client, host));
}

bool admission_admit(struct conn *conn)
{
    const struct listener_config *config = conn->listener->config;
    struct admission *admission = conn->listener->socket->admission;
    struct addr client;
    int rc;

    client_of(conn, &client);
    rc = client_table_enter(admission->clients, &client, config->connections_per_ip, &conn->client);
    if (rc == 0)
        return true;
    if (rc == -EBUSY)
        report(admission, config, &client, conn->reactor->now_ms);
    conn_kill(conn, rc == -EBUSY ? CLOSE_ABORTED : CLOSE_NO_MEMORY);
    return false;
}

void admission_leave(struct conn *conn)
{
    client_table_leave(conn->listener->socket->admission->clients, conn->client);
    conn->client = NULL;
}

/* ---- the handler: only its end can come while it stands above a connection ---- */

static void on_end(struct conn *conn)
{
    (void)conn; /* it was refused */
}

const struct conn_handler admission_handler = {
    .on_open = reactor_begin_serving,
    .on_end = on_end,
};
