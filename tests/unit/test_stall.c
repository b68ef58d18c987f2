/* Where a script is: by the hook in the interpreter, by the program counter in compiled code. */
#include "script/stall.h"

#include <lauxlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fake_ring.h"
#include "fixture.h"
#include "script/host.h"
#include "script/runtime.h"

enum { CODE = 0x10000, CODE_BYTES = 0x100 };

#define ONE ((const struct runtime *)(uintptr_t)8)
#define OTHER ((const struct runtime *)(uintptr_t)16)

static struct stall stall;
static char place[PLACE_MAX];

static int setup(void **state)
{
    (void)state;
    stall_init(&stall);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stall_deinit(&stall);
    return 0;
}

/* As the signal does: the program counter, and a word of the stack. */
static void signal_finds(uintptr_t pc, uintptr_t word)
{
    stall.words[0] = pc;
    stall.words[1] = word;
    atomic_store(&stall.word_count, 2);
}

static void nothing_is_known_before_it_is_asked(void **state)
{
    (void)state;
    assert_false(stall_answer(&stall, place));
    assert_string_equal(place, "");
}

static void the_program_counter_is_looked_up_among_the_traces(void **state)
{
    (void)state;
    stall_add_trace(&stall, ONE, CODE, CODE_BYTES, "one.lua:1");
    stall_add_trace(&stall, ONE, CODE + CODE_BYTES, CODE_BYTES, "two.lua:2");
    signal_finds(CODE + CODE_BYTES - 1, 0);
    assert_true(stall_answer(&stall, place));
    assert_string_equal(place, "one.lua:1");
    signal_finds(CODE + CODE_BYTES, 0);
    assert_true(stall_answer(&stall, place));
    assert_string_equal(place, "two.lua:2");
    signal_finds(CODE + 2 * CODE_BYTES, 0);
    assert_false(stall_answer(&stall, place));
}

static void a_trace_that_called_c_code_is_found_on_the_stack(void **state)
{
    (void)state;
    stall_add_trace(&stall, ONE, CODE, CODE_BYTES, "caller.lua:1");
    stall_add_trace(&stall, ONE, CODE + CODE_BYTES, CODE_BYTES, "inner.lua:2");
    signal_finds(CODE - 1, CODE + 5);
    assert_true(stall_answer(&stall, place));
    assert_string_equal(place, "caller.lua:1");
    signal_finds(CODE + CODE_BYTES, CODE + 5); /* the innermost counts */
    assert_true(stall_answer(&stall, place));
    assert_string_equal(place, "inner.lua:2");
}

static void the_newest_trace_at_a_place_counts(void **state)
{
    (void)state;
    stall_add_trace(&stall, ONE, CODE, CODE_BYTES, "old.lua:1");
    stall_add_trace(&stall, ONE, CODE, CODE_BYTES, "new.lua:1");
    signal_finds(CODE, 0);
    assert_true(stall_answer(&stall, place));
    assert_string_equal(place, "new.lua:1");
}

static void flushed_traces_are_forgotten(void **state)
{
    (void)state;
    stall_add_trace(&stall, ONE, CODE, CODE_BYTES, "one.lua:1");
    stall_forget_traces(&stall, ONE);
    signal_finds(CODE, 0);
    assert_false(stall_answer(&stall, place));
}

static void those_of_another_runtime_stay(void **state)
{
    (void)state;
    stall_add_trace(&stall, ONE, CODE, CODE_BYTES, "one.lua:1");
    stall_add_trace(&stall, OTHER, CODE + CODE_BYTES, CODE_BYTES, "other.lua:1");
    stall_forget_traces(&stall, ONE);
    signal_finds(CODE, 0);
    assert_false(stall_answer(&stall, place));
    signal_finds(CODE + CODE_BYTES, 0);
    assert_true(stall_answer(&stall, place));
    assert_string_equal(place, "other.lua:1");
}

static void many_traces_and_long_places_fit(void **state)
{
    char name[2 * PLACE_MAX];

    (void)state;
    for (uintptr_t i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "file.lua:%d", (int)i);
        stall_add_trace(&stall, ONE, CODE + i * CODE_BYTES, CODE_BYTES, name);
    }
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    stall_add_trace(&stall, ONE, CODE + 1000 * CODE_BYTES, CODE_BYTES, name);
    signal_finds(CODE + 777 * CODE_BYTES, 0);
    assert_true(stall_answer(&stall, place));
    assert_string_equal(place, "file.lua:777");
    signal_finds(CODE + 1000 * CODE_BYTES, 0);
    assert_true(stall_answer(&stall, place));
    assert_int_equal(strlen(place), PLACE_MAX - 1);
}

static void of_more_traces_than_are_kept_the_last_are(void **state)
{
    uintptr_t last = STALL_TRACES_MAX + 99;

    (void)state;
    for (uintptr_t i = 0; i <= last; i++)
        stall_add_trace(&stall, ONE, CODE + i * CODE_BYTES, CODE_BYTES, i == last ? "last.lua:1" : "file.lua:1");
    assert_int_equal(stall.trace_capacity, STALL_TRACES_MAX);
    signal_finds(CODE + last * CODE_BYTES, 0);
    assert_true(stall_answer(&stall, place));
    assert_string_equal(place, "last.lua:1");
    signal_finds(CODE + 99 * CODE_BYTES, 0);
    assert_false(stall_answer(&stall, place));
}

static void asking_forgets_the_last_answer(void **state)
{
    (void)state;
    assert_int_equal(stall_install_signal(), 0);
    stall_add_trace(&stall, ONE, CODE, CODE_BYTES, "one.lua:1");
    signal_finds(CODE, 0);
    stall_ask(&stall, pthread_self()); /* this thread runs no script: the signal finds nothing */
    assert_false(stall_answer(&stall, place));
}

/* ---- in a runtime ---- */

/* Asks the reactor while it seems to run a task, then runs a script in its state. */
static void ask_and_run(struct runtime *runtime, const char *name, const char *text)
{
    struct runtime *before = runtime_enter(runtime);

    runtime->running = (struct task *)1; /* only compared with NULL */
    stall_ask(&runtime->host->stall, pthread_self());
    runtime->running = NULL;
    assert_int_equal(luaL_loadbuffer(runtime->L, text, strlen(text), name), 0);
    assert_int_equal(lua_pcall(runtime->L, 0, 0, 0), 0);
    runtime_leave(before);
}

static void the_hook_names_the_scripts_line(void **state)
{
    struct fixture *f = fixture_new(&(struct fixture_options){.script = "return function() end"});
    struct runtime *runtime = fixture_runtime(f);

    *state = f;
    assert_int_equal(stall_install_signal(), 0);
    ask_and_run(runtime, "@handlers/slow.lua", "\n\nlocal x = 1\nreturn x");
    assert_true(stall_answer(&runtime->host->stall, place));
    assert_string_equal(place, "handlers/slow.lua:3");
    ask_and_run(runtime, "@handlers/other.lua", "local y = 2\nreturn y"); /* can be asked again */
    assert_true(stall_answer(&runtime->host->stall, place));
    assert_string_equal(place, "handlers/other.lua:1");
}

static int ask_now(lua_State *L)
{
    (void)L;
    stall_ask(&runtime_current()->host->stall, pthread_self());
    return 0;
}

static void a_call_outside_of_any_task_is_found_too(void **state)
{
    struct fixture *f = fixture_new(&(struct fixture_options){.script = "return function() end"});
    struct runtime *runtime = fixture_runtime(f);

    *state = f;
    assert_int_equal(stall_install_signal(), 0);
    lua_register(runtime->L, "ask_now", ask_now);
    lua_pushliteral(runtime->L, "\n\nask_now() return 1");
    assert_int_equal(runtime_call(runtime, "eval", 1), 0);
    lua_pop(runtime->L, 1);
    assert_true(stall_answer(&runtime->host->stall, place));
    assert_string_equal(place, "repl:3");
    assert_null(lua_gethook(runtime->L));
}

static void no_hook_is_left_where_nothing_runs(void **state)
{
    struct fixture *f = fixture_new(&(struct fixture_options){.script = "return function() end"});
    struct runtime *runtime = fixture_runtime(f);
    struct runtime *before;

    *state = f;
    assert_int_equal(stall_install_signal(), 0);
    before = runtime_enter(runtime);
    stall_ask(&runtime->host->stall, pthread_self());
    runtime_leave(before);
    assert_null(lua_gethook(runtime->L));
    assert_false(stall_answer(&runtime->host->stall, place));
}

static void lines_of_our_own_modules_are_no_answer(void **state)
{
    struct fixture *f = fixture_new(&(struct fixture_options){.script = "return function() end"});
    struct runtime *runtime = fixture_runtime(f);

    *state = f;
    assert_int_equal(stall_install_signal(), 0);
    ask_and_run(runtime, "@lua/zerg/conn.lua", "local x = 1\nreturn x");
    assert_int_equal(runtime->host->stall.place[0], '\0');
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_known_before_it_is_asked),
        TEST(the_program_counter_is_looked_up_among_the_traces),
        TEST(a_trace_that_called_c_code_is_found_on_the_stack),
        TEST(the_newest_trace_at_a_place_counts),
        TEST(flushed_traces_are_forgotten),
        TEST(those_of_another_runtime_stay),
        TEST(many_traces_and_long_places_fit),
        TEST(of_more_traces_than_are_kept_the_last_are),
        TEST(asking_forgets_the_last_answer),
        cmocka_unit_test_teardown(the_hook_names_the_scripts_line, fixture_teardown),
        cmocka_unit_test_teardown(a_call_outside_of_any_task_is_found_too, fixture_teardown),
        cmocka_unit_test_teardown(no_hook_is_left_where_nothing_runs, fixture_teardown),
        cmocka_unit_test_teardown(lines_of_our_own_modules_are_no_answer, fixture_teardown),
    };

    return cmocka_run_group_tests_name("stall", tests, NULL, NULL);
}
