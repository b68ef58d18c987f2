/* Lua states of versions that have ended. Closing one frees all of its heap at once, which for a large one takes longer than the
 * connections of the reactor should wait: so what it has loaded and made is let go of first, and collected bit by bit, in turns
 * that come. Globals of the scripts stay until the end, for the finalizers that use them. The version stays until then too, so
 * that an operator sees what its memory is. Reactor thread only. */
#pragma once

#include <stdbool.h>

struct host;
struct runtime;

/* Nothing runs in the runtime any more, and no connection is its. It is freed some turns later. */
void retired_add(struct host *host, struct runtime *runtime);
/* Goes on with one of them for about a millisecond; true when there is more to do. Once a turn. */
bool retired_turn(struct host *host);
/* Frees all of them now: the reactor ends. */
void retired_free_all(struct host *host);
