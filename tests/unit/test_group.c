/* Groups: what their servers are, from the configuration and from answers about names, and when there is a new version. */
#include "proxy/group.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "grouping.h"
#include "proxy/group_config.h"
#include "proxy/resolution.h"
#include "proxy/server.h"
#include "proxy/upstream.h"

enum { THREADS = 3, ROUNDS = 2000 };

/* ---- from the configuration ---- */

static void addresses_are_servers_at_once(void **state)
{
    (void)state;
    configure(0, "10.0.0.1:80", 3, 7, false);
    configure(1, "unix:/run/app", 2, 0, true);
    configure(2, "[::1]:80", 1, 0, false);
    struct group *group = group_of(3);

    assert_false(group->config->has_names);
    assert_int_equal(atomic_load(&group->expires_ms), UINT64_MAX);
    assert_count(group, 2, 1);
    assert_member(group, 0, "10.0.0.1:80");
    assert_int_equal(group->current->members[0].weight, 3);
    assert_int_equal(group->current->members[0].max_connections, 7);
    assert_member(group, 1, "[::1]:80");
    assert_member(group, 2, "unix:/run/app");
    assert_null(group_problem(group));
    group_release(group);
}

static void the_same_address_is_one_server(void **state)
{
    (void)state;
    configure(0, "10.0.0.1:80", 3, 0, false);
    configure(1, "10.0.0.1:80", 1, 0, false);
    configure(2, "db.test:80", 1, 0, false);
    struct group *group = group_of(3);

    assert_count(group, 1, 0);
    answer(group, 2, "10.0.0.1", "10.0.0.2");
    assert_count(group, 2, 0);
    assert_int_equal(group->current->members[0].weight, 3);
    group_release(group);
}

static void a_target_that_is_none_is_refused(void **state)
{
    struct group_config *made;
    struct group *group;

    (void)state;
    configure(0, "10.0.0.1", 1, 0, false);
    grouped_config.server_count = 1;
    assert_int_equal(group_config_new(&made, &grouped_config), -EINVAL);
    assert_int_equal(group_new_plain(&group, "nonsense", 8), -EINVAL);
    assert_int_equal(group_new_plain(&group, "x", TARGET_TEXT_MAX), -EINVAL);
}

static void a_plain_target_is_judged_by_nobody(void **state)
{
    struct group *group;

    (void)state;
    assert_int_equal(group_new_plain(&group, "10.0.0.1:80 and more", 11), 0);
    assert_string_equal(group->name, "10.0.0.1:80");
    assert_true(group->is_plain);
    assert_member(group, 0, "10.0.0.1:80");
    assert_int_equal(group->current->health.max_fails, 0);
    group_release(group);
}

/* ---- names ---- */

static void names_are_to_be_asked_for_at_once(void **state)
{
    (void)state;
    configure(0, "10.0.0.1:80", 1, 0, false);
    configure(1, "db.test:80", 1, 0, false);
    struct group *group = group_of(2);

    assert_true(group->config->has_names);
    assert_int_equal(atomic_load(&group->expires_ms), 0);
    assert_true(group_has_expired(group, source_of(group, 1), 0));
    assert_count(group, 1, 0); /* what is known serves until then */
    group_release(group);
}

static void an_answer_makes_a_version(void **state)
{
    (void)state;
    configure(0, "db.test:80", 5, 2, false);
    struct group *group = group_of(1);
    uint32_t before = atomic_load(&group->version);

    answer(group, 0, "10.0.0.2", "10.0.0.1");
    assert_int_equal(atomic_load(&group->version), before + 1);
    assert_count(group, 2, 0);
    assert_member(group, 0, "10.0.0.1:80");
    assert_int_equal(group->current->members[1].weight, 5);
    assert_int_equal(group->current->members[1].max_connections, 2);
    assert_int_equal(atomic_load(&group->expires_ms), NOW_MS + TTL_MS);
    assert_false(group_has_expired(group, source_of(group, 0), NOW_MS + TTL_MS - 1));
    assert_true(group_has_expired(group, source_of(group, 0), NOW_MS + TTL_MS));
    group_release(group);
}

static void the_same_answer_in_another_order_makes_none(void **state)
{
    (void)state;
    configure(0, "db.test:80", 1, 0, false);
    struct group *group = group_of(1);
    uint32_t version;

    answer(group, 0, "10.0.0.2", "10.0.0.1");
    version = atomic_load(&group->version);
    answer(group, 0, "10.0.0.1", "10.0.0.2");
    assert_int_equal(atomic_load(&group->version), version);
    group_release(group);
}

static void a_plain_target_keeps_the_order_of_the_answer(void **state)
{
    struct group *group;

    (void)state;
    assert_int_equal(group_new_plain(&group, "db.test:80", 10), 0);
    answer(group, 0, "10.0.0.2", "10.0.0.1");
    assert_member(group, 0, "10.0.0.2:80");
    assert_member(group, 1, "10.0.0.1:80");
    group_release(group);
}

static void servers_that_stay_are_the_same(void **state)
{
    (void)state;
    configure(0, "db.test:80", 1, 0, false);
    struct group *group = group_of(1);
    const struct server *stays;

    answer(group, 0, "10.0.0.1", "10.0.0.2");
    stays = group->current->members[1].server;
    answer(group, 0, "10.0.0.2", "10.0.0.3");
    assert_ptr_equal(group->current->members[0].server, stays);
    group_release(group);
}

static void a_version_lives_while_somebody_holds_it(void **state)
{
    (void)state;
    configure(0, "db.test:80", 1, 0, false);
    struct group *group = group_of(1);
    struct upstream *held;

    answer(group, 0, "10.0.0.1", NULL);
    held = group_hold_current(group);
    answer(group, 0, "10.0.0.2", NULL);
    assert_ptr_not_equal(held, group->current);
    assert_string_equal(held->members[0].server->name, "10.0.0.1:80");
    assert_int_equal(atomic_load(&held->references), 1);
    group_release(group);
    upstream_release(held);
}

static void a_failure_keeps_what_was_found(void **state)
{
    const struct resolution failure = {.problem = "no such name", .ttl_ms = 3000};

    (void)state;
    configure(0, "db.test:80", 1, 0, false);
    struct group *group = group_of(1);

    publish(group, 0, &failure, NOW_MS);
    assert_string_equal(group_problem(group), "no such name");
    assert_count(group, 0, 0);
    answer(group, 0, "10.0.0.1", NULL);
    assert_null(group_problem(group));
    publish(group, 0, &failure, NOW_MS + 5);
    assert_count(group, 1, 0);
    assert_null(group_problem(group)); /* there is a server */
    assert_int_equal(atomic_load(&group->expires_ms), NOW_MS + 5 + 3000);
    group_release(group);
}

static void no_address_is_a_failure(void **state)
{
    const struct resolution empty = {.ttl_ms = TTL_MS};

    (void)state;
    configure(0, "db.test:80", 1, 0, false);
    struct group *group = group_of(1);

    publish(group, 0, &empty, NOW_MS);
    assert_string_equal(group_problem(group), "no address");
    group_release(group);
}

static void the_first_name_to_expire_counts(void **state)
{
    struct resolution short_lived = {.ttl_ms = 1000};

    (void)state;
    configure(0, "a.test:80", 1, 0, false);
    configure(1, "b.test:80", 1, 0, false);
    struct group *group = group_of(2);

    answer(group, 0, "10.0.0.1", NULL);
    assert_int_equal(atomic_load(&group->expires_ms), 0);
    add(&short_lived, "10.0.0.2", 80, 0, 0);
    publish(group, 1, &short_lived, NOW_MS);
    assert_int_equal(atomic_load(&group->expires_ms), NOW_MS + 1000);
    assert_false(group_has_expired(group, source_of(group, 0), NOW_MS + 1000));
    assert_true(group_has_expired(group, source_of(group, 1), NOW_MS + 1000));
    group_release(group);
}

/* A reactor that finds that nothing has expired must find the servers, too. */
static void a_group_does_not_expire_later_before_its_version_is_there(void **state)
{
    struct resolution resolution = {.ttl_ms = TTL_MS};

    (void)state;
    configure(0, "db.test:80", 1, 0, false);
    struct group *group = group_of(1);

    add(&resolution, "10.0.0.1", 80, 0, 0);
    group_take_answer(group, source_of(group, 0), &resolution, NOW_MS);
    assert_int_equal(atomic_load(&group->expires_ms), 0);
    assert_int_equal(group_publish(group), 0);
    assert_int_equal(atomic_load(&group->expires_ms), NOW_MS + TTL_MS);
    group_release(group);
}

static void services_have_weights_and_backups_of_their_own(void **state)
{
    struct resolution resolution = {.ttl_ms = TTL_MS};

    (void)state;
    configure(0, "srv:_db._tcp.test", 9, 4, false);
    struct group *group = group_of(1);

    add(&resolution, "10.0.0.3", 1003, 20, 5);
    add(&resolution, "10.0.0.1", 1001, 10, 7);
    add(&resolution, "10.0.0.2", 1002, 10, 0);
    publish(group, 0, &resolution, NOW_MS);
    assert_count(group, 2, 1);
    assert_member(group, 0, "10.0.0.1:1001");
    assert_int_equal(group->current->members[0].weight, 7);
    assert_int_equal(group->current->members[0].max_connections, 4);
    assert_int_equal(group->current->members[1].weight, 1); /* 0 is for "hardly ever" */
    assert_member(group, 2, "10.0.0.3:1003");
    group_release(group);
}

static void more_servers_than_fit_are_left_out(void **state)
{
    static const char *const names[] = {"a.test:80", "b.test:80", "c.test:80", "d.test:80", "e.test:80"};
    static struct server_config many[COUNT_OF(names)];
    struct resolution resolution = {.ttl_ms = TTL_MS};

    (void)state;
    for (uint32_t i = 0; i < COUNT_OF(many); i++)
        many[i] = (struct server_config){.target = (char *)(uintptr_t)names[i], .weight = 1};
    grouped_config.servers = many;
    struct group *group = group_of(COUNT_OF(many));

    for (uint32_t source = 0; source < COUNT_OF(many); source++) {
        resolution.count = 0;
        for (uint32_t i = 0; i < RESOLVE_ADDRS_MAX; i++)
            add(&resolution, "10.0.0.1", (uint16_t)(1 + source * RESOLVE_ADDRS_MAX + i), 0, 0);
        publish(group, source, &resolution, NOW_MS);
    }
    assert_count(group, UPSTREAM_SERVERS_MAX, 0);
    assert_int_equal(group->left_out, COUNT_OF(many) * RESOLVE_ADDRS_MAX - UPSTREAM_SERVERS_MAX);
    group_release(group);
}

/* ---- between reactors ---- */

static struct group *shared;

static void *hold_and_answer(void *arg)
{
    uint32_t number = *(const uint32_t *)arg;

    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct resolution resolution = {.ttl_ms = TTL_MS, .count = 1};
        struct upstream *held = group_hold_current(shared);

        assert(upstream_member_count(held) == 1);
        assert(addr_parse_ip(&resolution.items[0].addr, "10.0.0.1", (uint16_t)(1 + (number + i) % 7)) == 0);
        group_take_answer(shared, source_of(shared, 0), &resolution, NOW_MS);
        assert(group_publish(shared) == 0);
        assert(server_open(held->members[0].server) == 0); /* readable while it is held */
        upstream_release(held);
    }
    return NULL;
}

static void versions_change_while_reactors_hold_them(void **state)
{
    pthread_t threads[THREADS];
    uint32_t numbers[THREADS];

    (void)state;
    configure(0, "db.test:80", 1, 0, false);
    shared = group_of(1);
    answer(shared, 0, "10.0.0.1", NULL);
    for (uint32_t i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, hold_and_answer, &numbers[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&shared->current->references), 1);
    group_release(shared);
}

#define TEST(name) cmocka_unit_test_setup(name, grouping_setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(addresses_are_servers_at_once),
        TEST(the_same_address_is_one_server),
        TEST(a_target_that_is_none_is_refused),
        TEST(a_plain_target_is_judged_by_nobody),
        TEST(names_are_to_be_asked_for_at_once),
        TEST(an_answer_makes_a_version),
        TEST(the_same_answer_in_another_order_makes_none),
        TEST(a_plain_target_keeps_the_order_of_the_answer),
        TEST(servers_that_stay_are_the_same),
        TEST(a_version_lives_while_somebody_holds_it),
        TEST(a_failure_keeps_what_was_found),
        TEST(no_address_is_a_failure),
        TEST(the_first_name_to_expire_counts),
        TEST(a_group_does_not_expire_later_before_its_version_is_there),
        TEST(services_have_weights_and_backups_of_their_own),
        TEST(more_servers_than_fit_are_left_out),
        TEST(versions_change_while_reactors_hold_them),
    };

    return cmocka_run_group_tests_name("group", tests, NULL, NULL);
}
