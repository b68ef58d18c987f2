/* See watchdog.h. */
#include "admin/watchdog.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "core/engine.h"
#include "core/reactor.h"
#include "script/host.h"

enum {
    LOOKS_PER_STALL = 4,
    LOOK_MS_MIN = 10,
    ANSWER_MS = 20, /* between asking a stalled reactor where it is and reading the answer */
    ASKS_MAX = 50,
};

struct watched {
    uint64_t turns;
    uint64_t resumes;
    uint64_t since_ms; /* when this resume was first seen */
    uint32_t asks;
    bool is_reported;
};

int watchdog_init(struct watchdog *watchdog, struct engine *engine, uint32_t stall_ms)
{
    *watchdog = (struct watchdog){.engine = engine, .stall_ms = stall_ms};
    watchdog->reactors = calloc(engine->reactor_count, sizeof(*watchdog->reactors));
    return watchdog->reactors ? 0 : -ENOMEM;
}

void watchdog_deinit(struct watchdog *watchdog)
{
    free(watchdog->reactors);
    watchdog->reactors = NULL;
}

static void report(struct watched *seen, const struct reactor *reactor, const char *place, uint64_t now_ms)
{
    seen->is_reported = true;
    log_warn("reactor %u is held by a handler that has not parked for %.1f s, at %s: its other connections wait",
             reactor->index, (double)(now_ms - seen->since_ms) / 1000, place);
}

/* One look at a reactor that is in a resume. Returns the milliseconds until the next. */
static int look_at_stalled(struct watched *seen, struct reactor *reactor, uint64_t now_ms)
{
    struct stall *stall = &host_of(reactor)->stall;
    char place[PLACE_MAX];

    if (seen->asks > 0 && stall_answer(stall, place)) {
        report(seen, reactor, place, now_ms);
    } else if (seen->asks >= ASKS_MAX) {
        report(seen, reactor, "a place that could not be found (in C code?)", now_ms);
    } else {
        stall_ask(stall, reactor->thread);
        seen->asks++;
    }
    return ANSWER_MS;
}

static int look_at(const struct watchdog *watchdog, struct watched *seen, struct reactor *reactor, uint64_t now_ms)
{
    uint64_t turns = atomic_load(&reactor->pulse.turns);
    uint64_t resumes = atomic_load_explicit(&reactor->pulse.resumes, memory_order_relaxed);
    int look_ms = (int)watchdog->stall_ms / LOOKS_PER_STALL;
    bool is_quiet = turns == seen->turns && turns % 2 == 0 && resumes % 2 == 0;

    if (look_ms < LOOK_MS_MIN)
        look_ms = LOOK_MS_MIN;
    seen->turns = turns;
    if (resumes % 2 == 0 || resumes != seen->resumes) {
        *seen = (struct watched){.turns = turns, .resumes = resumes, .since_ms = now_ms};
        return is_quiet ? -1 : look_ms;
    }
    if (seen->is_reported || now_ms - seen->since_ms < watchdog->stall_ms)
        return look_ms;
    return look_at_stalled(seen, reactor, now_ms);
}

static int look_at_all(struct watchdog *watchdog, uint64_t now_ms)
{
    struct engine *engine = watchdog->engine;
    int next_ms = -1;

    for (uint32_t i = 0; i < engine->reactor_count; i++) {
        int ms = look_at(watchdog, &watchdog->reactors[i], &engine->reactors[i], now_ms);

        if (ms >= 0 && (next_ms < 0 || ms < next_ms))
            next_ms = ms;
    }
    return next_ms;
}

int watchdog_look(struct watchdog *watchdog, uint64_t now_ms)
{
    int next_ms;

    if (watchdog->stall_ms == 0)
        return -1;
    next_ms = look_at_all(watchdog, now_ms);
    if (next_ms >= 0)
        return next_ms;
    /* Announce first, then look once more: a reactor that began to turn in between is seen, or wakes us. */
    atomic_store(&watchdog->engine->watchdog_sleeps, true);
    return look_at_all(watchdog, now_ms);
}
