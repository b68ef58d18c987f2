/* Looking names up: hosts and services, what may go wrong, and who is told. */
#include "proxy/resolver.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fake_ring.h"
#include "name_server.h"
#include "proto/wire.h"
#include "proxy/proxy.h"

enum { HOSTS = 5 * RESOLVE_TARGETS_AT_ONCE }; /* as many as an answer by UDP has room for */

/* ---- hosts ---- */

static void a_host_has_addresses_of_both_families(void **state)
{
    struct ns_fixture *t = *state;
    bool has_v6 = false;

    ns_start(t, RESOLVE_HOST, "db.test.");
    ns_answer_host(t, "db.test", "127.0.0.9", "::1");
    ns_wait(t, 1);
    assert_null(t->asker.answer.problem);
    assert_int_equal(t->asker.answer.count, 2); /* which comes first depends on what the machine can reach */
    assert_int_equal(t->asker.answer.ttl_ms, NS_TTL_S * 1000);
    for (uint32_t i = 0; i < 2; i++) {
        has_v6 |= t->asker.answer.items[i].addr.sa.sa_family == AF_INET6;
        assert_int_equal(addr_port(&t->asker.answer.items[i].addr), NS_PORT);
    }
    assert_true(has_v6);
    assert_null(t->asker.resolve.question);
}

static void the_smallest_ttl_holds_that_of_an_alias_too(void **state)
{
    struct ns_fixture *t = *state;

    ns_start(t, RESOLVE_HOST, "db.test.");
    for (int i = 0; i < 2; i++) {
        struct ns_exchange exchange;

        ns_expect(t, &exchange, "db.test");
        if (exchange.type == NS_TYPE_A) {
            ns_add_record(&exchange, NS_TYPE_CNAME, 20, "\1x\0", 3);
            ns_add_bytes(&exchange, "\1x\0\0\1\0\1\0\0\0\x64\0\4\x7f\0\0\x09", 17);
            wire_write_u16(exchange.bytes + 6, 2);
        }
        ns_send(t, &exchange);
    }
    ns_wait(t, 1);
    assert_int_equal(t->asker.answer.count, 1);
    ns_assert_item(t, 0, "127.0.0.9:5432");
    assert_int_equal(t->asker.answer.ttl_ms, 20 * 1000);
}

static void one_family_is_enough(void **state)
{
    struct ns_fixture *t = *state;

    ns_start(t, RESOLVE_HOST, "db.test.");
    ns_answer_host(t, "db.test", "127.0.0.9", NULL);
    ns_wait(t, 1);
    assert_int_equal(t->asker.answer.count, 1);
    ns_assert_item(t, 0, "127.0.0.9:5432");
}

static void a_numeric_address_needs_no_question(void **state)
{
    struct ns_fixture *t = *state;

    ns_start(t, RESOLVE_HOST, "::1");
    fixture_pump(t->f);
    assert_int_equal(t->asker.calls, 1);
    ns_assert_item(t, 0, "[::1]:5432");
    assert_int_equal(t->asker.answer.ttl_ms, RESOLVE_TTL_MAX_MS);
    assert_int_equal(fake_ring_count(t->f->ring, FAKE_POLL), 0);
}

static void what_is_known_at_once_is_told_later_too(void **state)
{
    struct ns_fixture *t = *state;

    ns_start(t, RESOLVE_HOST, "localhost"); /* asserts that nothing is told from within */
    fixture_pump(t->f);
    assert_int_equal(t->asker.calls, 1);
    assert_null(t->asker.answer.problem);
    assert_true(t->asker.answer.count > 0);
    assert_int_equal(t->asker.answer.ttl_ms, RESOLVE_TTL_MIN_MS);
    assert_false(ns_is_asked(t));
}

static void a_name_that_does_not_exist(void **state)
{
    struct ns_fixture *t = *state;

    ns_start(t, RESOLVE_HOST, "gone.test.");
    ns_answer_code(t, "gone.test", NS_NXDOMAIN);
    ns_answer_code(t, "gone.test", NS_NXDOMAIN);
    ns_wait(t, 1);
    ns_assert_problem(t, "no such name");
}

static void a_name_without_an_address(void **state)
{
    struct ns_fixture *t = *state;

    ns_start(t, RESOLVE_HOST, "empty.test.");
    ns_answer_host(t, "empty.test", NULL, NULL);
    ns_wait(t, 1);
    ns_assert_problem(t, "the name has no such record");
}

static void a_server_that_fails_or_refuses(void **state)
{
    struct ns_fixture *t = *state;

    t->f->config.resolver.attempts = 1;
    ns_start(t, RESOLVE_HOST, "db.test.");
    ns_answer_code(t, "db.test", NS_SERVFAIL);
    ns_answer_code(t, "db.test", NS_REFUSED);
    ns_wait(t, 1);
    ns_assert_problem(t, "no name server could answer");
}

/* At once, or when the time-out has passed: the error that the first of the two questions met may be told to the second. */
static void a_server_that_is_down_is_left_for_the_next(void **state)
{
    struct ns_fixture *t = *state;
    char servers[sizeof(t->servers) + 32];

    snprintf(servers, sizeof(servers), "[::1]:1,127.0.0.1:1,%s", t->servers);
    t->f->config.resolver.servers = servers;
    t->f->config.resolver.timeout_ms = 60;
    ns_start(t, RESOLVE_HOST, "db.test.");
    ns_answer_host(t, "db.test", "127.0.0.9", NULL);
    ns_wait(t, 1);
    ns_assert_item(t, 0, "127.0.0.9:5432");
}

static void silence_ends_with_the_time_out(void **state)
{
    struct ns_fixture *t = *state;
    uint64_t before_ns = clock_now_ns();

    t->f->config.resolver.timeout_ms = 60;
    t->f->config.resolver.attempts = 1;
    ns_start(t, RESOLVE_HOST, "silent.test.");
    ns_wait(t, 1);
    ns_assert_problem(t, "no answer in time");
    assert_true(clock_now_ns() - before_ns >= 60 * NS_PER_MS);
}

static void a_question_is_asked_again_after_its_time_out(void **state)
{
    struct ns_fixture *t = *state;
    struct ns_exchange lost;

    t->f->config.resolver.timeout_ms = 60;
    t->f->config.resolver.attempts = 2;
    ns_start(t, RESOLVE_HOST, "db.test.");
    ns_expect(t, &lost, "db.test");
    ns_expect(t, &lost, "db.test");
    ns_answer_host(t, "db.test", "127.0.0.9", NULL);
    ns_wait(t, 1);
    ns_assert_item(t, 0, "127.0.0.9:5432");
}

static void a_truncated_answer_is_asked_for_by_tcp(void **state)
{
    struct ns_fixture *t = *state;
    struct ns_exchange exchange;
    uint8_t framed[NS_MESSAGE_MAX + 2];
    int peer;

    ns_start(t, RESOLVE_SRV, "_db._tcp.test");
    ns_expect(t, &exchange, "_db._tcp.test");
    exchange.bytes[2] |= 0x02; /* TC */
    ns_send(t, &exchange);
    ns_step(t); /* c-ares connects, */
    peer = accept(t->tcp, NULL, NULL);
    assert_true(peer >= 0);
    ns_be_patient(peer);
    ns_step(t); /* and asks */
    assert_int_equal(recv(peer, framed, 2, MSG_WAITALL), 2);
    exchange.len = wire_read_u16(framed);
    assert_int_equal(recv(peer, exchange.bytes, exchange.len, MSG_WAITALL), exchange.len);
    ns_read_question(&exchange);
    assert_string_equal(exchange.name, "_db._tcp.test");
    wire_write_u16(exchange.bytes + 2, 0x8180);
    memset(exchange.bytes + 6, 0, 6);
    ns_add_srv(&exchange, 1, "a.test");
    wire_write_u16(framed, (uint16_t)exchange.len);
    memcpy(framed + 2, exchange.bytes, exchange.len);
    assert_int_equal(send(peer, framed, exchange.len + 2, 0), exchange.len + 2);
    ns_answer_host(t, "a.test", "127.0.0.9", NULL);
    ns_wait(t, 1);
    ns_assert_item(t, 0, "127.0.0.9:1001");
    close(peer);
}

static void without_a_question_no_socket_is_watched(void **state)
{
    struct ns_fixture *t = *state;

    ns_start(t, RESOLVE_HOST, "db.test.");
    ns_answer_host(t, "db.test", "127.0.0.9", "::1");
    ns_wait(t, 1);
    assert_int_equal(t->f->reactor.watches.taken, 0);
    assert_int_equal(ns_polls(t), 0);
    assert_int_equal(t->f->reactor.timers.armed, 0);
}

/* ---- services ---- */

static void a_service_has_the_addresses_of_its_hosts_by_priority(void **state)
{
    struct ns_fixture *t = *state;

    ns_start(t, RESOLVE_SRV, "_db._tcp.test");
    ns_answer_services(t, 20, "b.test", 10, "a.test");
    ns_answer_host(t, "a.test", "127.0.0.1", NULL);
    ns_answer_host(t, "b.test", "127.0.0.2", NULL);
    ns_wait(t, 1);
    assert_null(t->asker.answer.problem);
    assert_int_equal(t->asker.answer.count, 2);
    ns_assert_item(t, 0, "127.0.0.1:1010");
    ns_assert_item(t, 1, "127.0.0.2:1020");
    assert_int_equal(t->asker.answer.items[0].priority, 10);
    assert_int_equal(t->asker.answer.items[1].priority, 20);
    assert_int_equal(t->asker.answer.items[1].weight, 7);
    assert_int_equal(t->asker.answer.ttl_ms, NS_TTL_S * 1000);
}

static void a_host_that_is_gone_leaves_the_others(void **state)
{
    struct ns_fixture *t = *state;

    ns_start(t, RESOLVE_SRV, "_db._tcp.test");
    ns_answer_services(t, 10, "gone.test", 20, "b.test");
    ns_answer_code(t, "gone.test", NS_NXDOMAIN);
    ns_answer_code(t, "gone.test", NS_NXDOMAIN);
    ns_answer_host(t, "b.test", "127.0.0.2", NULL);
    ns_wait(t, 1);
    assert_null(t->asker.answer.problem);
    assert_int_equal(t->asker.answer.count, 1);
    ns_assert_item(t, 0, "127.0.0.2:1020");
    assert_int_equal(t->asker.answer.ttl_ms, RESOLVE_TTL_FAILED_MS);
}

static void the_root_as_host_means_that_it_is_not_offered(void **state)
{
    struct ns_fixture *t = *state;

    ns_start(t, RESOLVE_SRV, "_db._tcp.test");
    ns_answer_services(t, 0, "", 0, NULL);
    ns_wait(t, 1);
    ns_assert_problem(t, "the service is not offered");
}

static void a_service_that_does_not_exist(void **state)
{
    struct ns_fixture *t = *state;

    ns_start(t, RESOLVE_SRV, "_db._tcp.test");
    ns_answer_code(t, "_db._tcp.test", NS_NXDOMAIN);
    ns_wait(t, 1);
    ns_assert_problem(t, "no such name");
}

static void a_broken_answer_about_a_service(void **state)
{
    struct ns_fixture *t = *state;
    struct ns_exchange exchange;

    ns_start(t, RESOLVE_SRV, "_db._tcp.test");
    ns_expect(t, &exchange, "_db._tcp.test");
    ns_add_srv(&exchange, 10, "a.test");
    exchange.len -= 3;
    ns_send(t, &exchange);
    ns_wait(t, 1);
    ns_assert_problem(t, "an answer that makes no sense");
}

static void hosts_of_a_service_are_asked_for_a_few_at_a_time(void **state)
{
    struct ns_fixture *t = *state;
    struct ns_exchange exchange;
    char name[32];

    ns_start(t, RESOLVE_SRV, "_db._tcp.test");
    ns_expect(t, &exchange, "_db._tcp.test");
    for (int i = 0; i < HOSTS; i++) {
        snprintf(name, sizeof(name), "h%02d", i);
        ns_add_srv(&exchange, 10, name);
    }
    ns_send(t, &exchange);
    ns_step(t);
    for (int i = 0; i < HOSTS; i++) {
        char v4[32];

        snprintf(name, sizeof(name), "h%02d", i);
        snprintf(v4, sizeof(v4), "127.0.1.%d", i);
        ns_answer_host(t, name, v4, NULL);
        if (i % RESOLVE_TARGETS_AT_ONCE == RESOLVE_TARGETS_AT_ONCE - 1) {
            assert_false(ns_is_asked(t)); /* no more before these are answered */
            ns_step(t);
        }
    }
    ns_wait(t, 1);
    assert_int_equal(t->asker.answer.count, HOSTS);
    ns_assert_item(t, 0, "127.0.1.0:1010");
    ns_assert_item(t, HOSTS - 1, "127.0.1.39:1010");
}

/* ---- who asks ---- */

static void a_cancelled_question_is_answered_to_nobody(void **state)
{
    struct ns_fixture *t = *state;

    ns_start(t, RESOLVE_HOST, "db.test.");
    resolver_cancel(&t->asker.resolve);
    resolver_cancel(&t->asker.resolve);
    ns_answer_host(t, "db.test", "127.0.0.9", NULL);
    ns_start(t, RESOLVE_HOST, "other.test."); /* the same asker, while c-ares works on the first */
    ns_answer_host(t, "other.test", "127.0.0.8", NULL);
    ns_wait(t, 1);
    ns_assert_item(t, 0, "127.0.0.8:5432");
}

static void a_cancelled_service_asks_for_no_hosts(void **state)
{
    struct ns_fixture *t = *state;

    ns_start(t, RESOLVE_SRV, "_db._tcp.test");
    resolver_cancel(&t->asker.resolve);
    ns_answer_services(t, 20, "b.test", 10, "a.test");
    while (t->f->reactor.watches.taken > 0)
        ns_step(t);
    assert_false(ns_is_asked(t));
    assert_int_equal(t->asker.calls, 0);
}

static void an_answer_that_is_due_can_be_cancelled(void **state)
{
    struct ns_fixture *t = *state;

    ns_start(t, RESOLVE_HOST, "127.0.0.1");
    resolver_cancel(&t->asker.resolve);
    fixture_pump(t->f);
    assert_int_equal(t->asker.calls, 0);
}

static void the_next_question_may_be_asked_on_the_answer(void **state)
{
    struct ns_fixture *t = *state;

    t->asker.then = "db.test.";
    ns_start(t, RESOLVE_HOST, "localhost");
    fixture_pump(t->f);
    ns_answer_host(t, "db.test", "127.0.0.9", NULL);
    ns_wait(t, 2);
    ns_assert_item(t, 0, "127.0.0.9:5432");
}

static void name_servers_are_read_anew_when_nothing_was_asked(void **state)
{
    struct ns_fixture *t = *state;
    char *servers = t->f->config.resolver.servers;

    t->f->config.resolver.servers = NULL;
    ns_start(t, RESOLVE_HOST, "localhost"); /* opens c-ares */
    fixture_pump(t->f);
    t->f->config.resolver.servers = servers;
    assert_int_equal(resolver_start(t->resolver, &t->asker.resolve, RESOLVE_HOST, "db.test.", 5432), 0);
    ns_answer_host(t, "db.test", "127.0.0.9", NULL);
    ns_wait(t, 2);
    ns_assert_item(t, 0, "127.0.0.9:5432");
}

static void another_configuration_counts_from_the_next_question_on(void **state)
{
    struct resolver_config nowhere = {.servers = (char *)"nonsense"};
    struct ns_fixture *t = *state;

    ns_start(t, RESOLVE_HOST, "db.test.");
    resolver_configure(t->resolver, &nowhere);
    ns_answer_host(t, "db.test", "127.0.0.9", NULL); /* the one that is under way goes on */
    ns_wait(t, 1);
    ns_assert_item(t, 0, "127.0.0.9:5432");
    assert_int_equal(resolver_start(t->resolver, &t->asker.resolve, RESOLVE_HOST, "db.test.", 5432), -EINVAL);
    resolver_configure(t->resolver, &t->f->config.resolver);
    assert_int_equal(resolver_start(t->resolver, &t->asker.resolve, RESOLVE_HOST, "db.test.", 5432), 0);
    ns_answer_host(t, "db.test", "127.0.0.8", NULL);
    ns_wait(t, 2);
    ns_assert_item(t, 0, "127.0.0.8:5432");
}

static void closing_tells_nobody(void **state)
{
    struct ns_fixture *t = *state;
    struct ns_asker others[3];

    memset(others, 0, sizeof(others));
    for (size_t i = 0; i < COUNT_OF(others); i++)
        others[i].resolve.on_done = ns_on_done;
    ns_start(t, RESOLVE_HOST, "db.test.");
    assert_int_equal(resolver_start(t->resolver, &others[0].resolve, RESOLVE_SRV, "_db._tcp.test", 0), 0);
    assert_int_equal(resolver_start(t->resolver, &others[1].resolve, RESOLVE_HOST, "search", 0), 0);
    assert_int_equal(resolver_start(t->resolver, &others[2].resolve, RESOLVE_HOST, "::1", 0), 0);
    resolver_close(t->resolver);
    t->f->reactor.proxy->resolver = NULL;
    fixture_pump(t->f);
    assert_int_equal(t->asker.calls + others[0].calls + others[1].calls + others[2].calls, 0);
    assert_int_equal(t->f->reactor.watches.taken, 0);
    assert_int_equal(t->f->reactor.timers.armed, 0);
    resolver_cancel(&t->asker.resolve); /* harmless */
    resolver_cancel(&others[2].resolve);
}

static void closing_between_the_hosts_of_a_service_tells_nobody(void **state)
{
    struct ns_fixture *t = *state;

    ns_start(t, RESOLVE_SRV, "_db._tcp.test");
    ns_answer_services(t, 20, "b.test", 10, "a.test");
    ns_answer_host(t, "a.test", "127.0.0.9", NULL);
    ns_step(t);
    resolver_close(t->resolver);
    t->f->reactor.proxy->resolver = NULL;
    fixture_pump(t->f);
    assert_int_equal(t->asker.calls, 0);
}

static void names_of_enemies_are_refused(void **state)
{
    static const char *const names[] = {"", ".", "a b", "a\n", "..", "-\\.", "\xff\xfe", "a/b", "a..b", "%n%n"};
    struct ns_fixture *t = *state;
    char longest[2000];

    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        assert_int_equal(resolver_start(t->resolver, &t->asker.resolve, RESOLVE_HOST, names[i], 1), -EINVAL);
        assert_int_equal(resolver_start(t->resolver, &t->asker.resolve, RESOLVE_SRV, names[i], 1), -EINVAL);
    }
    assert_int_equal(resolver_start(t->resolver, &t->asker.resolve, RESOLVE_HOST, longest, 1), -EINVAL);
    assert_int_equal(resolver_start(t->resolver, &t->asker.resolve, RESOLVE_SRV, "127.0.0.1:1", 1), -EINVAL);
    assert_null(t->asker.resolve.question);
}

static void questions_have_a_bound(void **state)
{
    struct ns_fixture *t = *state;
    struct resolve *many = calloc(RESOLVE_QUESTIONS_MAX, sizeof(*many));

    assert_non_null(many);
    for (int i = 0; i < RESOLVE_QUESTIONS_MAX; i++) {
        many[i].on_done = ns_on_done;
        assert_int_equal(resolver_start(t->resolver, &many[i], RESOLVE_HOST, "::1", 1), 0);
    }
    assert_int_equal(resolver_start(t->resolver, &t->asker.resolve, RESOLVE_HOST, "::1", 1), -EAGAIN);
    for (int i = 0; i < RESOLVE_QUESTIONS_MAX; i++)
        resolver_cancel(&many[i]);
    ns_start(t, RESOLVE_HOST, "::1");
    fixture_pump(t->f);
    assert_int_equal(t->asker.calls, 1);
    free(many);
}

static void a_list_of_servers_that_is_none_is_told(void **state)
{
    struct ns_fixture *t = *state;

    snprintf(t->servers, sizeof(t->servers), "this is none");
    assert_int_equal(resolver_start(t->resolver, &t->asker.resolve, RESOLVE_HOST, "db.test.", 1), -EINVAL);
    assert_true(fixture_log_has(t->f, "this is none"));
    assert_null(t->asker.resolve.question);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, ns_setup, ns_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_host_has_addresses_of_both_families),
        TEST(the_smallest_ttl_holds_that_of_an_alias_too),
        TEST(one_family_is_enough),
        TEST(a_numeric_address_needs_no_question),
        TEST(what_is_known_at_once_is_told_later_too),
        TEST(a_name_that_does_not_exist),
        TEST(a_name_without_an_address),
        TEST(a_server_that_fails_or_refuses),
        TEST(a_server_that_is_down_is_left_for_the_next),
        TEST(silence_ends_with_the_time_out),
        TEST(a_question_is_asked_again_after_its_time_out),
        TEST(a_truncated_answer_is_asked_for_by_tcp),
        TEST(without_a_question_no_socket_is_watched),
        TEST(a_service_has_the_addresses_of_its_hosts_by_priority),
        TEST(a_host_that_is_gone_leaves_the_others),
        TEST(the_root_as_host_means_that_it_is_not_offered),
        TEST(a_service_that_does_not_exist),
        TEST(a_broken_answer_about_a_service),
        TEST(hosts_of_a_service_are_asked_for_a_few_at_a_time),
        TEST(a_cancelled_question_is_answered_to_nobody),
        TEST(a_cancelled_service_asks_for_no_hosts),
        TEST(an_answer_that_is_due_can_be_cancelled),
        TEST(the_next_question_may_be_asked_on_the_answer),
        TEST(another_configuration_counts_from_the_next_question_on),
        TEST(name_servers_are_read_anew_when_nothing_was_asked),
        TEST(closing_tells_nobody),
        TEST(closing_between_the_hosts_of_a_service_tells_nobody),
        TEST(names_of_enemies_are_refused),
        TEST(questions_have_a_bound),
        TEST(a_list_of_servers_that_is_none_is_told),
    };

    return cmocka_run_group_tests_name("resolver", tests, NULL, NULL);
}
