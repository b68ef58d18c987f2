/* The timer wheel: when timers fire, in which order, what callbacks may do, and a long random run against a
 * naive model. */
#include "core/timer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"

enum { PROBES_MAX = 256, FIRED_MAX = 4096 };

#define HOUR_MS (3600ULL * 1000)
#define DAY_MS (24 * HOUR_MS)

/* A timer that writes down that it fired, and may do something then. */
struct probe_timer {
    struct timer timer;
    struct fixture *f;
    unsigned id;
    uint64_t restart_at_ms;     /* not 0: starts itself again */
    struct probe_timer *stops;  /* stopped by its callback */
    struct probe_timer *starts; /* started by its callback ... */
    uint64_t starts_at_ms;      /* ... for this time */
};

struct fixture {
    struct timer_wheel wheel;
    struct probe_timer probes[PROBES_MAX];
    unsigned fired[FIRED_MAX]; /* ids in the order they fired */
    uint64_t fired_at[FIRED_MAX];
    unsigned fired_count;
};

static void on_fire(struct timer *timer, uint64_t now_ms)
{
    struct probe_timer *probe = CONTAINER_OF(timer, struct probe_timer, timer);
    struct fixture *f = probe->f;

    assert_false(timer_is_armed(timer));
    assert_true(timer->at_ms <= now_ms);
    assert_true(f->fired_count < FIRED_MAX);
    f->fired[f->fired_count] = probe->id;
    f->fired_at[f->fired_count++] = now_ms;
    if (probe->stops)
        timer_stop(&f->wheel, &probe->stops->timer);
    if (probe->starts)
        timer_start(&f->wheel, &probe->starts->timer, probe->starts_at_ms);
    if (probe->restart_at_ms)
        timer_start(&f->wheel, timer, probe->restart_at_ms);
}

static void init(struct fixture *f, uint64_t now_ms)
{
    memset(f, 0, sizeof(*f));
    timer_wheel_init(&f->wheel, now_ms);
    for (unsigned i = 0; i < PROBES_MAX; i++) {
        f->probes[i].f = f;
        f->probes[i].id = i;
        timer_init(&f->probes[i].timer, on_fire);
    }
}

static int setup(void **state)
{
    struct fixture *f = malloc(sizeof(*f));

    if (!f)
        return -1;
    init(f, 1000);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < PROBES_MAX; i++)
        timer_stop(&f->wheel, &f->probes[i].timer);
    timer_wheel_deinit(&f->wheel);
    free(f);
    return 0;
}

static void start(struct fixture *f, unsigned id, uint64_t at_ms)
{
    timer_start(&f->wheel, &f->probes[id].timer, at_ms);
}

static void empty_wheel_never_wakes(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(timer_wheel_next_ms(&f->wheel), TIMER_NEVER);
    timer_wheel_advance(&f->wheel, 50 * DAY_MS);
    assert_int_equal(timer_wheel_next_ms(&f->wheel), TIMER_NEVER);
}

static void fires_at_its_time_and_not_before(void **state)
{
    struct fixture *f = *state;

    start(f, 0, 1005);
    assert_int_equal(timer_wheel_next_ms(&f->wheel), 1005);
    timer_wheel_advance(&f->wheel, 1004);
    assert_int_equal(f->fired_count, 0);
    timer_wheel_advance(&f->wheel, 1005);
    assert_int_equal(f->fired_count, 1);
    assert_int_equal(timer_wheel_next_ms(&f->wheel), TIMER_NEVER);
    assert_int_equal(f->wheel.armed, 0);
}

static void a_passed_time_fires_with_the_next_advance(void **state)
{
    struct fixture *f = *state;

    start(f, 0, 1000);
    start(f, 1, 3);
    assert_int_equal(timer_wheel_next_ms(&f->wheel), 1000);
    timer_wheel_advance(&f->wheel, 1000);
    assert_int_equal(f->fired_count, 2);
    assert_int_equal(f->fired[0], 0);
    assert_int_equal(f->fired[1], 1);
}

static void stopping_all_lets_the_reactor_sleep_for_ever(void **state)
{
    struct fixture *f = *state;
    static const uint64_t delays[] = {0, 1, 63, 64, 65, 4096, 300000, DAY_MS};

    for (unsigned i = 0; i < COUNT_OF(delays); i++)
        start(f, i, 1000 + delays[i]);
    timer_wheel_advance(&f->wheel, 1001);
    for (unsigned i = 0; i < COUNT_OF(delays); i++) {
        timer_stop(&f->wheel, &f->probes[i].timer);
        timer_stop(&f->wheel, &f->probes[i].timer);
    }
    assert_int_equal(timer_wheel_next_ms(&f->wheel), TIMER_NEVER);
    timer_wheel_advance(&f->wheel, 2 * DAY_MS);
    assert_int_equal(f->fired_count, 2);
}

static void starting_an_armed_timer_moves_it(void **state)
{
    struct fixture *f = *state;

    start(f, 0, 1010);
    start(f, 0, 90000);
    assert_int_equal(f->wheel.armed, 1);
    timer_wheel_advance(&f->wheel, 89999);
    assert_int_equal(f->fired_count, 0);
    start(f, 0, 90000);
    start(f, 0, 89000); /* back, into the past */
    timer_wheel_advance(&f->wheel, 89999);
    assert_int_equal(f->fired_count, 1);
}

static void far_deadlines_are_exact_and_need_one_wake(void **state)
{
    struct fixture *f = *state;
    static const uint64_t delays[] = {30000, HOUR_MS, 7 * HOUR_MS + 1, DAY_MS, 49 * DAY_MS + 17, 4000 * DAY_MS};

    for (unsigned i = 0; i < COUNT_OF(delays); i++)
        start(f, i, 1000 + delays[i]);
    for (unsigned i = 0; i < COUNT_OF(delays); i++) {
        assert_int_equal(timer_wheel_next_ms(&f->wheel), 1000 + delays[i]);
        timer_wheel_advance(&f->wheel, 1000 + delays[i] - 1);
        assert_int_equal(f->fired_count, i);
        assert_int_equal(timer_wheel_next_ms(&f->wheel), 1000 + delays[i]);
        timer_wheel_advance(&f->wheel, 1000 + delays[i]);
        assert_int_equal(f->fired_count, i + 1);
    }
}

static void a_time_beyond_the_wheel_is_cut(void **state)
{
    struct fixture *f = *state;

    start(f, 0, UINT64_MAX);
    assert_int_equal(timer_wheel_next_ms(&f->wheel), TIMER_MS_MAX);
    timer_wheel_advance(&f->wheel, TIMER_MS_MAX - 1);
    assert_int_equal(f->fired_count, 0);
    timer_wheel_advance(&f->wheel, TIMER_MS_MAX);
    assert_int_equal(f->fired_count, 1);
}

static void fires_by_deadline_then_by_order_of_start(void **state)
{
    struct fixture *f = *state;
    static const uint64_t at[] = {900000, 1001, 5000, 1001, 900000, 1064, 5000, 999, 70000};
    static const unsigned expected[] = {7, 1, 3, 5, 2, 6, 8, 0, 4};

    for (unsigned i = 0; i < COUNT_OF(at); i++)
        start(f, i, at[i]);
    timer_wheel_advance(&f->wheel, 899000);
    start(f, 9, 900000); /* after 0 and 4 although they have moved down meanwhile */
    timer_wheel_advance(&f->wheel, DAY_MS);
    assert_int_equal(f->fired_count, COUNT_OF(at) + 1);
    for (unsigned i = 0; i < COUNT_OF(expected); i++)
        assert_int_equal(f->fired[i], expected[i]);
    assert_int_equal(f->fired[COUNT_OF(at)], 9);
}

static void a_callback_that_starts_itself_for_now_does_not_loop(void **state)
{
    struct fixture *f = *state;

    f->probes[0].restart_at_ms = 1;
    start(f, 0, 1001);
    timer_wheel_advance(&f->wheel, 1001);
    assert_int_equal(f->fired_count, 1);
    assert_int_equal(timer_wheel_next_ms(&f->wheel), 1001);
    timer_wheel_advance(&f->wheel, 1001);
    assert_int_equal(f->fired_count, 2);
}

static void a_callback_may_stop_one_that_is_due_too(void **state)
{
    struct fixture *f = *state;

    f->probes[0].stops = &f->probes[1];
    start(f, 0, 1002);
    start(f, 1, 1002);
    start(f, 2, 1002);
    timer_wheel_advance(&f->wheel, 2000);
    assert_int_equal(f->fired_count, 2);
    assert_int_equal(f->fired[1], 2);
    assert_false(timer_is_armed(&f->probes[1].timer));
}

static void a_callback_may_move_one_that_is_due_too(void **state)
{
    struct fixture *f = *state;

    f->probes[0].starts = &f->probes[1];
    f->probes[0].starts_at_ms = 9000;
    start(f, 0, 1002);
    start(f, 1, 1003);
    timer_wheel_advance(&f->wheel, 2000);
    assert_int_equal(f->fired_count, 1);
    assert_int_equal(timer_wheel_next_ms(&f->wheel), 9000);
    timer_wheel_advance(&f->wheel, 9000);
    assert_int_equal(f->fired_count, 2);
    assert_int_equal(f->fired[1], 1);
}

static void a_clock_that_goes_back_is_ignored(void **state)
{
    struct fixture *f = *state;

    start(f, 0, 1010);
    timer_wheel_advance(&f->wheel, 1005);
    timer_wheel_advance(&f->wheel, 900);
    assert_int_equal(f->wheel.now_ms, 1005);
    timer_wheel_advance(&f->wheel, 1010);
    assert_int_equal(f->fired_count, 1);
}

/* The model: deadlines in an array, looked through one by one. 0: not armed. */
struct model {
    uint64_t at_ms[PROBES_MAX];
    uint64_t started[PROBES_MAX]; /* serial number of the start: the order among equal deadlines */
    uint64_t serial;
};

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Delays of all magnitudes, from nothing to years. */
static uint64_t random_delay(uint64_t *seed)
{
    unsigned bits = (unsigned)(next_random(seed) % 36);

    return next_random(seed) & ((1ULL << bits) - 1);
}

static uint64_t model_earliest(const struct model *model)
{
    uint64_t earliest = TIMER_NEVER;

    for (unsigned i = 0; i < PROBES_MAX; i++) {
        if (model->at_ms[i] && model->at_ms[i] < earliest)
            earliest = model->at_ms[i];
    }
    return earliest;
}

/* The id that must fire first among those due at now_ms, PROBES_MAX when none is. */
static unsigned model_pop(struct model *model, uint64_t now_ms)
{
    unsigned best = PROBES_MAX;

    for (unsigned i = 0; i < PROBES_MAX; i++) {
        if (!model->at_ms[i] || model->at_ms[i] > now_ms)
            continue;
        if (best == PROBES_MAX || model->at_ms[i] < model->at_ms[best] ||
            (model->at_ms[i] == model->at_ms[best] && model->started[i] < model->started[best]))
            best = i;
    }
    if (best < PROBES_MAX)
        model->at_ms[best] = 0;
    return best;
}

static void check_advance(struct fixture *f, struct model *model, uint64_t now_ms)
{
    f->fired_count = 0;
    timer_wheel_advance(&f->wheel, now_ms);
    for (unsigned i = 0; i < f->fired_count; i++)
        assert_int_equal(f->fired[i], model_pop(model, now_ms));
    assert_int_equal(model_pop(model, now_ms), PROBES_MAX);
}

static void behaves_like_the_model(void **state)
{
    struct fixture *f = *state;
    struct model model = {0};
    uint64_t seed = 0x9e3779b97f4a7c15;
    uint64_t now_ms = 1000;

    for (unsigned step = 0; step < 60000; step++) {
        unsigned id = (unsigned)(next_random(&seed) % PROBES_MAX);
        unsigned what = (unsigned)(next_random(&seed) % 8);

        if (what < 5) {
            model.at_ms[id] = now_ms + 1 + random_delay(&seed);
            model.started[id] = ++model.serial;
            start(f, id, model.at_ms[id]);
        } else if (what == 5) {
            model.at_ms[id] = 0;
            timer_stop(&f->wheel, &f->probes[id].timer);
        } else if (what == 6) {
            now_ms += random_delay(&seed) >> 10;
            check_advance(f, &model, now_ms);
        } else if (model_earliest(&model) != TIMER_NEVER) { /* to just before, and to, the next deadline */
            uint64_t earliest = model_earliest(&model);

            check_advance(f, &model, earliest - 1);
            now_ms = earliest;
            check_advance(f, &model, now_ms);
        }
        uint64_t earliest = model_earliest(&model);
        uint64_t next = timer_wheel_next_ms(&f->wheel);
        assert_true(next <= earliest);
        assert_int_equal(next == TIMER_NEVER, earliest == TIMER_NEVER);
        assert_true(next > f->wheel.now_ms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(empty_wheel_never_wakes, setup, teardown),
        cmocka_unit_test_setup_teardown(fires_at_its_time_and_not_before, setup, teardown),
        cmocka_unit_test_setup_teardown(a_passed_time_fires_with_the_next_advance, setup, teardown),
        cmocka_unit_test_setup_teardown(stopping_all_lets_the_reactor_sleep_for_ever, setup, teardown),
        cmocka_unit_test_setup_teardown(starting_an_armed_timer_moves_it, setup, teardown),
        cmocka_unit_test_setup_teardown(far_deadlines_are_exact_and_need_one_wake, setup, teardown),
        cmocka_unit_test_setup_teardown(a_time_beyond_the_wheel_is_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(fires_by_deadline_then_by_order_of_start, setup, teardown),
        cmocka_unit_test_setup_teardown(a_callback_that_starts_itself_for_now_does_not_loop, setup, teardown),
        cmocka_unit_test_setup_teardown(a_callback_may_stop_one_that_is_due_too, setup, teardown),
        cmocka_unit_test_setup_teardown(a_callback_may_move_one_that_is_due_too, setup, teardown),
        cmocka_unit_test_setup_teardown(a_clock_that_goes_back_is_ignored, setup, teardown),
        cmocka_unit_test_setup_teardown(behaves_like_the_model, setup, teardown),
    };

    return cmocka_run_group_tests_name("timer", tests, NULL, NULL);
}
