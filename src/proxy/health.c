/* Passive ejection and the rise and fall of active checks. */
#include "proxy/health.h"

#include <stdbool.h>

#include "base/assert.h"
#include "base/limits.h"
#include "proxy/balance.h"
#include "proxy/server.h"
#include "proxy/upstream.h"

/* Failures are counted in one word, so that no lock is needed: when the first was, in milliseconds (48 bits are 8,900
 * years of uptime), and how many since. */
enum { FAIL_COUNT_BITS = 16 };
#define FAIL_COUNT_MASK ((1ULL << FAIL_COUNT_BITS) - 1)
static_assert(UPSTREAM_MAX_FAILS_MAX <= FAIL_COUNT_MASK, "max_fails can be counted to");

static uint64_t pack_fails(uint64_t since_ms, uint64_t count)
{
    return since_ms << FAIL_COUNT_BITS | count;
}

/* One more failure; true when that makes max_fails. To one caller only: counting starts anew with it. */
static bool count_failure(struct server *server, const struct health_limits *limits, uint64_t now_ms)
{
    uint64_t seen = atomic_load_explicit(&server->recent_fails, memory_order_relaxed);
    uint64_t next, count;

    do {
        uint64_t since_ms = seen >> FAIL_COUNT_BITS;

        count = (seen & FAIL_COUNT_MASK) + 1;
        if (count == 1 || now_ms >= since_ms + limits->fail_timeout_ms) {
            since_ms = now_ms;
            count = 1;
        }
        next = count >= limits->max_fails ? 0 : pack_fails(since_ms, count);
    } while (!atomic_compare_exchange_weak_explicit(&server->recent_fails, &seen, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    return count >= limits->max_fails;
}

static bool is_last_usable(const struct upstream *upstream, const struct server *server, uint64_t now_ms)
{
    for (uint32_t i = 0; i < upstream_member_count(upstream); i++) {
        const struct server *other = upstream->members[i].server;

        if (other != server && server_state(other, now_ms) == SERVER_UP)
            return false;
    }
    return true;
}

/* Slow start, from now. */
static void recover(struct server *server, uint64_t now_ms)
{
    atomic_store_explicit(&server->recovered_ms, now_ms, memory_order_relaxed);
    atomic_store_explicit(&server->recent_fails, 0, memory_order_relaxed);
    atomic_store_explicit(&server->ejected_until_ms, 0, memory_order_relaxed);
}

/* The outcome of a trial. It says nothing about a server that has recovered in another way meanwhile. */
static void set_ejection(struct server *server, uint64_t until_ms)
{
    uint64_t seen = atomic_load_explicit(&server->ejected_until_ms, memory_order_relaxed);

    if (seen != 0)
        atomic_compare_exchange_strong_explicit(&server->ejected_until_ms, &seen, until_ms, memory_order_relaxed,
                                                memory_order_relaxed);
}

static enum health_change on_failure(const struct upstream *upstream, const struct pick *pick, uint64_t now_ms)
{
    const struct health_limits *limits = &upstream->health;
    struct server *server = pick->server;
    uint64_t not_ejected = 0;

    atomic_fetch_add_explicit(&server->fails, 1, memory_order_relaxed);
    if (limits->max_fails == 0 || limits->fail_timeout_ms == 0)
        return HEALTH_SAME;
    if (pick->is_trial)
        set_ejection(server, now_ms + limits->fail_timeout_ms);
    if (atomic_load_explicit(&server->ejected_until_ms, memory_order_relaxed) != 0)
        return HEALTH_SAME;
    if (server_admin(server) == SERVER_ADMIN_UP) /* it would not be seen before the operator takes that back */
        return HEALTH_SAME;
    /* Two reactors may eject the last two servers at the same moment; then their trials are what brings them back. */
    if (!count_failure(server, limits, now_ms) || is_last_usable(upstream, server, now_ms))
        return HEALTH_SAME;
    if (!atomic_compare_exchange_strong_explicit(&server->ejected_until_ms, &not_ejected,
                                                 now_ms + limits->fail_timeout_ms, memory_order_relaxed,
                                                 memory_order_relaxed))
        return HEALTH_SAME;
    atomic_fetch_add_explicit(&server->ejections, 1, memory_order_relaxed);
    return HEALTH_EJECTED;
}

/* It works: its ejection ends. Others may have found out at once, and one says so. */
static enum health_change on_success(struct server *server, uint64_t now_ms)
{
    if (atomic_exchange_explicit(&server->ejected_until_ms, 0, memory_order_relaxed) == 0)
        return HEALTH_SAME;
    recover(server, now_ms);
    return HEALTH_RETURNED;
}

enum health_change health_on_attempt(const struct upstream *upstream, const struct pick *pick,
                                     enum attempt_result result, uint64_t now_ms)
{
    struct server *server = pick->server;

    if (result == ATTEMPT_FAILED)
        return on_failure(upstream, pick, now_ms);
    if (!pick->is_trial && !pick->is_last_resort)
        return HEALTH_SAME;
    if (result == ATTEMPT_OK)
        return on_success(server, now_ms);
    if (pick->is_trial)
        set_ejection(server, now_ms); /* open to the next connection at once */
    return HEALTH_SAME;
}

enum health_change health_on_check(const struct upstream *upstream, struct server *server, enum check_result result,
                                   uint64_t now_ms)
{
    bool is_down = atomic_load_explicit(&server->is_down, memory_order_relaxed);
    bool contradicts = is_down == (result == CHECK_PASSED);

    server->check_streak = contradicts ? server->check_streak + 1 : 0;
    if (server->check_streak < (is_down ? upstream->health.rise : upstream->health.fall))
        return HEALTH_SAME;
    server->check_streak = 0;
    if (is_down)
        recover(server, now_ms);
    atomic_store_explicit(&server->is_down, !is_down, memory_order_relaxed);
    return is_down ? HEALTH_UP : HEALTH_DOWN;
}

bool health_forget_checks(struct server *server)
{
    server->check_streak = 0;
    return atomic_exchange_explicit(&server->is_down, false, memory_order_relaxed);
}
