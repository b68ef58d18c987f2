/* See grouping.h. */
#include "grouping.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "proxy/group.h"
#include "proxy/group_config.h"
#include "proxy/resolution.h"
#include "proxy/server.h"
#include "proxy/upstream.h"

struct server_config grouped_servers[GROUPED_SERVERS];
struct upstream_config grouped_config;

struct group_config *config_of(uint32_t count)
{
    struct group_config *made;

    grouped_config.server_count = count;
    assert_int_equal(group_config_new(&made, &grouped_config), 0);
    return made;
}

struct group *group_of(uint32_t count)
{
    struct group_config *made = config_of(count);
    struct group *group;

    assert_int_equal(group_new(&group, "app", made, NULL), 0);
    group_config_release(made);
    return group;
}

int grouping_setup(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < COUNT_OF(grouped_servers); i++)
        grouped_servers[i] = (struct server_config){.weight = 1};
    grouped_config =
        (struct upstream_config){.name = (char *)"app", .servers = grouped_servers, .balance = BALANCE_IN_ORDER};
    return 0;
}

void configure(uint32_t index, const char *target, uint32_t weight, uint32_t max_connections, bool is_backup)
{
    grouped_servers[index] = (struct server_config){
        .target = (char *)(uintptr_t)target,
        .weight = weight,
        .max_connections = max_connections,
        .is_backup = is_backup,
    };
}

void add(struct resolution *resolution, const char *ip, uint16_t port, uint16_t priority, uint16_t weight)
{
    struct resolved *item = &resolution->items[resolution->count++];

    assert_int_equal(addr_parse_ip(&item->addr, ip, port), 0);
    item->priority = priority;
    item->weight = weight;
}

const struct source *source_of(const struct group *group, uint32_t index)
{
    return &group->config->sources[index];
}

void publish(struct group *group, uint32_t source, const struct resolution *resolution, uint64_t now_ms)
{
    group_take_answer(group, source_of(group, source), resolution, now_ms);
    assert_int_equal(group_publish(group), 0);
}

void answer(struct group *group, uint32_t source, const char *first, const char *second)
{
    struct resolution resolution = {.ttl_ms = TTL_MS};

    add(&resolution, first, 80, 0, 0);
    if (second)
        add(&resolution, second, 80, 0, 0);
    publish(group, source, &resolution, NOW_MS);
}

void assert_member(const struct group *group, uint32_t index, const char *name)
{
    assert_true(index < upstream_member_count(group->current));
    assert_string_equal(group->current->members[index].server->name, name);
}

void assert_count(const struct group *group, uint32_t primaries, uint32_t backups)
{
    assert_int_equal(upstream_tier_count(group->current, TIER_PRIMARY), primaries);
    assert_int_equal(upstream_tier_count(group->current, TIER_BACKUP), backups);
}
