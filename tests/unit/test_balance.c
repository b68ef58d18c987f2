/* balance: who is picked by each method, and who is passed over. The clock is a number, connections end at once
 * unless a test keeps them. */
#include "proxy/balance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/health.h"
#include "upstreams.h"

enum { PICKS = 100000, NOW_MS = 1000000 };

static const enum balance_method all_methods[] = {BALANCE_ROUND_ROBIN, BALANCE_LEAST_CONNECTIONS, BALANCE_RANDOM_TWO,
                                                  BALANCE_HASH};

/* ---- shares ---- */

/* Who got 100,000 connections that ended at once, each of another client. */
static void count_picks(struct upstream *upstream, uint32_t *counts, uint64_t now_ms)
{
    memset(counts, 0, upstream_member_count(upstream) * sizeof(*counts));
    for (uint32_t i = 0; i < PICKS; i++)
        counts[pick_index(upstream, key_number(i), now_ms)]++;
}

/* Each within so many per cent of its share by weight. */
static void assert_shares(const uint32_t *counts, const uint32_t *weights, uint32_t count, double percent)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < count; i++)
        sum += weights[i];
    for (uint32_t i = 0; i < count; i++) {
        double share = (double)PICKS * weights[i] / (double)sum;

        assert_true(counts[i] >= share * (1 - percent / 100));
        assert_true(counts[i] <= share * (1 + percent / 100));
    }
}

static void assert_distribution(enum balance_method balance, const uint32_t *weights, uint32_t count, double percent)
{
    struct upstream *upstream = upstream_of_weights(balance, weights, count);
    uint32_t counts[UPSTREAM_SERVERS_MAX];

    count_picks(upstream, counts, NOW_MS);
    assert_shares(counts, weights, count, percent);
    upstream_release(upstream);
}

static const uint32_t weights_equal[] = {1, 1, 1, 1, 1, 1, 1};
static const uint32_t weights_mixed[] = {5, 1, 1, 3, 10};
static const uint32_t weights_apart[] = {1000, 1};

static void round_robin_is_exact(void **state)
{
    (void)state;
    assert_distribution(BALANCE_ROUND_ROBIN, weights_equal, COUNT_OF(weights_equal), 0.02);
    assert_distribution(BALANCE_ROUND_ROBIN, weights_mixed, COUNT_OF(weights_mixed), 0.02);
    assert_distribution(BALANCE_ROUND_ROBIN, weights_apart, COUNT_OF(weights_apart), 1);
}

static void idle_servers_share_by_weight_under_least_connections(void **state)
{
    (void)state;
    assert_distribution(BALANCE_LEAST_CONNECTIONS, weights_equal, COUNT_OF(weights_equal), 0.02);
    assert_distribution(BALANCE_LEAST_CONNECTIONS, weights_mixed, COUNT_OF(weights_mixed), 0.02);
}

static void idle_servers_share_by_weight_under_random_two(void **state)
{
    (void)state; /* 5 per cent are 3.6 standard deviations of the smallest share */
    assert_distribution(BALANCE_RANDOM_TWO, weights_equal, COUNT_OF(weights_equal), 3);
    assert_distribution(BALANCE_RANDOM_TWO, weights_mixed, COUNT_OF(weights_mixed), 5);
}

static void hash_spreads_keys_by_weight(void **state)
{
    (void)state;
    assert_distribution(BALANCE_HASH, weights_equal, COUNT_OF(weights_equal), 3);
    assert_distribution(BALANCE_HASH, weights_mixed, COUNT_OF(weights_mixed), 5);
}

/* ---- round robin ---- */

/* The next picks, as letters. */
static void assert_sequence(struct upstream *upstream, const char *expected, uint64_t now_ms)
{
    char got[64] = {0};
    size_t length = strlen(expected);

    assert_true(length < sizeof(got));
    for (size_t i = 0; i < length; i++)
        got[i] = (char)('a' + pick_index(upstream, 0, now_ms));
    assert_string_equal(got, expected);
}

static void round_robin_is_smooth(void **state)
{
    static const struct {
        uint32_t weights[4];
        uint32_t count;
        const char *sequence;
    } cases[] = {
        {{5, 1, 1}, 3, "aabacaaaabacaa"},
        {{1, 1, 1}, 3, "abcabc"},
        {{2, 1}, 2, "abaaba"},
        {{1, 2}, 2, "babbab"},
        {{3, 2}, 2, "ababaababa"},
        {{4, 2, 1}, 3, "abacaba"},
        {{1, 1, 1, 1}, 4, "abcdabcd"},
        {{7}, 1, "aaa"},
        {{10, 10, 10}, 3, "abcabc"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct upstream *upstream = upstream_of_weights(BALANCE_ROUND_ROBIN, cases[i].weights, cases[i].count);

        assert_sequence(upstream, cases[i].sequence, NOW_MS);
        upstream_release(upstream);
    }
}

static void round_robin_stays_even_among_those_left(void **state)
{
    struct upstream *upstream = upstream_of_weights(BALANCE_ROUND_ROBIN, weights_equal, 3);

    (void)state;
    eject(upstream, 1, NOW_MS);
    assert_sequence(upstream, "acacac", NOW_MS); /* the share of b is not all c's */
    upstream_release(upstream);
}

/* ---- least connections ---- */

static void least_connections_fills_up_by_weight(void **state)
{
    struct upstream *upstream = upstream_of_weights(BALANCE_LEAST_CONNECTIONS, weights_mixed, 5);
    struct pick picks[200];

    (void)state;
    for (uint32_t i = 0; i < COUNT_OF(picks); i++)
        picks[i] = pick_one(upstream, 0, NOW_MS);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(server_open(upstream->members[i].server), 10 * weights_mixed[i]);
    for (uint32_t i = 0; i < COUNT_OF(picks); i++)
        server_give_slot(picks[i].server);
    upstream_release(upstream);
}

static void least_connections_prefers_whose_connections_ended(void **state)
{
    struct upstream *upstream = upstream_of_weights(BALANCE_LEAST_CONNECTIONS, weights_equal, 3);
    struct pick picks[9];

    (void)state;
    for (uint32_t i = 0; i < COUNT_OF(picks); i++)
        picks[i] = pick_one(upstream, 0, NOW_MS);
    for (uint32_t i = 0; i < COUNT_OF(picks); i++) {
        if (picks[i].index == 1)
            server_give_slot(picks[i].server);
    }
    for (uint32_t i = 0; i < 3; i++) {
        struct pick pick = pick_one(upstream, 0, NOW_MS);

        assert_int_equal(pick.index, 1);
    }
    for (uint32_t i = 0; i < 3; i++) {
        while (server_open(upstream->members[i].server) > 0)
            server_give_slot(upstream->members[i].server);
    }
    upstream_release(upstream);
}

/* ---- two at random ---- */

static void give_all_slots(struct upstream *upstream)
{
    for (uint32_t i = 0; i < upstream_member_count(upstream); i++) {
        while (server_open(upstream->members[i].server) > 0)
            server_give_slot(upstream->members[i].server);
    }
}

static void random_two_keeps_loads_close(void **state)
{
    enum { SERVERS = 20, OPEN = 100000 };
    struct upstream *upstream = upstream_of(BALANCE_RANDOM_TWO, usual_servers(SERVERS), SERVERS);

    (void)state;
    for (uint32_t i = 0; i < OPEN; i++)
        pick_one(upstream, 0, NOW_MS);
    for (uint32_t i = 0; i < SERVERS; i++) /* one choice alone would leave them about 70 apart from the mean */
        assert_in_range(server_open(upstream->members[i].server), OPEN / SERVERS - 10, OPEN / SERVERS + 10);
    give_all_slots(upstream);
    upstream_release(upstream);
}

static void random_two_of_two_takes_the_less_loaded(void **state)
{
    struct upstream *upstream = upstream_of_weights(BALANCE_RANDOM_TWO, weights_equal, 2);

    (void)state;
    for (uint32_t i = 0; i < 10; i++)
        assert_true(server_take_slot(upstream->members[0].server, 0));
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(pick_one(upstream, 0, NOW_MS).index, 1);
    give_all_slots(upstream);
    upstream_release(upstream);
}

/* ---- hash ---- */

static void hash_sends_a_key_to_the_same_server(void **state)
{
    struct upstream *upstream = upstream_of(BALANCE_HASH, usual_servers(10), 10);
    struct upstream *restarted = upstream_of(BALANCE_HASH, usual_servers(10), 10);

    (void)state;
    for (uint32_t i = 0; i < 1000; i++) {
        uint32_t index = pick_index(upstream, key_number(i), NOW_MS);

        assert_int_equal(pick_index(upstream, key_number(i), NOW_MS + i), index);
        assert_int_equal(pick_index(restarted, key_number(i), NOW_MS), index);
    }
    upstream_release(upstream);
    upstream_release(restarted);
}

/* Where 100,000 keys go. */
static void map_keys(struct upstream *upstream, uint16_t *map)
{
    for (uint32_t i = 0; i < PICKS; i++)
        map[i] = (uint16_t)pick_index(upstream, key_number(i), NOW_MS);
}

static void hash_moves_few_keys_when_one_of_n_leaves(void **state)
{
    static uint16_t before[PICKS], after[PICKS];

    (void)state;
    for (uint32_t count = 2; count <= 20; count++) {
        struct upstream *all = upstream_of(BALANCE_HASH, usual_servers(count), count);
        struct upstream *rest = upstream_of(BALANCE_HASH, usual_servers(count) + 1, count - 1);
        uint32_t moved = 0;

        map_keys(all, before);
        map_keys(rest, after);
        for (uint32_t i = 0; i < PICKS; i++)
            moved += before[i] != after[i] + 1;
        assert_true(moved <= 1.5 * PICKS / count);
        upstream_release(all);
        upstream_release(rest);
    }
}

static void hash_moves_only_the_keys_of_the_ejected_and_spreads_them(void **state)
{
    static uint16_t before[PICKS], after[PICKS];
    struct upstream *upstream = upstream_of(BALANCE_HASH, usual_servers(5), 5);
    uint32_t gained[5] = {0};
    uint32_t moved = 0;

    (void)state;
    map_keys(upstream, before);
    eject(upstream, 2, NOW_MS);
    map_keys(upstream, after);
    for (uint32_t i = 0; i < PICKS; i++) {
        if (before[i] == 2) {
            gained[after[i]]++;
            moved++;
        } else {
            assert_int_equal(before[i], after[i]);
        }
    }
    assert_int_equal(gained[2], 0);
    for (uint32_t i = 0; i < 5; i++)
        assert_true(i == 2 || (gained[i] > moved * 0.225 && gained[i] < moved * 0.275));
    upstream_release(upstream);
}

static void client_is_its_address_without_the_port(void **state)
{
    struct addr one, other, mapped, neighbour, v6;

    (void)state;
    assert_int_equal(addr_parse_ip(&one, "192.0.2.1", 1000), 0);
    assert_int_equal(addr_parse_ip(&other, "192.0.2.1", 2000), 0);
    assert_int_equal(addr_parse_ip(&mapped, "::ffff:192.0.2.1", 3000), 0);
    assert_int_equal(addr_parse_ip(&neighbour, "192.0.2.2", 1000), 0);
    assert_int_equal(addr_parse_ip(&v6, "2001:db8::1", 1000), 0);
    assert_true(balance_hash_client(&one) == balance_hash_client(&other));
    assert_true(balance_hash_client(&one) == balance_hash_client(&mapped));
    assert_true(balance_hash_client(&one) != balance_hash_client(&neighbour));
    assert_true(balance_hash_client(&one) != balance_hash_client(&v6));
}

/* ---- all methods: who is passed over ---- */

static void who_cannot_take_is_passed_over(void **state)
{
    (void)state;
    for (size_t method = 0; method < COUNT_OF(all_methods); method++) {
        struct upstream *upstream = upstream_of(all_methods[method], usual_servers(4), 4);

        eject(upstream, 0, NOW_MS);
        fail_checks(upstream, 1, 3, NOW_MS);
        server_set_admin(upstream->members[2].server, SERVER_ADMIN_DRAIN);
        for (uint32_t i = 0; i < 100; i++)
            assert_int_equal(pick_index(upstream, key_number(i), NOW_MS), 3);
        fail_checks(upstream, 3, 3, NOW_MS);
        assert_int_equal(pick_outcome(upstream, NOW_MS), PICK_NONE);
        upstream_release(upstream);
    }
}

static void each_is_tried_once_and_then_nobody_is_left(void **state)
{
    (void)state;
    for (size_t method = 0; method < COUNT_OF(all_methods); method++) {
        struct server_options *servers = usual_servers(5);
        struct tried tried = {{0}};
        struct upstream *upstream;
        struct pick pick;

        servers[4].is_backup = true;
        upstream = upstream_of(all_methods[method], servers, 5);
        for (uint32_t i = 0; i < 5; i++) {
            assert_int_equal(balance_pick(upstream, 1, &tried, NOW_MS, &pick), PICK_OK);
            assert_false(tried_has(&tried, pick.index));
            assert_true((pick.index == 4) == (i == 4));
            tried_add(&tried, &pick);
            server_give_slot(pick.server);
        }
        assert_int_equal(balance_pick(upstream, 1, &tried, NOW_MS, &pick), PICK_NONE);
        upstream_release(upstream);
    }
}

static void backups_serve_only_while_no_primary_can(void **state)
{
    (void)state;
    for (size_t method = 0; method < COUNT_OF(all_methods); method++) {
        struct server_options *servers = usual_servers(4);
        struct upstream *upstream;
        uint32_t counts[4] = {0};

        servers[2].is_backup = true;
        servers[3].is_backup = true;
        upstream = upstream_of(all_methods[method], servers, 4);
        eject(upstream, 0, NOW_MS);
        for (uint32_t i = 0; i < 100; i++)
            assert_int_equal(pick_index(upstream, key_number(i), NOW_MS), 1);
        fail_checks(upstream, 1, 3, NOW_MS);
        for (uint32_t i = 0; i < 100; i++)
            counts[pick_index(upstream, key_number(i), NOW_MS)]++;
        assert_int_equal(counts[0] + counts[1], 0);
        assert_true(counts[2] > 20 && counts[3] > 20);
        pass_checks(upstream, 1, 2, NOW_MS);
        assert_int_equal(pick_index(upstream, 0, NOW_MS), 1);
        upstream_release(upstream);
    }
}

static void full_servers_are_passed_over_and_all_full_is_busy(void **state)
{
    (void)state;
    for (size_t method = 0; method < COUNT_OF(all_methods); method++) {
        struct server_options *servers = usual_servers(3);
        struct upstream *upstream;

        for (uint32_t i = 0; i < 3; i++)
            servers[i].max_connections = 2;
        servers[2].is_backup = true; /* takes what is too much for the others */
        upstream = upstream_of(all_methods[method], servers, 3);
        for (uint32_t i = 0; i < 4; i++)
            assert_true(pick_one(upstream, key_number(i), NOW_MS).index < 2);
        assert_int_equal(pick_one(upstream, 7, NOW_MS).index, 2);
        assert_int_equal(pick_one(upstream, 8, NOW_MS).index, 2);
        assert_int_equal(pick_outcome(upstream, NOW_MS), PICK_BUSY);
        server_give_slot(upstream->members[1].server);
        assert_int_equal(pick_one(upstream, 9, NOW_MS).index, 1);
        give_all_slots(upstream);
        upstream_release(upstream);
    }
}

/* ---- trials ---- */

static void one_connection_tries_an_ejected_server(void **state)
{
    (void)state;
    for (size_t method = 0; method < COUNT_OF(all_methods); method++) {
        struct upstream *upstream = upstream_of(all_methods[method], usual_servers(2), 2);
        uint64_t later_ms = NOW_MS + upstream->health.fail_timeout_ms;
        uint32_t trials = 0;

        eject(upstream, 0, NOW_MS);
        for (uint32_t i = 0; i < 100; i++)
            assert_int_equal(pick_index(upstream, key_number(i), later_ms - 1), 1);
        for (uint32_t i = 0; i < 100; i++) {
            struct pick pick = pick_one(upstream, key_number(i), later_ms);

            assert_true(pick.is_trial == (pick.index == 0));
            trials += pick.is_trial;
            server_give_slot(pick.server);
        }
        assert_int_equal(trials, 1);
        upstream_release(upstream);
    }
}

/* ---- slow start ---- */

enum { SLOW_START_MS = 100000 };

/* Four servers, of which the first has just recovered. */
static struct upstream *with_a_recovered_server(enum balance_method balance)
{
    struct upstream_options options = {
        .name = "app",
        .balance = balance,
        .health = usual_health(),
        .servers = usual_servers(4),
        .server_count = 4,
    };
    struct upstream *upstream;

    options.health.slow_start_ms = SLOW_START_MS;
    assert_int_equal(upstream_new(&upstream, &options, NULL), 0);
    fail_checks(upstream, 0, 3, NOW_MS);
    pass_checks(upstream, 0, 2, NOW_MS);
    return upstream;
}

static void assert_ramp(enum balance_method balance, double tolerance_percent)
{
    struct upstream *upstream = with_a_recovered_server(balance);
    uint32_t counts[4];

    for (uint32_t percent = 10; percent <= 120; percent += 10) {
        uint32_t reached = percent < 100 ? percent : 100;
        const uint32_t weights[] = {reached, 100, 100, 100};

        count_picks(upstream, counts, NOW_MS + SLOW_START_MS / 100 * percent);
        assert_shares(counts, weights, 4, tolerance_percent);
    }
    upstream_release(upstream);
}

static void recovered_server_ramps_up_under_round_robin(void **state)
{
    (void)state;
    assert_ramp(BALANCE_ROUND_ROBIN, 1); /* a weight of 1 ramps up in steps of 1/1024 */
}

static void recovered_server_ramps_up_under_random_two(void **state)
{
    (void)state;
    assert_ramp(BALANCE_RANDOM_TWO, 8);
}

static void recovered_server_gets_its_keys_back_one_after_the_other(void **state)
{
    static uint16_t before[PICKS];
    static bool is_back[PICKS];
    struct upstream *upstream = with_a_recovered_server(BALANCE_HASH);
    uint32_t keys = 0;

    (void)state;
    for (uint32_t i = 0; i < PICKS; i++) {
        before[i] = (uint16_t)pick_index(upstream, key_number(i), NOW_MS + SLOW_START_MS);
        keys += before[i] == 0;
    }
    for (uint32_t percent = 0; percent <= 100; percent += 10) {
        uint32_t returned = 0;

        for (uint32_t i = 0; i < PICKS; i++) {
            uint32_t index = pick_index(upstream, key_number(i), NOW_MS + SLOW_START_MS / 100 * percent);

            assert_true(before[i] == 0 || index == before[i]);
            assert_true(index == 0 || !is_back[i]); /* who is back stays */
            is_back[i] = index == 0;
            returned += index == 0;
        }
        assert_in_range(returned, keys / 100 * percent - (percent ? keys / 50 : 0), keys / 100 * percent + keys / 50);
    }
    upstream_release(upstream);
}

static void cold_server_is_better_than_none(void **state)
{
    (void)state;
    for (size_t method = 0; method < COUNT_OF(all_methods); method++) {
        struct upstream *upstream = with_a_recovered_server(all_methods[method]);

        for (uint32_t i = 1; i < 4; i++)
            fail_checks(upstream, i, 3, NOW_MS);
        for (uint32_t i = 0; i < 100; i++)
            assert_int_equal(pick_index(upstream, key_number(i), NOW_MS + 1), 0);
        upstream_release(upstream);
    }
}

/* ---- limits that have changed ---- */

static void one_that_was_ejected_by_other_limits_is_tried_all_the_same(void **state)
{
    struct upstream *upstream = upstream_of(BALANCE_ROUND_ROBIN, usual_servers(1), 1);

    (void)state;
    atomic_store(&upstream->members[0].server->ejected_until_ms, NOW_MS);
    upstream->health.fail_timeout_ms = 0;
    assert_true(pick_one(upstream, 0, NOW_MS).is_trial);
    server_give_slot(upstream->members[0].server);
    assert_int_equal(pick_outcome(upstream, NOW_MS + 1), PICK_OK);
    upstream_release(upstream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_was_ejected_by_other_limits_is_tried_all_the_same),
        cmocka_unit_test(round_robin_is_exact),
        cmocka_unit_test(idle_servers_share_by_weight_under_least_connections),
        cmocka_unit_test(idle_servers_share_by_weight_under_random_two),
        cmocka_unit_test(hash_spreads_keys_by_weight),
        cmocka_unit_test(round_robin_is_smooth),
        cmocka_unit_test(round_robin_stays_even_among_those_left),
        cmocka_unit_test(least_connections_fills_up_by_weight),
        cmocka_unit_test(least_connections_prefers_whose_connections_ended),
        cmocka_unit_test(random_two_keeps_loads_close),
        cmocka_unit_test(random_two_of_two_takes_the_less_loaded),
        cmocka_unit_test(hash_sends_a_key_to_the_same_server),
        cmocka_unit_test(hash_moves_few_keys_when_one_of_n_leaves),
        cmocka_unit_test(hash_moves_only_the_keys_of_the_ejected_and_spreads_them),
        cmocka_unit_test(client_is_its_address_without_the_port),
        cmocka_unit_test(who_cannot_take_is_passed_over),
        cmocka_unit_test(each_is_tried_once_and_then_nobody_is_left),
        cmocka_unit_test(backups_serve_only_while_no_primary_can),
        cmocka_unit_test(full_servers_are_passed_over_and_all_full_is_busy),
        cmocka_unit_test(one_connection_tries_an_ejected_server),
        cmocka_unit_test(recovered_server_ramps_up_under_round_robin),
        cmocka_unit_test(recovered_server_ramps_up_under_random_two),
        cmocka_unit_test(recovered_server_gets_its_keys_back_one_after_the_other),
        cmocka_unit_test(cold_server_is_better_than_none),
    };

    return cmocka_run_group_tests_name("balance", tests, NULL, NULL);
}
