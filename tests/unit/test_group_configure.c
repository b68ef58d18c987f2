/* Groups whose configuration changes while they are in use: what stays as it is known, and who learns of it. */
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

/* The first so many servers, and config, as they are now. */
static void configure_anew(struct group *group, uint32_t count)
{
    struct group_config *made = config_of(count);

    group_configure(group, made, NULL);
    group_config_release(made);
}

static void a_server_that_stays_keeps_its_health_and_load(void **state)
{
    (void)state;
    configure(0, "10.0.0.1:80", 1, 0, false);
    configure(1, "10.0.0.2:80", 1, 0, false);
    struct group *group = group_of(2);
    struct server *stays = group->current->members[1].server;

    assert_true(server_take_slot(stays, 0));
    atomic_store(&stays->is_down, true);
    configure(0, "10.0.0.3:80", 1, 0, false);
    configure(1, "10.0.0.2:80", 7, 0, false);
    configure_anew(group, 2);
    assert_count(group, 2, 0);
    assert_member(group, 0, "10.0.0.3:80");
    assert_ptr_equal(group->current->members[1].server, stays);
    assert_int_equal(group->current->members[1].weight, 7);
    assert_int_equal(server_open(stays), 1);
    assert_int_equal(server_state(stays, NOW_MS), SERVER_DOWN);
    server_give_slot(stays);
    group_release(group);
}

static void a_changed_setting_makes_a_version(void **state)
{
    (void)state;
    configure(0, "10.0.0.1:80", 1, 0, false);
    struct group *group = group_of(1);
    struct upstream *before = group_hold_current(group);

    grouped_config.max_fails = 5;
    grouped_config.balance = BALANCE_HASH;
    grouped_config.read_ms = 77;
    configure_anew(group, 1);
    assert_ptr_not_equal(group->current, before);
    assert_int_equal(group->current->health.max_fails, 5);
    assert_int_equal(group->current->balance, BALANCE_HASH);
    assert_int_equal(group->current->config->settings.read_ms, 77);
    assert_int_equal(before->config->settings.read_ms, 0); /* whoever uses it still may read it */
    upstream_release(before);
    group_release(group);
}

static void a_name_that_stays_is_not_asked_for_anew(void **state)
{
    const struct resolution failure = {.problem = "no such name", .ttl_ms = TTL_MS};

    (void)state;
    configure(0, "a.test:80", 1, 0, false);
    configure(1, "b.test:80", 1, 0, false);
    struct group *group = group_of(2);

    answer(group, 0, "10.0.0.1", "10.0.0.2");
    publish(group, 1, &failure, NOW_MS);
    configure(0, "b.test:80", 1, 0, false);
    configure(1, "a.test:80", 9, 0, false);
    configure_anew(group, 2);
    assert_count(group, 2, 0);
    assert_int_equal(group->current->members[1].weight, 9);
    assert_int_equal(atomic_load(&group->expires_ms), NOW_MS + TTL_MS);
    assert_string_equal(group_problem(group), "no such name");
    configure(0, "b.test:81", 1, 0, false); /* another port is another question */
    configure_anew(group, 2);
    assert_int_equal(atomic_load(&group->expires_ms), 0);
    group_release(group);
}

static void an_answer_for_old_sources_is_dropped(void **state)
{
    struct resolution resolution = {.ttl_ms = TTL_MS};

    (void)state;
    configure(0, "old.test:80", 1, 0, false);
    struct group *group = group_of(1);
    struct group_config *before = group->config;

    group_config_hold(before); /* as who asks does */
    configure(0, "new.test:80", 1, 0, false);
    configure_anew(group, 1);
    add(&resolution, "10.0.0.1", 80, 0, 0);
    group_take_answer(group, &before->sources[0], &resolution, NOW_MS);
    assert_int_equal(group_publish(group), 0);
    assert_count(group, 0, 0);
    assert_true(group_has_expired(group, source_of(group, 0), NOW_MS));
    group_config_release(before);
    group_release(group);
}

static void an_answer_goes_to_all_sources_of_that_name(void **state)
{
    (void)state;
    configure(0, "a.test:80", 3, 0, false);
    struct group *group = group_of(1);
    struct group_config *before = group->config;

    group_config_hold(before);
    configure(1, "a.test:80", 1, 0, true);
    configure_anew(group, 2);
    group_take_answer(group, &before->sources[0], &(struct resolution){.problem = "no", .ttl_ms = 5}, NOW_MS);
    assert_string_equal(source_of(group, 0)->problem, "no");
    assert_string_equal(source_of(group, 1)->problem, "no");
    group_config_release(before);
    group_release(group);
}

static void who_waits_in_line_is_called_when_a_new_server_comes(void **state)
{
    struct waiter waiters[2];

    (void)state;
    grouped_config.queue = 1;
    configure(0, "10.0.0.1:80", 1, 1, false);
    configure(1, "10.0.0.2:80", 1, 1, false);
    struct group *group = group_of(1);

    waiter_init(&waiters[0], 0);
    waiter_init(&waiters[1], 0);
    assert_int_equal(waitline_join(&group->waitline, &waiters[0], WAITLINE_LAST), 0);
    assert_int_equal(waitline_join(&group->waitline, &waiters[1], WAITLINE_LAST), -EBUSY);
    configure_anew(group, 2);
    assert_true(waitline_take_call(&group->waitline, &waiters[0]));
    group_release(group);
}

static void the_line_takes_as_many_as_is_configured_now(void **state)
{
    struct waiter waiters[2];

    (void)state;
    grouped_config.queue = 0;
    configure(0, "10.0.0.1:80", 1, 1, false);
    struct group *group = group_of(1);

    for (uint32_t i = 0; i < COUNT_OF(waiters); i++)
        waiter_init(&waiters[i], 0);
    assert_int_equal(waitline_join(&group->waitline, &waiters[0], WAITLINE_LAST), -EBUSY);
    grouped_config.queue = 1;
    configure_anew(group, 1);
    assert_int_equal(waitline_join(&group->waitline, &waiters[0], WAITLINE_LAST), 0);
    assert_int_equal(waitline_join(&group->waitline, &waiters[1], WAITLINE_LAST), -EBUSY);
    assert_false(waitline_leave(&group->waitline, &waiters[0]));
    group_release(group);
}

/* ---- between reactors ---- */

static struct group *shared;

static void *configure_often(void *arg)
{
    static const char *const targets[] = {"db.test:80", "10.0.0.9:80"};

    (void)arg;
    for (uint32_t i = 0; i < ROUNDS / 10; i++) {
        struct server_config each[] = {
            {.target = (char *)(uintptr_t)targets[0], .weight = 1 + i},
            {.target = (char *)(uintptr_t)targets[1], .weight = 1, .is_backup = true},
        };
        struct upstream_config settings = {.servers = each, .server_count = COUNT_OF(each), .queue = i % 3};
        struct group_config *made;

        assert(group_config_new(&made, &settings) == 0);
        group_configure(shared, made, NULL);
        group_config_release(made);
    }
    return NULL;
}

static void *read_and_answer(void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct resolution resolution = {.ttl_ms = TTL_MS, .count = 1};
        struct upstream *held = group_hold_current(shared);
        const struct source *source = &held->config->sources[held->members[0].source];

        assert(source->weight == held->members[0].weight);
        assert(addr_parse_ip(&resolution.items[0].addr, "10.0.0.1", (uint16_t)(1 + i % 7)) == 0);
        group_take_answer(shared, &held->config->sources[0], &resolution, NOW_MS);
        (void)group_has_expired(shared, source, NOW_MS);
        (void)group_problem(shared);
        assert(group_publish(shared) == 0);
        upstream_release(held);
    }
    return NULL;
}

static void the_configuration_changes_while_reactors_answer(void **state)
{
    pthread_t threads[THREADS];

    (void)state;
    configure(0, "db.test:80", 1, 0, false);
    configure(1, "10.0.0.9:80", 1, 0, true);
    shared = group_of(2);
    answer(shared, 0, "10.0.0.1", NULL);
    for (uint32_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i == 0 ? configure_often : read_and_answer, NULL), 0);
    for (uint32_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_count(shared, 1, 1); /* the name was never forgotten */
    assert_int_equal(atomic_load(&shared->current->references), 1);
    group_release(shared);
}

#define TEST(name) cmocka_unit_test_setup(name, grouping_setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_server_that_stays_keeps_its_health_and_load), TEST(a_changed_setting_makes_a_version),
        TEST(a_name_that_stays_is_not_asked_for_anew),       TEST(an_answer_for_old_sources_is_dropped),
        TEST(an_answer_goes_to_all_sources_of_that_name),    TEST(who_waits_in_line_is_called_when_a_new_server_comes),
        TEST(the_line_takes_as_many_as_is_configured_now),   TEST(the_configuration_changes_while_reactors_answer),
    };

    return cmocka_run_group_tests_name("group_configure", tests, NULL, NULL);
}
