/* Idle connections on the fake ring: who gets them, and when they are of no more use. */
#include "proxy/pool.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/connect.h"
#include "fake_ring.h"
#include "fixture.h"
#include "proxy/proxy.h"
#include "uring/op.h"

struct setup {
    struct fixture *f;
    struct pool *pool;
    struct addr addr;
    int peers[8]; /* the other ends of what made() made */
    uint32_t count;
};

static void ignore(struct conn *conn)
{
    (void)conn;
}

static const struct conn_handler nobody = {
    .on_open = ignore,
    .on_connected = ignore,
    .on_input = ignore,
    .on_output = ignore,
    .on_read_timeout = ignore,
    .on_end = ignore,
};

static int setup(void **state)
{
    static struct setup s;

    s = (struct setup){.f = fixture_new(&(struct fixture_options){0})};
    s.pool = &s.f->reactor.proxy->pool;
    assert_int_equal(addr_parse_unix(&s.addr, "@zerg-unit-pool"), 0);
    *state = &s;
    return 0;
}

static int teardown(void **state)
{
    struct setup *s = *state;

    fixture_free(s->f);
    while (s->count > 0)
        close(s->peers[--s->count]);
    return 0;
}

/* A connection that is open to addr. */
static struct conn *made(struct setup *s)
{
    struct connect_options options = {.addr = &s->addr, .write_buffer_max = 4096};
    struct conn *conn;
    int pair[2];

    assert_int_equal(conn_connect(&conn, &s->f->reactor, &options, &nobody, NULL), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(dup2(pair[0], conn->fd), conn->fd);
    close(pair[0]);
    s->peers[s->count++] = pair[1];
    fixture_pump(s->f);
    fixture_connect_result(s->f, conn, 0);
    return conn;
}

static struct conn *kept(struct setup *s, uint32_t idle_ms)
{
    struct conn *conn = made(s);

    pool_checkin(s->pool, conn, &s->addr, 4, idle_ms);
    fixture_pump(s->f);
    return conn;
}

/* Takes one, as its user would. */
static struct conn *taken(struct setup *s)
{
    struct conn *conn = pool_checkout(s->pool, &s->addr);

    if (conn)
        conn->handler = &nobody;
    return conn;
}

static void the_one_that_came_last_goes_first(void **state)
{
    struct setup *s = *state;
    struct conn *first = kept(s, 0);
    struct conn *second = kept(s, 0);

    assert_ptr_equal(taken(s), second);
    assert_ptr_equal(taken(s), first);
    assert_null(taken(s));
    assert_int_equal(s->pool->idle.taken, 0);
}

static void each_use_has_an_id_of_its_own(void **state)
{
    struct setup *s = *state;
    uint64_t id = kept(s, 0)->id;

    assert_int_not_equal(taken(s)->id, id);
}

static void one_to_another_address_is_none(void **state)
{
    struct setup *s = *state;
    struct addr other;

    kept(s, 0);
    assert_int_equal(addr_parse_unix(&other, "@zerg-unit-other"), 0);
    assert_null(pool_checkout(s->pool, &other));
    assert_int_equal(s->pool->idle.taken, 1);
}

static void the_oldest_makes_room(void **state)
{
    struct setup *s = *state;
    struct conn *oldest = kept(s, 0);

    for (int i = 0; i < 4; i++)
        kept(s, 0);
    assert_int_equal(s->pool->idle.taken, 4);
    assert_int_not_equal(oldest->state, CONN_OPEN);
}

static void where_none_may_wait_it_is_closed(void **state)
{
    struct setup *s = *state;
    struct conn *conn = made(s);

    pool_checkin(s->pool, conn, &s->addr, 0, 0);
    assert_int_not_equal(conn->state, CONN_OPEN);
    assert_int_equal(s->pool->idle.taken, 0);
}

static void one_that_gets_bytes_is_dropped(void **state)
{
    struct setup *s = *state;
    struct conn *conn = kept(s, 0);

    fixture_feed_text(s->f, conn, "stray");
    assert_int_not_equal(conn->state, CONN_OPEN);
    assert_null(taken(s));
}

static void one_whose_peer_ends_or_resets_is_dropped(void **state)
{
    struct setup *s = *state;

    fixture_recv_result(s->f, kept(s, 0), 0);
    fixture_recv_result(s->f, kept(s, 0), -ECONNRESET);
    assert_null(taken(s));
    assert_int_equal(s->pool->idle.taken, 0);
}

static void what_is_on_the_socket_unseen_counts_too(void **state)
{
    struct setup *s = *state;

    kept(s, 0);
    assert_int_equal(write(s->peers[0], "x", 1), 1);
    kept(s, 0);
    assert_int_equal(shutdown(s->peers[1], SHUT_WR), 0);
    assert_null(taken(s));
}

static void its_time_ends(void **state)
{
    struct setup *s = *state;
    struct conn *conn = kept(s, 1000);

    fixture_advance(s->f, 900);
    assert_int_equal(conn->state, CONN_OPEN);
    fixture_advance(s->f, 200);
    assert_int_not_equal(conn->state, CONN_OPEN);
    assert_null(taken(s));
}

static void draining_closes_all_and_keeps_no_more(void **state)
{
    struct setup *s = *state;
    struct conn *conn = kept(s, 0);

    s->f->reactor.state = REACTOR_DRAINING;
    s->f->reactor.app->drain(&s->f->reactor);
    assert_int_not_equal(conn->state, CONN_OPEN);
    assert_int_not_equal(kept(s, 0)->state, CONN_OPEN);
    assert_int_equal(s->pool->idle.taken, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_one_that_came_last_goes_first, setup, teardown),
        cmocka_unit_test_setup_teardown(each_use_has_an_id_of_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(one_to_another_address_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(the_oldest_makes_room, setup, teardown),
        cmocka_unit_test_setup_teardown(where_none_may_wait_it_is_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_gets_bytes_is_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(one_whose_peer_ends_or_resets_is_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_on_the_socket_unseen_counts_too, setup, teardown),
        cmocka_unit_test_setup_teardown(its_time_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(draining_closes_all_and_keeps_no_more, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
