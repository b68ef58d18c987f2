/* http_date: the calendar is that of the C library. */
#include "proto/http_date.h"

#include <time.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void assert_date(int64_t unix_s, const char *expected)
{
    char out[HTTP_DATE_BYTES + 1] = {0};

    http_date_format(out, unix_s);
    assert_string_equal(out, expected);
}

static void example_of_the_rfc_is_written(void **state)
{
    (void)state;
    assert_date(784111777, "Sun, 06 Nov 1994 08:49:37 GMT");
}

static void every_week_of_four_centuries_is_that_of_the_library(void **state)
{
    char expected[64];

    (void)state;
    for (int64_t unix_s = 0; unix_s < 400LL * 366 * 86400; unix_s += 86400 * 7 / 3 + 12345) {
        time_t t = (time_t)unix_s;
        struct tm tm;

        strftime(expected, sizeof(expected), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&t, &tm));
        assert_date(unix_s, expected);
    }
}

static void leap_days_and_year_ends_are_right(void **state)
{
    (void)state;
    assert_date(951782400, "Tue, 29 Feb 2000 00:00:00 GMT");
    assert_date(1709251199, "Thu, 29 Feb 2024 23:59:59 GMT");
    assert_date(1704067199, "Sun, 31 Dec 2023 23:59:59 GMT");
    assert_date(4107542400, "Mon, 01 Mar 2100 00:00:00 GMT");
}

static void dates_that_have_no_form_become_the_nearest_that_has(void **state)
{
    (void)state;
    assert_date(-1, "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_date(INT64_MAX, "Fri, 31 Dec 9999 23:59:59 GMT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(example_of_the_rfc_is_written),
        cmocka_unit_test(every_week_of_four_centuries_is_that_of_the_library),
        cmocka_unit_test(leap_days_and_year_ends_are_right),
        cmocka_unit_test(dates_that_have_no_form_become_the_nearest_that_has),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
