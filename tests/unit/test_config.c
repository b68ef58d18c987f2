/* script/config, modules and starter: from files in a directory of their own to struct config, with the linked-in
 * Lua. */
#include "script/config.h"

#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "script/modules.h"
#include "script/starter.h"

#include <cmocka.h>

enum { PROBLEMS_MAX = 8, LINE_BYTES = 512 };

struct fixture {
    char directory[32]; /* the working directory during a test */
    char problems[PROBLEMS_MAX][LINE_BYTES];
    unsigned problem_count;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    snprintf(f->directory, sizeof(f->directory), "/tmp/zerg-test-XXXXXX");
    if (!mkdtemp(f->directory) || chdir(f->directory) < 0)
        return -1;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    const char *const files[] = {"zerg.lua", "echo.lua", "words.lua", "handlers/hello.lua"};

    for (size_t i = 0; i < COUNT_OF(files); i++)
        unlink(files[i]);
    rmdir("handlers");
    if (chdir("/") < 0 || rmdir(f->directory) < 0)
        return -1;
    free(f);
    return 0;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void note_problem(void *context, const struct config_problem *problem)
{
    struct fixture *f = context;

    assert_true(f->problem_count < PROBLEMS_MAX);
    config_problem_format(problem, f->problems[f->problem_count++], LINE_BYTES);
}

static struct config_request request_for(struct fixture *f, const char *path)
{
    f->problem_count = 0;
    return (struct config_request){
        .path = path,
        .reactors = CONFIG_REACTORS_AS_GIVEN,
        .on_problem = note_problem,
        .context = f,
    };
}

static struct config *load_text(struct fixture *f, const char *text)
{
    struct config_request request = request_for(f, "zerg.lua");
    struct config *config;

    write_file("zerg.lua", text);
    if (config_load(&request, &config) < 0)
        fail_msg("%s", f->problems[0]);
    return config;
}

static void defaults_are_those_of_the_schema(void **state)
{
    struct config *config = load_text(*state, "return { listeners = { { port = 7000, handler = print } } }");
    const struct listener_config *listener = &config->listeners[0];

    assert_string_equal(config->path, "zerg.lua");
    assert_null(config->script);
    assert_string_equal(config->directory, ".");
    assert_string_equal(config->lua_path, "");
    assert_true(config->reactors >= 1);
    assert_int_equal(config->accept, ACCEPT_ACCEPTOR);
    assert_true(config->pin_cpus);
    assert_int_equal(config->acceptor_ring_entries, 256);
    assert_int_equal(config->reactor.ring_entries, 8192);
    assert_int_equal(config->reactor.recv_buffer_size, 0);
    assert_int_equal(config->reactor.buffer_ring_entries, 0);
    assert_int_equal(config->reactor.incremental, FEATURE_AUTO);
    assert_int_equal(config->reactor.sq_cpu, -1);
    assert_int_equal(config->reactor.sq_idle_ms, 100);
    assert_int_equal(config->log.level, LOG_INFO);
    assert_string_equal(config->log.file, "stderr");
    assert_int_equal(config->script_memory_max, 256 << 20);
    assert_int_equal(config->script_stall_ms, 1000);
    assert_int_equal(config->drain_timeout_ms, 30000);
    assert_null(config->user);
    assert_true(config->has_control);
    assert_null(config->control);
    assert_int_equal(config->listener_count, 1);
    assert_string_equal(listener->name, "*:7000");
    assert_int_equal(addr_port(&listener->addr), 7000);
    assert_int_equal(listener->addr.sa.sa_family, AF_INET6);
    assert_int_equal(listener->ip_version, IP_DUAL);
    assert_int_equal(listener->backlog, 65535);
    assert_int_equal(listener->write_buffer_max, 256 * 1024);
    assert_int_equal(listener->timeouts.write_ms, 60000);
    assert_true(listener->tcp.nodelay);
    assert_false(listener->accepts_proxy);
    assert_int_equal(listener->handshake_ms, 5000);
    assert_int_equal(listener->total_ms, 0);
    assert_int_equal(listener->trusted_count, 0);
    assert_int_equal(config->upstream_count, 0);
    assert_null(config->resolver.servers);
    assert_int_equal(config->resolver.timeout_ms, 0);
    assert_int_equal(config->resolver.attempts, 0);
    config_free(config);
}

static void every_key_reaches_its_field(void **state)
{
    struct config *config = load_text(
        *state,
        "return { reactors = 3, accept = 'reuseport', pin_cpus = false, lua_path = 'lib/?.lua',\n"
        "script_memory_max = '5g', script_stall = '500ms', drain_timeout = 0, user = 'root', group = 'root',\n"
        "control = 'c.sock',\n"
        "acceptor = { ring_entries = 8, backlog = 10, ip_version = 'v4' },\n"
        "reactor = { ring_entries = 64, recv_buffer_size = '4k', buffer_ring_entries = 4, incremental = true,\n"
        "  batch_cqes = 16, cq_timeout = 0.0001, max_connections = 9, sqpoll = true, sq_cpu = 1, sq_idle = 2 },\n"
        "log = { level = 'error', file = 'x.log', format = 'json' },\n"
        "listeners = { { path = 's.sock', mode = '0660', handler = print, name = 'u' },\n"
        "  { port = 1, handler = print, backlog = 5, max_connections = 6, write_buffer_max = '8k',\n"
        "    timeouts = { read = 1, write = 2, idle = '3ms', connect = '4ms' },\n"
        "    limits = { connections_per_ip = 8 },\n"
        "    tcp = { nodelay = false, keepalive = true, fastopen = 7, user_timeout = 4 } },\n"
        "  { port = 2, forward = '[::1]:9' }, { port = 3, forward = 'unix:b.sock' } } }");
    const struct listener_config *unix_listener = &config->listeners[0];
    const struct listener_config *tcp_listener = &config->listeners[1];
    char text[ADDR_TEXT_MAX];

    assert_int_equal(config->reactors, 3);
    assert_int_equal(config->accept, ACCEPT_REUSEPORT);
    assert_false(config->pin_cpus);
    assert_string_equal(config->lua_path, "lib/?.lua");
    assert_true(config->script_memory_max == 5ULL << 30);
    assert_int_equal(config->script_stall_ms, 500);
    assert_int_equal(config->drain_timeout_ms, 0);
    assert_string_equal(config->user, "root");
    assert_string_equal(config->group, "root");
    assert_int_equal(config->acceptor_ring_entries, 8);
    assert_int_equal(config->reactor.ring_entries, 64);
    assert_int_equal(config->reactor.recv_buffer_size, 4096);
    assert_int_equal(config->reactor.buffer_ring_entries, 4);
    assert_int_equal(config->reactor.incremental, FEATURE_ON);
    assert_int_equal(config->reactor.batch_cqes, 16);
    assert_int_equal(config->reactor.cq_timeout_ms, 1); /* not zero: that would be none */
    assert_int_equal(config->reactor.max_connections, 9);
    assert_true(config->reactor.sqpoll);
    assert_int_equal(config->reactor.sq_cpu, 1);
    assert_int_equal(config->reactor.sq_idle_ms, 2000);
    assert_int_equal(config->log.level, LOG_ERROR);
    assert_int_equal(config->log.format, LOG_JSON);
    assert_string_equal(config->log.file, "x.log");
    assert_string_equal(unix_listener->name, "u");
    assert_null(tcp_listener->forward);
    assert_int_equal(tcp_listener->connect_ms, 4);
    assert_string_equal(tcp_listener[1].forward, "[::1]:9");
    assert_string_equal(tcp_listener[2].handler, "forward to unix:b.sock");
    assert_int_equal(unix_listener->mode, 0660);
    assert_string_equal(addr_format(&unix_listener->addr, text), "unix:s.sock");
    assert_int_equal(unix_listener->backlog, 10);
    assert_int_equal(tcp_listener->ip_version, IP_V4);
    assert_string_equal(addr_format(&tcp_listener->addr, text), "0.0.0.0:1");
    assert_int_equal(tcp_listener->backlog, 5);
    assert_int_equal(tcp_listener->max_connections, 6);
    assert_int_equal(tcp_listener->connections_per_ip, 8);
    assert_int_equal(unix_listener->connections_per_ip, 0);
    assert_int_equal(tcp_listener->write_buffer_max, 8192);
    assert_int_equal(tcp_listener->timeouts.read_ms, 1000);
    assert_int_equal(tcp_listener->timeouts.write_ms, 2000);
    assert_int_equal(tcp_listener->timeouts.idle_ms, 3);
    assert_false(tcp_listener->tcp.nodelay);
    assert_true(tcp_listener->tcp.keepalive);
    assert_int_equal(tcp_listener->tcp.fastopen, 7);
    assert_int_equal(tcp_listener->tcp.user_timeout_ms, 4000);
    config_free(config);
}

static void every_key_of_an_upstream_reaches_its_field(void **state)
{
    struct config *config =
        load_text(*state, "return { listeners = { { port = 1, handler = print } }, upstreams = { app = {\n"
                          "servers = { '127.0.0.1:1', { address = 'unix:a', weight = 2, backup = true },\n"
                          "  { address = 'db:5432', max_connections = 3 } },\n"
                          "balance = 'hash', keepalive = 4, connect_timeout = 5, read_timeout = 6, retries = 7,\n"
                          "max_fails = 8, fail_timeout = 9, slow_start = 10, max_connections = 11, queue = 12,\n"
                          "queue_timeout = '13ms', proxy_protocol = 2, health = { interval = 14, timeout = 15,\n"
                          "  rise = 16, fall = 17, path = '/up', host = 'app', status = '200-204' } } } }");
    const struct upstream_config *upstream = &config->upstreams[0];

    assert_int_equal(config->upstream_count, 1);
    assert_string_equal(upstream->name, "app");
    assert_int_equal(upstream->server_count, 3);
    assert_string_equal(upstream->servers[0].target, "127.0.0.1:1");
    assert_int_equal(upstream->servers[0].weight, 1);
    assert_int_equal(upstream->servers[0].max_connections, 11);
    assert_false(upstream->servers[0].is_backup);
    assert_string_equal(upstream->servers[1].target, "unix:a");
    assert_int_equal(upstream->servers[1].weight, 2);
    assert_true(upstream->servers[1].is_backup);
    assert_string_equal(upstream->servers[2].target, "db:5432");
    assert_int_equal(upstream->servers[2].max_connections, 3);
    assert_int_equal(upstream->balance, BALANCE_HASH);
    assert_int_equal(upstream->keepalive, 4);
    assert_int_equal(upstream->connect_ms, 5000);
    assert_int_equal(upstream->read_ms, 6000);
    assert_int_equal(upstream->retries, 7);
    assert_int_equal(upstream->max_fails, 8);
    assert_int_equal(upstream->fail_timeout_ms, 9000);
    assert_int_equal(upstream->slow_start_ms, 10000);
    assert_int_equal(upstream->queue, 12);
    assert_int_equal(upstream->queue_ms, 13);
    assert_int_equal(upstream->proxy_send, PROXY_SEND_V2);
    assert_int_equal(upstream->check.interval_ms, 14000);
    assert_int_equal(upstream->check.timeout_ms, 15000);
    assert_int_equal(upstream->check.rise, 16);
    assert_int_equal(upstream->check.fall, 17);
    assert_string_equal(upstream->check.path, "/up");
    assert_string_equal(upstream->check.host, "app");
    assert_int_equal(upstream->check.status_min, 200);
    assert_int_equal(upstream->check.status_max, 204);
    config_free(config);
}

static void upstreams_stand_in_the_order_of_their_names(void **state)
{
    struct config *config =
        load_text(*state, "local upstreams = {}\n"
                          "for _, name in ipairs { 'c', 'a', 'd', 'b' } do\n"
                          "  upstreams[name] = { servers = { name .. ':1' } } end\n"
                          "return { upstreams = upstreams, listeners = { { port = 1, forward = 'c' },\n"
                          "  { port = 2, forward = 'a:1' }, { port = 3, forward = 'd' } } }");

    assert_int_equal(config->upstream_count, 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(config->upstreams[i].name[0], 'a' + (int)i);
        assert_int_equal(config->upstreams[i].servers[0].target[0], 'a' + (int)i);
        assert_int_equal(config->upstreams[i].check.interval_ms, 0);
        assert_null(config->upstreams[i].check.path);
    }
    assert_string_equal(config->listeners[0].forward, "c");
    assert_string_equal(config->listeners[1].forward, "a:1");
    config_free(config);
}

static void resolver_and_trusted_ranges_reach_their_fields(void **state)
{
    struct config *config =
        load_text(*state, "return { resolver = { servers = { '127.0.0.1', '[::1]:5353' }, timeout = '250ms',\n"
                          "  attempts = 3 }, listeners = { { port = 1, handler = print, proxy_protocol = true,\n"
                          "  trusted = { '10.0.0.0/8', 'unix' }, timeouts = { handshake = 2, total = 3 } } } }");
    const struct listener_config *listener = &config->listeners[0];
    struct addr inside, outside;

    assert_string_equal(config->resolver.servers, "127.0.0.1:53,[::1]:5353");
    assert_int_equal(config->resolver.timeout_ms, 250);
    assert_int_equal(config->resolver.attempts, 3);
    assert_true(listener->accepts_proxy);
    assert_int_equal(listener->handshake_ms, 2000);
    assert_int_equal(listener->total_ms, 3000);
    assert_int_equal(listener->trusted_count, 2);
    assert_int_equal(addr_parse_ip(&inside, "10.1.2.3", 0), 0);
    assert_int_equal(addr_parse_ip(&outside, "11.1.2.3", 0), 0);
    assert_true(addr_range_has(&listener->trusted[0], &inside));
    assert_false(addr_range_has(&listener->trusted[0], &outside));
    assert_int_equal(listener->trusted[1].addr.sa.sa_family, AF_UNIX);
    config_free(config);
}

static void problems_come_one_by_one_with_file_line_and_key(void **state)
{
    struct fixture *f = *state;
    struct config_request request = request_for(f, "zerg.lua");
    struct config *config;

    write_file("zerg.lua", "return {\n reactors = -1,\n user = 'no-such-user',\n shared = { a = '1m' },\n"
                           "listeners = { { port = 1, handler = 'none.lua' } } }");
    assert_int_equal(config_load(&request, &config), -EINVAL);
    assert_null(config);
    assert_int_equal(f->problem_count, 4);
    assert_string_equal(f->problems[0], "zerg.lua:2: reactors: expected a number from 0 to 256, got -1");
    assert_string_equal(f->problems[1], "zerg.lua:3: user: there is no user \"no-such-user\" on this machine");
    assert_string_equal(f->problems[2],
                        "zerg.lua:4: shared: `shared` is not available in this version (" ZERG_VERSION ")");
    assert_string_equal(f->problems[3], "zerg.lua:5: listeners[1].handler: none.lua: No such file or directory");
}

static void file_that_is_not_there_is_a_problem_without_a_line(void **state)
{
    struct fixture *f = *state;
    struct config_request request = request_for(f, "none.lua");
    struct config *config;

    assert_int_equal(config_load(&request, &config), -EINVAL);
    assert_string_equal(f->problems[0], "none.lua: cannot read the configuration: No such file or directory");
}

static void script_takes_the_place_of_a_configuration(void **state)
{
    struct fixture *f = *state;
    struct config_request request = request_for(f, NULL);
    struct config *config;

    write_file("echo.lua", "return function(conn) end");
    request.script = "echo.lua";
    request.port = 9000;
    request.reactors = 2;
    request.log_level = "warn";
    request.control = "/run/c.sock";
    assert_int_equal(config_load(&request, &config), 0);
    assert_null(config->path);
    assert_string_equal(config->script, "echo.lua");
    assert_int_equal(config->reactors, 2);
    assert_int_equal(config->log.level, LOG_WARN);
    assert_int_equal(addr_port(&config->listeners[0].addr), 9000);
    assert_string_equal(config->listeners[0].handler, "echo.lua");
    config_free(config);
}

static void a_proxy_takes_the_place_of_a_configuration(void **state)
{
    struct fixture *f = *state;
    const char *targets[] = {"127.0.0.1:9", "db:9"};
    struct config_request request = request_for(f, NULL);
    struct config *config;
    lua_State *L = luaL_newstate();

    request.listen = "127.0.0.1:7000";
    request.targets = targets;
    request.target_count = COUNT_OF(targets);
    assert_int_equal(config_load(&request, &config), 0);
    assert_null(config->path);
    assert_string_equal(config->directory, ".");
    assert_string_equal(config->proxy_listen, "127.0.0.1:7000");
    assert_int_equal(config->proxy_target_count, 2);
    assert_string_equal(config->listeners[0].forward, "proxy");
    assert_string_equal(config->upstreams[0].name, "proxy");
    assert_int_equal(config->upstreams[0].server_count, 2);
    assert_string_equal(config->upstreams[0].servers[1].target, "db:9");
    assert_int_equal(config->upstreams[0].retries, 1);
    luaL_openlibs(L);
    modules_install(L);
    assert_int_equal(config_push(L, config), 0); /* a reactor gets the same again */
    lua_close(L);
    config_free(config);
    targets[1] = "db";
    assert_int_equal(config_load(&request, &config), -EINVAL);
    assert_non_null(strstr(f->problems[0], "zerg proxy: TARGET: expected an address or host name with a port"));
}

static void scripts_run_only_when_asked_to(void **state)
{
    struct fixture *f = *state;
    struct config_request request = request_for(f, "zerg.lua");
    struct config *config;

    write_file("echo.lua", "\nerror('boom')");
    config_free(load_text(f, "return { listeners = { { port = 1, handler = 'echo.lua' } } }"));
    request.run_scripts = true;
    assert_int_equal(config_load(&request, &config), -EINVAL);
    assert_string_equal(f->problems[0], "echo.lua:2: listeners[1].handler: boom");
}

static void reactor_gets_the_same_table_again(void **state)
{
    struct config *config =
        load_text(*state,
                  "return { reactors = 3, listeners = { { port = 1, handler = function() return 'yes' end } } }");
    lua_State *L = luaL_newstate();

    luaL_openlibs(L);
    modules_install(L);
    assert_int_equal(config_push(L, config), 0);
    lua_setglobal(L, "config");
    assert_int_equal(luaL_dostring(L, "assert(config.reactors == 3 and config.listeners[1].handler() == 'yes')"), 0);
    lua_close(L);
    config_free(config);
}

static lua_State *new_state(void)
{
    lua_State *L = luaL_newstate();

    luaL_openlibs(L);
    modules_install(L);
    return L;
}

static void a_file_that_changes_is_the_same_for_all_reactors(void **state)
{
    struct config *config;
    lua_State *first, *second;

    write_file("echo.lua", "return function() end -- before");
    config = load_text(*state, "return { listeners = { { port = 1, handler = 'echo.lua' } } }");
    first = new_state();
    assert_int_equal(config_push(first, config), 0);
    write_file("zerg.lua", "return {");
    write_file("echo.lua", "return {");
    second = new_state();
    assert_int_equal(config_push(second, config), 0);
    assert_int_equal(luaL_dostring(second, "local files = require 'zerg.config.files'\n"
                                           "assert(files.read('echo.lua'):find('before'))\n"
                                           "files.loaded()\n" /* all is loaded */
                                           "assert(files.read('echo.lua') == 'return {')"),
                     0);
    lua_close(first);
    lua_close(second);
    config_free(config);
}

/* What a state has of modules and files that its scripts load, in the order of `loads`. */
static void expect_loaded(lua_State *L, const char *expected)
{
    int status = luaL_dostring(L, "local words = {}\n"
                                  "for _, load in ipairs { function() return require 'words' end,\n"
                                  "                        function() return dofile 'words.lua' end,\n"
                                  "                        function() return loadfile('words.lua')() end } do\n"
                                  "  package.loaded.words = nil\n"
                                  "  words[#words + 1] = tostring(select(2, pcall(load)))\n"
                                  "end\n"
                                  "return table.concat(words, ', ')");

    assert_int_equal(status, 0);
    assert_string_equal(lua_tostring(L, -1), expected);
    lua_pop(L, 1);
}

static void what_scripts_load_is_the_same_for_all_reactors(void **state)
{
    struct config *config = load_text(*state, "return { listeners = { { port = 1, handler = function() end } } }");
    lua_State *first = new_state();
    lua_State *second = new_state();

    assert_int_equal(config_push(first, config), 0);
    assert_int_equal(config_push(second, config), 0);
    write_file("words.lua", "#!/usr/bin/env luajit\nreturn 'before'");
    expect_loaded(first, "before, before, before");
    write_file("words.lua", "return 'after'");
    expect_loaded(second, "before, before, before");
    assert_int_equal(luaL_dostring(second, "require('zerg.config.files').loaded()"), 0); /* all is loaded */
    expect_loaded(second, "after, after, after");
    expect_loaded(first, "before, before, before");
    lua_close(first);
    lua_close(second);
    config_free(config);
}

static void a_module_that_does_not_compile_is_named_as_by_lua(void **state)
{
    struct config *config = load_text(*state, "return { listeners = { { port = 1, handler = function() end } } }");
    lua_State *L = new_state();

    assert_int_equal(config_push(L, config), 0);
    write_file("words.lua", "#!/usr/bin/env luajit\nreturn }");
    assert_int_equal(luaL_dostring(L, "require 'words'"), 1);
    assert_string_equal(lua_tostring(L, -1), "error loading module 'words' from file 'words.lua':\n"
                                             "\twords.lua:2: unexpected symbol near '}'");
    lua_pop(L, 1);
    assert_int_equal(luaL_dostring(L, "dofile 'nothing.lua'"), 1);
    assert_non_null(strstr(lua_tostring(L, -1), "cannot open nothing.lua"));
    lua_close(L);
    config_free(config);
}

static void listeners_that_change_from_run_to_run_are_refused(void **state)
{
    static const char *const more[] = {
        "list[2] = { port = 2, handler = handler }",
        "list[1] = { port = 1, handler = handler }",
        "list[1].routes[2] = { path = '/x', handler = handler }",
    };

    for (size_t i = 0; i < COUNT_OF(more); i++) {
        char text[512];
        struct config *config;
        lua_State *L = new_state();

        snprintf(text, sizeof(text),
                 "local handler = function() end\n"
                 "local list = { { port = 1, protocol = 'http', routes = { { path = '/', handler = handler } } } }\n"
                 "if io.open('again') then %s end\n"
                 "return { listeners = list }",
                 more[i]);
        config = load_text(*state, text);
        write_file("again", "");
        assert_int_equal(config_push(L, config), -EINVAL);
        assert_string_equal(lua_tostring(L, -1),
                            "zerg.lua: has other listeners when it is run once more, as each reactor does");
        unlink("again");
        lua_close(L);
        config_free(config);
    }
}

static void linked_in_modules_come_before_files(void **state)
{
    lua_State *L = luaL_newstate();

    (void)state;
    write_file("zerg.lua", "return 'a configuration'");
    luaL_openlibs(L);
    modules_install(L);
    assert_int_equal(luaL_dostring(L, "package.path = './?.lua'\n"
                                      "assert(type(require('zerg.config')) == 'table')\n"
                                      "assert(require('cjson').encode({1}) == '[1]')\n"
                                      "assert(require('cjson.safe').decode('x') == nil)\n"
                                      "local ok, err = pcall(require, 'zerg.nonsense')\n"
                                      "assert(not ok and err:find('no module \\'zerg.nonsense\\' in this version'))\n"
                                      "assert(not pcall(require, 'zergling'))"),
                     0);
    lua_close(L);
}

static unsigned written;

static void count_written(const char *path)
{
    assert_int_equal(access(path, R_OK), 0);
    written++;
}

static void starter_is_accepted_and_overwrites_nothing(void **state)
{
    struct fixture *f = *state;
    struct config_request request = request_for(f, "zerg.lua");
    struct config *config;
    char message[LINE_BYTES];

    written = 0;
    assert_int_equal(starter_write(".", count_written, message, sizeof(message)), 0);
    assert_int_equal(written, 2);
    request.run_scripts = true;
    assert_int_equal(config_load(&request, &config), 0);
    config_free(config);
    assert_int_equal(starter_write(".", count_written, message, sizeof(message)), -EEXIST);
    assert_string_equal(message, "zerg.lua exists already: nothing was written");
    assert_int_equal(starter_write("no/such", count_written, message, sizeof(message)), -EIO);
    assert_string_equal(message, "cannot make the directory no/such: No such file or directory");
    assert_int_equal(written, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(defaults_are_those_of_the_schema),
        TEST(every_key_reaches_its_field),
        TEST(every_key_of_an_upstream_reaches_its_field),
        TEST(upstreams_stand_in_the_order_of_their_names),
        TEST(resolver_and_trusted_ranges_reach_their_fields),
        TEST(problems_come_one_by_one_with_file_line_and_key),
        TEST(file_that_is_not_there_is_a_problem_without_a_line),
        TEST(script_takes_the_place_of_a_configuration),
        TEST(a_proxy_takes_the_place_of_a_configuration),
        TEST(scripts_run_only_when_asked_to),
        TEST(reactor_gets_the_same_table_again),
        TEST(a_file_that_changes_is_the_same_for_all_reactors),
        TEST(what_scripts_load_is_the_same_for_all_reactors),
        TEST(a_module_that_does_not_compile_is_named_as_by_lua),
        TEST(listeners_that_change_from_run_to_run_are_refused),
        TEST(linked_in_modules_come_before_files),
        TEST(starter_is_accepted_and_overwrites_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
