/* http_route: which route takes a request, by host and path. */
#include "http/http_route.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/config.h"
#include "proto/http_head.h"

/* In the order that the checker puts them into. */
static struct http_route routes[] = {
    {.host = (char *)"a.example", .path = (char *)"/api/v1/"},
    {.host = (char *)"a.example", .path = (char *)"/api/"},
    {.host = (char *)"*.sub.example", .path = (char *)"/"},
    {.host = (char *)"*.example", .path = (char *)"/x"},
    {.host = NULL, .path = (char *)"/long/path"},
    {.host = NULL, .path = (char *)"/l"},
};

static const struct listener_config config = {.routes = routes, .route_count = COUNT_OF(routes)};

/* The index of the route, -1: none; or a negative errno below that. */
static int find(const struct listener_config *listener, const char *method, const char *target, const char *host)
{
    static struct http_head head;
    const struct http_limits limits = {.head_bytes = 1024, .fields = 10};
    const struct http_route *route;
    char text[512];
    int len = snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: %s\r\n\r\n", method, target, host);
    int rc;

    http_request_init(&head, &limits);
    assert_int_equal(http_head_parse(&head, (const uint8_t *)text, (size_t)len), PARSE_DONE);
    rc = http_route_find(&route, listener, &head, (const uint8_t *)text);
    if (rc < 0)
        return rc;
    return route ? (int)(route - listener->routes) : -1;
}

static void the_best_host_wins_and_then_the_longest_path(void **state)
{
    static const struct {
        const char *target;
        const char *host;
        int expected;
    } rows[] = {
        {"/api/v1/x", "a.example", 0},
        {"/api/v1/x", "A.EXAMPLE:8080", 0},
        {"/api/v1/x", "a.example.", 0},
        {"/api/v1", "a.example", 1},
        {"/api/%76%31/x?y", "a.example", 0},
        {"/api/x/../v1/x", "a.example", 0},
        {"/other", "a.example", -1},
        {"/x", "a.example", 3},
        {"/l", "a.example", 5},
        {"/l", "b.sub.example", 2},
        {"/l", "c.b.sub.example", 2},
        {"/l", "sub.example", 5},
        {"/x", "sub.example", 3},
        {"/x", "xsub.example", 3},
        {"/x", "example", -1},
        {"/long/pat", "z", 5},
        {"/long/path/", "z", 4},
        {"http://a.example/api/", "a.example", 1},
        {"http://z", "z", -1},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_int_equal(find(&config, "GET", rows[i].target, rows[i].host), rows[i].expected);
}

static void requests_without_a_path_are_for_the_root(void **state)
{
    (void)state;
    assert_int_equal(find(&config, "OPTIONS", "*", "b.sub.example"), 2);
    assert_int_equal(find(&config, "OPTIONS", "*", "z"), -1);
    assert_int_equal(find(&config, "CONNECT", "b.sub.example:1", "b.sub.example:1"), 2);
}

static void escapes_that_are_none_are_found_with_any_routes(void **state)
{
    static struct http_route all[] = {{.path = (char *)"/"}};
    static const struct listener_config alone = {.routes = all, .route_count = 1};

    (void)state;
    assert_int_equal(find(&alone, "GET", "/a%20b", "z"), 0);
    assert_int_equal(find(&alone, "GET", "/a%2", "z"), -EINVAL);
    assert_int_equal(find(&alone, "GET", "/a%00", "z"), -EINVAL);
    assert_int_equal(find(&config, "GET", "/l%zz", "z"), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_host_wins_and_then_the_longest_path),
        cmocka_unit_test(requests_without_a_path_are_for_the_root),
        cmocka_unit_test(escapes_that_are_none_are_found_with_any_routes),
    };

    return cmocka_run_group_tests_name("http_route", tests, NULL, NULL);
}
