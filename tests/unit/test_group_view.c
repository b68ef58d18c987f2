/* A reactor's view of a group: when names are asked for and by whom, who is told, and which version is used. With c-ares and a
 * name server (name_server.h). And which views of plain targets a reactor keeps. */
#include "proxy/group_view.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "core/version.h"
#include "fake_ring.h"
#include "name_server.h"
#include "proxy/group.h"
#include "proxy/group_config.h"
#include "proxy/proxy.h"
#include "proxy/routing.h"
#include "proxy/server.h"
#include "proxy/upstream.h"

enum { WAITERS = 3, LONG_MS = 24 * 3600 * 1000 };

static struct server_config servers[] = {
    {.target = (char *)"db.test.:80", .weight = 1, .max_connections = 1},
    {.target = (char *)"other.test.:80", .weight = 1},
};
static struct upstream_config app = {
    .name = (char *)"app",
    .servers = servers,
    .balance = BALANCE_IN_ORDER,
    .queue = 1,
};

struct asker {
    struct view_waiter waiter;
    uint32_t told;
    struct asker *cancels; /* when it is told */
};

static struct asker askers[WAITERS];
static struct view_waiter again;
static uint32_t told_again;

static int setup_count(void **state, uint32_t count)
{
    app.server_count = count;
    memset(askers, 0, sizeof(askers));
    return ns_setup_with(state, &(struct fixture_options){.upstreams = &app, .upstream_count = 1});
}

static int setup(void **state)
{
    return setup_count(state, 1);
}

static int setup_two(void **state)
{
    return setup_count(state, 2);
}

static struct group_view *view_of(const struct ns_fixture *t)
{
    return t->f->version->parts[0].routing->views[0];
}

static void on_answered(struct view_waiter *waiter)
{
    struct asker *asker = CONTAINER_OF(waiter, struct asker, waiter);

    asker->told++;
    if (asker->cancels)
        view_waiter_cancel(&asker->cancels->waiter);
}

static void await(struct ns_fixture *t, struct asker *asker)
{
    view_waiter_init(&asker->waiter, on_answered);
    assert_int_equal(group_view_await(view_of(t), &asker->waiter), 0);
    assert_int_equal(asker->told, 0);
}

/* Until the questions under way have been answered. */
static void wait_answered(struct ns_fixture *t)
{
    uint64_t give_up_ns = clock_now_ns() + 5 * NS_PER_S;

    while (view_of(t)->refresh) {
        assert_true(clock_now_ns() < give_up_ns);
        ns_step(t);
    }
}

static void advance(struct ns_fixture *t, uint64_t ms)
{
    fixture_advance(t->f, ms);
}

static void refresh(struct ns_fixture *t)
{
    group_view_refresh(view_of(t));
    if (view_of(t)->refresh)
        ns_step(t);
}

/* ---- asking ---- */

static void nobody_asks_who_does_not_connect(void **state)
{
    struct ns_fixture *t = *state;

    assert_int_equal(upstream_member_count(group_view_upstream(view_of(t))), 0);
    for (int i = 0; i < 10; i++)
        advance(t, LONG_MS);
    assert_null(view_of(t)->refresh);
    assert_false(ns_is_asked(t));
}

static void all_who_wait_share_the_questions(void **state)
{
    struct ns_fixture *t = *state;

    for (int i = 0; i < WAITERS; i++)
        await(t, &askers[i]);
    view_waiter_cancel(&askers[1].waiter);
    view_waiter_cancel(&askers[1].waiter); /* idempotent */
    ns_answer_host(t, "db.test", "127.0.0.9", NULL);
    wait_answered(t);
    assert_int_equal(askers[0].told, 1);
    assert_int_equal(askers[1].told, 0);
    assert_int_equal(askers[2].told, 1);
    assert_false(ns_is_asked(t));
    assert_string_equal(group_view_upstream(view_of(t))->members[0].server->name, "127.0.0.9:80");
    assert_false(atomic_load(&view_of(t)->group->is_asking));
}

static void who_is_told_may_cancel_another(void **state)
{
    struct ns_fixture *t = *state;

    for (int i = 0; i < WAITERS; i++)
        await(t, &askers[i]);
    askers[0].cancels = &askers[1];
    ns_answer_host(t, "db.test", "127.0.0.9", NULL);
    wait_answered(t);
    assert_int_equal(askers[1].told, 0);
    assert_int_equal(askers[2].told, 1);
}

static void on_answered_again(struct view_waiter *waiter)
{
    (void)waiter;
    told_again++;
}

static struct ns_fixture *asking;

static void ask_again(struct view_waiter *waiter)
{
    (void)waiter;
    view_waiter_init(&again, on_answered_again);
    assert_int_equal(group_view_await(view_of(asking), &again), 0);
}

static void who_is_told_may_ask_again(void **state)
{
    struct ns_fixture *t = *state;
    struct view_waiter first;

    asking = t;
    told_again = 0;
    view_waiter_init(&first, ask_again);
    assert_int_equal(group_view_await(view_of(t), &first), 0);
    ns_answer_code(t, "db.test", NS_NXDOMAIN);
    ns_answer_code(t, "db.test", NS_NXDOMAIN);
    ns_answer_host(t, "db.test", "127.0.0.9", NULL);
    wait_answered(t);
    assert_int_equal(told_again, 1);
    assert_true(fixture_log_has(t->f, "upstream app: cannot look up db.test.: no such name"));
}

static void names_are_asked_for_again_when_they_have_expired(void **state)
{
    struct ns_fixture *t = *state;

    refresh(t);
    assert_true(atomic_load(&view_of(t)->group->is_asking));
    group_view_refresh(view_of(t)); /* is under way */
    ns_answer_host(t, "db.test", "127.0.0.9", NULL);
    wait_answered(t);
    advance(t, NS_TTL_S * 1000 - 1000);
    refresh(t);
    assert_null(view_of(t)->refresh);
    advance(t, 1000);
    refresh(t);
    assert_non_null(view_of(t)->refresh);
    assert_int_equal(upstream_member_count(group_view_upstream(view_of(t))), 1); /* meanwhile */
    ns_answer_host(t, "db.test", "127.0.0.8", NULL);
    wait_answered(t);
    assert_string_equal(group_view_upstream(view_of(t))->members[0].server->name, "127.0.0.8:80");
}

static void a_failure_is_asked_about_again_soon(void **state)
{
    struct ns_fixture *t = *state;

    refresh(t);
    ns_answer_host(t, "db.test", "127.0.0.9", NULL);
    wait_answered(t);
    advance(t, NS_TTL_S * 1000);
    refresh(t);
    ns_answer_code(t, "db.test", NS_NXDOMAIN);
    ns_answer_code(t, "db.test", NS_NXDOMAIN);
    wait_answered(t);
    assert_string_equal(group_view_upstream(view_of(t))->members[0].server->name, "127.0.0.9:80");
    refresh(t);
    assert_null(view_of(t)->refresh);
    advance(t, RESOLVE_TTL_FAILED_MS);
    refresh(t);
    assert_non_null(view_of(t)->refresh);
}

static void only_names_that_have_expired_are_asked_for(void **state)
{
    struct ns_fixture *t = *state;
    struct ns_exchange exchange;

    refresh(t);
    for (int i = 0; i < 4; i++) {
        ns_expect(t, &exchange, i < 2 ? "db.test" : "other.test");
        ns_add_addr(&exchange, i < 2 ? 10 : NS_TTL_S, i < 2 ? "127.0.0.8" : "127.0.0.9");
        ns_send(t, &exchange);
    }
    wait_answered(t);
    advance(t, 10 * 1000);
    refresh(t);
    ns_answer_host(t, "db.test", "127.0.0.8", NULL);
    wait_answered(t);
    assert_false(ns_is_asked(t));
}

static void one_reactor_asks_for_all(void **state)
{
    struct ns_fixture *t = *state;
    struct group *group = view_of(t)->group;

    atomic_store(&group->is_asking, true); /* another one */
    refresh(t);
    assert_null(view_of(t)->refresh);
    await(t, &askers[0]); /* who knows nothing asks for itself, */
    ns_answer_host(t, "db.test", "127.0.0.9", NULL);
    wait_answered(t);
    assert_int_equal(askers[0].told, 1);
    assert_true(atomic_load(&group->is_asking)); /* and does not end what is another's */
    atomic_store(&group->is_asking, false);
}

static void a_group_without_names_has_nothing_to_ask(void **state)
{
    struct ns_fixture *t = *state;
    struct group_view *view;
    struct view_waiter waiter;

    assert_int_equal(proxy_find_group(t->f->reactor.proxy, t->f->version->parts[0].routing, "10.0.0.1:80", 11, &view),
                     0);
    view_waiter_init(&waiter, on_answered_again);
    assert_int_equal(group_view_await(view, &waiter), -ENOENT);
    group_view_refresh(view);
    assert_null(view->refresh);
}

static void names_that_cannot_be_asked_for_are_said_at_once(void **state)
{
    struct ns_fixture *t = *state;

    t->f->config.resolver.servers = (char *)(uintptr_t) "nonsense";
    view_waiter_init(&askers[0].waiter, on_answered);
    assert_int_equal(group_view_await(view_of(t), &askers[0].waiter), -ENOENT);
    assert_string_equal(group_problem(view_of(t)->group), "cannot be asked for");
    assert_int_equal(atomic_load(&view_of(t)->group->expires_ms), t->f->reactor.now_ms + RESOLVE_TTL_MIN_MS);
    group_view_refresh(view_of(t));
    assert_false(atomic_load(&view_of(t)->group->is_asking));
}

/* Another configuration, with these servers. */
static void configure(struct ns_fixture *t, struct server_config *others, uint32_t count)
{
    struct upstream_config changed = app;
    struct group_config *config;

    changed.servers = others;
    changed.server_count = count;
    assert_int_equal(group_config_new(&config, &changed), 0);
    group_configure(view_of(t)->group, config, t->f->ring);
    group_config_release(config);
}

static void wait_asked(struct ns_fixture *t)
{
    uint64_t give_up_ns = clock_now_ns() + 5 * NS_PER_S;

    while (!ns_is_asked(t)) {
        assert_true(clock_now_ns() < give_up_ns);
        ns_step(t);
    }
}

static void who_waits_for_old_names_waits_for_the_present_ones(void **state)
{
    struct ns_fixture *t = *state;

    await(t, &askers[0]);
    configure(t, &servers[1], 1);
    await(t, &askers[1]);
    ns_answer_host(t, "db.test", "127.0.0.9", NULL); /* which is of no use any more */
    wait_asked(t);
    assert_int_equal(askers[0].told, 0);
    assert_int_equal(upstream_member_count(group_view_upstream(view_of(t))), 0);
    ns_answer_host(t, "other.test", "127.0.0.8", NULL);
    wait_answered(t);
    assert_int_equal(askers[0].told, 1);
    assert_int_equal(askers[1].told, 1);
    assert_string_equal(group_view_upstream(view_of(t))->members[0].server->name, "127.0.0.8:80");
}

static void who_waits_for_names_is_told_when_there_are_none_any_more(void **state)
{
    static struct server_config plain = {.target = (char *)"10.0.0.1:80", .weight = 1};
    struct ns_fixture *t = *state;

    await(t, &askers[0]);
    configure(t, &plain, 1);
    ns_answer_host(t, "db.test", "127.0.0.9", NULL);
    wait_answered(t);
    assert_int_equal(askers[0].told, 1);
    assert_int_equal(upstream_member_count(group_view_upstream(view_of(t))), 1);
    assert_false(ns_is_asked(t));
}

static void a_name_that_stays_is_answered_by_the_question_under_way(void **state)
{
    struct ns_fixture *t = *state;

    refresh(t);
    configure(t, servers, 2);
    ns_answer_host(t, "db.test", "127.0.0.9", NULL);
    wait_answered(t);
    assert_string_equal(group_view_upstream(view_of(t))->members[0].server->name, "127.0.0.9:80");
    refresh(t);
    ns_answer_host(t, "other.test", "127.0.0.8", NULL);
    wait_answered(t);
    assert_false(ns_is_asked(t));
    assert_int_equal(upstream_member_count(group_view_upstream(view_of(t))), 2);
}

/* The teardown closes the reactor. */
static void a_reactor_may_end_while_it_asks(void **state)
{
    struct ns_fixture *t = *state;

    refresh(t);
    assert_non_null(view_of(t)->refresh);
}

/* ---- versions and slots ---- */

static void a_view_lets_go_of_the_version_before(void **state)
{
    struct ns_fixture *t = *state;
    struct group_view *view = view_of(t);
    struct upstream *before = group_view_upstream(view);

    upstream_hold(before);
    assert_ptr_equal(group_view_upstream(view), before);
    assert_int_equal(atomic_load(&before->references), 3); /* the group's, the view's, ours */
    refresh(t);
    ns_answer_host(t, "db.test", "127.0.0.9", NULL);
    wait_answered(t);
    assert_ptr_not_equal(group_view_upstream(view), before);
    assert_int_equal(atomic_load(&before->references), 1);
    upstream_release(before);
}

static void a_slot_goes_back_once_and_calls(void **state)
{
    struct ns_fixture *t = *state;
    struct group_view *view = view_of(t);
    struct server *server;
    struct waiter waiter;
    struct slot slot;

    refresh(t);
    ns_answer_host(t, "db.test", "127.0.0.9", NULL);
    wait_answered(t);
    server = group_view_upstream(view)->members[0].server;
    assert_true(server_take_slot(server, 1));
    slot = slot_of(view, server);
    waiter_init(&waiter, 0);
    assert_int_equal(waitline_join(&view->group->waitline, &waiter, WAITLINE_LAST), 0);
    slot_give(&slot);
    slot_give(&slot);
    assert_int_equal(view->users, 0);
    assert_int_equal(server_open(server), 0);
    assert_true(waitline_leave(&view->group->waitline, &waiter)); /* it was called */
}

/* ---- plain targets ---- */

static struct group_view *find_number(struct ns_fixture *t, uint32_t number)
{
    struct group_view *view;
    char target[32];
    int len = snprintf(target, sizeof(target), "host%u.test.:80", number);

    assert_int_equal(proxy_find_group(t->f->reactor.proxy, t->f->version->parts[0].routing, target, (size_t)len, &view),
                     0);
    return view;
}

static void a_plain_target_is_found_again(void **state)
{
    struct ns_fixture *t = *state;
    struct group_view *view = find_number(t, 1);

    assert_ptr_not_equal(find_number(t, 2), view);
    assert_ptr_equal(find_number(t, 1), view);
    assert_int_equal(t->f->reactor.proxy->plain_group_count, 2);
    assert_int_equal(proxy_find_group(t->f->reactor.proxy, t->f->version->parts[0].routing, "app", 3, &view), 0);
    assert_ptr_equal(view, view_of(t));
    assert_int_equal(proxy_find_group(t->f->reactor.proxy, t->f->version->parts[0].routing, "ap", 2, &view), -EINVAL);
}

static void targets_that_nobody_uses_are_forgotten_the_oldest_first(void **state)
{
    struct ns_fixture *t = *state;
    struct proxy *proxy = t->f->reactor.proxy;
    struct view_waiter waiter;
    struct group_view *used;
    struct group_view *asks;

    view_waiter_init(&waiter, on_answered_again);
    used = find_number(t, 0);
    asks = find_number(t, 1);
    group_view_use(used);
    assert_false(list_is_linked(&used->link)); /* it is not even looked at */
    assert_int_equal(group_view_await(asks, &waiter), 0);
    view_waiter_cancel(&waiter); /* the questions go on */
    for (uint32_t i = 2; i < PLAIN_GROUPS_MAX; i++)
        find_number(t, i);
    find_number(t, 2); /* used last now */
    find_number(t, PLAIN_GROUPS_MAX);
    assert_int_equal(proxy->plain_group_count, PLAIN_GROUPS_MAX);
    assert_ptr_equal(find_number(t, 0), used);
    assert_ptr_equal(find_number(t, 1), asks);
    find_number(t, 2);
    assert_int_equal(proxy->plain_group_count, PLAIN_GROUPS_MAX);
    find_number(t, 3); /* that was the oldest: it is made anew, for 4 */
    assert_int_equal(proxy->plain_group_count, PLAIN_GROUPS_MAX);
    group_view_unuse(used);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, ns_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nobody_asks_who_does_not_connect),
        TEST(all_who_wait_share_the_questions),
        TEST(who_is_told_may_cancel_another),
        TEST(who_is_told_may_ask_again),
        TEST(names_are_asked_for_again_when_they_have_expired),
        TEST(a_failure_is_asked_about_again_soon),
        cmocka_unit_test_setup_teardown(only_names_that_have_expired_are_asked_for, setup_two, ns_teardown),
        TEST(one_reactor_asks_for_all),
        TEST(a_group_without_names_has_nothing_to_ask),
        TEST(names_that_cannot_be_asked_for_are_said_at_once),
        TEST(who_waits_for_old_names_waits_for_the_present_ones),
        TEST(who_waits_for_names_is_told_when_there_are_none_any_more),
        TEST(a_name_that_stays_is_answered_by_the_question_under_way),
        TEST(a_reactor_may_end_while_it_asks),
        TEST(a_view_lets_go_of_the_version_before),
        TEST(a_slot_goes_back_once_and_calls),
        TEST(a_plain_target_is_found_again),
        TEST(targets_that_nobody_uses_are_forgotten_the_oldest_first),
    };

    return cmocka_run_group_tests_name("group_view", tests, NULL, NULL);
}
