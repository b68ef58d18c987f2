/* Several reactors picking from one upstream at once: shares stay exact, limits hold, a trial is had once, counters
 * balance, and versions may be replaced meanwhile. Run it under TSan too (make tsan). */
#include "proxy/balance.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/hash.h"
#include "proxy/health.h"
#include "upstreams.h"

enum { THREADS = 4, PICKS_EACH = 25000, NOW_MS = 1000000, SERVERS = 5, KEPT = 8 };

static const uint32_t weights[SERVERS] = {5, 1, 1, 3, 10};

struct worker {
    pthread_t thread;
    pthread_barrier_t *start;
    struct upstream *upstream;
    void (*run)(struct worker *worker);
    uint32_t number;
    uint32_t picks;
    uint32_t trials;
    uint32_t counts[SERVERS];
};

static void *start_worker(void *arg)
{
    struct worker *worker = arg;

    pthread_barrier_wait(worker->start);
    worker->run(worker);
    return NULL;
}

static void run_threads(struct worker *workers, struct upstream *upstream, void (*run)(struct worker *worker))
{
    pthread_barrier_t start;

    assert_int_equal(pthread_barrier_init(&start, NULL, THREADS), 0);
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.start = &start, .upstream = upstream, .run = run, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, start_worker, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    pthread_barrier_destroy(&start);
}

/* A connection of this thread; false when nobody could take it. */
static bool try_pick(struct worker *worker, uint32_t i, uint64_t now_ms, struct pick *pick)
{
    const struct tried tried = {{0}};

    if (balance_pick(worker->upstream, key_number(worker->number * PICKS_EACH + i), &tried, now_ms, pick) != PICK_OK)
        return false;
    worker->picks++;
    worker->trials += pick->is_trial;
    worker->counts[pick->index]++;
    return true;
}

static void assert_nothing_open(const struct upstream *upstream)
{
    for (uint32_t i = 0; i < upstream_member_count(upstream); i++)
        assert_int_equal(server_open(upstream->members[i].server), 0);
}

/* ---- shares ---- */

static void pick_and_end(struct worker *worker)
{
    struct pick pick;

    for (uint32_t i = 0; i < PICKS_EACH; i++) {
        assert(try_pick(worker, i, NOW_MS, &pick));
        server_give_slot(pick.server);
    }
}

static void round_robin_is_exact_over_all_threads(void **state)
{
    struct upstream *upstream = upstream_of_weights(BALANCE_ROUND_ROBIN, weights, SERVERS);
    struct worker workers[THREADS];

    (void)state;
    run_threads(workers, upstream, pick_and_end);
    for (uint32_t i = 0; i < SERVERS; i++) /* 100,000 connections over weights of 20 in all: to the connection */
        assert_int_equal(atomic_load(&upstream->members[i].server->total), THREADS * PICKS_EACH / 20 * weights[i]);
    assert_nothing_open(upstream);
    upstream_release(upstream);
}

/* ---- limits ---- */

/* Holds a few connections at a time and looks that no server has more than its limit. */
static void pick_and_keep(struct worker *worker)
{
    struct pick kept[KEPT] = {{0}};

    for (uint32_t i = 0; i < PICKS_EACH; i++) {
        struct pick *pick = &kept[i % KEPT];

        if (pick->server)
            server_give_slot(pick->server);
        if (!try_pick(worker, i, NOW_MS, pick))
            pick->server = NULL;
        for (uint32_t j = 0; j < SERVERS; j++)
            assert(server_open(worker->upstream->members[j].server) <= worker->upstream->members[j].max_connections);
    }
    for (uint32_t i = 0; i < KEPT; i++) {
        if (kept[i].server)
            server_give_slot(kept[i].server);
    }
}

static void limits_hold_under_every_method(void **state)
{
    (void)state;
    for (enum balance_method balance = BALANCE_ROUND_ROBIN; balance <= BALANCE_HASH; balance++) {
        struct server_options *servers = usual_servers(SERVERS);
        struct worker workers[THREADS];
        struct upstream *upstream;
        uint64_t picks = 0, totals = 0;

        for (uint32_t i = 0; i < SERVERS; i++)
            servers[i].max_connections = i + 1; /* 15 in all, half of what the threads would keep */
        upstream = upstream_of(balance, servers, SERVERS);
        run_threads(workers, upstream, pick_and_keep);
        for (uint32_t i = 0; i < THREADS; i++)
            picks += workers[i].picks;
        for (uint32_t i = 0; i < SERVERS; i++)
            totals += atomic_load(&upstream->members[i].server->total);
        assert_true(picks == totals);
        assert_nothing_open(upstream);
        upstream_release(upstream);
    }
}

/* ---- health ---- */

static void pick_at_trial_time(struct worker *worker)
{
    struct pick pick;

    for (uint32_t i = 0; i < 2000; i++) {
        assert(try_pick(worker, i, NOW_MS + worker->upstream->health.fail_timeout_ms, &pick));
        server_give_slot(pick.server);
    }
}

static void trial_is_had_by_one_thread(void **state)
{
    (void)state;
    for (enum balance_method balance = BALANCE_ROUND_ROBIN; balance <= BALANCE_HASH; balance++) {
        struct upstream *upstream = upstream_of_weights(balance, weights, SERVERS);
        struct worker workers[THREADS];
        uint32_t trials = 0;

        eject(upstream, 4, NOW_MS);
        run_threads(workers, upstream, pick_at_trial_time);
        for (uint32_t i = 0; i < THREADS; i++)
            trials += workers[i].trials;
        assert_int_equal(trials, 1);
        upstream_release(upstream);
    }
}

/* Time goes by, half of all connections fail or are abandoned, one thread checks. */
static void pick_and_report(struct worker *worker)
{
    static const enum attempt_result unhappy[] = {ATTEMPT_FAILED, ATTEMPT_ABANDONED};

    for (uint32_t i = 0; i < PICKS_EACH; i++) {
        uint64_t now_ms = NOW_MS + i;
        uint64_t random = hash_mix(worker->number * HASH_STEP + i);
        struct pick pick;

        if (worker->number == 0)
            health_on_check(worker->upstream, worker->upstream->members[random % SERVERS].server,
                            random >> 8 & 1 ? CHECK_PASSED : CHECK_FAILED, now_ms);
        if (!try_pick(worker, i, now_ms, &pick))
            continue;
        health_on_attempt(worker->upstream, &pick, random >> 16 & 1 ? ATTEMPT_OK : unhappy[random >> 17 & 1], now_ms);
        server_give_slot(pick.server);
    }
}

static void health_may_change_under_picks(void **state)
{
    (void)state;
    for (enum balance_method balance = BALANCE_ROUND_ROBIN; balance <= BALANCE_HASH; balance++) {
        struct upstream *upstream = upstream_of_weights(balance, weights, SERVERS);
        struct worker workers[THREADS];
        uint64_t ejections = 0;

        upstream->health.fail_timeout_ms = 100;
        upstream->health.slow_start_ms = 200;
        run_threads(workers, upstream, pick_and_report);
        for (uint32_t i = 0; i < SERVERS; i++)
            ejections += atomic_load(&upstream->members[i].server->ejections);
        assert_true(ejections > 0);
        assert_nothing_open(upstream);
        upstream_release(upstream);
    }
}

/* ---- versions ---- */

/* Each thread makes versions of its own from the first one, as its reactor would get them, and drops them with
 * connections still open. */
static void pick_from_new_versions(struct worker *worker)
{
    const struct upstream *first = worker->upstream;
    struct server_options servers[SERVERS];
    struct upstream_options options = {.name = "app", .health = usual_health(), .servers = servers};
    struct pick pick;

    for (uint32_t i = 0; i < SERVERS; i++) {
        const struct server *server = first->members[i].server;

        servers[i] = (struct server_options){.name = server->name, .addr = server->addr, .weight = 1};
    }
    for (uint32_t i = 0; i < 500; i++) {
        options.server_count = 1 + i % SERVERS;
        assert(upstream_new(&worker->upstream, &options, first) == 0);
        assert(try_pick(worker, i, NOW_MS, &pick));
        upstream_release(worker->upstream);
        server_give_slot(pick.server);
    }
}

static void versions_share_servers(void **state)
{
    struct upstream *upstream = upstream_of_weights(BALANCE_ROUND_ROBIN, weights, SERVERS);
    struct worker workers[THREADS];

    (void)state;
    run_threads(workers, upstream, pick_from_new_versions);
    assert_nothing_open(upstream);
    for (uint32_t i = 0; i < SERVERS; i++)
        assert_int_equal(atomic_load(&upstream->members[i].server->references), 1);
    upstream_release(upstream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_robin_is_exact_over_all_threads),
        cmocka_unit_test(limits_hold_under_every_method),
        cmocka_unit_test(trial_is_had_by_one_thread),
        cmocka_unit_test(health_may_change_under_picks),
        cmocka_unit_test(versions_share_servers),
    };

    return cmocka_run_group_tests_name("balance_threads", tests, NULL, NULL);
}
