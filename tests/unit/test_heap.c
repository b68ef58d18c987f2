/* The memory limit of a Lua state: what a script gets when it passes it, and what runs beside scripts. */
#include "script/heap.h"

#include <lauxlib.h>
#include <lualib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"

enum { LIMIT_BYTES = 8 * 1024 * 1024 };

struct heap_fixture {
    struct heap heap;
    lua_State *L;
};

static int setup(void **state)
{
    struct heap_fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_int_equal(log_open("/dev/null", LOG_DEBUG, LOG_TEXT), 0);
    f->L = luaL_newstate();
    assert_non_null(f->L);
    heap_install(&f->heap, f->L, LIMIT_BYTES);
    luaL_openlibs(f->L);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct heap_fixture *f = *state;

    heap_uninstall(&f->heap, f->L);
    lua_close(f->L);
    log_close();
    free(f);
    return 0;
}

/* Runs a script as a handler runs: limited. Returns the status of lua_pcall(). */
static int run(struct heap_fixture *f, const char *text)
{
    int status = luaL_loadstring(f->L, text);

    assert_int_equal(status, 0);
    f->heap.is_limited = true;
    status = lua_pcall(f->L, 0, 0, 0);
    f->heap.is_limited = false;
    return status;
}

static void what_the_state_has_is_counted(void **state)
{
    struct heap_fixture *f = *state;
    size_t before = f->heap.used;

    assert_true(before > 0);
    assert_int_equal(run(f, "kept = string.rep('x', 1000000)"), 0);
    size_t most = f->heap.used;
    assert_true(most >= before + 1000000);
    assert_int_equal(run(f, "kept = nil collectgarbage()"), 0);
    assert_true(f->heap.used <= most - 1000000);
    assert_int_equal(f->heap.used, (size_t)lua_gc(f->L, LUA_GCCOUNT, 0) * 1024 + (size_t)lua_gc(f->L, LUA_GCCOUNTB, 0));
}

static void a_script_past_the_limit_gets_an_error(void **state)
{
    struct heap_fixture *f = *state;

    assert_int_equal(run(f, "local t = {} while true do t[#t + 1] = string.rep('x', 1000) .. #t end"), LUA_ERRMEM);
    assert_string_equal(lua_tostring(f->L, -1), "not enough memory");
    lua_pop(f->L, 1);
    assert_true(f->heap.used <= LIMIT_BYTES);
    lua_gc(f->L, LUA_GCCOLLECT, 0);
    assert_int_equal(run(f, "return ('x'):rep(1000)"), 0); /* and the state goes on */
}

static void a_script_can_catch_it(void **state)
{
    struct heap_fixture *f = *state;

    assert_int_equal(run(f, "local ok, message = pcall(string.rep, 'x', 100 * 1024 * 1024)\n"
                            "assert(not ok and message == 'not enough memory')"), 0);
}

static void outside_of_scripts_nothing_is_refused(void **state)
{
    struct heap_fixture *f = *state;

    lua_newuserdata(f->L, 2 * LIMIT_BYTES);
    assert_true(f->heap.used > LIMIT_BYTES);
    lua_pop(f->L, 1);
}

static void garbage_is_collected_before_it_reaches_the_limit(void **state)
{
    struct heap_fixture *f = *state;

    /* Each turn leaves 1 MiB of garbage, a hundred times the limit's worth in all. */
    for (int i = 0; i < 100; i++) {
        assert_int_equal(run(f, "local t = {} for i = 1, 256 do t[i] = string.rep('x', 4096) .. i .. os.clock() end"), 0);
        heap_after_turn(&f->heap, f->L);
    }
}

static void a_heap_that_is_truly_full_is_not_collected_every_turn(void **state)
{
    struct heap_fixture *f = *state;

    assert_int_equal(run(f, "kept = require('ffi').new('char[?]', 6 * 1024 * 1024)"), 0);
    heap_after_turn(&f->heap, f->L);
    assert_true(f->heap.collect_at > f->heap.used);
}

static void a_finalizer_that_raises_does_not_end_the_process(void **state)
{
    struct heap_fixture *f = *state;

    assert_int_equal(run(f, "local ffi = require('ffi')\n"
                            "for i = 1, 10 do ffi.gc(ffi.new('char[16]'), function() error('boom') end) end"), 0);
    for (int i = 0; i < 12; i++) {
        f->heap.collect_at = 0;
        heap_after_turn(&f->heap, f->L);
    }
    assert_int_equal(lua_gettop(f->L), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_the_state_has_is_counted),
        TEST(a_script_past_the_limit_gets_an_error),
        TEST(a_script_can_catch_it),
        TEST(outside_of_scripts_nothing_is_refused),
        TEST(garbage_is_collected_before_it_reaches_the_limit),
        TEST(a_heap_that_is_truly_full_is_not_collected_every_turn),
        TEST(a_finalizer_that_raises_does_not_end_the_process),
    };

    return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}
