/* Timers of one thread: a hierarchical wheel with ticks of 1 ms. Starting and stopping are O(1), advancing
 * costs what is due plus at most one move per level and timer. It reads no clock: everything takes the
 * time, and the reactor sleeps until timer_wheel_next_ms().
 *
 * For deadlines that are pushed back all the time (idle time-outs) keep the new deadline in the owner and
 * start the timer again only when it fires too early: that is cheaper than moving it with every event. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

enum {
    TIMER_LEVELS = 7,
    TIMER_LEVEL_BITS = 6,
    TIMER_LEVEL_SLOTS = 1 << TIMER_LEVEL_BITS,
};

/* Later times than this (139 years after boot) are cut to it. As nanoseconds it still fits 63 bits. */
#define TIMER_MS_MAX ((1ULL << (TIMER_LEVELS * TIMER_LEVEL_BITS)) - 1)
/* timer_wheel_next_ms() when nothing is armed. */
#define TIMER_NEVER UINT64_MAX

/* Embedded in its owner, who keeps it alive while it is armed. */
struct timer {
    struct list link;
    uint64_t at_ms; /* set by timer_start(); not to be changed while armed */
    /* Called when due, already disarmed. May start and stop any timer of the wheel, this one too, and free
     * its owner. */
    void (*fire)(struct timer *timer, uint64_t now_ms);
};

struct timer_slot {
    struct list timers;
    uint64_t earliest_ms; /* no timer in the slot is due before; a lower bound, as stopped timers do not raise it */
};

/* Invariant: a timer with at_ms > now_ms is in the level of the highest 6-bit digit in which at_ms and
 * now_ms differ, in the slot of its own digit there. So the first occupied slot of the lowest occupied
 * level is the next one, and timers of equal deadlines are always in one slot, in the order they were
 * started. */
struct timer_wheel {
    uint64_t now_ms;
    uint32_t armed;
    bool is_advancing;
    uint64_t occupied[TIMER_LEVELS]; /* a bit per slot that has timers */
    struct list overdue;             /* started with a time not after now_ms: fire with the next advance */
    struct list firing;              /* collected by timer_wheel_advance(), not yet called */
    struct timer_slot slots[TIMER_LEVELS][TIMER_LEVEL_SLOTS];
};

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms);
/* Asserts that no timer is armed. */
void timer_wheel_deinit(struct timer_wheel *wheel);

/* Calls every timer with at_ms <= now_ms, by deadline and then in the order they were started. What a
 * callback starts for now_ms or earlier is left to the next call, so one call always ends. A now_ms before
 * that of the last call counts as equal to it. */
void timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms);
/* When timer_wheel_advance() has something to do: never later than the first deadline, earlier only if
 * timers were stopped meanwhile; TIMER_NEVER when no timer is armed. */
uint64_t timer_wheel_next_ms(const struct timer_wheel *wheel);

/* Once before its first use. */
void timer_init(struct timer *timer, void (*fire)(struct timer *timer, uint64_t now_ms));
/* Arms the timer, or moves it when it is armed. A time that has passed fires with the next timer_wheel_advance(). */
void timer_start(struct timer_wheel *wheel, struct timer *timer, uint64_t at_ms);
/* Disarms the timer; nothing happens when it is not armed. */
void timer_stop(struct timer_wheel *wheel, struct timer *timer);
bool timer_is_armed(const struct timer *timer);
