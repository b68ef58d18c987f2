/* The writing calls of api.h, made from C as Lua makes them. Parking is in test_script_conn.c. */
#include "script/api.h"
#include "script/runtime.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "fake_ring.h"
#include "fixture.h"

static const char idle_handler[] = "local zerg = require('zerg') return function(conn) zerg.sleep(1000) end";

static struct zerg_conn handle; /* of conn */
static struct conn *conn;

static int setup(void **state)
{
    struct fixture *f = fixture_new(&(struct fixture_options){.script = idle_handler});

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

/* What was staged, sent now. */
static const char *sent(struct fixture *f)
{
    static char text[256];

    fixture_pump(f);
    text[fixture_drain(f, conn, text, sizeof(text) - 1)] = '\0';
    return text;
}

static void written_bytes_are_copied(void **state)
{
    char bytes[] = "abc";

    assert_int_equal(zerg_conn_write(&handle, bytes, 3), ZERG_OK);
    memset(bytes, 'x', sizeof(bytes));
    assert_string_equal(sent(*state), "abc");
    assert_int_equal(zerg_conn_bytes_out(&handle), 3);
}

static void a_sequence_is_written_piece_by_piece(void **state)
{
    struct zerg_seq seq;
    struct zerg_seq slice;

    fixture_feed_text(*state, conn, "abc");
    fixture_feed_text(*state, conn, "def");
    assert_int_equal(zerg_conn_read(&handle, &seq), ZERG_OK);
    assert_int_equal(zerg_seq_slice(&seq, 1, 4, &slice), ZERG_OK);
    assert_int_equal(zerg_conn_write_seq(&handle, &slice), ZERG_OK);
    assert_int_equal(zerg_conn_write_seq(&handle, &(struct zerg_seq){0}), ZERG_OK);
    zerg_seq_release(&seq);
    assert_int_equal(zerg_conn_write_seq(&handle, &slice), ZERG_RELEASED);
    assert_string_equal(sent(*state), "bcde");
}

static void past_the_mark_it_is_full_but_staged(void **state)
{
    const uint32_t len = WRITE_BUFFER_BYTES + 1;
    char *bytes = calloc(1, len);

    (void)state;
    assert_non_null(bytes);
    assert_int_equal(zerg_conn_wait_room(&handle), ZERG_OK);
    assert_int_equal(zerg_conn_write(&handle, bytes, WRITE_BUFFER_BYTES), ZERG_OK);
    assert_int_equal(zerg_conn_write(&handle, bytes, 1), ZERG_FULL);
    assert_int_equal(conn->out.staged, len);
    assert_int_equal(zerg_conn_wait_room(&handle), ZERG_NO_TASK);
    assert_int_equal(zerg_conn_flush(&handle), ZERG_NO_TASK);
    free(bytes);
}

static void flush_is_done_when_nothing_is_staged(void **state)
{
    assert_int_equal(zerg_conn_flush(&handle), ZERG_OK);
    assert_int_equal(zerg_conn_write(&handle, "a", 1), ZERG_OK);
    assert_string_equal(sent(*state), "a");
    assert_int_equal(zerg_conn_flush(&handle), ZERG_OK);
}

static void reserved_room_is_staged_by_commit(void **state)
{
    uint8_t *room;

    assert_int_equal(zerg_conn_reserve(&handle, 0, &room), ZERG_RANGE);
    assert_int_equal(zerg_conn_reserve(&handle, RESERVE_BYTES_MAX + 1, &room), ZERG_RANGE);
    assert_int_equal(zerg_conn_commit(&handle, 0), ZERG_RANGE);
    assert_int_equal(zerg_conn_reserve(&handle, RESERVE_BYTES_MAX, &room), ZERG_OK);
    memcpy(room, "abc", 3);
    assert_int_equal(zerg_conn_commit(&handle, RESERVE_BYTES_MAX + 1), ZERG_RANGE);
    assert_int_equal(zerg_conn_commit(&handle, 3), ZERG_OK);
    assert_string_equal(sent(*state), "abc");
}

static void a_reservation_that_is_never_committed_goes_back(void **state)
{
    struct fixture *f = *state;
    uint8_t *room;

    assert_int_equal(zerg_conn_reserve(&handle, RESERVE_BYTES_MAX, &room), ZERG_OK);
    fixture_pump(f);
    assert_int_equal(chunk_pool_out(&f->reactor.chunks), 0);
    assert_int_equal(zerg_conn_commit(&handle, 1), ZERG_RANGE);
}

static void after_shutdown_writing_is_misuse_and_flushing_is_not(void **state)
{
    uint8_t *room;

    assert_int_equal(zerg_conn_write(&handle, "a", 1), ZERG_OK);
    assert_int_equal(zerg_conn_shutdown(&handle), ZERG_OK);
    assert_int_equal(zerg_conn_shutdown(&handle), ZERG_OK);
    assert_int_equal(zerg_conn_write(&handle, "b", 1), ZERG_CLOSED);
    assert_int_equal(zerg_conn_reserve(&handle, 1, &room), ZERG_CLOSED);
    assert_string_equal(sent(*state), "a");
    assert_int_equal(zerg_conn_flush(&handle), ZERG_OK);
    assert_true(fixture_peer_sees_end(*state, conn));
}

static void after_close_writing_is_misuse(void **state)
{
    assert_int_equal(zerg_conn_write(&handle, "bye", 3), ZERG_OK);
    zerg_conn_close(&handle);
    zerg_conn_close(&handle);
    assert_int_equal(zerg_conn_write(&handle, "x", 1), ZERG_CLOSED);
    assert_int_equal(zerg_conn_write_seq(&handle, &(struct zerg_seq){0}), ZERG_CLOSED);
    assert_int_equal(zerg_conn_commit(&handle, 1), ZERG_CLOSED);
    assert_int_equal(zerg_conn_flush(&handle), ZERG_CLOSED);
    assert_int_equal(zerg_conn_shutdown(&handle), ZERG_CLOSED);
    assert_string_equal(sent(*state), "bye");
}

static void on_a_connection_that_ended_writing_says_so(void **state)
{
    fixture_recv_result(*state, conn, -ECONNRESET);
    assert_int_equal(zerg_conn_write(&handle, "x", 1), ZERG_END);
    assert_int_equal(zerg_conn_flush(&handle), ZERG_END);
    assert_int_equal(zerg_conn_shutdown(&handle), ZERG_END);
    assert_string_equal(zerg_conn_reason(&handle), "reset");
    zerg_conn_abort(&handle);
    assert_string_equal(zerg_conn_reason(&handle), "reset");
}

static void without_memory_nothing_is_staged(void **state)
{
    struct fixture *f = *state;
    uint8_t *room;

    f->reactor.chunks.small.taken_max = f->reactor.chunks.small.taken;
    assert_int_equal(zerg_conn_write(&handle, "abc", 3), ZERG_NO_MEMORY);
    assert_int_equal(zerg_conn_reserve(&handle, 10, &room), ZERG_NO_MEMORY);
    assert_int_equal(conn->out.staged, 0);
}

static void time_outs_are_seconds_and_what_is_negative_stays(void **state)
{
    (void)state;
    assert_int_equal(zerg_conn_set_timeouts(&handle, 1.5, 0.0001, 3600), ZERG_OK);
    assert_int_equal(conn->timeouts.read_ms, 1500);
    assert_int_equal(conn->timeouts.write_ms, 1); /* not none */
    assert_int_equal(conn->timeouts.idle_ms, 3600000);
    assert_int_equal(zerg_conn_set_timeouts(&handle, -1, 0, 1e300), ZERG_OK);
    assert_int_equal(conn->timeouts.read_ms, 1500);
    assert_int_equal(conn->timeouts.write_ms, 0);
    assert_int_equal(conn->timeouts.idle_ms, UINT32_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(written_bytes_are_copied),
        TEST(a_sequence_is_written_piece_by_piece),
        TEST(past_the_mark_it_is_full_but_staged),
        TEST(flush_is_done_when_nothing_is_staged),
        TEST(reserved_room_is_staged_by_commit),
        TEST(a_reservation_that_is_never_committed_goes_back),
        TEST(after_shutdown_writing_is_misuse_and_flushing_is_not),
        TEST(after_close_writing_is_misuse),
        TEST(on_a_connection_that_ended_writing_says_so),
        TEST(without_memory_nothing_is_staged),
        TEST(time_outs_are_seconds_and_what_is_negative_stays),
    };

    return cmocka_run_group_tests_name("api_write", tests, NULL, NULL);
}
