/* The upstreams of one configuration after another: what is the same group, and what a set that is not applied changes. */
#include "proxy/group_set.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/config.h"
#include "grouping.h"
#include "proxy/group.h"
#include "proxy/group_config.h"
#include "proxy/server.h"
#include "proxy/upstream.h"

static struct upstream_config upstreams[2];
static struct server_config other_server;
static struct config whole;

/* "app" with the first of the grouped_servers, and "other". */
static int setup(void **state)
{
    grouping_setup(state);
    configure(0, "10.0.0.1:80", 1, 0, false);
    configure(1, "10.0.0.2:80", 1, 0, false);
    other_server = (struct server_config){.target = (char *)"10.1.0.1:80", .weight = 1};
    upstreams[0] = grouped_config;
    upstreams[0].server_count = 1;
    upstreams[1] = (struct upstream_config){.name = (char *)"other", .servers = &other_server, .server_count = 1};
    whole = (struct config){.upstreams = upstreams, .upstream_count = 2};
    return 0;
}

static struct group_set *set_after(const struct group_set *previous)
{
    struct group_set *set;

    assert_int_equal(group_set_new(&set, &whole, previous, NULL), 0);
    return set;
}

static struct group *app_of(const struct group_set *set)
{
    return group_set_find(set, "app", 3);
}

static struct group_set *applied(struct group_set *set, struct group_set *before)
{
    group_set_apply(set, NULL);
    group_set_free(before);
    return set;
}

/* ---- groups ---- */

static void the_first_set_is_ready_as_it_is(void **state)
{
    struct group_set *set = set_after(NULL);

    (void)state;
    assert_int_equal(set->count, 2);
    assert_member(app_of(set), 0, "10.0.0.1:80");
    assert_member(group_set_find(set, "other", 5), 0, "10.1.0.1:80");
    assert_null(group_set_find(set, "oth", 3));
    group_set_free(set);
}

static void a_group_lives_on_under_its_name(void **state)
{
    struct group_set *first = set_after(NULL);
    struct group *app = app_of(first);
    struct server *server = app->current->members[0].server;
    struct group_set *second;

    (void)state;
    assert_true(server_take_slot(server, 0));
    upstreams[0].server_count = 2;
    second = applied(set_after(first), first);
    assert_ptr_equal(app_of(second), app);
    assert_count(app, 2, 0);
    assert_ptr_equal(app->current->members[0].server, server);
    assert_int_equal(server_open(server), 1);
    server_give_slot(server);
    assert_int_equal(atomic_load(&app->references), 1);
    group_set_free(second);
}

static void what_is_configured_the_same_makes_no_version(void **state)
{
    struct group_set *first = set_after(NULL);
    const struct upstream *before = app_of(first)->current;
    struct group_set *second = applied(set_after(first), first);

    (void)state;
    assert_ptr_equal(app_of(second)->current, before);
    group_set_free(second);
}

static void a_group_that_is_gone_lives_while_it_is_used(void **state)
{
    struct group_set *first = set_after(NULL);
    struct group *app = app_of(first);
    struct group_set *second;

    (void)state;
    group_hold(app);
    whole.upstreams = &upstreams[1];
    whole.upstream_count = 1;
    second = applied(set_after(first), first);
    assert_null(app_of(second));
    assert_int_equal(atomic_load(&app->references), 1);
    assert_string_equal(app->current->config->sources[0].text, "10.0.0.1:80");
    group_release(app);
    group_set_free(second);
}

static void one_that_comes_back_is_a_new_one(void **state)
{
    struct group_set *first = set_after(NULL);
    struct group *app = app_of(first);
    struct group_set *second, *third;

    (void)state;
    group_hold(app);
    whole.upstream_count = 0;
    second = applied(set_after(first), first);
    whole.upstream_count = 2;
    third = applied(set_after(second), second);
    assert_ptr_not_equal(app_of(third), app);
    group_release(app);
    group_set_free(third);
}

/* ---- those that are not applied ---- */

static void a_discarded_set_changes_nothing(void **state)
{
    struct group_set *first = set_after(NULL);
    struct group *app = app_of(first);
    const struct upstream *before = app->current;
    const struct group_config *config = app->config;

    (void)state;
    upstreams[0].server_count = 2;
    upstreams[0].queue = 9;
    upstreams[1].name = (char *)"new";
    group_set_free(set_after(first));
    assert_ptr_equal(app->current, before);
    assert_ptr_equal(app->config, config);
    assert_int_equal(atomic_load(&app->waitline.max), 0);
    assert_int_equal(atomic_load(&app->references), 1);
    assert_int_equal(atomic_load(&config->references), 3); /* the group's, its version's, the set's */
    group_set_free(first);
}

static void a_target_that_is_none_makes_no_set(void **state)
{
    struct group_set *first = set_after(NULL);
    struct group_set *second;

    (void)state;
    other_server.target = (char *)"nonsense";
    assert_int_equal(group_set_new(&second, &whole, first, NULL), -EINVAL);
    assert_null(second);
    assert_int_equal(atomic_load(&app_of(first)->references), 1);
    group_set_free(first);
}

static void what_names_are_found_to_be_meanwhile_is_not_lost(void **state)
{
    struct group_set *first, *second;

    (void)state;
    configure(0, "db.test:80", 1, 0, false);
    first = set_after(NULL);
    configure(0, "db.test:80", 5, 0, false);
    second = set_after(first);
    answer(app_of(first), 0, "10.0.0.7", NULL);
    second = applied(second, first);
    assert_member(app_of(second), 0, "10.0.0.7:80");
    assert_int_equal(app_of(second)->current->members[0].weight, 5);
    group_set_free(second);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_set_is_ready_as_it_is),
        TEST(a_group_lives_on_under_its_name),
        TEST(what_is_configured_the_same_makes_no_version),
        TEST(a_group_that_is_gone_lives_while_it_is_used),
        TEST(one_that_comes_back_is_a_new_one),
        TEST(a_discarded_set_changes_nothing),
        TEST(a_target_that_is_none_makes_no_set),
        TEST(what_names_are_found_to_be_meanwhile_is_not_lost),
    };

    return cmocka_run_group_tests_name("group_set", tests, NULL, NULL);
}
