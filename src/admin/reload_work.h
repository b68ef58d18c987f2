/* What a reload has its thread do: read the configuration, load the scripts of every reactor, end those that nobody has. The thread
 * wakes the control thread when it is_done; what comes of it is reload.c's business. */
#pragma once

#include "admin/reload.h"
#include "base/macros.h"

/* Begins that stage, READ, LOAD or DROP, with a thread. 0 or a negative errno. Control thread, when there is no other. */
MUST_CHECK int reload_start_work(struct reload *reload, enum reload_stage stage);
/* One more line of what is wrong. The thread, or the control thread while there is none. */
void reload_add_problem(struct reload *reload, const char *format, ...) PRINTF_LIKE(2, 3);
