/* See dialing.h. */
#include "dialing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/list.h"
#include "core/inbox.h"
#include "core/version.h"
#include "fake_ring.h"
#include "proxy/group.h"
#include "proxy/group_config.h"
#include "proxy/proxy.h"
#include "proxy/resolution.h"
#include "proxy/routing.h"
#include "proxy/server.h"
#include "proxy/upstream.h"

static const char *const targets[DIALING_SERVERS_MAX] = {"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80"};

int dialing_setup(void **state)
{
    struct dialing *t = calloc(1, sizeof(*t));

    assert_non_null(t);
    for (uint32_t i = 0; i < DIALING_SERVERS_MAX; i++)
        t->servers[i] = (struct server_config){.target = (char *)(uintptr_t)targets[i], .weight = 1};
    t->app = (struct upstream_config){
        .name = (char *)"app",
        .servers = t->servers,
        .balance = BALANCE_IN_ORDER,
        .connect_ms = 500,
        .retries = 1,
        .fail_timeout_ms = 10000,
        .queue = 2,
        .queue_ms = 1000,
    };
    *state = t;
    return 0;
}

int dialing_teardown(void **state)
{
    struct dialing *t = *state;

    for (uint32_t i = 0; i < CALLERS_MAX; i++)
        dial_cancel(&t->callers[i].dial);
    if (t->f) {
        dialing_wake(t);
        fixture_free(t->f);
    }
    free(t);
    return 0;
}

struct fixture *dialing_begin(struct dialing *t, uint32_t servers)
{
    t->app.server_count = servers;
    t->f = fixture_new(&(struct fixture_options){.upstreams = &t->app, .upstream_count = 1});
    return t->f;
}

static struct group_view *find(const struct dialing *t, const char *target)
{
    struct group_view *view;

    assert_int_equal(proxy_find_group(t->f->reactor.proxy, t->f->version->parts[0].routing, target, strlen(target),
                                      &view),
                     0);
    return view;
}

struct group_view *dialing_view(const struct dialing *t)
{
    return find(t, "app");
}

struct group_view *dialing_plain(const struct dialing *t, const char *target)
{
    return find(t, target);
}

struct group_view *dialing_begin_named(struct dialing *t, const char *const *addrs)
{
    t->servers[0].target = (char *)(uintptr_t) "db.test:80";
    dialing_begin(t, 1);
    dialing_answer(dialing_view(t), 0, 60 * 1000, addrs);
    return dialing_view(t);
}

/* ---- callers ---- */

static void ignore(struct conn *conn)
{
    (void)conn;
}

static void on_end(struct conn *conn)
{
    struct caller *caller = conn->owner;

    caller->conn = NULL;
    slot_give(&caller->slot);
}

static const struct conn_handler handler = {
    .on_connected = ignore,
    .on_input = ignore,
    .on_output = ignore,
    .on_read_timeout = ignore,
    .on_end = on_end,
};

static void on_done(struct dial *dial)
{
    struct caller *caller = CONTAINER_OF(dial, struct caller, dial);
    struct dialing *t = dial->owner;

    assert_int_equal(dial->state, DIAL_ENDED);
    caller->done++;
    caller->served = ++t->outcomes;
    if (!dial->conn)
        return;
    assert_int_equal(dial->failure, DIAL_NO_FAILURE);
    caller->conn = dial->conn;
    caller->slot = dial->slot;
    caller->conn->handler = &handler;
    caller->conn->owner = caller;
}

enum dial_outcome dialing_start(struct dialing *t, struct caller *caller, struct group_view *view)
{
    struct dial_options options = dial_defaults(view, 0);
    enum dial_outcome outcome;

    *caller = (struct caller){.done = 0};
    outcome = dial_start(&caller->dial, view, &options, on_done, t);
    assert_int_equal(caller->done, 0); /* never from within */
    return outcome;
}

void dialing_call(struct dialing *t, struct caller *caller)
{
    assert_int_equal(dialing_start(t, caller, dialing_view(t)), DIAL_WAITS);
    fixture_pump(t->f);
}

void dialing_connect(struct dialing *t, struct caller *caller)
{
    dialing_call(t, caller);
    assert_int_equal(dialing_attempts(caller), 1);
    fixture_connect_result(t->f, caller->dial.attempts[0].conn, 0);
    assert_non_null(caller->conn);
}

void dialing_hang_up(struct dialing *t, struct caller *caller)
{
    conn_kill(caller->conn, CLOSE_LOCAL);
    fixture_pump(t->f);
}

void dialing_wake(struct dialing *t)
{
    struct inbox_message *next;

    for (struct inbox_message *message = inbox_take(&t->f->reactor.inbox); message; message = next) {
        next = message->next;
        proxy_on_message(&t->f->reactor, message);
    }
    fixture_pump(t->f);
}

/* ---- names ---- */

void dialing_answer(struct group_view *view, uint32_t source, uint32_t ttl_ms, const char *const *addrs)
{
    struct resolution resolution = {.ttl_ms = ttl_ms};
    struct target target;

    for (; addrs[resolution.count]; resolution.count++) {
        const char *text = addrs[resolution.count];

        assert_int_equal(target_parse(&target, text, strlen(text)), 0);
        resolution.items[resolution.count].addr = target.addr;
    }
    group_take_answer(view->group, &view->group->config->sources[source], &resolution, view->reactor->now_ms);
    assert_int_equal(group_publish(view->group), 0);
}

void dialing_answer_problem(struct group_view *view, uint32_t source, const char *problem)
{
    const struct resolution resolution = {.ttl_ms = RESOLVE_TTL_FAILED_MS, .problem = problem};

    group_take_answer(view->group, &view->group->config->sources[source], &resolution, view->reactor->now_ms);
    assert_int_equal(group_publish(view->group), 0);
}

/* ---- what is seen ---- */

uint32_t dialing_attempts(const struct caller *caller)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < DIAL_ATTEMPTS_MAX; i++)
        count += caller->dial.attempts[i].conn != NULL;
    return count;
}

struct conn *dialing_attempt(const struct caller *caller, const char *addr)
{
    for (uint32_t i = 0; i < DIAL_ATTEMPTS_MAX; i++) {
        const struct attempt *attempt = &caller->dial.attempts[i];

        if (attempt->conn && strcmp(attempt->pick.server->name, addr) == 0)
            return attempt->conn;
    }
    fail_msg("nobody connects to %s", addr);
    return NULL;
}

void dialing_result(struct dialing *t, const struct caller *caller, const char *addr, int32_t result)
{
    fixture_connect_result(t->f, dialing_attempt(caller, addr), result);
}

void dialing_assert_failed(const struct caller *caller, enum dial_failure failure)
{
    assert_int_equal(caller->done, 1);
    assert_null(caller->conn);
    assert_int_equal(caller->dial.failure, failure);
    assert_int_equal(dialing_attempts(caller), 0);
}

void dialing_assert_served(const struct caller *caller, const char *addr)
{
    assert_int_equal(caller->done, 1);
    assert_non_null(caller->conn);
    assert_string_equal(caller->slot.server->name, addr);
}

struct server *dialing_server(struct group_view *view, uint32_t index)
{
    return group_view_upstream(view)->members[index].server;
}

void dialing_assert_all_back(struct dialing *t, const struct group_view *view)
{
    fixture_answer(t->f);
    assert_int_equal(t->f->reactor.conns.taken, 0);
    assert_int_equal(view->users, 0);
    for (uint32_t i = 0; i < upstream_member_count(view->upstream); i++)
        assert_int_equal(server_open(view->upstream->members[i].server), 0);
    assert_int_equal(atomic_load(&view->group->waitline.waiting), 0);
    assert_int_equal(atomic_load(&view->upstream->references), 2); /* the group's and the view's */
    for (uint32_t i = 0; i < CALLERS_MAX; i++) {
        const struct dial *dial = &t->callers[i].dial;

        assert_true(dial->state == DIAL_IDLE || dial->state == DIAL_ENDED);
        if (dial->state == DIAL_ENDED)
            assert_false(timer_is_armed(&dial->limit) || timer_is_armed(&dial->step));
    }
}
