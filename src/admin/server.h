/* A running server: the control thread's work from start to exit. */
#pragma once

#include "base/macros.h"

struct config;
struct config_request;

/* Opens the log, binds, drops privileges, starts the engine, and then handles signals until it has ended: TERM and QUIT drain,
 * INT stops now, HUP reloads as `request` says, USR1 reopens the log file. Main thread only, before any other thread exists. Returns
 * the exit status: 0 after an orderly end, 1 when it could not start (the log says why). */
MUST_CHECK int server_run(struct config *config, const struct config_request *request);
