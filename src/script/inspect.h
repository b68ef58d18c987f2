/* What a reactor's connections are at, for its operator. Reactor thread only. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

struct reactor;

enum { INSPECT_WAITS_MAX = 384, INSPECT_NAME_MAX = 64 };

/* A connection as it is now, with nothing that it borrows. */
struct conn_info {
    uint64_t id;
    char peer[ADDR_TEXT_MAX];
    char listener[INSPECT_NAME_MAX]; /* "" for connections of our own making */
    uint32_t version;                /* of the configuration that serves it, or whose script made it, 0: of none */
    const char *state;               /* static: "open", "flushing", ... */
    char waits[INSPECT_WAITS_MAX];   /* what for, with the place in the script: "read at handlers/echo.lua:3" */
    uint64_t age_ms;
    uint64_t bytes_in;
    uint64_t bytes_out;
};

/* Fills in up to max of those in slots from *slot on; how many. *slot is where to go on, 0: that were all. */
uint32_t inspect_conns(const struct reactor *reactor, uint32_t *slot, struct conn_info *out, uint32_t max);
