/* How the addresses of a name are put together: the order to try them in, what is left out, how long it holds. */
#include "proxy/resolution.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"

static struct resolution_draft draft;
static const struct resolution *resolution;

static int setup(void **state)
{
    (void)state;
    resolution_begin(&draft);
    return 0;
}

/* Addresses as text, separated by one space each. */
static void add(uint16_t rank, uint16_t priority, const char *texts)
{
    const struct resolution_name name = {.rank = rank, .priority = priority, .weight = 5};
    struct addr addrs[16];
    uint32_t count = 0;

    while (*texts) {
        size_t len = strcspn(texts, " ");
        char text[64] = "";

        assert_true(len < sizeof(text) && count < COUNT_OF(addrs));
        memcpy(text, texts, len);
        assert_int_equal(addr_parse_ip(&addrs[count++], text, 80), 0);
        texts += len + (texts[len] == ' ');
    }
    resolution_add(&draft, &name, addrs, count);
}

static void assert_items(const char *wanted)
{
    char all[1024] = "";

    resolution = resolution_finish(&draft);
    for (uint32_t i = 0; i < resolution->count; i++) {
        char text[ADDR_TEXT_MAX];
        size_t used = strlen(all);

        addr_format_host(&resolution->items[i].addr, text);
        assert_true(used + strlen(text) + 2 < sizeof(all));
        if (used > 0)
            all[used++] = ' ';
        memcpy(all + used, text, strlen(text) + 1);
    }
    assert_string_equal(all, wanted);
}

static void families_take_turns_beginning_with_the_first(void **state)
{
    (void)state;
    add(0, 0, "::1 ::2 ::3 10.0.0.1 10.0.0.2");
    assert_items("::1 10.0.0.1 ::2 10.0.0.2 ::3");
}

static void when_one_family_is_used_up_the_other_goes_on(void **state)
{
    (void)state;
    add(0, 0, "10.0.0.1 10.0.0.2 10.0.0.3 ::1");
    assert_items("10.0.0.1 ::1 10.0.0.2 10.0.0.3");
}

static void one_family_keeps_its_order(void **state)
{
    (void)state;
    add(0, 0, "10.0.0.3 10.0.0.1 10.0.0.2");
    assert_items("10.0.0.3 10.0.0.1 10.0.0.2");
}

static void names_are_in_the_order_of_their_rank_whenever_they_come(void **state)
{
    (void)state;
    add(2, 20, "10.0.2.1 10.0.2.2");
    add(0, 10, "10.0.0.1 ::1");
    add(1, 10, "10.0.1.1");
    assert_items("10.0.0.1 ::1 10.0.1.1 10.0.2.1 10.0.2.2");
    assert_int_equal(resolution->items[0].priority, 10);
    assert_int_equal(resolution->items[3].priority, 20);
    assert_int_equal(resolution->items[3].weight, 5);
}

static void of_the_same_address_the_first_stays(void **state)
{
    (void)state;
    add(1, 20, "10.0.0.1 10.0.0.2");
    add(0, 10, "10.0.0.2 10.0.0.2");
    assert_items("10.0.0.2 10.0.0.1");
    assert_int_equal(resolution->items[0].priority, 10);
}

static void with_no_room_left_those_of_higher_rank_go(void **state)
{
    struct resolution_name name = {.rank = 7};
    struct addr addr;

    (void)state;
    for (int i = 0; i < RESOLVE_ADDRS_MAX + 3; i++) {
        assert_int_equal(addr_parse_ip(&addr, "10.0.0.7", (uint16_t)(1000 + i)), 0);
        resolution_add(&draft, &name, &addr, 1);
    }
    name.rank = 3;
    assert_int_equal(addr_parse_ip(&addr, "10.0.0.3", 80), 0);
    resolution_add(&draft, &name, &addr, 1);
    resolution = resolution_finish(&draft);
    assert_int_equal(resolution->count, RESOLVE_ADDRS_MAX);
    assert_int_equal(addr_port(&resolution->items[0].addr), 80);
    assert_int_equal(addr_port(&resolution->items[1].addr), 1000);
    assert_int_equal(addr_port(&resolution->items[RESOLVE_ADDRS_MAX - 1].addr), 1000 + RESOLVE_ADDRS_MAX - 2);
}

static uint32_t ttl_with(uint32_t ttl_s)
{
    resolution_begin(&draft);
    add(0, 0, "10.0.0.1");
    resolution_limit_ttl(&draft, ttl_s);
    return resolution_finish(&draft)->ttl_ms;
}

static void the_ttl_stays_within_its_bounds(void **state)
{
    (void)state;
    assert_int_equal(ttl_with(300), 300 * 1000);
    assert_int_equal(ttl_with(0), RESOLVE_TTL_MIN_MS);
    assert_int_equal(ttl_with(UINT32_MAX), RESOLVE_TTL_MAX_MS);
}

static void the_smallest_ttl_counts(void **state)
{
    (void)state;
    add(0, 0, "10.0.0.1");
    resolution_limit_ttl(&draft, 60);
    resolution_limit_ttl(&draft, 20);
    resolution_limit_ttl(&draft, 30);
    assert_int_equal(resolution_finish(&draft)->ttl_ms, 20 * 1000);
}

static void the_first_problem_is_told(void **state)
{
    (void)state;
    resolution_fail(&draft, "first");
    resolution_fail(&draft, "second");
    resolution = resolution_finish(&draft);
    assert_string_equal(resolution->problem, "first");
    assert_int_equal(resolution->count, 0);
    assert_int_equal(resolution->ttl_ms, RESOLVE_TTL_FAILED_MS);
}

static void with_an_address_there_is_no_problem_but_it_is_not_kept_long(void **state)
{
    (void)state;
    resolution_fail(&draft, "one of two servers");
    add(0, 0, "10.0.0.1");
    resolution_limit_ttl(&draft, 300);
    resolution = resolution_finish(&draft);
    assert_null(resolution->problem);
    assert_int_equal(resolution->ttl_ms, RESOLVE_TTL_FAILED_MS);
}

static void nothing_at_all_is_a_problem(void **state)
{
    (void)state;
    assert_non_null(resolution_finish(&draft)->problem);
    assert_int_equal(draft.out.ttl_ms, RESOLVE_TTL_FAILED_MS);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(families_take_turns_beginning_with_the_first),
        TEST(when_one_family_is_used_up_the_other_goes_on),
        TEST(one_family_keeps_its_order),
        TEST(names_are_in_the_order_of_their_rank_whenever_they_come),
        TEST(of_the_same_address_the_first_stays),
        TEST(with_no_room_left_those_of_higher_rank_go),
        TEST(the_ttl_stays_within_its_bounds),
        TEST(the_smallest_ttl_counts),
        TEST(the_first_problem_is_told),
        TEST(with_an_address_there_is_no_problem_but_it_is_not_kept_long),
        TEST(nothing_at_all_is_a_problem),
    };

    return cmocka_run_group_tests_name("resolution", tests, NULL, NULL);
}
