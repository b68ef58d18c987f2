/* The loop of the control thread: descriptors with what to call when they are ready, over poll(2). It knows neither time nor
 * what it waits for: the caller brings the longest sleep. Not for the data path, so simple comes before fast.
 * One thread; nothing here allocates. */
#pragma once

#include <stdint.h>

#include "base/limits.h"
#include "base/macros.h"

/* Lives in its owner, who keeps the descriptor open while the source is in a loop. */
struct loop_source {
    int fd;
    short events; /* of poll(2); may be changed at any time, 0: only that the other side hung up, and errors */
    short ready;  /* the loop's: what poll(2) said and nobody was told yet */
    void (*on_ready)(struct loop_source *source, short ready);
};

struct loop {
    struct loop_source *sources[LOOP_SOURCES_MAX]; /* borrowed until removed; NULL: a free place */
};

void loop_init(struct loop *loop);
/* 0, or -ENOSPC: LOOP_SOURCES_MAX are there. Also from within on_ready(); such a source has to wait for the next round. */
MUST_CHECK int loop_add(struct loop *loop, struct loop_source *source);
/* Afterwards the source is not called any more and may be freed, in its own on_ready() as well. Idempotent. */
void loop_remove(struct loop *loop, struct loop_source *source);
/* Waits at most timeout_ms (-1: for ever) and calls every source that is ready, once. 0, also when a signal came first, or
 * the negative errno of poll(2). */
MUST_CHECK int loop_turn(struct loop *loop, int timeout_ms);
