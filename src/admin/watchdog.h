/* Notices handlers that never park: a reactor that is in one resume of a script for longer than script_stall is reported once,
 * with the script's line. Sleeps while no reactor turns. Control thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"

struct engine;
struct watched;

struct watchdog {
    struct engine *engine;    /* borrowed */
    uint32_t stall_ms;        /* 0: off */
    struct watched *reactors; /* owned */
};

/* 0 or -ENOMEM. */
MUST_CHECK int watchdog_init(struct watchdog *watchdog, struct engine *engine, uint32_t stall_ms);
void watchdog_deinit(struct watchdog *watchdog);
/* Looks at every reactor. Returns the milliseconds until it wants to look again, -1 for "when the control eventfd says so". */
int watchdog_look(struct watchdog *watchdog, uint64_t now_ms);
