/* A relay on the fake ring: bytes and ends both ways, back-pressure, what is copied, and how it breaks. */
#include "proxy/relay.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "fake_ring.h"
#include "fixture.h"
#include "proxy/proxy.h"
#include "uring/bufring.h"
#include "uring/op.h"

enum { QUEUE_BYTES = 4096, BUFFER_BYTES = 1024, CONNS_ODD = 5 };

struct pair {
    struct conn *client;
    struct conn *server;
};

static uint8_t bytes[16 * BUFFER_BYTES];

static struct fixture *new_fixture(uint32_t buffers, bool incremental)
{
    struct fixture *f = fixture_new(&(struct fixture_options){
        .buffers = buffers,
        .buffer_bytes = BUFFER_BYTES,
        .incremental = incremental,
        .max_connections = CONNS_ODD,
        .forward = "unix:@backend",
    });

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 31 + i / 251);
    f->listener_config.write_buffer_max = QUEUE_BYTES;
    f->listener_config.connect_ms = 5000;
    return f;
}

static int setup(void **state)
{
    *state = new_fixture(64, false);
    return 0;
}

static int setup_incremental(void **state)
{
    *state = new_fixture(64, true);
    return 0;
}

static int setup_scarce(void **state)
{
    *state = new_fixture(4, false);
    return 0;
}

/* In parts that fit the buffers an incremental ring publishes at first. */
static void feed_in_parts(struct fixture *f, const struct conn *conn, uint32_t len)
{
    for (uint32_t at = 0; at < len; at += 1000)
        fixture_feed(f, conn, bytes + at, len - at < 1000 ? len - at : 1000);
}

/* A client whose server is being connected to. */
static struct pair connecting(struct fixture *f)
{
    struct pair pair = {.client = fixture_open(f)};

    pair.server = fixture_outgoing(f);
    assert_non_null(pair.server);
    return pair;
}

static struct pair relayed(struct fixture *f)
{
    struct pair pair = connecting(f);

    fixture_connect_result(f, pair.server, 0);
    return pair;
}

static void assert_over(struct fixture *f)
{
    fixture_answer(f);
    assert_int_equal(f->reactor.conns.taken, 0);
    assert_int_equal(f->reactor.proxy->relays.taken, 0);
    assert_int_equal(f->reactor.leases.slab.taken, 0);
    assert_int_equal(chunk_pool_out(&f->reactor.chunks), 0);
    assert_int_equal(bufring_leases(f->reactor.bufs), 0);
}

static void assert_drains(struct fixture *f, const struct conn *conn, const void *expected, size_t len)
{
    static uint8_t out[sizeof(bytes)];

    assert_int_equal(fixture_drain(f, conn, out, sizeof(out)), len);
    assert_memory_equal(out, expected, len);
}

/* ---- bytes ---- */

static void bytes_go_both_ways(void **state)
{
    struct fixture *f = *state;
    struct pair pair = relayed(f);

    fixture_feed_text(f, pair.client, "question");
    assert_drains(f, pair.server, "question", 8);
    fixture_feed(f, pair.server, bytes, 3000);
    assert_drains(f, pair.client, bytes, 3000);
    assert_int_equal(bufring_leases(f->reactor.bufs), 0);
}

static void large_pieces_are_sent_from_the_buffer_they_came_in(void **state)
{
    struct fixture *f = *state;
    struct pair pair = relayed(f);
    const struct fake_sqe *send;

    fixture_feed(f, pair.server, bytes, 2 * BUFFER_BYTES);
    assert_int_equal(pair.client->out.views, 2);
    assert_int_equal(bufring_leases(f->reactor.bufs), 2);
    send = fake_ring_find(f->ring, FAKE_SEND, pair.client->fd);
    assert_int_equal(send->piece_count, 2); /* in one send */
    assert_drains(f, pair.client, bytes, 2 * BUFFER_BYTES);
    assert_int_equal(bufring_leases(f->reactor.bufs), 0);
}

static void crumbs_are_copied_together(void **state)
{
    struct fixture *f = *state;
    struct pair pair = relayed(f);
    const struct fake_sqe *send;

    for (int i = 0; i < 20; i++)
        fake_ring_recv(f->ring, fixture_op(pair.client, OP_RECV), "crumb", 5, FAKE_MORE);
    fixture_pump(f);
    send = fake_ring_find(f->ring, FAKE_SEND, pair.server->fd);
    assert_int_equal(send->piece_count, 1);
    assert_int_equal(send->bytes, 100);
    assert_int_equal(bufring_leases(f->reactor.bufs), 0);
    fixture_drain(f, pair.server, NULL, 0);
}

static void while_buffers_are_scarce_everything_is_copied(void **state)
{
    struct fixture *f = *state;
    struct pair pair = relayed(f);

    for (int i = 0; i < 4; i++)
        fixture_feed(f, pair.client, bytes + i * 1000, 1000);
    assert_int_equal(pair.server->out.views, 1);
    assert_true(bufring_leases(f->reactor.bufs) <= 1);
    assert_drains(f, pair.server, bytes, 4000);
}

static void what_came_while_connecting_goes_first(void **state)
{
    struct fixture *f = *state;
    struct pair pair = connecting(f);

    fixture_feed(f, pair.client, bytes, 2000);
    assert_int_equal(fake_ring_count(f->ring, FAKE_SEND), 0);
    fixture_connect_result(f, pair.server, 0);
    fixture_feed(f, pair.client, bytes + 2000, 1000);
    assert_drains(f, pair.server, bytes, 3000);
}

static void two_connections_can_be_joined_with_what_they_have_unread(void **state)
{
    struct fixture *f = *state;
    struct conn *one;
    struct conn *two;

    f->listener_config.forward = NULL; /* the recorder's */
    one = fixture_open(f);
    two = fixture_open(f);
    fixture_feed_text(f, one, "unread");
    fixture_recv_result(f, two, 0);
    assert_int_equal(relay_join(one, two, &(struct relay_options){.group = "test"}), 0);
    fixture_pump(f);
    assert_drains(f, two, "unread", 6);
    assert_true(fixture_peer_sees_end(f, one));
    fixture_recv_result(f, one, 0);
    assert_over(f);
    assert_int_equal(f->record.ends, 0);
}

static void one_that_has_ended_cannot_be_joined(void **state)
{
    struct fixture *f = *state;
    struct conn *one;
    struct conn *two;

    f->listener_config.forward = NULL;
    one = fixture_open(f);
    two = fixture_open(f);
    conn_close(two, CLOSE_LOCAL);
    assert_int_equal(relay_join(one, two, &(struct relay_options){.group = "test"}), -EPIPE);
    assert_int_equal(relay_join(two, one, &(struct relay_options){.group = "test"}), -EPIPE);
    assert_null(one->owner);
}

/* ---- back-pressure ---- */

static void a_full_queue_stops_the_other_sides_receiving(void **state)
{
    struct fixture *f = *state;
    struct pair pair = relayed(f);

    fixture_feed(f, pair.client, bytes, QUEUE_BYTES);
    assert_true(pair.client->is_paused);
    assert_int_equal(fake_ring_count(f->ring, FAKE_CANCEL), 1);
    assert_false(pair.server->is_paused);
    fixture_feed(f, pair.client, bytes + QUEUE_BYTES, 3000); /* was on its way */
    assert_int_equal(pair.server->out.staged, QUEUE_BYTES);
    assert_int_equal(pair.client->in.bytes, 3000);
    fixture_answer(f);
    assert_false(pair.client->recv_armed);
    fixture_send_result(f, pair.server, QUEUE_BYTES);
    assert_false(pair.client->is_paused);
    assert_true(pair.client->recv_armed);
    assert_drains(f, pair.server, bytes + QUEUE_BYTES, 3000);
}

static void receiving_goes_on_at_half_of_the_queue(void **state)
{
    struct fixture *f = *state;
    struct pair pair = relayed(f);

    fixture_feed(f, pair.client, bytes, QUEUE_BYTES);
    fixture_answer(f);
    fixture_send_result(f, pair.server, QUEUE_BYTES / 2 - 1);
    assert_true(pair.client->is_paused);
    fixture_send_result(f, pair.server, 1);
    assert_false(pair.client->is_paused);
    assert_true(pair.client->recv_armed);
    assert_drains(f, pair.server, bytes + QUEUE_BYTES / 2, QUEUE_BYTES / 2);
}

/* ---- the end of a stream ---- */

static void the_end_of_one_side_follows_its_last_byte(void **state)
{
    struct fixture *f = *state;
    struct pair pair = relayed(f);

    feed_in_parts(f, pair.server, 2 * QUEUE_BYTES);
    fixture_recv_result(f, pair.server, 0);
    assert_false(pair.client->fin_wanted); /* more waits for room */
    assert_drains(f, pair.client, bytes, 2 * QUEUE_BYTES);
    assert_true(pair.client->fin_sent);
    assert_true(fixture_peer_sees_end(f, pair.client));
    fixture_feed_text(f, pair.client, "still here");
    assert_drains(f, pair.server, "still here", 10);
    fixture_recv_result(f, pair.client, 0);
    assert_over(f);
    assert_int_equal(f->reactor.stats.closed, 1);
    assert_int_equal(f->reactor.stats.connects_closed, 1);
}

static void both_ends_in_one_turn_lose_nothing(void **state)
{
    struct fixture *f = *state;
    struct pair pair = relayed(f);

    fake_ring_recv(f->ring, fixture_op(pair.client, OP_RECV), bytes, 2000, FAKE_MORE);
    fake_ring_recv(f->ring, fixture_op(pair.server, OP_RECV), bytes, 1500, FAKE_MORE);
    fake_ring_recv_end(f->ring, fixture_op(pair.client, OP_RECV));
    fake_ring_recv_end(f->ring, fixture_op(pair.server, OP_RECV));
    fixture_pump(f);
    assert_int_equal(pair.client->state, CONN_FLUSHING);
    assert_drains(f, pair.server, bytes, 2000);
    assert_drains(f, pair.client, bytes, 1500);
    assert_over(f);
}

static void a_client_that_ends_while_connecting_is_still_served(void **state)
{
    struct fixture *f = *state;
    struct pair pair = connecting(f);

    fixture_feed_text(f, pair.client, "all");
    fixture_recv_result(f, pair.client, 0);
    fixture_connect_result(f, pair.server, 0);
    assert_drains(f, pair.server, "all", 3);
    assert_true(pair.server->fin_sent);
    fixture_feed_text(f, pair.server, "answer");
    assert_drains(f, pair.client, "answer", 6);
    fixture_recv_result(f, pair.server, 0);
    assert_over(f);
}

/* ---- breaking ---- */

static void a_reset_ends_the_other_side_with_a_reset_behind_its_bytes(void **state)
{
    struct fixture *f = *state;
    struct pair pair = relayed(f);

    fixture_feed(f, pair.server, bytes, 2 * QUEUE_BYTES);
    fixture_recv_result(f, pair.server, -ECONNRESET);
    assert_int_equal(pair.client->state, CONN_FLUSHING);
    assert_true(pair.client->is_aborted);
    assert_drains(f, pair.client, bytes, 2 * QUEUE_BYTES);
    assert_int_equal(pair.client->state, CONN_DYING);
    assert_false(pair.client->fin_sent);
    assert_over(f);
}

static void a_send_that_fails_ends_both(void **state)
{
    struct fixture *f = *state;
    struct pair pair = relayed(f);

    fixture_feed(f, pair.client, bytes, 2000);
    fixture_send_result(f, pair.server, -EPIPE);
    assert_int_equal(pair.server->reason, CLOSE_RESET);
    assert_int_equal(pair.client->reason, CLOSE_ABORTED);
    assert_over(f);
}

static void an_idle_relay_ends_in_order(void **state)
{
    struct fixture *f = *state;
    struct pair pair;

    f->listener_config.timeouts.idle_ms = 1000;
    pair = relayed(f);
    fixture_advance(f, 999);
    fixture_feed_text(f, pair.client, "x");
    fixture_drain(f, pair.server, NULL, 0);
    fixture_advance(f, 999);
    assert_int_equal(pair.client->state, CONN_OPEN);
    fixture_advance(f, 1);
    assert_int_equal(pair.client->state, CONN_LINGERING);
    assert_int_equal(pair.server->state, CONN_LINGERING);
    fixture_recv_result(f, pair.client, 0);
    fixture_recv_result(f, pair.server, 0);
    assert_over(f);
}

static void memory_that_runs_out_leaves_no_hole(void **state)
{
    struct fixture *f = *state;
    struct pair pair = relayed(f);

    f->reactor.chunks.views.taken_max = 1;
    fixture_feed(f, pair.client, bytes, 3 * BUFFER_BYTES);
    assert_int_equal(pair.client->reason, CLOSE_NO_MEMORY);
    assert_drains(f, pair.server, bytes, BUFFER_BYTES);
    assert_int_equal(pair.server->state, CONN_DYING);
    assert_over(f);
}

/* ---- connecting ---- */

static void a_server_that_refuses_resets_the_client(void **state)
{
    struct fixture *f = *state;
    struct pair pair = connecting(f);

    fixture_connect_result(f, pair.server, -ECONNREFUSED);
    assert_int_equal(pair.client->reason, CLOSE_ABORTED);
    assert_true(fixture_log_has(f, "listener test: cannot reach unix:@backend for conn 1: refused"));
    assert_over(f);
}

static void a_server_that_does_not_answer_resets_the_client(void **state)
{
    struct fixture *f = *state;
    struct pair pair = connecting(f);

    fixture_advance(f, 5000);
    assert_int_equal(pair.client->reason, CLOSE_ABORTED);
    assert_true(fixture_log_has(f, "timeout"));
    assert_over(f);
}

static void a_client_that_resets_cancels_connecting(void **state)
{
    struct fixture *f = *state;
    struct pair pair = connecting(f);

    fixture_feed_text(f, pair.client, "x");
    fixture_recv_result(f, pair.client, -ECONNRESET);
    assert_int_equal(pair.server->state, CONN_DYING);
    assert_over(f);
    assert_false(fixture_log_has(f, "cannot reach"));
}

static void a_client_that_ends_without_a_byte_is_not_waited_for_long(void **state)
{
    struct fixture *f = *state;
    struct pair pair = connecting(f);

    fixture_recv_result(f, pair.client, 0);
    fixture_advance(f, RELAY_GONE_MS - 1);
    assert_int_equal(pair.server->state, CONN_CONNECTING);
    fixture_advance(f, 1);
    assert_int_equal(pair.server->state, CONN_DYING);
    assert_over(f);
}

static void without_a_slot_for_the_server_the_client_is_reset(void **state)
{
    struct fixture *f = *state;
    const struct conn *late;

    for (int i = 0; i < CONNS_ODD / 2; i++)
        (void)fixture_open(f);
    late = fixture_open(f);
    assert_int_equal(late->reason, CLOSE_ABORTED);
    assert_true(fixture_log_has(f, "reactor.max_connections are open"));
    fixture_answer(f);
    assert_int_equal(late->state, CONN_FREE);
    assert_int_equal(f->reactor.conns.taken, CONNS_ODD - 1);
    assert_int_equal(atomic_load(&f->reactor.open), CONNS_ODD - 1);
}

static void a_stop_ends_relays_in_every_state(void **state)
{
    struct fixture *f = *state;
    struct pair pair = relayed(f);

    fixture_feed(f, pair.client, bytes, 2 * QUEUE_BYTES);
    fixture_feed(f, pair.server, bytes, 1000);
    (void)fixture_open(f); /* is connecting */
    /* The teardown stops and checks that everything came back. */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bytes_go_both_ways),
        TEST(large_pieces_are_sent_from_the_buffer_they_came_in),
        TEST(crumbs_are_copied_together),
        cmocka_unit_test_setup_teardown(while_buffers_are_scarce_everything_is_copied, setup_scarce, fixture_teardown),
        TEST(what_came_while_connecting_goes_first),
        TEST(two_connections_can_be_joined_with_what_they_have_unread),
        TEST(one_that_has_ended_cannot_be_joined),
        TEST(a_full_queue_stops_the_other_sides_receiving),
        TEST(receiving_goes_on_at_half_of_the_queue),
        TEST(the_end_of_one_side_follows_its_last_byte),
        cmocka_unit_test_setup_teardown(the_end_of_one_side_follows_its_last_byte, setup_incremental, fixture_teardown),
        TEST(both_ends_in_one_turn_lose_nothing),
        cmocka_unit_test_setup_teardown(both_ends_in_one_turn_lose_nothing, setup_incremental, fixture_teardown),
        TEST(a_client_that_ends_while_connecting_is_still_served),
        TEST(a_reset_ends_the_other_side_with_a_reset_behind_its_bytes),
        TEST(a_send_that_fails_ends_both),
        TEST(an_idle_relay_ends_in_order),
        TEST(memory_that_runs_out_leaves_no_hole),
        TEST(a_server_that_refuses_resets_the_client),
        TEST(a_server_that_does_not_answer_resets_the_client),
        TEST(a_client_that_resets_cancels_connecting),
        TEST(a_client_that_ends_without_a_byte_is_not_waited_for_long),
        TEST(without_a_slot_for_the_server_the_client_is_reset),
        TEST(a_stop_ends_relays_in_every_state),
    };

    return cmocka_run_group_tests_name("relay", tests, NULL, NULL);
}
