/* The commands that ask a running server: what they send, and what they say of the answer. */
#pragma once

#include "base/macros.h"

struct cli;

/* The exit status. */
enum ask_outcome { ASK_DONE = 0, ASK_FAILED = 1 };

/* Runs a command that is for a running server with the one whose control socket is at the path. */
MUST_CHECK enum ask_outcome ask_run(const struct cli *cli, const char *path);
