/* What an operator sees of the servers of a group and says of them, and how long that holds. */
#include "proxy/group_servers.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/limits.h"
#include "grouping.h"
#include "proxy/group.h"
#include "proxy/group_config.h"
#include "proxy/health.h"
#include "proxy/upstream.h"
#include "upstreams.h"

enum { THREADS = 4, ROUNDS = 2000, SEEN_MAX = 4 };

struct seen {
    uint32_t count;
    struct server_info infos[SEEN_MAX];
    char names[SEEN_MAX][ADDR_TEXT_MAX];
    char targets[SEEN_MAX][64];
};

static void see(void *owner, const struct server_info *info)
{
    struct seen *seen = owner;

    assert_true(seen->count < SEEN_MAX);
    seen->infos[seen->count] = *info;
    snprintf(seen->names[seen->count], sizeof(seen->names[0]), "%s", info->name);
    snprintf(seen->targets[seen->count], sizeof(seen->targets[0]), "%s", info->target);
    seen->count++;
}

static struct seen seen_of(struct group *group)
{
    struct seen seen = {.count = 0};

    group_visit_servers(group, NOW_MS, see, &seen);
    return seen;
}

/* Three servers: two of weight 1, the second with a limit, and a backup of weight 3. */
static struct group *group_of_three(void)
{
    configure(0, "10.0.0.1:80", 1, 0, false);
    configure(1, "10.0.0.2:80", 1, 7, false);
    configure(2, "10.0.0.3:80", 3, 0, true);
    return group_of(3);
}

static struct upstream *present(struct group *group)
{
    return group->current;
}

static void configure_anew(struct group *group, uint32_t count)
{
    struct group_config *made = config_of(count);

    group_configure(group, made, NULL);
    group_config_release(made);
}

/* ---- seeing ---- */

static void servers_are_shown_as_they_are(void **state)
{
    struct group *group = group_of_three();
    struct server *server = present(group)->members[1].server;
    struct seen seen;

    (void)state;
    assert_true(server_take_slot(server, 7));
    atomic_store(&server->fails, 5);
    atomic_store(&server->is_down, true);
    seen = seen_of(group);
    assert_int_equal(seen.count, 3);
    assert_string_equal(seen.names[1], "10.0.0.2:80");
    assert_int_equal(seen.infos[1].state, SERVER_DOWN);
    assert_int_equal(seen.infos[1].admin, SERVER_ADMIN_NONE);
    assert_int_equal(seen.infos[1].open, 1);
    assert_int_equal(seen.infos[1].total, 1);
    assert_int_equal(seen.infos[1].fails, 5);
    assert_int_equal(seen.infos[1].max_connections, 7);
    assert_false(seen.infos[1].is_backup);
    assert_true(seen.infos[2].is_backup);
    assert_int_equal(seen.infos[2].weight, 3);
    assert_int_equal(seen.infos[2].state, SERVER_UP);
    server_give_slot(server);
    group_release(group);
}

static void a_server_of_a_name_is_shown_with_it(void **state)
{
    struct group *group;
    struct seen seen;

    (void)state;
    configure(0, "db.test:80", 1, 0, false);
    group = group_of(1);
    assert_int_equal(seen_of(group).count, 0);
    answer(group, 0, "10.0.0.1", "10.0.0.2");
    seen = seen_of(group);
    assert_int_equal(seen.count, 2);
    assert_string_equal(seen.names[1], "10.0.0.2:80");
    assert_string_equal(seen.targets[1], "db.test:80");
    group_release(group);
}

/* ---- up, down, drain ---- */

static void what_the_operator_says_goes_before_all_else(void **state)
{
    struct group *group = group_of_three();
    struct server *server = present(group)->members[0].server;

    (void)state;
    assert_int_equal(group_set_admin(group, "10.0.0.1:80", SERVER_ADMIN_DOWN, NULL), 0);
    assert_int_equal(server_state(server, NOW_MS), SERVER_DOWN);
    assert_int_equal(group_set_admin(group, "10.0.0.1:80", SERVER_ADMIN_DRAIN, NULL), 0);
    assert_int_equal(server_state(server, NOW_MS), SERVER_DRAINING);
    atomic_store(&server->is_down, true);
    atomic_store(&server->ejected_until_ms, NOW_MS + 1);
    assert_int_equal(group_set_admin(group, "10.0.0.1:80", SERVER_ADMIN_UP, NULL), 0);
    assert_int_equal(server_state(server, NOW_MS), SERVER_UP);
    assert_int_equal(group_set_admin(group, "10.0.0.1:80", SERVER_ADMIN_NONE, NULL), 0);
    assert_int_equal(server_state(server, NOW_MS), SERVER_DOWN);
    assert_int_equal(group_set_admin(group, "10.0.0.9:80", SERVER_ADMIN_UP, NULL), -ENOENT);
    group_release(group);
}

static void who_waits_in_line_is_called_when_a_server_is_let_up(void **state)
{
    struct group *group;
    struct waiter waiter;

    (void)state;
    grouped_config.queue = 1;
    group = group_of_three();
    waiter_init(&waiter, 0);
    assert_int_equal(waitline_join(&group->waitline, &waiter, WAITLINE_LAST), 0);
    assert_int_equal(group_set_admin(group, "10.0.0.2:80", SERVER_ADMIN_UP, NULL), 0);
    assert_true(waitline_take_call(&group->waitline, &waiter));
    group_release(group);
}

static void what_was_said_holds_over_configurations(void **state)
{
    struct group *group = group_of_three();
    struct seen seen;

    (void)state;
    assert_int_equal(group_set_admin(group, "10.0.0.2:80", SERVER_ADMIN_DRAIN, NULL), 0);
    assert_int_equal(group_set_weight(group, "10.0.0.2:80", 9), 0);
    configure(0, "10.0.0.5:80", 1, 0, false);
    configure(1, "10.0.0.2:80", 4, 0, false);
    configure_anew(group, 2);
    seen = seen_of(group);
    assert_int_equal(seen.infos[0].admin, SERVER_ADMIN_NONE);
    assert_int_equal(seen.infos[1].state, SERVER_DRAINING);
    assert_int_equal(seen.infos[1].weight, 9);
    assert_int_equal(seen.infos[1].configured_weight, 4);
    assert_int_equal(group_set_weight(group, "10.0.0.2:80", 0), 0);
    assert_int_equal(seen_of(group).infos[1].weight, 4);
    group_release(group);
}

/* ---- weights ---- */

static void a_weight_takes_effect_at_once_under_every_method(void **state)
{
    static const enum balance_method methods[] = {
        BALANCE_ROUND_ROBIN,
        BALANCE_LEAST_CONNECTIONS,
        BALANCE_RANDOM_TWO,
        BALANCE_HASH,
    };

    (void)state;
    for (size_t method = 0; method < COUNT_OF(methods); method++) {
        struct group *group;
        uint32_t picks = 0;

        grouped_config.balance = methods[method];
        group = group_of_three();
        assert_int_equal(group_set_weight(group, "10.0.0.2:80", 4), 0);
        for (uint32_t i = 0; i < 10000; i++)
            picks += pick_index(present(group), key_number(i), NOW_MS);
        assert_in_range(picks, 7600, 8400); /* four fifths */
        group_release(group);
    }
}

static void a_weight_that_is_none_is_refused(void **state)
{
    struct group *group = group_of_three();

    (void)state;
    assert_int_equal(group_set_weight(group, "10.0.0.2:80", UPSTREAM_WEIGHT_MAX + 1), -EINVAL);
    assert_int_equal(seen_of(group).infos[1].weight, 1);
    assert_int_equal(group_set_weight(group, "10.0.0.2:80", UPSTREAM_WEIGHT_MAX), 0);
    assert_int_equal(group_set_weight(group, "10.0.0.2", 1), -ENOENT);
    group_release(group);
}

/* ---- beside reactors ---- */

static struct group *shared;

static void count_servers(void *owner, const struct server_info *info)
{
    assert(info->name && info->target && info->weight > 0);
    ++*(uint32_t *)owner;
}

static void *operate(void *arg)
{
    static const enum server_admin admins[] = {SERVER_ADMIN_DRAIN, SERVER_ADMIN_NONE, SERVER_ADMIN_DOWN,
                                               SERVER_ADMIN_UP};

    (void)arg;
    for (uint32_t i = 0; i < ROUNDS / 20; i++) {
        uint32_t count = 0;

        assert(group_set_admin(shared, "10.0.0.1:80", admins[i % COUNT_OF(admins)], NULL) == 0);
        assert(group_set_weight(shared, "10.0.0.2:80", i % 5) == 0);
        group_visit_servers(shared, NOW_MS, count_servers, &count);
        assert(count >= 2);
    }
    return NULL;
}

static void *configure_often(void *arg)
{
    static const char *const targets[] = {"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"};
    struct server_config each[COUNT_OF(targets)];

    (void)arg;
    for (uint32_t i = 0; i < COUNT_OF(targets); i++)
        each[i] = (struct server_config){.target = (char *)(uintptr_t)targets[i], .weight = 1};
    for (uint32_t i = 0; i < ROUNDS / 20; i++) {
        struct upstream_config settings = {
            .servers = each,
            .server_count = 2 + i % 2,
            .balance = i % 3 ? BALANCE_HASH : BALANCE_ROUND_ROBIN,
        };
        struct group_config *made;

        assert(group_config_new(&made, &settings) == 0);
        group_configure(shared, made, NULL);
        group_config_release(made);
    }
    return NULL;
}

static void *pick_often(void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct upstream *upstream = group_hold_current(shared);
        const struct tried tried = {{0}};
        struct pick pick;

        assert(balance_pick(upstream, key_number(i), &tried, NOW_MS, &pick) == PICK_OK);
        upstream_release(upstream);
        server_give_slot(pick.server);
    }
    return NULL;
}

static void operators_and_configurations_change_servers_while_reactors_pick(void **state)
{
    void *(*const runs[THREADS])(void *) = {operate, configure_often, pick_often, pick_often};
    pthread_t threads[THREADS];

    (void)state;
    shared = group_of_three();
    for (uint32_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, runs[i], NULL), 0);
    for (uint32_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (uint32_t i = 0; i < upstream_member_count(present(shared)); i++)
        assert_int_equal(server_open(present(shared)->members[i].server), 0);
    assert_int_equal(atomic_load(&present(shared)->references), 1);
    group_release(shared);
}

#define TEST(name) cmocka_unit_test_setup(name, grouping_setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(servers_are_shown_as_they_are),
        TEST(a_server_of_a_name_is_shown_with_it),
        TEST(what_the_operator_says_goes_before_all_else),
        TEST(who_waits_in_line_is_called_when_a_server_is_let_up),
        TEST(what_was_said_holds_over_configurations),
        TEST(a_weight_takes_effect_at_once_under_every_method),
        TEST(a_weight_that_is_none_is_refused),
        TEST(operators_and_configurations_change_servers_while_reactors_pick),
    };

    return cmocka_run_group_tests_name("group_servers", tests, NULL, NULL);
}
