/* The memory of a Lua state: what is counted, when the hook is set that tells a script of the limit, and what runs beside
 * scripts. That a running script gets its error is in test_task.c. */
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
    heap_limit(&f->heap);
    status = lua_pcall(f->L, 0, 0, 0);
    heap_unlimit(&f->heap);
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

static int new_userdata(lua_State *L)
{
    lua_newuserdata(L, *(const size_t *)lua_touserdata(L, 1));
    return 0;
}

/* The status of allocating so much at once. */
static int allocate(struct heap_fixture *f, size_t bytes)
{
    int status = lua_cpcall(f->L, new_userdata, &bytes);

    lua_settop(f->L, 0);
    return status;
}

/* What a script would get from the hook. */
static int on_hook(lua_State *L)
{
    heap_on_hook(lua_touserdata(L, 1), L);
    return 0;
}

static void a_script_past_the_limit_is_told_by_the_hook(void **state)
{
    struct heap_fixture *f = *state;

    lua_newuserdata(f->L, LIMIT_BYTES); /* in use, so that collecting does not help */
    heap_limit(&f->heap);
    assert_null(lua_gethook(f->L));
    assert_int_equal(luaL_loadstring(f->L, "local x = 1"), 0); /* any allocation */
    assert_true(f->heap.is_exceeded);
    assert_non_null(lua_gethook(f->L));
    assert_int_equal(lua_cpcall(f->L, on_hook, &f->heap), LUA_ERRRUN);
    assert_string_equal(lua_tostring(f->L, -1), "not enough memory");
    heap_unlimit(&f->heap);
}

static void a_script_whose_garbage_was_the_excess_goes_on(void **state)
{
    struct heap_fixture *f = *state;

    heap_limit(&f->heap);
    lua_newuserdata(f->L, LIMIT_BYTES);
    lua_settop(f->L, 0);
    assert_true(f->heap.is_exceeded);
    assert_int_equal(lua_cpcall(f->L, on_hook, &f->heap), 0);
    assert_true(f->heap.used < LIMIT_BYTES / 2);
    heap_unlimit(&f->heap);
}

static void a_script_that_ends_before_the_hook_leaves_none(void **state)
{
    struct heap_fixture *f = *state;

    heap_limit(&f->heap);
    lua_newuserdata(f->L, LIMIT_BYTES);
    heap_unlimit(&f->heap);
    assert_false(f->heap.is_exceeded);
    assert_null(lua_gethook(f->L));
}

static void far_past_the_limit_allocations_fail(void **state)
{
    struct heap_fixture *f = *state;

    heap_limit(&f->heap);
    assert_int_equal(allocate(f, (size_t)LIMIT_BYTES * 8), LUA_ERRMEM);
    assert_true(f->heap.used < LIMIT_BYTES);
    heap_unlimit(&f->heap);
}

static void outside_of_scripts_nothing_is_refused(void **state)
{
    struct heap_fixture *f = *state;

    assert_int_equal(allocate(f, (size_t)LIMIT_BYTES * 8), 0);
    assert_null(lua_gethook(f->L));
}

static void garbage_is_collected_before_it_reaches_the_limit(void **state)
{
    struct heap_fixture *f = *state;

    /* Each turn leaves 1 MiB of garbage, a hundred times the limit's worth in all. */
    for (int i = 0; i < 100; i++) {
        assert_int_equal(run(f, "local t = {} for i = 1, 256 do t[i] = string.rep('x', 4096) .. i .. os.clock() end"),
                         0);
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
                            "for i = 1, 10 do ffi.gc(ffi.new('char[16]'), function() error('boom') end) end"),
                     0);
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
        TEST(a_script_past_the_limit_is_told_by_the_hook),
        TEST(a_script_whose_garbage_was_the_excess_goes_on),
        TEST(a_script_that_ends_before_the_hook_leaves_none),
        TEST(far_past_the_limit_allocations_fail),
        TEST(outside_of_scripts_nothing_is_refused),
        TEST(garbage_is_collected_before_it_reaches_the_limit),
        TEST(a_heap_that_is_truly_full_is_not_collected_every_turn),
        TEST(a_finalizer_that_raises_does_not_end_the_process),
    };

    return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}
