/* Where one configuration after another forwards to, in one reactor: which views are the same, and when they go. */
#include "proxy/routing.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/config.h"
#include "core/version.h"
#include "fake_ring.h"
#include "fixture.h"
#include "proxy/group.h"
#include "proxy/group_set.h"
#include "proxy/group_view.h"
#include "proxy/proxy.h"
#include "proxy/shared.h"

static struct server_config server = {.target = (char *)"10.0.0.1:80", .weight = 1};
static struct upstream_config upstreams[] = {
    {.name = (char *)"app", .servers = &server, .server_count = 1},
    {.name = (char *)"other", .servers = &server, .server_count = 1},
};
static struct http_route route;
static struct listener_config listeners[2];
static struct config config;

/* A reactor with both upstreams, and the configuration of the next routings: only "app", to which the first listener
 * forwards. */
static int setup(void **state)
{
    route = (struct http_route){.index = 0, .path = (char *)"/"};
    listeners[0] = (struct listener_config){.name = (char *)"first", .forward = (char *)"app"};
    listeners[1] = (struct listener_config){.name = (char *)"second", .routes = &route, .route_count = 1};
    config = (struct config){
        .listeners = listeners,
        .listener_count = 2,
        .route_count = 1,
        .upstreams = upstreams,
        .upstream_count = 1,
    };
    *state = fixture_new(&(struct fixture_options){.upstreams = upstreams, .upstream_count = 2});
    return 0;
}

static struct proxy *proxy_of(const struct fixture *f)
{
    return f->reactor.proxy;
}

static uint32_t view_count(const struct fixture *f)
{
    uint32_t count = 0;

    for (const struct list *node = proxy_of(f)->views.next; node != &proxy_of(f)->views; node = node->next)
        count++;
    return count;
}

static struct group_set *set_of(struct fixture *f)
{
    struct group_set *set;

    assert_int_equal(group_set_new(&set, &config, proxy_shared_groups(&f->engine), f->engine.shared), 0);
    return set;
}

static struct routing *routing_of(struct fixture *f, const struct group_set *set)
{
    struct routing *routing;

    assert_int_equal(routing_new(&routing, proxy_of(f), &config, set), 0);
    return routing;
}

/* As a reload does. */
static void change(struct fixture *f)
{
    struct group_set *set = set_of(f);
    struct routing *before = f->version->parts[0].routing;

    proxy_shared_change(&f->engine, set, f->ring);
    f->version->parts[0].routing = routing_of(f, set);
    routing_free(before);
}

static struct group_view *view_of(const struct fixture *f, const char *name)
{
    return routing_find(f->version->parts[0].routing, name, strlen(name));
}

/* ---- where to ---- */

static void listeners_and_routes_lead_to_upstreams_and_plain_targets(void **state)
{
    struct fixture *f = *state;
    struct group_view *plain;

    route.forward = (char *)"10.0.0.9:80";
    change(f);
    assert_string_equal(routing_forward(f->version->parts[0].routing, 0)->group->name, "app");
    assert_null(routing_forward(f->version->parts[0].routing, 1));
    plain = routing_route(f->version->parts[0].routing, 0);
    assert_string_equal(plain->group->name, "10.0.0.9:80");
    assert_int_equal(plain->users, 1); /* it is not forgotten */
    route.forward = NULL;
    change(f);
    assert_null(routing_route(f->version->parts[0].routing, 0));
    assert_int_equal(plain->users, 0);
}

static void each_configuration_has_names_of_its_own(void **state)
{
    struct fixture *f = *state;
    struct group_view *view;
    struct group_set *set = set_of(f);
    struct routing *next = routing_of(f, set);

    assert_int_equal(proxy_find_group(proxy_of(f), f->version->parts[0].routing, "other", 5, &view), 0);
    assert_int_equal(proxy_find_group(proxy_of(f), next, "other", 5, &view), -EINVAL);
    assert_int_equal(proxy_find_group(proxy_of(f), next, "app", 3, &view), 0);
    assert_ptr_equal(view, view_of(f, "app"));
    routing_free(next);
    group_set_free(set);
}

static void plain_targets_are_the_same_for_all(void **state)
{
    struct fixture *f = *state;
    struct group_view *view, *again;
    struct group_set *set = set_of(f);
    struct routing *next = routing_of(f, set);

    assert_int_equal(proxy_find_group(proxy_of(f), f->version->parts[0].routing, "10.0.0.5:80", 11, &view), 0);
    assert_int_equal(proxy_find_group(proxy_of(f), next, "10.0.0.5:80", 11, &again), 0);
    assert_ptr_equal(view, again);
    routing_free(next);
    group_set_free(set);
}

static void a_forward_that_leads_nowhere_is_refused(void **state)
{
    struct fixture *f = *state;
    struct group_set *set = set_of(f);
    struct routing *next;

    listeners[1].forward = (char *)"nowhere";
    assert_int_equal(routing_new(&next, proxy_of(f), &config, set), -EINVAL);
    assert_null(next);
    assert_true(fixture_log_has(f, "listener second: cannot forward to nowhere"));
    group_set_free(set);
    assert_int_equal(view_of(f, "app")->holders, 1);
    assert_int_equal(view_of(f, "app")->users, 0);
}

/* ---- views ---- */

static void a_view_stays_while_a_routing_has_its_upstream(void **state)
{
    struct fixture *f = *state;
    struct group_view *app = view_of(f, "app");

    assert_int_equal(view_count(f), 2);
    change(f);
    fixture_pump(f);
    assert_int_equal(view_count(f), 1);
    assert_ptr_equal(view_of(f, "app"), app);
    assert_int_equal(app->holders, 1);
}

static void a_view_stays_while_it_is_used(void **state)
{
    struct fixture *f = *state;
    struct group_view *other = view_of(f, "other");

    group_view_use(other);
    change(f);
    fixture_pump(f);
    assert_int_equal(view_count(f), 2);
    assert_int_equal(group_view_settings(other)->retries, 0); /* what was configured of it is still there */
    group_view_unuse(other);
    assert_string_equal(other->group->name, "other"); /* who has just let go may look at it */
    fixture_pump(f);
    assert_int_equal(view_count(f), 1);
}

static void an_upstream_that_comes_back_before_its_view_has_gone_is_another_one(void **state)
{
    struct fixture *f = *state;
    struct group_view *other = view_of(f, "other");

    group_view_use(other);
    change(f);
    config.upstream_count = 2;
    change(f);
    assert_ptr_not_equal(view_of(f, "other"), other);
    assert_int_equal(view_count(f), 3);
    group_view_unuse(other);
    fixture_pump(f);
    assert_int_equal(view_count(f), 2);
}

static void a_view_that_is_held_again_at_once_stays(void **state)
{
    struct fixture *f = *state;
    struct group_view *app = view_of(f, "app");
    struct group_set *set = set_of(f);

    routing_free(f->version->parts[0].routing);
    f->version->parts[0].routing = routing_of(f, set);
    fixture_pump(f);
    assert_ptr_equal(view_of(f, "app"), app);
    group_set_free(set);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(listeners_and_routes_lead_to_upstreams_and_plain_targets),
        TEST(each_configuration_has_names_of_its_own),
        TEST(plain_targets_are_the_same_for_all),
        TEST(a_forward_that_leads_nowhere_is_refused),
        TEST(a_view_stays_while_a_routing_has_its_upstream),
        TEST(a_view_stays_while_it_is_used),
        TEST(an_upstream_that_comes_back_before_its_view_has_gone_is_another_one),
        TEST(a_view_that_is_held_again_at_once_stays),
    };

    return cmocka_run_group_tests_name("routing", tests, NULL, NULL);
}
