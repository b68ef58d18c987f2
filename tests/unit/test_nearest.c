/* nearest: which known word was meant. */
#include "admin/nearest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char *const words[] = {"run", "check", "init", "version", "--reactors", "--log-level", NULL};

static void one_slip_is_forgiven(void **state)
{
    (void)state;
    assert_string_equal(nearest_of("rnu", words), "run");
    assert_string_equal(nearest_of("chek", words), "check");
    assert_string_equal(nearest_of("checkk", words), "check");
    assert_string_equal(nearest_of("unit", words), "init");
    assert_string_equal(nearest_of("--log-levle", words), "--log-level");
}

static void the_nearest_of_several_wins(void **state)
{
    const char *const alike[] = {"stops", "stop", NULL};

    (void)state;
    assert_string_equal(nearest_of("stop", alike), "stop");
    assert_string_equal(nearest_of("verison", words), "version");
}

static void what_is_far_from_all_has_no_nearest(void **state)
{
    (void)state;
    assert_null(nearest_of("serve", words));
    assert_null(nearest_of("", words));
    assert_null(nearest_of("x", words));
    assert_null(nearest_of("0123456789012345678901234567890123456789", words));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_slip_is_forgiven),
        cmocka_unit_test(the_nearest_of_several_wins),
        cmocka_unit_test(what_is_far_from_all_has_no_nearest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
