/* The reading calls of api.h, made from C as Lua makes them: what they give, and that they refuse misuse. Parking is in
 * test_script_conn.c. */
#include "script/api.h"
#include "script/runtime.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "fake_ring.h"
#include "fixture.h"
#include "uring/bufring.h"

/* The handler keeps the connection and reads nothing, so that the test may. */
static const char idle_handler[] = "local zerg = require('zerg') return function(conn) zerg.sleep(1000) end";

static struct zerg_conn handle; /* of conn */
static struct conn *conn;

static int setup(void **state)
{
    struct fixture *f = fixture_new(&(struct fixture_options){.script = idle_handler, .buffers = 16});

    conn = fixture_open(f);
    handle = (struct zerg_conn){._conn = conn,
                                ._generation = conn->generation,
                                ._slot = conn->slot,
                                ._id = (double)conn->id};
    (void)runtime_enter(fixture_runtime(f)); /* as if its scripts called */
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    runtime_leave(NULL);
    return fixture_teardown(state);
}

static const char *text_of(const struct zerg_seq *seq)
{
    static char text[256];

    assert_int_equal(zerg_seq_copy(seq, 0, seq->_len, (uint8_t *)text), ZERG_OK);
    text[seq->_len] = '\0';
    return text;
}

static void read_takes_everything(void **state)
{
    struct zerg_seq seq;

    fixture_feed_text(*state, conn, "abc");
    fixture_feed_text(*state, conn, "def");
    assert_int_equal(zerg_conn_unread(&handle), 6);
    assert_int_equal(zerg_conn_read(&handle, &seq), ZERG_OK);
    assert_string_equal(text_of(&seq), "abcdef");
    assert_int_equal(zerg_conn_unread(&handle), 0);
    assert_int_equal(zerg_conn_held(&handle), 2);
    assert_int_equal(zerg_conn_bytes_in(&handle), 6);
}

static void the_next_read_ends_the_borrow(void **state)
{
    struct zerg_seq old;
    struct zerg_seq next;

    fixture_feed_text(*state, conn, "abc");
    assert_int_equal(zerg_conn_read(&handle, &old), ZERG_OK);
    fixture_feed_text(*state, conn, "def");
    assert_string_equal(text_of(&old), "abc");
    assert_int_equal(zerg_conn_read(&handle, &next), ZERG_OK);
    assert_int_equal(zerg_seq_check(&old), ZERG_RELEASED);
    assert_string_equal(text_of(&next), "def");
}

static void take_gives_exactly_so_many(void **state)
{
    struct zerg_seq seq;

    fixture_feed_text(*state, conn, "abc");
    fixture_feed_text(*state, conn, "def");
    assert_int_equal(zerg_conn_take(&handle, 4, &seq), ZERG_OK);
    assert_string_equal(text_of(&seq), "abcd");
    assert_int_equal(zerg_conn_take(&handle, 0, &seq), ZERG_OK);
    assert_null(seq._first);
    assert_int_equal(zerg_conn_take(&handle, 2, &seq), ZERG_OK);
    assert_string_equal(text_of(&seq), "ef");
    assert_int_equal(zerg_conn_take(&handle, INPUT_WANT_BYTES_MAX + 1u, &seq), ZERG_RANGE);
}

static void peek_consumes_nothing(void **state)
{
    struct zerg_seq seq;

    assert_int_equal(zerg_conn_peek(&handle, 0, &seq), ZERG_OK); /* never parks */
    assert_null(seq._first);
    fixture_feed_text(*state, conn, "abc");
    assert_int_equal(zerg_conn_peek(&handle, 2, &seq), ZERG_OK);
    assert_string_equal(text_of(&seq), "abc"); /* all there is */
    assert_int_equal(zerg_conn_unread(&handle), 3);
    zerg_seq_release(&seq);
    assert_int_equal(zerg_conn_read(&handle, &seq), ZERG_OK);
    assert_string_equal(text_of(&seq), "abc");
}

static void next_view_gives_one_piece_after_the_other(void **state)
{
    struct zerg_view first;
    struct zerg_view second;

    assert_int_equal(zerg_conn_next_view(&handle, &first), ZERG_END);
    fixture_feed_text(*state, conn, "abc");
    fixture_feed_text(*state, conn, "de");
    assert_int_equal(zerg_conn_next_view(&handle, &first), ZERG_OK);
    assert_int_equal(zerg_conn_next_view(&handle, &second), ZERG_OK);
    assert_memory_equal(first._data, "abc", 3); /* still valid */
    assert_int_equal(second._len, 2);
    assert_int_equal(zerg_conn_next_view(&handle, &second), ZERG_END);
    zerg_view_release(&first);
    assert_int_equal(zerg_conn_held(&handle), 1);
}

static void skip_drops_bytes_and_borrows(void **state)
{
    struct zerg_seq seq;

    fixture_feed_text(*state, conn, "abcdef");
    assert_int_equal(zerg_conn_peek(&handle, 1, &seq), ZERG_OK);
    assert_int_equal(zerg_conn_skip(&handle, 4), ZERG_OK);
    assert_int_equal(zerg_seq_check(&seq), ZERG_RELEASED);
    assert_int_equal(zerg_conn_skip(&handle, 3), ZERG_RANGE);
    assert_int_equal(zerg_conn_unread(&handle), 2);
    assert_int_equal(zerg_conn_skip(&handle, 2), ZERG_OK);
}

static void front_is_in_one_piece(void **state)
{
    assert_null(zerg_conn_front(&handle, 1));
    assert_null(zerg_conn_front(&handle, 0));
    fixture_feed_text(*state, conn, "ab");
    fixture_feed_text(*state, conn, "cd");
    fixture_feed_text(*state, conn, "efgh");
    assert_memory_equal(zerg_conn_front(&handle, 2), "ab", 2);
    assert_memory_equal(zerg_conn_front(&handle, 8), "abcdefgh", 8);
    assert_null(zerg_conn_front(&handle, 9));
    assert_int_equal(zerg_conn_unread(&handle), 8);
}

static void find_searches_what_is_unread(void **state)
{
    const uint8_t *needle = (const uint8_t *)"\r\n";

    assert_int_equal(zerg_conn_find(&handle, needle, 2, 0), -1);
    fixture_feed_text(*state, conn, "line\r");
    fixture_feed_text(*state, conn, "\nrest");
    assert_int_equal(zerg_conn_find(&handle, needle, 2, 0), 4);
    assert_int_equal(zerg_conn_find(&handle, needle, 2, 5), -1);
    assert_int_equal(zerg_conn_find(&handle, needle, 2, 1000), -1);
}

static void outside_of_a_task_nothing_waits(void **state)
{
    struct zerg_seq seq;

    (void)state;
    assert_int_equal(zerg_conn_want(&handle, 1), ZERG_NO_TASK);
    assert_int_equal(zerg_conn_read(&handle, &seq), ZERG_NO_TASK);
    assert_int_equal(zerg_conn_peek(&handle, 1, &seq), ZERG_NO_TASK);
    assert_int_equal(zerg_conn_take(&handle, 1, &seq), ZERG_NO_TASK);
}

static void after_the_peers_end_the_rest_can_be_read(void **state)
{
    struct zerg_seq seq;

    fixture_feed_text(*state, conn, "abc");
    fixture_recv_result(*state, conn, 0);
    assert_int_equal(zerg_conn_take(&handle, 4, &seq), ZERG_END); /* fewer are left */
    assert_int_equal(zerg_conn_take(&handle, 2, &seq), ZERG_OK);
    assert_int_equal(zerg_conn_read(&handle, &seq), ZERG_OK);
    assert_string_equal(text_of(&seq), "c");
    assert_int_equal(zerg_conn_want(&handle, 1), ZERG_END);
    assert_string_equal(zerg_conn_reason(&handle), "closed");
}

static void after_close_reading_is_misuse(void **state)
{
    struct zerg_seq seq;
    struct zerg_view view;

    fixture_feed_text(*state, conn, "abc");
    zerg_conn_close(&handle);
    assert_int_equal(zerg_conn_read(&handle, &seq), ZERG_CLOSED);
    assert_int_equal(zerg_conn_next_view(&handle, &view), ZERG_CLOSED);
    assert_int_equal(zerg_conn_skip(&handle, 1), ZERG_CLOSED);
    assert_int_equal(zerg_conn_set_timeouts(&handle, 1, 1, 1), ZERG_CLOSED);
}

static void a_stale_handle_reaches_nobody(void **state)
{
    struct zerg_conn stale = handle;
    struct zerg_seq seq;
    struct zerg_view view;

    stale._generation--;
    fixture_feed_text(*state, conn, "secret");
    assert_int_equal(zerg_conn_read(&stale, &seq), ZERG_END);
    assert_int_equal(zerg_conn_next_view(&stale, &view), ZERG_END);
    assert_int_equal(zerg_conn_skip(&stale, 1), ZERG_END);
    assert_null(zerg_conn_front(&stale, 1));
    assert_int_equal(zerg_conn_find(&stale, (const uint8_t *)"s", 1, 0), -1);
    assert_int_equal(zerg_conn_unread(&stale), 0);
    assert_string_equal(zerg_conn_remote_addr(&stale), "");
    assert_string_equal(zerg_conn_local_addr(&stale), "");
    assert_string_equal(zerg_conn_listener(&stale), "");
    assert_int_equal(zerg_conn_remote_port(&stale), 0);
    assert_string_equal(zerg_conn_reason(&stale), "closed");
    assert_int_equal(zerg_conn_watch_close(&stale), ZERG_END);
    zerg_conn_wake_reader(&stale);
    zerg_conn_abort(&stale);
    assert_int_equal(conn->state, CONN_OPEN);
}

static void without_memory_nothing_is_consumed(void **state)
{
    struct fixture *f = *state;
    struct zerg_seq seq;

    fixture_feed_text(f, conn, "abc");
    f->reactor.leases.slab.taken_max = f->reactor.leases.slab.taken;
    assert_int_equal(zerg_conn_take(&handle, 2, &seq), ZERG_NO_MEMORY);
    assert_int_equal(zerg_conn_peek(&handle, 1, &seq), ZERG_NO_MEMORY);
    assert_int_equal(zerg_conn_unread(&handle), 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(read_takes_everything),
        TEST(the_next_read_ends_the_borrow),
        TEST(take_gives_exactly_so_many),
        TEST(peek_consumes_nothing),
        TEST(next_view_gives_one_piece_after_the_other),
        TEST(skip_drops_bytes_and_borrows),
        TEST(front_is_in_one_piece),
        TEST(find_searches_what_is_unread),
        TEST(outside_of_a_task_nothing_waits),
        TEST(after_the_peers_end_the_rest_can_be_read),
        TEST(after_close_reading_is_misuse),
        TEST(a_stale_handle_reaches_nobody),
        TEST(without_memory_nothing_is_consumed),
    };

    return cmocka_run_group_tests_name("api_read", tests, NULL, NULL);
}
