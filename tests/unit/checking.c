/* See checking.h. Only for tests with the fake_ring. */
#include "checking.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/conn.h"
#include "core/version.h"
#include "proxy/checks.h"
#include "proxy/group_set.h"
#include "proxy/group_view.h"
#include "proxy/proxy.h"
#include "proxy/routing.h"
#include "proxy/shared.h"
#include "proxy/upstream.h"

struct server_config checked_servers[SERVERS] = {
    {.target = (char *)"127.0.0.1:3001", .weight = 1},
    {.target = (char *)"127.0.0.1:3002", .weight = 1},
    {.target = (char *)"127.0.0.1:3003", .weight = 1},
};

struct upstream_config usual_checks(void)
{
    return (struct upstream_config){
        .name = (char *)"app",
        .servers = checked_servers,
        .server_count = 1,
        .check = {.interval_ms = INTERVAL_MS, .timeout_ms = TIMEOUT_MS, .rise = 2, .fall = 3},
    };
}

struct fixture *checking_fixture(const struct upstream_config *config)
{
    static struct upstream_config checked_config;

    checked_config = *config;
    return fixture_new(&(struct fixture_options){
        .buffers = 64,
        .buffer_bytes = 1024,
        .max_connections = 8,
        .upstreams = &checked_config,
        .upstream_count = 1,
    });
}

static struct config config_of(const struct fixture *f, const struct upstream_config *config)
{
    struct config whole = f->config;

    whole.upstreams = (struct upstream_config *)(uintptr_t)config;
    whole.upstream_count = 1;
    return whole;
}

struct group_set *checking_set(struct fixture *f, const struct upstream_config *config)
{
    const struct config whole = config_of(f, config);
    struct group_set *set;

    assert_int_equal(group_set_new(&set, &whole, proxy_shared_groups(&f->engine), f->engine.shared), 0);
    return set;
}

void checking_configure(struct fixture *f, const struct upstream_config *config)
{
    const struct config whole = config_of(f, config);
    struct proxy *proxy = f->reactor.proxy;
    struct group_set *set = checking_set(f, config);
    struct routing *before = f->version->parts[0].routing;

    proxy_shared_change(&f->engine, set, f->ring);
    assert_int_equal(routing_new(&f->version->parts[0].routing, proxy, &whole, set), 0);
    assert_int_equal(checks_configure(proxy->checks, f->version->parts[0].routing), 0);
    routing_free(before);
}

int setup_checks(void **state)
{
    struct upstream_config config = usual_checks();

    *state = checking_fixture(&config);
    return 0;
}

struct conn *check_to(struct fixture *f, const char *server)
{
    const struct list *live = &f->reactor.live;

    for (struct list *node = live->next; node != live; node = node->next) {
        struct conn *conn = CONTAINER_OF(node, struct conn, link);
        char name[ADDR_TEXT_MAX];
        struct addr peer;

        conn_peer(conn, &peer);
        if (conn->owner && strcmp(addr_format(&peer, name), server) == 0)
            return conn;
    }
    return NULL;
}

struct conn *present_check(struct fixture *f)
{
    return check_to(f, "127.0.0.1:3001");
}

struct conn *next_check(struct fixture *f)
{
    struct conn *conn;

    fixture_pump(f);
    if (!present_check(f))
        fixture_advance(f, INTERVAL_MS);
    conn = present_check(f);
    assert_non_null(conn);
    return conn;
}

void end_check(struct fixture *f, int32_t result)
{
    fixture_connect_result(f, next_check(f), result);
    assert_null(present_check(f));
    fixture_answer(f);
}

const struct server *checked_server(struct fixture *f, uint32_t index)
{
    return group_view_upstream(f->version->parts[0].routing->views[0])->members[index].server;
}

enum server_state first_state(struct fixture *f)
{
    return server_state(checked_server(f, 0), f->reactor.now_ms);
}
