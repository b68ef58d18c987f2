/* Tasks: when coroutines are resumed, cancelled, timed out and reused, and that one that fails hurts nobody else. The scripts
 * say what happens in the log. */
#include "script/task.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "fake_ring.h"
#include "fixture.h"
#include "script/api.h"
#include "script/runtime.h"

/* A script whose start hook is the given body; its handler closes at once. */
#define STARTING(body)                                          \
    "local zerg = require('zerg')\nlocal say = zerg.log.info\n" \
    "return { start = function()\n" body "\nend, serve = function(conn) end }"

static struct fixture *started(void **state, const char *script)
{
    struct fixture *f = fixture_new(&(struct fixture_options){.script = script});

    *state = f;
    return f;
}

static struct runtime *runtime_in(const struct fixture *f)
{
    return fixture_runtime(f);
}

static void what_a_start_hook_spawns_runs_in_the_first_turn(void **state)
{
    struct fixture *f = started(state, STARTING("zerg.spawn(function() say('spawned ran') end) say('hook ran')"));

    assert_true(fixture_log_has(f, "hook ran"));
    assert_false(fixture_log_has(f, "spawned ran"));
    assert_true(f->reactor.has_ready); /* so the reactor does not sleep before it */
    fixture_pump(f);
    assert_true(fixture_log_has(f, "spawned ran"));
    assert_true(list_is_empty(&runtime_in(f)->tasks));
}

static void a_start_hook_that_fails_fails_the_reactor(void **state)
{
    struct fixture *f;

    assert_true(fixture_try_new(&f, &(struct fixture_options){.script = STARTING("error('no luck')")}) < 0);
    *state = f;
    assert_int_equal(fixture_log_count(f, "no luck"), 1);
}

static void a_script_with_a_mistake_fails_the_reactor(void **state)
{
    struct fixture *f;

    assert_true(fixture_try_new(&f, &(struct fixture_options){.script = "return function( end"}) < 0);
    *state = f;
    assert_true(fixture_log_has(f, "handler.lua:1"));
}

/* Wherever it is that memory ends: nothing of the loading may run outside of a protected call. */
static void scripts_without_memory_fail_the_reactor(void **state)
{
    int failures = 0;
    int rc = -1;

    for (uint64_t max = 1024; rc < 0; max += max / 4) {
        struct fixture *f;

        rc =
            fixture_try_new(&f, &(struct fixture_options){.script = "return function() end", .script_memory_max = max});
        *state = f;
        assert_int_equal(fixture_log_has(f, "not enough memory"), rc < 0);
        failures += rc < 0;
        if (rc < 0)
            fixture_free(f);
    }
    assert_true(failures > 10);
}

static void a_sleeper_wakes_at_its_time(void **state)
{
    struct fixture *f = started(state, STARTING("zerg.spawn(function() zerg.sleep(1.5) say('awake') end)"));

    fixture_pump(f);
    fixture_advance(f, 1499);
    assert_false(fixture_log_has(f, "awake"));
    fixture_advance(f, 1);
    assert_true(fixture_log_has(f, "awake"));
}

static void a_deadline_cancels_what_is_parked_inside(void **state)
{
    struct fixture *f = started(state, STARTING("zerg.spawn(function()\n"
                                                "  local ok, reason = zerg.deadline(1, function() zerg.sleep(10) end)\n"
                                                "  say('ended with ' .. tostring(ok) .. ' ' .. tostring(reason))\n"
                                                "end)"));

    fixture_pump(f);
    fixture_advance(f, 999);
    assert_false(fixture_log_has(f, "ended with"));
    fixture_advance(f, 1);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "ended with nil timeout"));
    assert_int_equal(f->reactor.timers.armed, 0);
}

static void the_outer_of_two_deadlines_ends_both(void **state)
{
    struct fixture *f = started(state, STARTING("zerg.spawn(function()\n"
                                                "  local a, b = zerg.deadline(1, function()\n"
                                                "    zerg.deadline(5, function() zerg.sleep(10) end)\n"
                                                "    say('inner came back')\n"
                                                "  end)\n"
                                                "  say('outer: ' .. tostring(a) .. ' ' .. tostring(b))\n"
                                                "end)"));

    fixture_pump(f);
    fixture_advance(f, 1000);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "outer: nil timeout"));
    assert_false(fixture_log_has(f, "inner came back"));
}

static void deadlines_nest_sixteen_deep(void **state)
{
    struct fixture *f =
        started(state, STARTING("local function nest(n)\n"
                                "  return zerg.deadline(5, function() return n > 1 and nest(n - 1) or 'in' end)\n"
                                "end\n"
                                "say('16: ' .. tostring(nest(16)))\n"
                                "say('17: ' .. tostring(pcall(nest, 17)))"));

    assert_true(fixture_log_has(f, "16: in"));
    assert_true(fixture_log_has(f, "17: false"));
    assert_int_equal(runtime_in(f)->scope_slab.taken, 0);
}

static void a_cancelled_task_ends_and_is_not_an_error(void **state)
{
    struct fixture *f = started(state, STARTING("local task = zerg.spawn(function()\n"
                                                "  zerg.sleep(10) say('went on')\n"
                                                "end)\n"
                                                "zerg.spawn(function()\n"
                                                "  task:cancel()\n"
                                                "  local ok, reason = task:join()\n"
                                                "  say('joined: ' .. tostring(ok) .. ' ' .. tostring(reason))\n"
                                                "end)"));

    fixture_pump(f);
    fixture_pump(f);
    assert_true(fixture_log_has(f, "joined: nil canceled"));
    fixture_advance(f, 20000);
    assert_false(fixture_log_has(f, "went on"));
    assert_false(fixture_log_has(f, "error"));
    assert_int_equal(f->reactor.timers.armed, 0);
}

static void an_error_in_a_task_is_logged_once_and_nobody_else_suffers(void **state)
{
    struct fixture *f = started(state, STARTING("zerg.spawn(function() error('task broke') end)\n"
                                                "zerg.spawn(function() say('the other ran') end)"));

    fixture_pump(f);
    assert_int_equal(fixture_log_count(f, "task broke"), 1);
    assert_true(fixture_log_has(f, "handler.lua:"));
    assert_true(fixture_log_has(f, "the other ran"));
}

static void a_yield_that_is_no_park_is_an_error_of_the_script(void **state)
{
    struct fixture *f = started(state, STARTING("zerg.spawn(function() coroutine.yield('to whom?') end)\n"
                                                "zerg.spawn(function() say('the other ran') end)"));

    fixture_pump(f);
    assert_true(fixture_log_has(f, "attempt to yield from a handler or task"));
    assert_true(fixture_log_has(f, "the other ran"));
    assert_true(list_is_empty(&runtime_in(f)->tasks));
}

static void coroutines_of_tasks_that_ended_well_are_reused(void **state)
{
    struct fixture *f = started(state, STARTING("zerg.spawn(function()\n"
                                                "  local seen, count = {}, 0\n"
                                                "  for i = 1, 20 do\n"
                                                "    zerg.spawn(function()\n"
                                                "      local co = coroutine.running()\n"
                                                "      if not seen[co] then seen[co] = true count = count + 1 end\n"
                                                "    end):join()\n"
                                                "  end\n"
                                                "  say('coroutines: ' .. count)\n"
                                                "end)"));

    for (int i = 0; i < 50; i++)
        fixture_pump(f);
    assert_true(fixture_log_has(f, "coroutines: 1") || fixture_log_has(f, "coroutines: 2"));
    assert_true(runtime_in(f)->pool_count > 0);
}

static void a_coroutine_that_raised_is_not_reused(void **state)
{
    struct fixture *f = started(state, "return function(conn) error('broke') end");
    uint32_t pooled = runtime_in(f)->pool_count;

    (void)fixture_open(f);
    assert_true(runtime_in(f)->pool_count <= pooled);
    (void)fixture_open(f);
    assert_int_equal(fixture_log_count(f, "broke"), 2);
    assert_int_equal(runtime_in(f)->pool_count, 0);
}

static void one_turn_resumes_a_bounded_number(void **state)
{
    struct fixture *f = started(state, STARTING("local function again() zerg.spawn(again) end\n"
                                                "zerg.spawn(again)"));

    fixture_pump(f); /* ends, although there is always one more */
    assert_true(f->reactor.has_ready);
    fixture_pump(f);
    assert_true(f->reactor.has_ready);
}

static void a_task_that_passes_the_memory_limit_gets_an_error(void **state)
{
    struct fixture *f = fixture_new(&(struct fixture_options){
        .script_memory_max = 16 << 20,
        .script = STARTING("zerg.spawn(function()\n"
                           "  local t = {} while true do t[#t + 1] = ('x'):rep(10000) .. #t end\n"
                           "end)\n"
                           "zerg.spawn(function() say('the other ran') end)"),
    });

    *state = f;
    fixture_pump(f);
    assert_true(fixture_log_has(f, "not enough memory"));
    fixture_pump(f);
    assert_true(fixture_log_has(f, "the other ran"));
}

static void spawning_without_memory_is_an_error_of_the_spawner(void **state)
{
    struct fixture *f = started(state, "local zerg = require('zerg')\n"
                                       "return function(conn)\n"
                                       "  local ok, message = pcall(zerg.spawn, function() end)\n"
                                       "  zerg.log.info('spawned: ' .. tostring(ok) .. ' ' .. tostring(message))\n"
                                       "end");
    struct runtime *runtime = runtime_in(f);

    runtime->task_slab.taken_max = 1; /* the handler's own */
    (void)fixture_open(f);
    assert_true(fixture_log_has(f, "spawned: false"));
    assert_true(fixture_log_has(f, "no memory for another task"));
    assert_true(list_is_empty(&runtime->tasks));
    runtime->task_slab.taken_max = UINT32_MAX;
    (void)fixture_open(f);
    assert_true(fixture_log_has(f, "spawned: true"));
    fixture_pump(f);
}

static void finalizers_that_raise_end_neither_process_nor_connections(void **state)
{
    struct fixture *f = fixture_new(&(struct fixture_options){
        .max_connections = 100,
        .script = "local zerg, ffi = require('zerg'), require('ffi')\n"
                  "local made = 0\n"
                  "return function(conn)\n"
                  "  if made < 2000 then\n"
                  "    made = made + 100\n"
                  "    for i = 1, 100 do ffi.gc(ffi.new('char[512]'), function() error('boom') end) end\n"
                  "  end\n"
                  "  zerg.sleep(1000)\n"
                  "end",
    });

    *state = f;
    for (int i = 0; i < 100; i++) /* each one makes a coroutine, and with it steps of the collector */
        (void)fixture_open(f);
    assert_int_equal(f->reactor.conns.taken, 100);
}

static void stale_handles_of_tasks_reach_nobody(void **state)
{
    struct fixture *f = started(state, STARTING("zerg.spawn(function() zerg.sleep(1) end)"));
    struct task *task;
    struct zerg_task handle;

    fixture_pump(f);
    task = CONTAINER_OF(runtime_in(f)->tasks.next, struct task, all);
    handle = (struct zerg_task){._task = task, ._generation = task->generation};
    assert_int_equal(task->wait, TASK_WAITING);
    fixture_advance(f, 1000);
    assert_true(list_is_empty(&runtime_in(f)->tasks));
    assert_int_equal(zerg_task_wake(&handle), 0);
    zerg_task_cancel(&handle);
}

static void outside_of_a_task_nothing_parks(void **state)
{
    struct zerg_task handle;

    (void)started(state, STARTING(""));
    assert_int_equal(zerg_task_self(&handle), ZERG_NO_TASK);
    assert_int_equal(zerg_task_park(1), ZERG_NO_TASK);
    assert_int_equal(zerg_scope_enter(1), ZERG_NO_TASK);
    assert_int_equal(zerg_scope_leave(1), 0);
    assert_int_equal(zerg_scope_expired(), 0);
}

static void the_stop_hook_runs_at_the_end(void **state)
{
    struct fixture *f = started(state, "return { serve = function() end, stop = function()\n"
                                       "  require('zerg').log.info('stop hook') error('too late') end }");

    reactor_close(&f->reactor);
    assert_true(fixture_log_has(f, "stop hook"));
    assert_int_equal(fixture_log_count(f, "too late"), 1);
    f->engine.app->free(&f->reactor);
    f->reactor = (struct reactor){.engine = &f->engine, .app = f->engine.app, .inbox = f->reactor.inbox};
}

#define TEST(name) cmocka_unit_test_teardown(name, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_a_start_hook_spawns_runs_in_the_first_turn),
        TEST(a_start_hook_that_fails_fails_the_reactor),
        TEST(a_script_with_a_mistake_fails_the_reactor),
        TEST(scripts_without_memory_fail_the_reactor),
        TEST(a_sleeper_wakes_at_its_time),
        TEST(a_deadline_cancels_what_is_parked_inside),
        TEST(the_outer_of_two_deadlines_ends_both),
        TEST(deadlines_nest_sixteen_deep),
        TEST(a_cancelled_task_ends_and_is_not_an_error),
        TEST(an_error_in_a_task_is_logged_once_and_nobody_else_suffers),
        TEST(a_yield_that_is_no_park_is_an_error_of_the_script),
        TEST(coroutines_of_tasks_that_ended_well_are_reused),
        TEST(a_coroutine_that_raised_is_not_reused),
        TEST(one_turn_resumes_a_bounded_number),
        TEST(a_task_that_passes_the_memory_limit_gets_an_error),
        TEST(spawning_without_memory_is_an_error_of_the_spawner),
        TEST(finalizers_that_raise_end_neither_process_nor_connections),
        TEST(stale_handles_of_tasks_reach_nobody),
        TEST(outside_of_a_task_nothing_parks),
        TEST(the_stop_hook_runs_at_the_end),
    };

    return cmocka_run_group_tests_name("task", tests, NULL, NULL);
}
