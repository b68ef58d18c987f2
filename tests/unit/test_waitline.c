/* The line of those who wait for a server: its order, its bound, and where calls go. */
#include "proxy/waitline.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { WAITERS = 4 };

struct line_test {
    struct waitline line;
    struct waiter waiters[WAITERS];
};

static int setup(void **state)
{
    static struct line_test test;

    waitline_init(&test.line, NULL, WAITERS - 1);
    for (uint32_t i = 0; i < WAITERS; i++)
        waiter_init(&test.waiters[i], i % 2);
    *state = &test;
    return 0;
}

static int teardown(void **state)
{
    struct line_test *t = *state;

    for (uint32_t i = 0; i < WAITERS; i++)
        waitline_leave(&t->line, &t->waiters[i]);
    assert_int_equal(atomic_load(&t->line.waiting), 0);
    waitline_deinit(&t->line);
    return 0;
}

static void join(struct line_test *t, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(waitline_join(&t->line, &t->waiters[i], WAITLINE_LAST), 0);
}

/* That this one was called, and nobody else. */
static void assert_called(struct line_test *t, uint32_t index)
{
    for (uint32_t i = 0; i < WAITERS; i++)
        assert_int_equal(waitline_take_call(&t->line, &t->waiters[i]), i == index);
}

static void assert_calls(struct line_test *t, uint32_t index)
{
    waitline_call_next(&t->line, NULL);
    assert_called(t, index);
}

static void go_back(struct line_test *t, uint32_t index)
{
    assert_int_equal(waitline_join(&t->line, &t->waiters[index], WAITLINE_BACK), 0);
}

static void who_comes_first_is_called_first(void **state)
{
    struct line_test *t = *state;

    join(t, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_calls(t, i);
    assert_int_equal(atomic_load(&t->line.waiting), 0);
    assert_calls(t, WAITERS); /* nobody */
}

static void no_more_than_the_bound_wait(void **state)
{
    struct line_test *t = *state;

    join(t, WAITERS - 1);
    assert_int_equal(waitline_join(&t->line, &t->waiters[WAITERS - 1], WAITLINE_LAST), -EBUSY);
    assert_calls(t, 0);
    assert_int_equal(waitline_join(&t->line, &t->waiters[WAITERS - 1], WAITLINE_LAST), 0);
    go_back(t, 0); /* was let in before */
    assert_int_equal(atomic_load(&t->line.waiting), WAITERS);
}

static void with_a_bound_of_none_nobody_waits(void **state)
{
    struct line_test *t = *state;

    t->line.max = 0;
    assert_int_equal(waitline_join(&t->line, &t->waiters[0], WAITLINE_LAST), -EBUSY);
}

static void who_goes_back_has_its_old_place(void **state)
{
    struct line_test *t = *state;

    join(t, 3);
    assert_calls(t, 0);
    assert_calls(t, 1);
    go_back(t, 0);
    go_back(t, 1); /* whoever of them is first */
    for (uint32_t i = 0; i < 3; i++)
        assert_calls(t, i);
    go_back(t, 2);
    go_back(t, 0);
    go_back(t, 1);
    for (uint32_t i = 0; i < 3; i++)
        assert_calls(t, i);
}

static void a_call_may_pass_one_by(void **state)
{
    struct line_test *t = *state;

    join(t, 3);
    assert_calls(t, 0);
    go_back(t, 0);
    waitline_call_behind(&t->line, &t->waiters[0], NULL);
    assert_called(t, 1);
    go_back(t, 1);
    waitline_call_behind(&t->line, &t->waiters[1], NULL);
    assert_called(t, 2);
    go_back(t, 2);
    waitline_call_behind(&t->line, &t->waiters[2], NULL);
    assert_called(t, WAITERS);
    assert_int_equal(atomic_load(&t->line.waiting), 3);
}

static void a_call_passes_by_one_that_was_called_meanwhile(void **state)
{
    struct line_test *t = *state;

    join(t, 3);
    waitline_call_next(&t->line, NULL);
    waitline_call_behind(&t->line, &t->waiters[0], NULL);
    assert_true(waitline_take_call(&t->line, &t->waiters[0]));
    assert_called(t, 1);
}

static void all_can_be_called(void **state)
{
    struct line_test *t = *state;

    waitline_call_all(&t->line, NULL);
    join(t, 3);
    waitline_call_all(&t->line, NULL);
    assert_int_equal(atomic_load(&t->line.waiting), 0);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(waitline_take_call(&t->line, &t->waiters[i]));
}

static void leaving_says_whether_there_was_a_call(void **state)
{
    struct line_test *t = *state;

    join(t, 3);
    assert_false(waitline_leave(&t->line, &t->waiters[1]));
    waitline_call_next(&t->line, NULL);
    assert_true(waitline_leave(&t->line, &t->waiters[0]));
    assert_false(waitline_leave(&t->line, &t->waiters[0])); /* once */
    assert_false(waitline_take_call(&t->line, &t->waiters[0]));
    assert_calls(t, 2);
    assert_false(waitline_leave(&t->line, &t->waiters[2]));
}

static void who_has_something_for_its_reactor_calls_the_first_only_if_it_is_there(void **state)
{
    struct line_test *t = *state;

    join(t, 2); /* on reactors 0 and 1 */
    assert_false(waitline_call_own(&t->line, 1, NULL));
    assert_true(waitline_call_own(&t->line, 0, NULL));
    assert_called(t, 0);
    assert_true(waitline_call_own(&t->line, 1, NULL));
    assert_called(t, 1);
    assert_false(waitline_call_own(&t->line, 0, NULL));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_comes_first_is_called_first),
        TEST(who_has_something_for_its_reactor_calls_the_first_only_if_it_is_there),
        TEST(no_more_than_the_bound_wait),
        TEST(with_a_bound_of_none_nobody_waits),
        TEST(who_goes_back_has_its_old_place),
        TEST(a_call_may_pass_one_by),
        TEST(a_call_passes_by_one_that_was_called_meanwhile),
        TEST(all_can_be_called),
        TEST(leaving_says_whether_there_was_a_call),
    };

    return cmocka_run_group_tests_name("waitline", tests, NULL, NULL);
}
