/* zerg.resolve: a task that asks for the addresses of a name. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct slab;
struct task;

void lookup_init_slab(struct slab *slab);
/* Begins, for the running task; the answer to a numeric address comes as any other. ZERG_PARK, _END, _CANCELED, _NO_MEMORY, _NO_TARGET. */
int lookup_begin(struct task *task, const char *name, size_t len);
/* After a wake: how many addresses there are, at least 1; or ZERG_LOOKUP_PARK, ZERG_END, ZERG_CANCELED. */
int lookup_finish(struct task *task);
/* The text of one of them; valid until the next call. "" when there is none at that place. */
const char *lookup_address(const struct task *task, uint32_t place);
