/* human: ages and sizes as people read them, at the edges of their units. */
#include "admin/human.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/macros.h"

static void ages_have_two_units_at_most(void **state)
{
    const struct {
        double seconds;
        const char *text;
    } ages[] = {
        {0, "0.0s"},     {0.04, "0.0s"},   {1.25, "1.2s"},       {9.94, "9.9s"},   {9.96, "9s"},
        {10, "10s"},     {59.99, "59s"},   {60, "1m00s"},        {192, "3m12s"},   {3599.9, "59m59s"},
        {3600, "1h00m"}, {18420, "5h07m"}, {86399, "23h59m"},    {86400, "1d00h"}, {1048000, "12d03h"},
        {-5, "0.0s"},    {NAN, "0.0s"},    {1e300, "20000d00h"},
    };
    char text[HUMAN_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(ages); i++)
        assert_string_equal(human_age(ages[i].seconds, text), ages[i].text);
}

static void sizes_have_two_or_more_digits(void **state)
{
    const struct {
        double bytes;
        const char *text;
    } sizes[] = {
        {0, "0"},          {5, "5"},       {1023, "1023"},   {1024, "1.0K"},    {1258291, "1.2M"},
        {10100, "9.9K"},   {10235, "10K"}, {123456, "121K"}, {1048575, "1.0M"}, {5368709120, "5.0G"},
        {35651584, "34M"}, {-1, "0"},      {NAN, "0"},       {1e18, "888P"},    {1e21, "867E"},
    };
    char text[HUMAN_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        assert_string_equal(human_size(sizes[i].bytes, text), sizes[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ages_have_two_units_at_most),
        cmocka_unit_test(sizes_have_two_or_more_digits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
