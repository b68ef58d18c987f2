/* Which connections go to the next version of the scripts, when, and with what; on hand-made completions. */
#include "script/migrate.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "core/conn.h"
#include "core/version.h"
#include "fake_ring.h"
#include "fixture.h"
#include "script/runtime.h"
#include "script/script_conn.h"

/* A module of these statements for `serve` and `migrate`; what the next version serves with says what it was given. */
#define MODULE(serve, migrate)       \
    "local zerg = require('zerg')\n" \
    "local say = zerg.log.info\n"    \
    "return { serve = function(conn, state)\n" serve "\nend, migrate = function(conn)\n" migrate "\nend }"
#define ECHO "for data in conn:reads() do conn:write('old ', data) end"
#define NEXT "say('carried %s', tostring(state)) for data in conn:reads() do conn:write('new ', data) end"

static struct config next_config;

static struct fixture *serving(void **state, const char *script)
{
    struct fixture *f = fixture_new(&(struct fixture_options){.script = script, .buffer_bytes = 4096});

    *state = f;
    return f;
}

static void renew_with(struct fixture *f, const char *script)
{
    next_config = f->config;
    next_config.drain_timeout_ms = 60000;
    fixture_rewrite(f, script);
    fixture_switch(f, fixture_add_version(f, &next_config));
}

static void renew(struct fixture *f)
{
    renew_with(f, MODULE(NEXT, "return 'again'"));
}

static const char *ask(struct fixture *f, const struct conn *conn, const char *text)
{
    static char answer[4096];

    fixture_feed_text(f, conn, text);
    answer[fixture_drain(f, conn, answer, sizeof(answer) - 1)] = '\0';
    return answer;
}

static bool is_new(const struct fixture *f, const struct conn *conn)
{
    return conn->listener->version == f->newer[0];
}

/* ---- who goes ---- */

static void a_handler_that_waits_in_a_read_goes(void **state)
{
    static const char *const waits[] = {
        "conn:read()",
        "conn:wait()",
        "conn:peek(100)",
        "conn:reader():read()",
        "conn:reader():read_line()",
        "conn:reader():read_until('x')",
        "conn:reader():read_exactly(100)",
        "conn:reader():u32()",
        "conn:stream():read('l')",
        "coroutine.wrap(function() conn:read() end)()",
        "pcall(conn.read, conn)",
        "zerg.deadline(100, function() conn:read() end)",
    };
    char script[512];

    for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
        struct fixture *f;
        struct conn *conn;

        snprintf(script, sizeof(script), MODULE("%s say('it went on')", "return 7"), waits[i]);
        f = serving(state, script);
        conn = fixture_open(f);
        renew(f);
        assert_true(is_new(f, conn));
        assert_true(fixture_log_has(f, "carried 7"));
        assert_string_equal(ask(f, conn, "hello"), "new hello");
        assert_false(fixture_log_has(f, "it went on"));
        fixture_turn(f);
        assert_true(atomic_load(&f->version->parts[0].state) >= PART_ENDING);
        fixture_free(f);
    }
    *state = NULL;
}

static void one_that_does_something_else_stays(void **state)
{
    static const char *const others[] = {
        "zerg.sleep(100)", "zerg.queue():get()",
        "zerg.spawn(function() conn:read() end) zerg.sleep(100)", /* another task reads */
    };
    char script[512];

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        struct fixture *f;
        struct conn *conn;

        snprintf(script, sizeof(script), MODULE("%s", "say('asked')"), others[i]);
        f = serving(state, script);
        conn = fixture_open(f);
        fixture_turn(f);
        renew(f);
        fixture_turn(f);
        assert_false(is_new(f, conn));
        assert_false(fixture_log_has(f, "asked"));
        fixture_free(f);
    }
    *state = NULL;
}

static void one_that_parks_in_a_read_later_goes_then(void **state)
{
    struct fixture *f = serving(state, MODULE("zerg.sleep(1) conn:read()", "return 7"));
    struct conn *conn = fixture_open(f);

    renew(f);
    assert_false(is_new(f, conn));
    fixture_advance(f, 1000);
    fixture_turn(f);
    assert_true(is_new(f, conn));
}

static void retained_views_keep_it(void **state)
{
    struct fixture *f = serving(state, MODULE("local kept\n"
                                              "for data in conn:reads() do\n"
                                              "  if kept then kept:release() kept = nil else kept = data:retain() end\n"
                                              "end",
                                              "return 7"));
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, "a");
    renew(f);
    assert_false(is_new(f, conn));
    fixture_feed_text(f, conn, "b");
    fixture_turn(f);
    assert_true(is_new(f, conn));
}

static void who_waits_for_a_flush_learns_that_it_has_gone(void **state)
{
    struct fixture *f = serving(
        state,
        MODULE("zerg.spawn(function() conn:write('x') say('flush: %s', select(2, conn:flush())) end) conn:read()",
               "return 7"));
    struct conn *conn = fixture_open(f);

    fixture_turn(f);
    renew(f);
    assert_true(is_new(f, conn));
    assert_int_equal(fixture_drain(f, conn, NULL, 0), 1); /* what was staged goes along */
}

/* Others are moved without it some time later. */
static void those_that_are_ready_wait_a_moment_for_the_others(void **state)
{
    struct fixture *f =
        serving(state, MODULE("if conn.id > 1 then zerg.sleep(10) end for d in conn:reads() do end", "return 7"));
    struct conn *ready = fixture_open(f);
    struct conn *busy = fixture_open(f);

    renew(f);
    fixture_advance(f, MIGRATE_TOGETHER_MS - 1);
    assert_false(is_new(f, ready));
    fixture_advance(f, 1);
    assert_true(is_new(f, ready));
    assert_false(is_new(f, busy));
    fixture_advance(f, 10000);
    assert_true(is_new(f, busy));
}

static void all_go_in_one_turn_when_all_are_ready(void **state)
{
    struct fixture *f =
        serving(state, MODULE("if conn.id > 1 then zerg.sleep(0.005) end for d in conn:reads() do end", "return 7"));
    struct conn *ready = fixture_open(f);
    struct conn *soon = fixture_open(f);

    renew(f);
    assert_false(is_new(f, ready));
    fixture_advance(f, 5);
    assert_true(is_new(f, ready));
    assert_true(is_new(f, soon));
}

static void half_of_what_is_consumed_keeps_it(void **state)
{
    static const char *const reads[] = {"conn:reader():skip(8)", "conn:stream():read('a')"};
    char script[512];

    for (size_t i = 0; i < 2; i++) {
        struct fixture *f;
        struct conn *conn;

        snprintf(script, sizeof(script), MODULE("%s conn:read()", "return 7"), reads[i]);
        f = serving(state, script);
        conn = fixture_open(f);
        fixture_feed_text(f, conn, "abcd");
        renew(f);
        assert_false(is_new(f, conn));
        fixture_feed_text(f, conn, "efgh");
        fixture_turn(f);
        assert_int_equal(is_new(f, conn), i == 0); /* "a" waits for the end of the stream */
        fixture_free(f);
    }
    *state = NULL;
}

static void without_a_handler_for_it_there_it_stays(void **state)
{
    struct fixture *f = serving(state, MODULE(ECHO, "return 7"));
    struct conn *conn = fixture_open(f);
    struct listener_config listener = f->listener_config;
    struct version *next;

    next_config = f->config;
    next_config.drain_timeout_ms = 60000;
    next_config.listeners = &listener;
    listener.handler = NULL;
    next = fixture_add_version(f, &next_config);
    fixture_switch(f, next);
    assert_false(is_new(f, conn));
    assert_string_equal(ask(f, conn, "x"), "old x");
}

static void without_migrate_all_stay(void **state)
{
    struct fixture *f = serving(state, "return function(conn) " ECHO " end");
    struct conn *conn = fixture_open(f);

    renew(f);
    assert_false(is_new(f, conn));
    assert_string_equal(ask(f, conn, "x"), "old x");
    assert_string_equal(ask(f, conn, "y"), "old y");
}

/* ---- what migrate says ---- */

static void one_that_declines_is_asked_at_its_next_park(void **state)
{
    struct fixture *f = serving(state, MODULE(ECHO, "say('asked') return nil, 'not now'"));
    struct conn *conn = fixture_open(f);

    renew(f);
    assert_int_equal(fixture_log_count(f, "asked"), 1);
    for (int i = 0; i < 3; i++)
        fixture_turn(f);
    assert_int_equal(fixture_log_count(f, "asked"), 1);
    assert_string_equal(ask(f, conn, "x"), "old x");
    fixture_turn(f);
    assert_int_equal(fixture_log_count(f, "asked"), 2);
    assert_false(is_new(f, conn));
    assert_false(fixture_log_has(f, "stays with version"));
}

static void one_that_raises_stays_and_is_not_asked_again(void **state)
{
    struct fixture *f = serving(state, MODULE(ECHO, "say('asked') error('no way')"));
    struct conn *conn = fixture_open(f);

    renew(f);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(ask(f, conn, "x"), "old x");
        fixture_turn(f);
    }
    assert_int_equal(fixture_log_count(f, "asked"), 1);
    assert_int_equal(fixture_log_count(f, "stays with version 1: "), 1);
    assert_true(fixture_log_has(f, "no way"));
    renew(f); /* nor by the one after */
    assert_int_equal(fixture_log_count(f, "asked"), 1);
}

static void what_is_too_large_is_refused_at_once(void **state)
{
    struct fixture *f =
        serving(state, MODULE(ECHO, "local t = 1 for _ = 1, 60 do t = { t, t } end say('asked') return t"));
    struct conn *conn = fixture_open(f);

    renew(f);
    assert_false(is_new(f, conn));
    assert_string_equal(ask(f, conn, "x"), "old x");
    assert_int_equal(fixture_log_count(f, "asked"), 1);
    assert_true(
        fixture_log_has(f, "stays with version 1: migrate: cannot carry what it returned: state has more than"));
}

/* Past its limit, where the script is told so, and far past it, where the allocation fails. */
static void one_that_the_next_version_has_no_memory_for_stays(void **state)
{
    static const char *const migrates[] = {
        "say('asked') return ('x'):rep(6 * 1024 * 1024)",
        "say('asked') return ('x'):rep(15 * 1024 * 1024)",
        "say('asked') conn.ctx.text = ('x'):rep(15 * 1024 * 1024) return 7",
    };
    char script[512];

    for (size_t i = 0; i < sizeof(migrates) / sizeof(migrates[0]); i++) {
        struct fixture *f;
        struct conn *conn;
        struct version *next;

        snprintf(script, sizeof(script), MODULE("conn.ctx.n = 1 " ECHO " say('end %%d', conn.ctx.n)", "%s"),
                 migrates[i]);
        f = serving(state, script);
        conn = fixture_open(f);
        next_config = f->config;
        next_config.drain_timeout_ms = 60000;
        next_config.script_memory_max = 3 * 1024 * 1024;
        next = fixture_add_version(f, &next_config);
        fixture_switch(f, next);
        assert_false(is_new(f, conn));
        assert_string_equal(ask(f, conn, "x"), "old x");
        assert_string_equal(ask(f, conn, "y"), "old y");
        assert_int_equal(fixture_log_count(f, "asked"), 1);
        assert_true(fixture_log_has(f, "version 1: the next one cannot take it over: not enough memory"));
        fixture_recv_result(f, conn, 0); /* the end of the stream */
        fixture_turn(f);
        assert_true(fixture_log_has(f, "end 1"));
        fixture_free(f);
    }
    *state = NULL;
}

static void migrate_may_close(void **state)
{
    struct fixture *f = serving(state, MODULE(ECHO, "conn:close() return 7"));
    struct conn *conn = fixture_open(f);

    renew(f);
    assert_int_equal(conn->state, CONN_LINGERING);
    assert_false(is_new(f, conn));
    assert_false(fixture_log_has(f, "carried"));
}

static void migrate_that_breaks_its_own_connection_goes_nowhere(void **state)
{
    struct fixture *f = serving(state, MODULE(ECHO, "conn:abort() return 7"));

    (void)fixture_open(f);
    renew(f);
    assert_false(fixture_log_has(f, "carried"));
}

/* ---- what goes along ---- */

static void unread_bytes_and_counters_go_along(void **state)
{
    struct fixture *f = serving(state, MODULE("conn:reader():read_line()", "return nil"));
    struct conn *conn = fixture_open(f);

    fixture_feed_text(f, conn, "half");
    renew_with(f, MODULE("conn:write(conn:reader():read_line(), ' ', conn.bytes_in)", ""));
    assert_true(is_new(f, conn));
    assert_string_equal(ask(f, conn, " a line\n"), "half a line 12");
}

static void staged_output_goes_first(void **state)
{
    struct fixture *f = serving(state, MODULE("conn:write('one ') conn:read()", "conn:write('two ') return nil"));
    struct conn *conn = fixture_open(f);
    char sent[64] = "";

    renew_with(f, MODULE("conn:write('three') conn:read()", ""));
    assert_int_equal(fixture_drain(f, conn, sent, sizeof(sent)), 13);
    assert_string_equal(sent, "one two three");
    assert_int_equal(conn->bytes_out, 13);
}

static void time_outs_go_along(void **state)
{
    struct fixture *f =
        serving(state, MODULE("conn:timeout{ read = 2, write = 3, idle = 4 } conn:read()", "return nil"));
    struct conn *conn = fixture_open(f);

    renew_with(f, MODULE("local _, reason = conn:read() say('read: %s', reason) conn:read()", ""));
    assert_true(is_new(f, conn));
    assert_int_equal(conn->timeouts.read_ms, 2000);
    assert_int_equal(conn->timeouts.write_ms, 3000);
    assert_int_equal(conn->timeouts.idle_ms, 4000);
    fixture_advance(f, 2000);
    fixture_turn(f);
    assert_true(fixture_log_has(f, "read: timeout"));
}

static void a_deadline_of_the_old_handler_is_gone(void **state)
{
    struct fixture *f = serving(state, MODULE("zerg.deadline(1, function() conn:read() end)", "return nil"));
    struct conn *conn = fixture_open(f);

    renew(f);
    fixture_advance(f, 5000);
    fixture_turn(f);
    assert_string_equal(ask(f, conn, "x"), "new x");
}

static void ctx_goes_along_when_it_is_plain(void **state)
{
    struct fixture *f = serving(state, MODULE("conn.ctx.n = { 1, 2 } conn:read() conn:read()", "return nil"));
    struct conn *conn = fixture_open(f);

    renew_with(f, MODULE("say('ctx %s', zerg.json.encode(conn.ctx)) conn.ctx.f = print conn:read()", "return nil"));
    assert_true(is_new(f, conn));
    assert_true(fixture_log_has(f, "ctx {\"n\":[1,2]}"));
    renew_with(f, MODULE("say('then %s', zerg.json.encode(conn.ctx)) conn:read()", "return nil"));
    assert_true(fixture_log_has(f, "then {}"));
}

/* ---- what the version before has of it ---- */

/* One connection that stays keeps the version, and its tasks, alive. */
static void an_old_handle_is_of_no_use_any_more(void **state)
{
    struct fixture *f =
        serving(state, MODULE("if tostring(conn:read()) == 'stay' then zerg.sleep(100) end\n"
                              "zerg.spawn(function()\n"
                              "  zerg.sleep(1)\n"
                              "  for _, name in ipairs{ 'read', 'wait', 'write', 'flush', 'forward', 'timeout' } do\n"
                              "    local argument = ({ write = 'x', forward = '127.0.0.1:1', timeout = {} })[name]\n"
                              "    say('%s: %s', name, tostring(select(2, conn[name](conn, argument))))\n"
                              "  end\n"
                              "  say('line: %s', tostring(select(2, conn:reader():read_line())))\n"
                              "  say('reason: %s', tostring(conn.reason))\n"
                              "  conn:close()\n"
                              "  conn:abort()\n"
                              "end)\n" ECHO,
                              "return nil"));
    struct conn *stays = fixture_open(f);
    struct conn *goes = fixture_open(f);
    static const char *const told[] = {"read: migrated",    "wait: migrated",    "write: migrated", "flush: migrated",
                                       "forward: migrated", "timeout: migrated", "line: migrated",  "reason: migrated"};

    fixture_feed_text(f, stays, "stay");
    fixture_feed_text(f, goes, "go");
    fixture_turn(f);
    renew(f);
    fixture_advance(f, MIGRATE_TOGETHER_MS);
    assert_false(is_new(f, stays));
    assert_true(is_new(f, goes));
    fixture_advance(f, 1000);
    fixture_turn(f);
    for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
        if (!fixture_log_has(f, told[i]))
            fail_msg("not told: %s", told[i]);
    }
    assert_string_equal(ask(f, goes, "x"), "new x");
}

static void on_close_is_the_new_versions(void **state)
{
    struct fixture *f = serving(state, MODULE("conn:on_close(function() say('old end') end) " ECHO, "return nil"));
    struct conn *conn = fixture_open(f);

    renew_with(f, MODULE("conn:on_close(function() say('new end') end) conn:read()", ""));
    fixture_recv_result(f, conn, -ECONNRESET);
    fixture_turn(f);
    fixture_answer(f);
    assert_false(fixture_log_has(f, "old end"));
    assert_true(fixture_log_has(f, "new end"));
}

static void all_of_a_reactor_go_in_one_turn(void **state)
{
    struct fixture *f = serving(state, MODULE(ECHO, "return nil"));
    struct conn *conns[8];

    for (int i = 0; i < 8; i++)
        conns[i] = fixture_open(f);
    renew(f);
    for (int i = 0; i < 8; i++) {
        assert_true(is_new(f, conns[i]));
        assert_string_equal(ask(f, conns[i], "x"), "new x");
    }
    assert_int_equal(atomic_load(&f->version->parts[0].connections), 0);
    assert_int_equal(atomic_load(&f->newer[0]->parts[0].connections), 8);
}

static void none_goes_while_the_reactor_drains(void **state)
{
    struct fixture *f = serving(state, MODULE("zerg.sleep(1) " ECHO, "say('asked') return nil"));
    struct conn *conn = fixture_open(f);

    renew(f);
    f->reactor.state = REACTOR_DRAINING;
    fixture_advance(f, 1000);
    fixture_turn(f);
    assert_false(is_new(f, conn));
    assert_false(fixture_log_has(f, "asked"));
    assert_string_equal(ask(f, conn, "x"), "old x");
}

/* A step of the garbage collector may run them wherever something is allocated: for want of anything to catch what they raise,
 * the process would end. */
static void finalizers_that_raise_do_not_hurt(void **state)
{
    static const char *const garbage = "for _ = 1, 300 do\n"
                                       "  local proxy = newproxy(true)\n"
                                       "  getmetatable(proxy).__gc = function() error('a finalizer') end\n"
                                       "end\n";
    char script[1024];
    struct fixture *f;
    struct conn *conns[8];

    snprintf(script, sizeof(script), MODULE("%s" ECHO, "return ('x'):rep(100000)"), garbage);
    f = serving(state, script);
    for (int i = 0; i < 8; i++)
        conns[i] = fixture_open(f);
    snprintf(script, sizeof(script), MODULE("%s" ECHO, "return ('y'):rep(100000)"), garbage);
    for (int version = 0; version < 3; version++)
        renew_with(f, script);
    for (int i = 0; i < 8; i++)
        assert_non_null(conns[i]);
}

#define TEST(name) cmocka_unit_test_teardown(name, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_handler_that_waits_in_a_read_goes),
        TEST(one_that_does_something_else_stays),
        TEST(one_that_parks_in_a_read_later_goes_then),
        TEST(retained_views_keep_it),
        TEST(who_waits_for_a_flush_learns_that_it_has_gone),
        TEST(those_that_are_ready_wait_a_moment_for_the_others),
        TEST(all_go_in_one_turn_when_all_are_ready),
        TEST(half_of_what_is_consumed_keeps_it),
        TEST(without_a_handler_for_it_there_it_stays),
        TEST(without_migrate_all_stay),
        TEST(one_that_declines_is_asked_at_its_next_park),
        TEST(one_that_raises_stays_and_is_not_asked_again),
        TEST(what_is_too_large_is_refused_at_once),
        TEST(one_that_the_next_version_has_no_memory_for_stays),
        TEST(migrate_may_close),
        TEST(migrate_that_breaks_its_own_connection_goes_nowhere),
        TEST(unread_bytes_and_counters_go_along),
        TEST(staged_output_goes_first),
        TEST(time_outs_go_along),
        TEST(a_deadline_of_the_old_handler_is_gone),
        TEST(ctx_goes_along_when_it_is_plain),
        TEST(an_old_handle_is_of_no_use_any_more),
        TEST(on_close_is_the_new_versions),
        TEST(all_of_a_reactor_go_in_one_turn),
        TEST(none_goes_while_the_reactor_drains),
        TEST(finalizers_that_raise_do_not_hurt),
    };

    return cmocka_run_group_tests_name("migrate", tests, NULL, NULL);
}
