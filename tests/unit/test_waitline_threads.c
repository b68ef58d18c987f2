/* Several reactors at one line: each takes slots of a server with a limit, waits for them, leaves, and gives them back, as
 * dials do. No call is lost: whoever waits is called while there is a slot; and the limit and the bound of the line hold. Run
 * it under TSan too (make tsan). */
#include "proxy/waitline.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"
#include "proxy/server.h"

enum { THREADS = 4, ROUNDS = 20000, SLOTS = 2, ROOM = THREADS - SLOTS };

/* A wait that takes this long was a lost call. */
#define LOST_NS (10 * NS_PER_S)

static struct waitline line;
static struct server *server;
static atomic_uint holding; /* slots, as their holders count them */

struct worker {
    pthread_t thread;
    uint32_t number;
    struct waiter waiter;
    uint32_t served;
    uint32_t turned_away;
    uint32_t left;
};

static void give(void)
{
    server_give_slot(server);
    waitline_call_next(&line, NULL);
}

/* Stands in the line: true when it was let in. */
static bool join(struct worker *worker, enum waitline_place place)
{
    if (waitline_join(&line, &worker->waiter, place) < 0)
        return false;
    assert(atomic_load(&line.waiting) <= THREADS);
    atomic_thread_fence(memory_order_seq_cst);
    if (server_take_slot(server, SLOTS))
        give(); /* to the first */
    return true;
}

/* Waits for its turn; false when it has no more patience, after passing on what it may have been called for. */
static bool await_call(struct worker *worker, uint32_t patience)
{
    uint64_t start_ns = clock_now_ns();

    while (!waitline_take_call(&line, &worker->waiter)) {
        if (patience > 0 && --patience == 0) {
            if (waitline_leave(&line, &worker->waiter))
                waitline_call_next(&line, NULL);
            return false;
        }
        assert(clock_now_ns() - start_ns < LOST_NS);
        sched_yield();
    }
    return true;
}

/* True with a slot. Some leave after a while. */
static bool wait_for_slot(struct worker *worker, uint32_t patience)
{
    enum waitline_place place = WAITLINE_LAST;

    do {
        if (!join(worker, place)) {
            worker->turned_away++;
            return false;
        }
        place = WAITLINE_BACK;
        if (!await_call(worker, patience)) {
            worker->left++;
            return false;
        }
    } while (!server_take_slot(server, SLOTS));
    return true;
}

static void use_slot(struct worker *worker, uint64_t chance)
{
    assert(atomic_fetch_add(&holding, 1) < SLOTS);
    for (uint64_t i = 0; i < chance % 4; i++)
        sched_yield();
    atomic_fetch_sub(&holding, 1);
    worker->served++;
    give();
}

static void *run(void *arg)
{
    struct worker *worker = arg;

    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint64_t chance = hash_mix(worker->number * ROUNDS + i);
        bool has_slot = atomic_load(&line.waiting) == 0 && server_take_slot(server, SLOTS);

        if (has_slot || wait_for_slot(worker, chance % 8 == 0 ? 3 : 0))
            use_slot(worker, chance >> 8);
    }
    return NULL;
}

static void no_call_is_lost_between_threads(void **state)
{
    struct addr addr;
    static struct worker workers[THREADS];
    uint32_t rounds = 0;

    (void)state;
    assert_int_equal(addr_parse_ip(&addr, "10.0.0.1", 80), 0);
    server = server_new("10.0.0.1:80", &addr);
    assert_non_null(server);
    waitline_init(&line, NULL, ROOM);
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i].number = i;
        waiter_init(&workers[i].waiter, i);
        assert_int_equal(pthread_create(&workers[i].thread, NULL, run, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        rounds += workers[i].served + workers[i].turned_away + workers[i].left;
        assert_true(workers[i].served > 0);
    }
    assert_int_equal(rounds, THREADS * ROUNDS);
    assert_int_equal(server_open(server), 0);
    assert_int_equal(atomic_load(&line.waiting), 0);
    waitline_deinit(&line);
    server_release(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_call_is_lost_between_threads),
    };

    return cmocka_run_group_tests_name("waitline_threads", tests, NULL, NULL);
}
