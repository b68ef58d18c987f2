/* `zerg repl`: lines of Lua go to a reactor of a running server, and what comes of them is shown. At a terminal with line
 * editing and a history; otherwise line by line, as they come, without a prompt. A chunk that is not finished goes on in the
 * next line. */
#pragma once

#include "base/macros.h"

struct client;

/* Until the input ends. 0; or a negative errno: the server has gone or no such reactor, or input that is not a terminal's had chunks that failed.
 * What went wrong is said on stderr. */
MUST_CHECK int repl_run(struct client *client, int reactor);
