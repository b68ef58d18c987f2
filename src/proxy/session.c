/* See session.h. */
#include "proxy/session.h"

#include <stddef.h>

#include "base/log.h"

static void (*taker)(const struct session_record *record);

void session_set_sink(void (*sink)(const struct session_record *record))
{
    taker = sink;
}

static void log_record(const struct session_record *record)
{
    char client[ADDR_TEXT_MAX];

    log_debug("session: conn=%llu client=%s listener=%s upstream=%s server=%s bytes_up=%llu bytes_down=%llu "
              "connect_ms=%llu total_ms=%llu end=%c%c",
              (unsigned long long)record->conn_id, addr_format(&record->client, client), record->listener,
              record->group, record->server, (unsigned long long)record->bytes_up,
              (unsigned long long)record->bytes_down, (unsigned long long)record->connect_ms,
              (unsigned long long)record->total_ms, record->cause, record->phase);
}

void session_report(const struct session_record *record)
{
    if (taker)
        taker(record);
    else if (log_is_on(LOG_DEBUG))
        log_record(record);
}
