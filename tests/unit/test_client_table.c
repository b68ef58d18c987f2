/* Counting connections by client address: what is one client, the limit, and that nothing stays behind. */
#include "core/client_table.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/addr.h"

static int setup(void **state)
{
    struct client_table *table;

    assert_int_equal(client_table_new(&table), 0);
    *state = table;
    return 0;
}

static int teardown(void **state)
{
    client_table_free(*state); /* asserts that all have left */
    return 0;
}

static struct addr addr_of(const char *host, uint16_t port)
{
    struct addr addr;

    assert_int_equal(addr_parse_ip(&addr, host, port), 0);
    return addr;
}

static int enter(struct client_table *table, const char *host, uint32_t max, struct client **out)
{
    struct addr addr = addr_of(host, 1000);

    return client_table_enter(table, &addr, max, out);
}

/* True when both are one client. */
static bool is_one(struct client_table *table, const char *left, const char *right)
{
    struct client *first;
    struct client *second;
    int rc;

    assert_int_equal(enter(table, left, 1, &first), 0);
    rc = enter(table, right, 1, &second);
    client_table_leave(table, first);
    if (rc == 0)
        client_table_leave(table, second);
    else
        assert_int_equal(rc, -EBUSY);
    return rc == -EBUSY;
}

static void a_client_may_have_so_many_and_no_more(void **state)
{
    struct client_table *table = *state;
    struct client *clients[3];
    struct client *refused = NULL;

    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(enter(table, "192.0.2.1", 3, &clients[i]), 0);
    assert_int_equal(enter(table, "192.0.2.1", 3, &refused), -EBUSY);
    assert_null(refused);
    client_table_leave(table, clients[0]);
    assert_int_equal(enter(table, "192.0.2.1", 3, &clients[0]), 0);
    assert_int_equal(enter(table, "192.0.2.1", 3, &refused), -EBUSY);
    assert_int_equal(client_table_size(table), 1);
    for (uint32_t i = 0; i < 3; i++)
        client_table_leave(table, clients[i]);
    assert_int_equal(client_table_size(table), 0);
}

static void others_have_their_own(void **state)
{
    assert_false(is_one(*state, "192.0.2.1", "192.0.2.2"));
    assert_false(is_one(*state, "192.0.2.1", "193.0.2.1"));
}

static void the_port_does_not_matter(void **state)
{
    struct client_table *table = *state;
    struct addr first = addr_of("192.0.2.1", 1);
    struct addr second = addr_of("192.0.2.1", 2);
    struct client *client;
    struct client *refused;

    assert_int_equal(client_table_enter(table, &first, 1, &client), 0);
    assert_int_equal(client_table_enter(table, &second, 1, &refused), -EBUSY);
    client_table_leave(table, client);
}

static void ipv6_clients_are_their_first_64_bits(void **state)
{
    assert_true(is_one(*state, "2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"));
    assert_false(is_one(*state, "2001:db8:1:2::1", "2001:db8:1:3::1"));
    assert_false(is_one(*state, "2001:db8:1:2::1", "3001:db8:1:2::1"));
}

static void mapped_addresses_are_ipv4(void **state)
{
    assert_true(is_one(*state, "192.0.2.1", "::ffff:192.0.2.1"));
    assert_false(is_one(*state, "::ffff:192.0.2.1", "::ffff:192.0.2.2"));
    assert_false(is_one(*state, "::ffff:0.0.0.0", "::1")); /* the same bits, and not the same family */
}

static void who_has_no_ip_address_is_not_counted(void **state)
{
    struct client_table *table = *state;
    struct addr addr = {.sa.sa_family = AF_UNSPEC};
    struct client *client;

    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(client_table_enter(table, &addr, 1, &client), 0);
        assert_null(client);
    }
    assert_int_equal(addr_parse_unix(&addr, "/run/client"), 0);
    assert_int_equal(client_table_enter(table, &addr, 1, &client), 0);
    assert_null(client);
    assert_int_equal(client_table_size(table), 0);
}

/* ---- many ---- */

enum { MANY = 50000 };

static struct addr nth(uint32_t n)
{
    struct addr addr = {.len = sizeof(addr.in4)};

    addr.in4.sin_family = AF_INET;
    addr.in4.sin_addr.s_addr = htonl(0x0a000000 + n);
    return addr;
}

static void assert_full(struct client_table *table, uint32_t n)
{
    struct addr addr = nth(n);
    struct client *refused;

    assert_int_equal(client_table_enter(table, &addr, 1, &refused), -EBUSY);
}

static void many_clients_are_all_found_and_all_go(void **state)
{
    struct client_table *table = *state;
    struct client **clients = calloc(MANY, sizeof(struct client *));

    assert_non_null(clients);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < MANY; i++) {
            struct addr addr = nth(i);

            assert_int_equal(client_table_enter(table, &addr, 1, &clients[i]), 0);
        }
        assert_int_equal(client_table_size(table), MANY);
        for (uint32_t i = 0; i < MANY; i++)
            assert_full(table, i);
        for (uint32_t i = 0; i < MANY; i += 2) /* every other one first: from the middle of the buckets */
            client_table_leave(table, clients[i]);
        for (uint32_t i = 1; i < MANY; i += 2) {
            assert_full(table, i);
            client_table_leave(table, clients[i]);
        }
        assert_int_equal(client_table_size(table), 0);
    }
    free(clients);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_client_may_have_so_many_and_no_more, setup, teardown),
        cmocka_unit_test_setup_teardown(others_have_their_own, setup, teardown),
        cmocka_unit_test_setup_teardown(the_port_does_not_matter, setup, teardown),
        cmocka_unit_test_setup_teardown(ipv6_clients_are_their_first_64_bits, setup, teardown),
        cmocka_unit_test_setup_teardown(mapped_addresses_are_ipv4, setup, teardown),
        cmocka_unit_test_setup_teardown(who_has_no_ip_address_is_not_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(many_clients_are_all_found_and_all_go, setup, teardown),
    };

    return cmocka_run_group_tests_name("client_table", tests, NULL, NULL);
}
