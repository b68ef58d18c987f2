/* What a reactor is opened with: ring and buffer sizes chosen from configuration and probe, its thread's name and CPU. */
#pragma once

#include "uring/bufring.h"
#include "uring/ring.h"

struct engine;
struct reactor;

/* The submission queue as configured; the completion queue from max_connections. */
struct ring_options reactor_ring_options(const struct engine *engine);
/* Incremental when it is asked for or probed, with large buffers; else 16 KiB ones. */
struct bufring_options reactor_buffer_options(const struct engine *engine);
/* Names the calling thread and pins it to its CPU. */
void reactor_thread_setup(const struct reactor *reactor);
