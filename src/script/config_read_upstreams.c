/* The parts of a configuration that are about forwarding. See config_read.h. */
#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "script/config_read.h"
#include "script/field.h"

/* `count` zeroed items of `bytes` each; NULL for none. */
static void *new_items(lua_State *L, size_t count, size_t bytes)
{
    void *items;

    if (count == 0)
        return NULL;
    items = calloc(count, bytes);
    if (!items)
        field_out_of_memory(L);
    return items;
}

/* Owned by the caller: the string at `index` of the stack. */
static char *copy_string(lua_State *L, int index)
{
    char *copy = strdup(luaL_checkstring(L, index));

    if (!copy)
        field_out_of_memory(L);
    return copy;
}

void config_read_proxy(lua_State *L, struct config *config)
{
    size_t count;

    config->proxy_listen = field_string(L, "proxy_listen");
    if (!config->proxy_listen)
        return;
    field_enter(L, "proxy_targets");
    count = lua_objlen(L, -1);
    assert(count >= 1 && count <= UPSTREAM_SERVERS_MAX);
    config->proxy_targets = new_items(L, count, sizeof(config->proxy_targets[0]));
    config->proxy_target_count = (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        config->proxy_targets[i] = copy_string(L, -1);
        lua_pop(L, 1);
    }
    field_leave(L);
}

static void read_server(lua_State *L, struct server_config *server)
{
    server->target = field_string(L, "address");
    server->weight = field_u32(L, "weight");
    server->max_connections = field_u32(L, "max_connections");
    server->is_backup = field_bool(L, "backup");
    assert(server->target && server->weight >= 1 && server->weight <= UPSTREAM_WEIGHT_MAX);
}

static void read_servers(lua_State *L, struct upstream_config *upstream)
{
    size_t count = lua_objlen(L, -1);

    assert(count >= 1 && count <= UPSTREAM_SERVERS_MAX);
    upstream->servers = new_items(L, count, sizeof(upstream->servers[0]));
    upstream->server_count = (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        read_server(L, &upstream->servers[i]);
        lua_pop(L, 1);
    }
}

/* `health`; without it there are no checks. */
static void read_check(lua_State *L, struct check_config *check)
{
    lua_getfield(L, -1, "health");
    if (!lua_isnil(L, -1)) {
        check->interval_ms = field_ms(L, "interval");
        check->timeout_ms = field_ms(L, "timeout");
        check->path = field_string(L, "path");
        check->host = field_string(L, "host");
        check->status_min = (uint16_t)field_u32(L, "status_min");
        check->status_max = (uint16_t)field_u32(L, "status_max");
        check->rise = field_u32(L, "rise");
        check->fall = field_u32(L, "fall");
    }
    lua_pop(L, 1);
}

static enum proxy_send field_proxy_send(lua_State *L, const char *name)
{
    static const enum proxy_send versions[] = {PROXY_SEND_NONE, PROXY_SEND_V1, PROXY_SEND_V2};
    uint32_t version = field_u32(L, name);

    assert(version < COUNT_OF(versions));
    return versions[version];
}

static void read_upstream(lua_State *L, struct upstream_config *upstream)
{
    static const char *const methods[] = {
        [BALANCE_ROUND_ROBIN] = "round_robin",
        [BALANCE_LEAST_CONNECTIONS] = "least_connections",
        [BALANCE_RANDOM_TWO] = "random_two",
        [BALANCE_HASH] = "hash",
        NULL,
    };

    upstream->balance = (enum balance_method)field_choice(L, "balance", methods);
    upstream->proxy_send = field_proxy_send(L, "proxy_protocol");
    upstream->keepalive = field_u32(L, "keepalive");
    upstream->connect_ms = field_ms(L, "connect_timeout");
    upstream->read_ms = field_ms(L, "read_timeout");
    upstream->retries = field_u32(L, "retries");
    upstream->max_fails = field_u32(L, "max_fails");
    upstream->fail_timeout_ms = field_ms(L, "fail_timeout");
    upstream->slow_start_ms = field_ms(L, "slow_start");
    upstream->queue = field_u32(L, "queue");
    upstream->queue_ms = field_ms(L, "queue_timeout");
    read_check(L, &upstream->check);
    field_enter(L, "servers");
    read_servers(L, upstream);
    field_leave(L);
}

static int compare_names(const void *left, const void *right)
{
    const struct upstream_config *left_upstream = left;
    const struct upstream_config *right_upstream = right;

    return strcmp(left_upstream->name, right_upstream->name);
}

/* How many keys the table at the top of the stack has. */
static size_t count_keys(lua_State *L)
{
    size_t count = 0;

    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1))
        count++;
    return count;
}

void config_read_upstreams(lua_State *L, struct config *config)
{
    uint32_t at = 0;
    size_t count;

    field_enter(L, "upstreams");
    count = count_keys(L);
    assert(count <= UPSTREAMS_MAX);
    config->upstreams = new_items(L, count, sizeof(config->upstreams[0]));
    config->upstream_count = (uint32_t)count;
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
        struct upstream_config *upstream = &config->upstreams[at++];

        upstream->name = copy_string(L, -2);
        read_upstream(L, upstream);
    }
    field_leave(L);
    if (count > 0)
        qsort(config->upstreams, count, sizeof(config->upstreams[0]), compare_names);
}

/* The servers joined by commas; NULL when there are none. */
static char *read_name_servers(lua_State *L)
{
    size_t count = lua_objlen(L, -1);
    char *joined = NULL;
    size_t bytes;
    FILE *out;

    assert(count <= RESOLVER_SERVERS_MAX);
    if (count == 0)
        return NULL;
    out = open_memstream(&joined, &bytes);
    if (!out)
        field_out_of_memory(L);
    for (size_t i = 1; i <= count; i++) {
        lua_rawgeti(L, -1, (int)i);
        fprintf(out, "%s%s", i > 1 ? "," : "", lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    if (fclose(out) != 0) {
        free(joined);
        field_out_of_memory(L);
    }
    return joined;
}

void config_read_resolver(lua_State *L, struct resolver_config *resolver)
{
    field_enter(L, "resolver");
    resolver->timeout_ms = field_ms(L, "timeout");
    resolver->attempts = field_u32(L, "attempts");
    field_enter(L, "servers");
    resolver->servers = read_name_servers(L);
    field_leave(L);
    field_leave(L);
}

void config_read_trusted(lua_State *L, struct listener_config *listener)
{
    size_t count;

    field_enter(L, "trusted");
    count = lua_objlen(L, -1);
    assert(count <= TRUSTED_MAX);
    listener->trusted = new_items(L, count, sizeof(listener->trusted[0]));
    listener->trusted_count = (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        if (addr_range_parse(&listener->trusted[i], luaL_checkstring(L, -1)) < 0)
            luaL_error(L, "cannot trust %s", lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    field_leave(L);
}
