/* upstream: tiers, limits, and what a new version takes over. */
#include "proxy/upstream.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "proxy/maglev.h"
#include "upstreams.h"

static struct upstream_options options_of(const struct server_options *servers, uint32_t count)
{
    return (struct upstream_options){
        .name = "app",
        .balance = BALANCE_HASH,
        .health = usual_health(),
        .servers = servers,
        .server_count = count,
    };
}

static void primaries_come_first_in_their_order(void **state)
{
    struct server_options *servers = usual_servers(4);
    struct upstream *upstream;

    (void)state;
    servers[0].is_backup = true;
    servers[2].is_backup = true;
    upstream = upstream_of(BALANCE_HASH, servers, 4);
    assert_int_equal(upstream_member_count(upstream), 4);
    assert_int_equal(upstream_tier_begin(upstream, TIER_PRIMARY), 0);
    assert_int_equal(upstream_tier_count(upstream, TIER_PRIMARY), 2);
    assert_int_equal(upstream_tier_begin(upstream, TIER_BACKUP), 2);
    assert_int_equal(upstream_tier_count(upstream, TIER_BACKUP), 2);
    assert_string_equal(upstream->members[0].server->name, "10.0.0.2:80");
    assert_string_equal(upstream->members[1].server->name, "10.0.0.4:80");
    assert_string_equal(upstream->members[2].server->name, "10.0.0.1:80");
    assert_string_equal(upstream->members[3].server->name, "10.0.0.3:80");
    assert_non_null(upstream->hash_slots[TIER_PRIMARY]);
    assert_non_null(upstream->hash_slots[TIER_BACKUP]);
    upstream_release(upstream);
}

static void two_of_one_name_are_refused(void **state)
{
    struct server_options *servers = usual_servers(3);
    const struct upstream_options options = options_of(servers, 3);
    struct upstream *upstream;

    (void)state;
    servers[2].name = servers[0].name;
    assert_int_equal(upstream_new(&upstream, &options, NULL), -EEXIST);
    assert_null(upstream);
}

static void more_servers_than_the_limit_are_refused(void **state)
{
    struct upstream_options options = options_of(usual_servers(UPSTREAM_SERVERS_MAX + 1), UPSTREAM_SERVERS_MAX + 1);
    struct upstream *upstream;

    (void)state;
    assert_int_equal(upstream_new(&upstream, &options, NULL), -E2BIG);
    options.server_count = UPSTREAM_SERVERS_MAX;
    assert_int_equal(upstream_new(&upstream, &options, NULL), 0);
    assert_int_equal(upstream_member_count(upstream), UPSTREAM_SERVERS_MAX);
    upstream_release(upstream);
}

static void nobody_is_a_valid_membership(void **state)
{
    struct upstream *upstream;

    (void)state;
    for (enum balance_method balance = BALANCE_ROUND_ROBIN; balance <= BALANCE_HASH; balance++) {
        upstream = upstream_of(balance, NULL, 0);
        assert_int_equal(pick_outcome(upstream, 1), PICK_NONE);
        upstream_release(upstream);
    }
}

static void new_version_keeps_counters_and_health_of_who_stays(void **state)
{
    struct server_options *servers = usual_servers(3);
    struct upstream *before = upstream_of(BALANCE_ROUND_ROBIN, servers, 3);
    const struct upstream_options options = options_of(&servers[1], 2);
    struct server *stays = before->members[1].server;
    struct server *moves = before->members[2].server;
    struct upstream *after;
    struct pick pick;

    (void)state;
    eject(before, 1, 1000);
    pick = pick_one(before, 0, 1000);
    assert_int_equal(pick.index, 0);
    servers[1].weight = 7;
    assert_int_equal(addr_parse_ip(&servers[2].addr, "10.9.9.9", 80), 0);
    assert_int_equal(upstream_new(&after, &options, before), 0);
    upstream_release(before);

    assert_ptr_equal(after->members[0].server, stays);
    assert_int_equal(after->members[0].weight, 7);
    assert_int_equal(server_state(stays, 1000), SERVER_EJECTED);
    assert_ptr_not_equal(after->members[1].server, moves); /* another address is another server */
    assert_int_equal(server_open(pick.server), 1);         /* the one that left lives until its connections end */
    server_give_slot(pick.server);
    upstream_release(after);
}

static void version_lives_until_its_last_reference(void **state)
{
    struct upstream *upstream = upstream_of(BALANCE_HASH, usual_servers(2), 2);

    (void)state;
    upstream_hold(upstream);
    upstream_release(upstream);
    assert_int_equal(pick_outcome(upstream, 1), PICK_OK);
    upstream_release(upstream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(primaries_come_first_in_their_order),
        cmocka_unit_test(two_of_one_name_are_refused),
        cmocka_unit_test(more_servers_than_the_limit_are_refused),
        cmocka_unit_test(nobody_is_a_valid_membership),
        cmocka_unit_test(new_version_keeps_counters_and_health_of_who_stays),
        cmocka_unit_test(version_lives_until_its_last_reference),
    };

    return cmocka_run_group_tests_name("upstream", tests, NULL, NULL);
}
