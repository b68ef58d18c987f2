/* Several reactors that count the same few clients, which come and go all the time, so that entries are made and removed
 * while others look for them. Nobody ever has more than the limit, and in the end nobody is left. Run it under TSan too
 * (make tsan). */
#include "core/client_table.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/addr.h"
#include "base/assert.h"
#include "base/hash.h"

/* Passing clients are there once each: they make the shards' buckets grow meanwhile. */
enum { THREADS = 4, ROUNDS = 50000, HELD_MAX = 8, CLIENTS = 3, LIMIT = 5, PASSING = 1000 };

static struct client_table *table;
static atomic_uint holding[CLIENTS]; /* connections, as their holders count them */

struct worker {
    pthread_t thread;
    uint32_t number;
    struct client *held[HELD_MAX];
    uint32_t held_number[HELD_MAX]; /* whose it is */
    uint32_t admitted;
    uint32_t refused;
};

static struct addr nth(uint32_t n)
{
    struct addr addr = {.len = sizeof(addr.in4)};

    addr.in4.sin_family = AF_INET;
    addr.in4.sin_addr.s_addr = htonl(n);
    return addr;
}

static void come(struct worker *worker, uint32_t place, uint32_t number)
{
    struct addr addr = nth(number);
    int rc = client_table_enter(table, &addr, LIMIT, &worker->held[place]);

    if (rc < 0) {
        assert(rc == -EBUSY && !worker->held[place]);
        worker->refused++;
        return;
    }
    assert(atomic_fetch_add(&holding[number], 1) < LIMIT);
    worker->held_number[place] = number;
    worker->admitted++;
}

static void go(struct worker *worker, uint32_t place)
{
    atomic_fetch_sub(&holding[worker->held_number[place]], 1);
    client_table_leave(table, worker->held[place]);
    worker->held[place] = NULL;
}

static struct client *pass(const struct worker *worker, uint32_t n)
{
    struct addr addr = nth(CLIENTS + worker->number * PASSING + n);
    struct client *client;
    int rc = client_table_enter(table, &addr, 1, &client);

    assert(rc == 0 && client);
    return client;
}

static void *run(void *arg)
{
    struct worker *worker = arg;
    struct client *passing[PASSING];

    for (uint32_t i = 0; i < PASSING; i++)
        passing[i] = pass(worker, i);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint64_t chance = hash_mix((uint64_t)worker->number * ROUNDS + i);
        uint32_t place = chance % HELD_MAX;

        if (worker->held[place])
            go(worker, place);
        else
            come(worker, place, (uint32_t)(chance >> 32) % CLIENTS);
        if (chance >> 60 == 0)
            sched_yield();
    }
    for (uint32_t place = 0; place < HELD_MAX; place++)
        if (worker->held[place])
            go(worker, place);
    for (uint32_t i = 0; i < PASSING; i++)
        client_table_leave(table, passing[i]);
    return NULL;
}

static void the_limit_holds_between_threads(void **state)
{
    static struct worker workers[THREADS];
    uint32_t refused = 0;

    (void)state;
    assert_int_equal(client_table_new(&table), 0);
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i].number = i;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, run, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        assert_true(workers[i].admitted > 0);
        refused += workers[i].refused;
    }
    assert_true(refused > 0); /* or it was no test */
    assert_int_equal(client_table_size(table), 0);
    client_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_limit_holds_between_threads),
    };

    return cmocka_run_group_tests_name("client_table_threads", tests, NULL, NULL);
}
