/* Settings that a running server cannot change, as threads and rings are made of them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct config;

/* Writes the keys of those in which `next` differs from the configuration that the server started with: "reactors,
 * reactor.ring_entries", at most out_bytes of it. False: there are none. */
bool settings_need_restart(const struct config *started, const struct config *next, char *out, size_t out_bytes);
