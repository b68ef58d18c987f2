/* See config.h. The Lua side finds what is wrong; everything here that can raise runs inside lua_cpcall() or
 * lua_pcall(). */
#include "script/config.h"

#include <errno.h>
#include <grp.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "script/config_read.h"
#include "script/modules.h"
#include "script/native.h"
#include "script/sources.h"

static const char *const level_names[LOG_LEVEL_COUNT] = {"debug", "info", "warn", "error"};

/* What the protected part of config_load() works on. */
struct loading {
    const struct config_request *request;
    struct config *config; /* borrowed; filled when there were no problems */
    uint32_t problems;
};

/* account_exists(kind, name) of zerg.config.options. */
static int account_exists(lua_State *L)
{
    const char *kind = luaL_checkstring(L, 1);
    const char *name = luaL_checkstring(L, 2);

    lua_pushboolean(L, strcmp(kind, "user") == 0 ? getpwnam(name) != NULL : getgrnam(name) != NULL);
    return 1;
}

/* Pushes the options table of zerg.config.load(). */
static void push_options(lua_State *L, int reactors, const char *log_level)
{
    lua_createtable(L, 0, 8);
    lua_pushliteral(L, ZERG_VERSION);
    lua_setfield(L, -2, "version");
    if (reactors != CONFIG_REACTORS_AS_GIVEN) {
        lua_pushinteger(L, reactors);
        lua_setfield(L, -2, "reactors");
    }
    if (log_level) {
        lua_pushstring(L, log_level);
        lua_setfield(L, -2, "log_level");
    }
}

/* Pushes the function `name` of the Lua module zerg.config. */
static void push_config_function(lua_State *L, const char *name)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "zerg.config");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}

/* Pushes the list of what `zerg proxy` relays to. */
static void push_targets(lua_State *L, const struct config_request *request)
{
    lua_createtable(L, (int)request->target_count, 0);
    for (uint32_t i = 0; i < request->target_count; i++) {
        lua_pushstring(L, request->targets[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

/* Pushes the function of zerg.config for what was requested, and its arguments but for the options. Returns how many. */
static int push_call(lua_State *L, const struct config_request *request)
{
    if (request->path) {
        push_config_function(L, request->control_only ? "load_control" : "load");
        lua_pushstring(L, request->path);
        return 1;
    }
    push_config_function(L, request->script ? "from_script" : "from_proxy");
    lua_pushstring(L, request->script ? request->script : request->listen);
    if (!request->script)
        push_targets(L, request);
    else if (request->port != 0)
        lua_pushinteger(L, request->port);
    else
        lua_pushnil(L);
    return 2;
}

/* Calls zerg.config for what was requested with the options at the top of the stack, which it replaces by the normalised
 * table (or nil) and the list of problems. */
static void call_config(lua_State *L, const struct config_request *request)
{
    int options = lua_gettop(L);
    int arguments;

    if (request->protocol == PROTOCOL_HTTP) {
        lua_pushliteral(L, "http");
        lua_setfield(L, options, "protocol");
    }
    arguments = push_call(L, request);

    lua_pushvalue(L, options);
    lua_call(L, arguments + 1, 2);
    lua_remove(L, options);
}

/* Reads the problem at the top of the stack; its strings live as long as it stays there. */
static struct config_problem read_problem(lua_State *L)
{
    struct config_problem problem;

    lua_getfield(L, -1, "file");
    lua_getfield(L, -2, "line");
    lua_getfield(L, -3, "key");
    lua_getfield(L, -4, "message");
    problem.file = lua_tostring(L, -4);
    problem.line = (uint32_t)lua_tointeger(L, -3);
    problem.key = lua_tostring(L, -2);
    problem.message = lua_tostring(L, -1);
    lua_pop(L, 4);
    return problem;
}

static void report(const struct loading *loading, const struct config_problem *problem)
{
    const struct config_request *request = loading->request;

    if (request->on_problem)
        request->on_problem(request->context, problem);
}

/* Reports every problem of the list at the top of the stack. */
static void report_all(lua_State *L, struct loading *loading)
{
    size_t count = lua_objlen(L, -1);

    for (size_t i = 1; i <= count; i++) {
        lua_rawgeti(L, -1, (int)i);
        struct config_problem problem = read_problem(L);

        report(loading, &problem);
        lua_pop(L, 1);
    }
    loading->problems = (uint32_t)count;
}

/* Runs in protected mode: a Lua error here is memory, or a fault of our own. */
static int load_protected(lua_State *L)
{
    struct loading *loading = lua_touserdata(L, 1);
    const struct config_request *request = loading->request;

    luaL_openlibs(L);
    modules_install(L);
    native_install(L);
    sources_share(L, loading->config->sources);
    push_options(L, request->reactors, request->log_level);
    lua_pushboolean(L, request->run_scripts);
    lua_setfield(L, -2, "run_scripts");
    lua_pushstring(L, request->control); /* nil when there is none */
    lua_setfield(L, -2, "control");
    lua_pushcfunction(L, account_exists);
    lua_setfield(L, -2, "account_exists");
    call_config(L, request);
    report_all(L, loading);
    lua_pop(L, 1);
    if (loading->problems == 0 && request->control_only)
        config_read_control(L, loading->config);
    else if (loading->problems == 0)
        config_read(L, loading->config);
    return 0;
}

/* Calls on_file() for every file. Runs in protected mode: when there is no memory, nobody learns of them. */
static int report_files(lua_State *L)
{
    const struct config_request *request = lua_touserdata(L, 1);
    size_t count;

    lua_getglobal(L, "require");
    lua_pushliteral(L, "zerg.config.files");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "loaded");
    lua_call(L, 0, 1);
    count = lua_objlen(L, -1);
    for (size_t i = 1; i <= count; i++) {
        lua_rawgeti(L, -1, (int)i);
        request->on_file(request->context, lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    return 0;
}

/* Turns the Lua error at the top of the stack into a problem of the file as a whole. */
static int report_error(lua_State *L, const struct loading *loading, int lua_status)
{
    const struct config_request *request = loading->request;
    const char *message = lua_tostring(L, -1);
    struct config_problem problem = {.file = request->path ? request->path : request->script}; /* NULL: zerg */

    if (lua_status == LUA_ERRMEM)
        return -ENOMEM;
    problem.message = message ? message : "unknown error";
    report(loading, &problem);
    return -EINVAL;
}

int config_load(const struct config_request *request, struct config **out)
{
    struct loading loading = {.request = request};
    lua_State *L = luaL_newstate();
    int lua_status;
    int status = 0;

    assert((request->path != NULL) + (request->script != NULL) + (request->listen != NULL) == 1);
    assert((request->listen == NULL) == (request->target_count == 0));
    assert(request->path || !request->control_only);
    *out = NULL;
    loading.config = calloc(1, sizeof(*loading.config));
    if (loading.config)
        loading.config->sources = sources_new();
    if (!L || !loading.config || !loading.config->sources) {
        status = -ENOMEM;
        goto end;
    }
    lua_status = lua_cpcall(L, load_protected, &loading);
    if (lua_status != 0)
        status = report_error(L, &loading, lua_status);
    else if (loading.problems > 0)
        status = -EINVAL;
    if (request->on_file)
        (void)lua_cpcall(L, report_files, (void *)request);

end:
    if (L)
        lua_close(L);
    if (status < 0)
        config_free(loading.config);
    else
        *out = loading.config;
    return status;
}

static void free_fields(struct http_field_config *fields, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        free(fields[i].name);
        free(fields[i].value);
    }
    free(fields);
}

static void free_route(struct http_route *route)
{
    free(route->host);
    free(route->path);
    free(route->handler);
    free(route->forward);
    free(route->rewrite.strip);
    free_fields(route->rewrite.request_fields, route->rewrite.request_field_count);
    free_fields(route->rewrite.response_fields, route->rewrite.response_field_count);
}

static void free_listener(struct listener_config *listener)
{
    for (uint32_t i = 0; i < listener->route_count; i++)
        free_route(&listener->routes[i]);
    free(listener->routes);
    free(listener->name);
    free(listener->handler);
    free(listener->forward);
    free(listener->trusted);
}

static void free_upstream(struct upstream_config *upstream)
{
    for (uint32_t i = 0; i < upstream->server_count; i++)
        free(upstream->servers[i].target);
    free(upstream->servers);
    free(upstream->name);
    free(upstream->check.path);
    free(upstream->check.host);
}

void config_free(struct config *config)
{
    if (!config)
        return;
    for (uint32_t i = 0; i < config->listener_count; i++)
        free_listener(&config->listeners[i]);
    for (uint32_t i = 0; i < config->upstream_count; i++)
        free_upstream(&config->upstreams[i]);
    for (uint32_t i = 0; i < config->proxy_target_count; i++)
        free(config->proxy_targets[i]);
    free(config->listeners);
    free(config->upstreams);
    free(config->resolver.servers);
    free(config->path);
    free(config->script);
    free(config->proxy_listen);
    free(config->proxy_targets);
    free(config->directory);
    free(config->lua_path);
    free(config->log.file);
    free(config->control);
    free(config->user);
    free(config->group);
    sources_free(config->sources);
    free(config);
}

const char *config_problem_format(const struct config_problem *problem, char *out, size_t out_bytes)
{
    char line[16] = "";

    if (problem->line > 0)
        snprintf(line, sizeof(line), ":%u", problem->line);
    snprintf(out, out_bytes, "%s%s: %s%s%s", problem->file ? problem->file : "zerg", line,
             problem->key ? problem->key : "", problem->key ? ": " : "", problem->message);
    return out;
}

/* Pushes the first problem of the list at the top of the stack as text. */
static void push_first_problem(lua_State *L)
{
    char text[512];

    lua_rawgeti(L, -1, 1);
    struct config_problem problem = read_problem(L);

    lua_pushstring(L, config_problem_format(&problem, text, sizeof(text)));
}

/* Whether the table at the top of the stack, a listener, has as many routes as C has of it. */
static bool has_routes(lua_State *L, const struct listener_config *config)
{
    bool is_same;

    lua_getfield(L, -1, "routes");
    is_same = lua_objlen(L, -1) == config->route_count;
    lua_pop(L, 1);
    return is_same;
}

/* Whether the normalised table at the top of the stack has what C has: both count listeners and routes alike, and find handlers so. */
static bool has_listeners(lua_State *L, const struct config *config)
{
    bool is_same;

    lua_getfield(L, -1, "listeners");
    is_same = lua_objlen(L, -1) == config->listener_count;
    for (uint32_t i = 0; is_same && i < config->listener_count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        is_same = has_routes(L, &config->listeners[i]);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return is_same;
}

/* (config) gives the normalised table; raises the first problem. */
static int push_protected(lua_State *L)
{
    const struct config *config = lua_touserdata(L, 1);
    struct config_request request = {
        .path = config->path,
        .script = config->script,
        .port = config->script ? addr_port(&config->listeners[0].addr) : 0,
        .protocol = config->path ? PROTOCOL_TCP : config->listeners[0].protocol,
        .listen = config->proxy_listen,
        .targets = (const char *const *)config->proxy_targets,
        .target_count = config->proxy_target_count,
    };

    sources_share(L, config->sources);
    push_options(L, (int)config->reactors, level_names[config->log.level]);
    call_config(L, &request);
    if (lua_isnil(L, -2)) {
        push_first_problem(L);
        return lua_error(L);
    }
    lua_pop(L, 1);
    if (!has_listeners(L, config))
        return luaL_error(L, "%s: has other listeners when it is run once more, as each reactor does", config->path);
    return 1;
}

int config_push(struct lua_State *L, const struct config *config)
{
    int lua_status;

    lua_pushcfunction(L, push_protected);
    lua_pushlightuserdata(L, (void *)config);
    lua_status = lua_pcall(L, 1, 1, 0);
    if (lua_status == 0)
        return 0;
    return lua_status == LUA_ERRMEM ? -ENOMEM : -EINVAL;
}
