/* The commands that ask a running server: what they send, and what they say of the answer. */
#pragma once

#include "base/macros.h"

struct cli;

/* ASK_NOBODY: no server could be asked there. */
enum ask_outcome { ASK_DONE, ASK_FAILED, ASK_NOBODY };

/* Runs a command that is for a running server with the one whose control socket is at the path. */
MUST_CHECK enum ask_outcome ask_run(const struct cli *cli, const char *path);
