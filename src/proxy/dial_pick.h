/* Whom a dial tries next: of the servers of its version that it has not tried, of the connections that are idle here, or beside
 * what is under way. Each pick is a slot that was taken. Reactor thread only. */
#pragma once

#include "base/macros.h"
#include "proxy/balance.h"

struct conn;
struct dial;
struct slot;

/* The next one to try; when there is none, one that is ejected: to refuse everybody would help nobody. */
MUST_CHECK enum pick_outcome dial_pick_next(const struct dial *dial, struct pick *out);
/* An idle connection to a server that could be used, with its slot, from the pool; NULL: there is none. */
MUST_CHECK struct conn *dial_find_idle(const struct dial *dial, struct slot *slot);
/* After PICK_BUSY, and when no such connection is of use: those that are idle here make room. */
MUST_CHECK enum pick_outcome dial_make_room(const struct dial *dial, struct pick *out);
/* Somebody to run beside what is under way, and beside one that just failed (NULL: none has); PICK_NONE when there is nobody. */
MUST_CHECK enum pick_outcome dial_pick_rival(const struct dial *dial, const struct pick *failed, struct pick *out);
