/* Receives that met an empty buffer ring: who waits for buffers, and in which order they are armed again. Reactor thread
 * only. */
#pragma once

#include <stdbool.h>

struct conn;
struct reactor;

/* The connection's receive ended with -ENOBUFS, although its peer is fine. Re-arming now would only fail again: it waits
 * until buffers are with the kernel. */
void starved_add(struct conn *conn);
bool starved_is_any(const struct reactor *reactor);
/* Once a turn, when buffers were given back: arms again, oldest first, as many as there are buffers with the kernel. The
 * first may take all of them: those who then get nothing once more keep their place before all others. */
void starved_rearm(struct reactor *reactor);
