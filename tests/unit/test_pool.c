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

#include "base/limits.h"
#include "core/connect.h"
#include "core/inbox.h"
#include "core/version.h"
#include "fake_ring.h"
#include "fixture.h"
#include "proxy/group.h"
#include "proxy/group_config.h"
#include "proxy/group_servers.h"
#include "proxy/group_view.h"
#include "proxy/proxy.h"
#include "proxy/routing.h"
#include "proxy/server.h"
#include "proxy/upstream.h"
#include "uring/op.h"

struct setup {
    struct fixture *f;
    struct pool *pool;
    struct group_view *view; /* the group's that made() connects to */
    int peers[16];           /* the other ends of what made() made */
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

static struct group_view *view_of(const struct setup *s, const char *target)
{
    struct group_view *view;

    assert_int_equal(proxy_find_group(s->f->reactor.proxy, s->f->version->parts[0].routing, target, strlen(target),
                                      &view),
                     0);
    return view;
}

static struct server *server_of(struct group_view *view)
{
    return group_view_upstream(view)->members[0].server;
}

static int setup(void **state)
{
    static struct setup s;

    s = (struct setup){.f = fixture_new(&(struct fixture_options){0})};
    s.pool = &s.f->reactor.proxy->pool;
    s.view = view_of(&s, "unix:@zerg-unit-pool");
    *state = &s;
    return 0;
}

static struct server_config app_server = {.target = (char *)"unix:@zerg-unit-pool", .weight = 1};
static struct upstream_config app = {.name = (char *)"app", .servers = &app_server, .server_count = 1};

/* The group is an upstream. */
static int setup_upstream(void **state)
{
    static struct setup s;

    s = (struct setup){.f = fixture_new(&(struct fixture_options){.upstreams = &app, .upstream_count = 1})};
    s.pool = &s.f->reactor.proxy->pool;
    s.view = view_of(&s, "app");
    *state = &s;
    return 0;
}

/* Another configuration, which has no upstreams. */
static void lose_upstream(struct setup *s)
{
    struct proxy *proxy = s->f->reactor.proxy;
    struct config none = s->f->config;
    struct routing *before = s->f->version->parts[0].routing;

    none.upstream_count = 0;
    assert_int_equal(routing_new(&s->f->version->parts[0].routing, proxy, &none, NULL), 0);
    routing_free(before);
}

/* What was sent to the reactor comes. */
static void wake(struct setup *s)
{
    struct inbox_message *next;

    for (struct inbox_message *message = inbox_take(&s->f->reactor.inbox); message; message = next) {
        next = message->next;
        proxy_on_message(&s->f->reactor, message);
    }
    fixture_pump(s->f);
}

static int teardown(void **state)
{
    struct setup *s = *state;

    wake(s);
    fixture_free(s->f);
    while (s->count > 0)
        close(s->peers[--s->count]);
    return 0;
}

/* A connection that is open to the server of the group. */
static struct conn *made(struct setup *s)
{
    struct connect_options options = {.addr = &server_of(s->view)->addr, .write_buffer_max = 4096};
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

/* Its user gives it to the pool, where at most so many wait, for so long. */
static void keep(struct setup *s, struct conn *conn, uint32_t max, uint32_t idle_ms)
{
    struct server *server = server_of(s->view);
    struct slot slot;

    assert_true(server_take_slot(server, 0));
    slot = slot_of(s->view, server);
    pool_checkin(s->pool, conn, &slot, max, idle_ms);
    assert_null(slot.view);
    fixture_pump(s->f);
}

static struct conn *kept(struct setup *s, uint32_t idle_ms)
{
    struct conn *conn = made(s);

    keep(s, conn, 4, idle_ms);
    return conn;
}

/* Takes one, as its user would. */
static struct conn *taken(struct setup *s)
{
    struct slot slot;
    struct conn *conn = pool_checkout(s->pool, s->view, &server_of(s->view)->addr, 0, true, &slot);

    if (!conn)
        return NULL;
    conn->handler = &nobody;
    slot_give(&slot);
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
    struct slot slot;

    kept(s, 0);
    assert_int_equal(addr_parse_unix(&other, "@zerg-unit-other"), 0);
    assert_null(pool_checkout(s->pool, s->view, &other, 0, true, &slot));
    assert_int_equal(s->pool->idle.taken, 1);
}

/* As "app" and the plain target of its server: one of them may have a header in front, and other limits. */
static void one_of_another_group_to_the_same_address_is_none(void **state)
{
    struct setup *s = *state;
    struct group_view *other = view_of(s, "unix:@zerg-unit-pool#");
    struct slot slot;

    kept(s, 0);
    assert_null(pool_checkout(s->pool, other, &server_of(s->view)->addr, 0, true, &slot));
    assert_non_null(taken(s));
}

static void one_that_was_told_something_else_is_none(void **state)
{
    struct setup *s = *state;
    struct slot slot;

    kept(s, 0);
    assert_null(pool_checkout(s->pool, s->view, &server_of(s->view)->addr, 1, true, &slot));
    assert_non_null(taken(s));
}

static void each_keeps_its_slot_while_it_waits(void **state)
{
    struct setup *s = *state;

    kept(s, 0);
    kept(s, 0);
    assert_int_equal(server_open(server_of(s->view)), 2);
    assert_int_equal(atomic_load(&s->view->group->idle), 2);
    assert_non_null(taken(s));
    assert_int_equal(server_open(server_of(s->view)), 1);
    fixture_recv_result(s->f, CONTAINER_OF(s->f->reactor.live.next, struct conn, link), 0);
    assert_int_equal(server_open(server_of(s->view)), 0);
    assert_int_equal(atomic_load(&s->view->group->idle), 0);
    assert_int_equal(s->view->users, 0);
}

/* Half of the sixteen connections that the reactor may have. */
static void all_together_they_leave_room_for_others(void **state)
{
    struct setup *s = *state;
    struct conn *oldest = kept(s, 0);

    for (int i = 0; i < 3; i++)
        kept(s, 0);
    s->view = view_of(s, "unix:@zerg-unit-other");
    for (int i = 0; i < 4; i++)
        kept(s, 0);
    assert_int_equal(oldest->state, CONN_OPEN);
    s->view = view_of(s, "unix:@zerg-unit-third");
    kept(s, 0);
    assert_int_equal(s->pool->idle.taken, 16 / POOL_SHARE_OF_CONNS);
    assert_int_not_equal(oldest->state, CONN_OPEN);
}

static void the_oldest_goes_when_few_are_left_for_others(void **state)
{
    struct setup *s = *state;
    struct conn *oldest = kept(s, 0);
    struct conn *other = kept(s, 0);

    pool_spare(s->pool);
    assert_int_equal(oldest->state, CONN_OPEN);
    while (s->f->reactor.conns.taken < s->f->reactor.conns.max)
        fixture_open(s->f);
    pool_spare(s->pool);
    assert_int_not_equal(oldest->state, CONN_OPEN);
    assert_int_equal(other->state, CONN_OPEN);
    assert_int_equal(server_open(server_of(s->view)), 1);
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

    keep(s, conn, 0, 0);
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

/* ---- upstreams that are gone ---- */

static void idle_connections_of_an_upstream_that_is_gone_are_closed(void **state)
{
    struct setup *s = *state;

    kept(s, 0);
    kept(s, 0);
    assert_int_equal(s->pool->idle.taken, 2);
    lose_upstream(s);
    assert_int_equal(s->pool->idle.taken, 0);
    fixture_answer(s->f);
    assert_true(list_is_empty(&s->f->reactor.proxy->views));
}

static void one_that_comes_back_to_an_upstream_that_is_gone_is_closed(void **state)
{
    struct setup *s = *state;
    struct conn *conn = made(s);
    struct server *server = server_of(s->view);
    struct slot slot;

    assert_true(server_take_slot(server, 0));
    slot = slot_of(s->view, server);
    lose_upstream(s);
    fixture_pump(s->f);
    pool_checkin(s->pool, conn, &slot, 4, 0);
    assert_int_equal(s->pool->idle.taken, 0);
    assert_int_not_equal(conn->state, CONN_OPEN);
    fixture_answer(s->f);
    assert_true(list_is_empty(&s->f->reactor.proxy->views));
}

/* ---- servers that are out of use ---- */

static void idle_connections_to_a_drained_server_are_closed(void **state)
{
    struct setup *s = *state;
    struct conn *used = made(s);
    struct server *server = server_of(s->view);

    kept(s, 0);
    pool_drop_useless(s->pool);
    assert_int_equal(s->pool->idle.taken, 1);
    assert_int_equal(group_set_admin(s->view->group, server->name, SERVER_ADMIN_DRAIN, s->f->ring), 0);
    wake(s);
    assert_int_equal(s->pool->idle.taken, 0);
    keep(s, used, 4, 0); /* nor does another one stay */
    assert_int_equal(s->pool->idle.taken, 0);
    assert_int_equal(server_open(server), 0);
    assert_int_equal(group_set_admin(s->view->group, server->name, SERVER_ADMIN_NONE, s->f->ring), 0);
    kept(s, 0);
    assert_int_equal(s->pool->idle.taken, 1);
}

static void idle_connections_to_a_server_that_left_its_upstream_are_closed(void **state)
{
    struct setup *s = *state;
    struct server_config other = {.target = (char *)"unix:@zerg-unit-other", .weight = 1};
    struct upstream_config changed = app;
    struct group_config *config;

    kept(s, 0);
    changed.servers = &other;
    assert_int_equal(group_config_new(&config, &changed), 0);
    group_configure(s->view->group, config, s->f->ring);
    group_config_release(config);
    assert_int_equal(s->pool->idle.taken, 1);
    wake(s);
    assert_int_equal(s->pool->idle.taken, 0);
}

static void idle_connections_to_a_server_that_stays_stay(void **state)
{
    struct setup *s = *state;
    struct upstream_config changed = app;
    struct group_config *config;

    kept(s, 0);
    changed.retries = 9;
    assert_int_equal(group_config_new(&config, &changed), 0);
    group_configure(s->view->group, config, s->f->ring);
    group_config_release(config);
    wake(s);
    assert_non_null(taken(s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_one_that_came_last_goes_first, setup, teardown),
        cmocka_unit_test_setup_teardown(each_use_has_an_id_of_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(one_to_another_address_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(one_of_another_group_to_the_same_address_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_was_told_something_else_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(each_keeps_its_slot_while_it_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(all_together_they_leave_room_for_others, setup, teardown),
        cmocka_unit_test_setup_teardown(the_oldest_goes_when_few_are_left_for_others, setup, teardown),
        cmocka_unit_test_setup_teardown(the_oldest_makes_room, setup, teardown),
        cmocka_unit_test_setup_teardown(where_none_may_wait_it_is_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_gets_bytes_is_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(one_whose_peer_ends_or_resets_is_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_on_the_socket_unseen_counts_too, setup, teardown),
        cmocka_unit_test_setup_teardown(its_time_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(draining_closes_all_and_keeps_no_more, setup, teardown),
        cmocka_unit_test_setup_teardown(idle_connections_of_an_upstream_that_is_gone_are_closed, setup_upstream,
                                        teardown),
        cmocka_unit_test_setup_teardown(one_that_comes_back_to_an_upstream_that_is_gone_is_closed, setup_upstream,
                                        teardown),
        cmocka_unit_test_setup_teardown(idle_connections_to_a_drained_server_are_closed, setup_upstream, teardown),
        cmocka_unit_test_setup_teardown(idle_connections_to_a_server_that_left_its_upstream_are_closed, setup_upstream,
                                        teardown),
        cmocka_unit_test_setup_teardown(idle_connections_to_a_server_that_stays_stay, setup_upstream, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
