/* See upstreams.h. */
#include "upstreams.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/hash.h"
#include "proxy/health.h"

enum { NAME_MAX_BYTES = 40 };

struct health_limits usual_health(void)
{
    return (struct health_limits){.max_fails = 3, .fail_timeout_ms = 10000, .rise = 2, .fall = 3};
}

struct server_options *usual_servers(uint32_t count)
{
    static struct server_options servers[UPSTREAM_SERVERS_MAX + 1];
    static char names[UPSTREAM_SERVERS_MAX + 1][NAME_MAX_BYTES];

    assert_true(count <= UPSTREAM_SERVERS_MAX + 1);
    for (uint32_t i = 0; i < count; i++) {
        char host[NAME_MAX_BYTES];

        snprintf(host, sizeof(host), "10.0.%u.%u", i / 250, i % 250 + 1);
        snprintf(names[i], sizeof(names[i]), "10.0.%u.%u:80", i / 250, i % 250 + 1);
        servers[i] = (struct server_options){.name = names[i], .weight = 1};
        assert_int_equal(addr_parse_ip(&servers[i].addr, host, 80), 0);
    }
    return servers;
}

struct upstream *upstream_of(enum balance_method balance, const struct server_options *servers, uint32_t count)
{
    struct upstream_options options = {.name = "app",
                                       .balance = balance,
                                       .health = usual_health(),
                                       .servers = servers,
                                       .server_count = count};
    struct upstream *upstream;

    assert_int_equal(upstream_new(&upstream, &options, NULL), 0);
    return upstream;
}

struct upstream *upstream_of_weights(enum balance_method balance, const uint32_t *weights, uint32_t count)
{
    struct server_options *servers = usual_servers(count);

    for (uint32_t i = 0; i < count; i++)
        servers[i].weight = weights[i];
    return upstream_of(balance, servers, count);
}

struct pick pick_one(struct upstream *upstream, uint64_t key_hash, uint64_t now_ms)
{
    const struct tried tried = {{0}};
    struct pick pick;

    assert_int_equal(balance_pick(upstream, key_hash, &tried, now_ms, &pick), PICK_OK);
    assert_ptr_equal(upstream->members[pick.index].server, pick.server);
    return pick;
}

uint32_t pick_index(struct upstream *upstream, uint64_t key_hash, uint64_t now_ms)
{
    struct pick pick = pick_one(upstream, key_hash, now_ms);

    server_give_slot(pick.server);
    return pick.index;
}

enum pick_outcome pick_outcome(struct upstream *upstream, uint64_t now_ms)
{
    const struct tried tried = {{0}};
    struct pick pick;
    enum pick_outcome outcome = balance_pick(upstream, 0, &tried, now_ms, &pick);

    if (outcome == PICK_OK)
        server_give_slot(pick.server);
    return outcome;
}

uint64_t key_number(uint32_t i)
{
    return hash_bytes(&i, sizeof(i));
}

void eject(struct upstream *upstream, uint32_t index, uint64_t now_ms)
{
    const struct pick pick = {.server = upstream->members[index].server, .index = index};

    for (uint32_t i = 1; i < upstream->health.max_fails; i++)
        assert_int_equal(health_on_attempt(upstream, &pick, ATTEMPT_FAILED, now_ms), HEALTH_SAME);
    assert_int_equal(health_on_attempt(upstream, &pick, ATTEMPT_FAILED, now_ms), HEALTH_EJECTED);
}

void fail_checks(struct upstream *upstream, uint32_t index, uint32_t count, uint64_t now_ms)
{
    for (uint32_t i = 0; i < count; i++)
        health_on_check(upstream, upstream->members[index].server, CHECK_FAILED, now_ms);
}

void pass_checks(struct upstream *upstream, uint32_t index, uint32_t count, uint64_t now_ms)
{
    for (uint32_t i = 0; i < count; i++)
        health_on_check(upstream, upstream->members[index].server, CHECK_PASSED, now_ms);
}
