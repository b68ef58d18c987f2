/* The two clocks: monotonic for deadlines, wall for log lines and zerg.time(). A reactor reads the monotonic
 * one once a turn; everything below it takes `now`. */
#pragma once

#include <stdint.h>

#define NS_PER_S 1000000000ULL
#define NS_PER_MS 1000000ULL
#define MS_PER_S 1000ULL

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t clock_now_ns(void);
/* Milliseconds of CLOCK_MONOTONIC. */
uint64_t clock_now_ms(void);
/* Nanoseconds since the epoch, CLOCK_REALTIME. */
uint64_t clock_wall_ns(void);
