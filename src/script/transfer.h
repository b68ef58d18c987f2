/* conn:relay(to, n): C moves the next n received bytes of one connection to another while the task parks. Both stay the
 * script's: nobody else reads from the one meanwhile, and only this writes relayed bytes to the other. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct conn;
struct script_conn;
struct slab;
struct task;
struct transfer;

void transfer_init_slab(struct slab *slab);
/* Begins, for the running task, which may read `from`; nothing else may flow to `to`. `bytes` UINT64_MAX: all that come. ZERG_OK,
 * _PARK, _END (zerg_pending_reason() says why), _CANCELED, _NO_MEMORY. */
int transfer_begin(struct task *task, struct script_conn *from, struct script_conn *to, uint64_t bytes);
/* After a wake. ZERG_OK, _PARK, _END, _CANCELED, _NO_MEMORY. */
int transfer_finish(struct task *task);

bool transfer_is_of(const struct transfer *transfer, const struct task *task);

/* Events of the two connections. */
void transfer_move(struct transfer *transfer);
void transfer_on_room(struct transfer *transfer);
void transfer_on_end(struct transfer *transfer, const struct conn *ended);
