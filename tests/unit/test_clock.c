/* clock: the two clocks agree with each other and with the system's. */
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

static void monotonic_time_never_goes_back(void **state)
{
    uint64_t before = clock_now_ns();

    (void)state;
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_now_ns();

        assert_true(now >= before);
        before = now;
    }
}

static void milliseconds_are_the_same_clock(void **state)
{
    uint64_t before = clock_now_ns() / NS_PER_MS;
    uint64_t now_ms = clock_now_ms();

    (void)state;
    assert_in_range(now_ms, before, clock_now_ns() / NS_PER_MS);
}

static void wall_time_counts_from_the_epoch(void **state)
{
    uint64_t before = (uint64_t)time(NULL);

    (void)state;
    /* time(2) reads a coarser clock, which may lag by a tick. */
    assert_in_range(clock_wall_ns() / NS_PER_S, before, (uint64_t)time(NULL) + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(monotonic_time_never_goes_back),
        cmocka_unit_test(milliseconds_are_the_same_clock),
        cmocka_unit_test(wall_time_counts_from_the_epoch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
