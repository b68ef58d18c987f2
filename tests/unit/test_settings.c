/* Settings that only a restart changes, by name. */
#include "admin/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/config.h"

static const struct config started = {.reactors = 2, .reactor = {.ring_entries = 8, .max_connections = 10}};

static const char *differences(const struct config *next)
{
    static char keys[512];
    bool is_any = settings_need_restart(&started, next, keys, sizeof(keys));

    assert_int_equal(is_any, keys[0] != '\0');
    return keys;
}

static void what_a_reload_can_change_is_no_difference(void **state)
{
    struct config next = started;

    (void)state;
    next.drain_timeout_ms = 1;
    next.script_memory_max = 1;
    next.script_stall_ms = 1;
    next.log.level = LOG_DEBUG;
    next.listener_count = 0;
    next.path = (char *)"another";
    assert_string_equal(differences(&next), "");
}

static void each_is_named(void **state)
{
    struct config next = started;

    (void)state;
    next.reactor.ring_entries = 16;
    assert_string_equal(differences(&next), "reactor.ring_entries");
    next.pin_cpus = true;
    next.acceptor_ring_entries = 1;
    next.reactor.recv_buffer_size = 1;
    next.reactor.buffer_ring_entries = 1;
    next.reactor.incremental = FEATURE_OFF;
    next.reactor.batch_cqes = 1;
    next.reactor.cq_timeout_ms = 1;
    next.reactor.max_connections = 1;
    next.reactor.sqpoll = true;
    next.reactor.sq_cpu = 1;
    next.reactor.sq_idle_ms = 1;
    assert_string_equal(differences(&next),
                        "pin_cpus, acceptor.ring_entries, reactor.ring_entries, reactor.recv_buffer_size, "
                        "reactor.buffer_ring_entries, reactor.incremental, reactor.batch_cqes, reactor.cq_timeout, "
                        "reactor.max_connections, reactor.sqpoll, reactor.sq_cpu, reactor.sq_idle");
}

static void accept_is_named_beside_the_number_of_reactors(void **state)
{
    struct config next = started;

    (void)state;
    next.accept = next.accept_given = ACCEPT_REUSEPORT;
    assert_string_equal(differences(&next), "accept");
    next.reactors = 3;
    assert_string_equal(differences(&next), "reactors, accept");
    next.reactors = 1;
    assert_string_equal(differences(&next), "reactors, accept");
}

static void accept_that_follows_from_a_single_reactor_is_not_named(void **state)
{
    struct config before = started;
    struct config next = started;
    char keys[64];

    (void)state;
    next.reactors = 1;
    next.accept = ACCEPT_REUSEPORT; /* accept_given is as it was */
    assert_string_equal(differences(&next), "reactors");
    before.reactors = 1;
    before.accept = ACCEPT_REUSEPORT;
    next.accept_given = ACCEPT_REUSEPORT; /* which changes nothing */
    assert_false(settings_need_restart(&before, &next, keys, sizeof(keys)));
}

static void users_are_compared_by_name(void **state)
{
    struct config before = started;
    struct config next = started;
    char one[] = "www-data";
    char same[] = "www-data";
    char keys[64];

    (void)state;
    before.user = one;
    next.user = same;
    assert_false(settings_need_restart(&before, &next, keys, sizeof(keys)));
    next.user = NULL;
    next.group = same;
    assert_true(settings_need_restart(&before, &next, keys, sizeof(keys)));
    assert_string_equal(keys, "user, group");
}

static void a_short_buffer_is_not_overrun(void **state)
{
    struct config next = started;
    char keys[12];

    (void)state;
    next.reactors = 3;
    next.pin_cpus = true;
    next.reactor.ring_entries = 3;
    assert_true(settings_need_restart(&started, &next, keys, sizeof(keys)));
    assert_string_equal(keys, "reactors, p");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_reload_can_change_is_no_difference),
        cmocka_unit_test(each_is_named),
        cmocka_unit_test(accept_is_named_beside_the_number_of_reactors),
        cmocka_unit_test(accept_that_follows_from_a_single_reactor_is_not_named),
        cmocka_unit_test(users_are_compared_by_name),
        cmocka_unit_test(a_short_buffer_is_not_overrun),
    };

    return cmocka_run_group_tests_name("settings", tests, NULL, NULL);
}
