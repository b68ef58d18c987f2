/* What is configured of a group: a copy that stands for itself, and when two are the same. */
#include "proxy/group_config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"

static struct server_config servers[2];
static struct upstream_config upstream;

static int setup(void **state)
{
    (void)state;
    servers[0] = (struct server_config){.target = (char *)"10.0.0.1:80", .weight = 1, .max_connections = 3};
    servers[1] = (struct server_config){.target = (char *)"db.test:80", .weight = 2, .is_backup = true};
    upstream = (struct upstream_config){
        .name = (char *)"app",
        .servers = servers,
        .server_count = 2,
        .queue = 3,
        .check = {.interval_ms = 1000, .path = (char *)"/up"},
    };
    return 0;
}

static struct group_config *made(void)
{
    struct group_config *config;

    assert_int_equal(group_config_new(&config, &upstream), 0);
    return config;
}

static void it_needs_nothing_of_what_it_was_made_of(void **state)
{
    char target[] = "db.test:80";
    char path[] = "/up";

    (void)state;
    servers[1].target = target;
    upstream.check.path = path;
    struct group_config *config = made();

    memset(target, 'x', sizeof(target) - 1);
    memset(path, 'x', sizeof(path) - 1);
    assert_string_equal(config->sources[1].text, "db.test:80");
    assert_string_equal(config->sources[1].target.host, "db.test");
    assert_string_equal(config->settings.check.path, "/up");
    assert_null(config->settings.check.host);
    assert_null(config->settings.servers);
    assert_true(config->has_names);
    assert_true(config->sources[1].is_backup);
    assert_int_equal(config->sources[0].max_connections, 3);
    group_config_release(config);
}

static void a_target_that_is_none_is_refused(void **state)
{
    struct group_config *config;

    (void)state;
    servers[1].target = (char *)"nonsense";
    assert_int_equal(group_config_new(&config, &upstream), -EINVAL);
    assert_null(config);
    assert_int_equal(group_config_new_plain(&config, "nonsense", 8), -EINVAL);
    assert_null(config);
}

static void the_same_upstream_under_another_name_is_the_same(void **state)
{
    struct group_config *config = made();

    (void)state;
    assert_true(group_config_is_made_of(config, &upstream));
    upstream.name = (char *)"other";
    assert_true(group_config_is_made_of(config, &upstream));
    group_config_release(config);
}

/* A number of the upstream is another one, and then as it was. */
static void assert_tells(const struct group_config *config, uint32_t *number)
{
    ++*number;
    assert_false(group_config_is_made_of(config, &upstream));
    --*number;
    assert_true(group_config_is_made_of(config, &upstream));
}

static void every_number_counts(void **state)
{
    uint32_t *const numbers[] = {
        &upstream.keepalive,  &upstream.connect_ms,        &upstream.read_ms,           &upstream.retries,
        &upstream.max_fails,  &upstream.fail_timeout_ms,   &upstream.slow_start_ms,     &upstream.queue,
        &upstream.queue_ms,   &upstream.check.interval_ms, &upstream.check.timeout_ms,  &upstream.check.rise,
        &upstream.check.fall, &servers[0].weight,          &servers[0].max_connections,
    };
    struct group_config *config = made();

    (void)state;
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        assert_tells(config, numbers[i]);
    group_config_release(config);
}

static void every_choice_counts(void **state)
{
    struct group_config *config = made();

    (void)state;
    upstream.balance++;
    assert_false(group_config_is_made_of(config, &upstream));
    upstream.balance--;
    upstream.proxy_send++;
    assert_false(group_config_is_made_of(config, &upstream));
    upstream.proxy_send--;
    upstream.check.status_min++;
    assert_false(group_config_is_made_of(config, &upstream));
    upstream.check.status_min--;
    upstream.check.status_max++;
    assert_false(group_config_is_made_of(config, &upstream));
    group_config_release(config);
}

static void texts_and_servers_count(void **state)
{
    struct group_config *config = made();

    (void)state;
    upstream.check.host = (char *)"a";
    assert_false(group_config_is_made_of(config, &upstream));
    upstream.check.host = NULL;
    upstream.check.path = (char *)"/down";
    assert_false(group_config_is_made_of(config, &upstream));
    upstream.check.path = (char *)"/up";
    servers[0].target = (char *)"10.0.0.2:80";
    assert_false(group_config_is_made_of(config, &upstream));
    servers[0].target = (char *)"10.0.0.1:80";
    servers[1].is_backup = false;
    assert_false(group_config_is_made_of(config, &upstream));
    servers[1].is_backup = true;
    upstream.server_count = 1;
    assert_false(group_config_is_made_of(config, &upstream));
    upstream.server_count = 2;
    assert_true(group_config_is_made_of(config, &upstream));
    group_config_release(config);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_needs_nothing_of_what_it_was_made_of),
        TEST(a_target_that_is_none_is_refused),
        TEST(the_same_upstream_under_another_name_is_the_same),
        TEST(every_number_counts),
        TEST(every_choice_counts),
        TEST(texts_and_servers_count),
    };

    return cmocka_run_group_tests_name("group_config", tests, NULL, NULL);
}
