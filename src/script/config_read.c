/* What the checker guarantees is checked again, but only as a fault of ours. */
#include "script/config_read.h"

#include <errno.h>
#include <lauxlib.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/limits.h"
#include "script/field.h"

static enum ip_version field_ip_version(lua_State *L, const char *name)
{
    static const char *const choices[] = {"dual", "v4", "v6", NULL};
    static const enum ip_version versions[] = {IP_DUAL, IP_V4, IP_V6};

    return versions[field_choice(L, name, choices)];
}

static void read_reactor(lua_State *L, struct reactor_config *reactor)
{
    reactor->ring_entries = field_u32(L, "ring_entries");
    reactor->recv_buffer_size = field_u32_or_auto(L, "recv_buffer_size");
    reactor->buffer_ring_entries = field_u32_or_auto(L, "buffer_ring_entries");
    if (field_is_auto(L, "incremental"))
        reactor->incremental = FEATURE_AUTO;
    else
        reactor->incremental = field_bool(L, "incremental") ? FEATURE_ON : FEATURE_OFF;
    reactor->batch_cqes = field_u32(L, "batch_cqes");
    reactor->cq_timeout_ms = field_ms(L, "cq_timeout");
    reactor->max_connections = field_u32(L, "max_connections");
    reactor->sqpoll = field_bool(L, "sqpoll");
    reactor->sq_cpu = (int)field_number(L, "sq_cpu");
    reactor->sq_idle_ms = field_ms(L, "sq_idle");
}

static void read_log(lua_State *L, struct log_config *log)
{
    static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
    static const char *const formats[] = {"text", "json", NULL};

    log->file = field_string(L, "file");
    log->level = (enum log_level)field_choice(L, "level", levels);
    log->format = field_choice(L, "format", formats) == 0 ? LOG_TEXT : LOG_JSON;
}

static int parse_address(const char *address, const char *path, uint16_t port, struct listener_config *listener)
{
    if (path)
        return addr_parse_unix(&listener->addr, path);
    if (!address)
        address = listener->ip_version == IP_V4 ? "0.0.0.0" : "::";
    return addr_parse_ip(&listener->addr, address, port);
}

static void read_address(lua_State *L, struct listener_config *listener)
{
    int status;

    lua_getfield(L, -1, "address");
    lua_getfield(L, -2, "path");
    lua_getfield(L, -3, "port");
    status = parse_address(lua_tostring(L, -3), lua_tostring(L, -2), (uint16_t)lua_tointeger(L, -1), listener);
    lua_pop(L, 3);
    if (status < 0)
        luaL_error(L, "cannot listen on %s: %s", listener->name, strerror(-status));
}

static void read_listener(lua_State *L, struct listener_config *listener, uint32_t *route_count)
{
    static const char *const protocols[] = {"tcp", "http", NULL};

    listener->name = field_string(L, "name");
    listener->handler = field_string(L, "handler_label");
    listener->ip_version = field_ip_version(L, "ip_version");
    read_address(L, listener);
    listener->protocol = field_choice(L, "protocol", protocols) == 0 ? PROTOCOL_TCP : PROTOCOL_HTTP;
    if (listener->protocol == PROTOCOL_TCP) /* else its routes say */
        listener->forward = field_string(L, "forward");
    listener->accepts_proxy = field_bool(L, "proxy_protocol");
    config_read_trusted(L, listener);
    lua_getfield(L, -1, "mode");
    listener->mode = (mode_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
    listener->backlog = field_u32(L, "backlog");
    listener->max_connections = field_u32(L, "max_connections");
    listener->write_buffer_max = field_u32(L, "write_buffer_max");

    field_enter(L, "timeouts");
    listener->timeouts.read_ms = field_ms(L, "read");
    listener->timeouts.write_ms = field_ms(L, "write");
    listener->timeouts.idle_ms = field_ms(L, "idle");
    listener->connect_ms = field_ms(L, "connect");
    listener->handshake_ms = field_ms(L, "handshake");
    listener->total_ms = field_ms(L, "total");
    field_leave(L);

    field_enter(L, "limits");
    listener->connections_per_ip = field_u32(L, "connections_per_ip");
    field_leave(L);
    config_read_http(L, listener, route_count);

    field_enter(L, "tcp");
    listener->tcp.nodelay = field_bool(L, "nodelay");
    listener->tcp.keepalive = field_bool(L, "keepalive");
    listener->tcp.fastopen = field_u32(L, "fastopen");
    listener->tcp.user_timeout_ms = field_ms(L, "user_timeout");
    field_leave(L);
}

static void read_listeners(lua_State *L, struct config *config)
{
    size_t count = lua_objlen(L, -1);

    assert(count >= 1 && count <= LISTENERS_MAX);
    config->listeners = calloc(count, sizeof(config->listeners[0]));
    if (!config->listeners)
        field_out_of_memory(L);
    config->listener_count = (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        read_listener(L, &config->listeners[i], &config->route_count);
        lua_pop(L, 1);
    }
}

/* One per CPU that this process may use (its affinity mask, which taskset and cpusets set). */
static uint32_t reactors_for_this_machine(void)
{
    cpu_set_t set;
    long count;

    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        count = CPU_COUNT(&set);
    else
        count = sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than a cpu_set_t holds */
    if (count < 1)
        return 1;
    return count > REACTORS_MAX ? REACTORS_MAX : (uint32_t)count;
}

void config_read_control(lua_State *L, struct config *config)
{
    lua_getfield(L, -1, "control");
    config->has_control = lua_isnil(L, -1) || lua_isstring(L, -1); /* else it is false */
    lua_pop(L, 1);
    if (config->has_control)
        config->control = field_string(L, "control");
}

void config_read(lua_State *L, struct config *config)
{
    static const char *const accept_modes[] = {"acceptor", "reuseport", NULL};

    config->path = field_string(L, "path");
    config->script = field_string(L, "script");
    config_read_proxy(L, config);
    config->directory = field_string(L, "directory");
    config->lua_path = field_string(L, "lua_path");
    config->user = field_string(L, "user");
    config->group = field_string(L, "group");
    config->reactors = field_u32(L, "reactors");
    if (config->reactors == 0)
        config->reactors = reactors_for_this_machine();
    config->accept_given = field_choice(L, "accept", accept_modes) == 0 ? ACCEPT_ACCEPTOR : ACCEPT_REUSEPORT;
    /* A single reactor has nobody to deal connections out to. */
    config->accept = config->reactors == 1 ? ACCEPT_REUSEPORT : config->accept_given;
    config->pin_cpus = field_bool(L, "pin_cpus");
    config->script_memory_max = (uint64_t)field_number(L, "script_memory_max");
    config->script_stall_ms = field_ms(L, "script_stall");
    config->drain_timeout_ms = field_ms(L, "drain_timeout");
    config->watches = field_bool(L, "watch");

    field_enter(L, "acceptor");
    config->acceptor_ring_entries = field_u32(L, "ring_entries");
    field_leave(L);
    field_enter(L, "reactor");
    read_reactor(L, &config->reactor);
    field_leave(L);
    field_enter(L, "log");
    read_log(L, &config->log);
    field_leave(L);
    config_read_control(L, config);
    config_read_resolver(L, &config->resolver);
    config_read_upstreams(L, config);
    field_enter(L, "listeners");
    read_listeners(L, config);
    field_leave(L);
    assert(config->directory && config->lua_path && config->log.file);
}
