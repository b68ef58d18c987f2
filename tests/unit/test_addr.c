/* addr: text to address and back. */
#include "base/addr.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void assert_ip_prints(const char *host, uint16_t port, const char *full, const char *host_only)
{
    struct addr addr;
    char text[ADDR_TEXT_MAX];

    assert_int_equal(addr_parse_ip(&addr, host, port), 0);
    assert_string_equal(addr_format(&addr, text), full);
    assert_string_equal(addr_format_host(&addr, text), host_only);
    assert_int_equal(addr_port(&addr), port);
    assert_false(addr_is_unix(&addr));
}

static void ipv4_is_parsed_and_printed(void **state)
{
    (void)state;
    assert_ip_prints("127.0.0.1", 80, "127.0.0.1:80", "127.0.0.1");
    assert_ip_prints("0.0.0.0", 0, "0.0.0.0:0", "0.0.0.0");
    assert_ip_prints("255.255.255.255", 65535, "255.255.255.255:65535", "255.255.255.255");
}

static void ipv6_prints_in_brackets_with_its_port(void **state)
{
    (void)state;
    assert_ip_prints("::1", 80, "[::1]:80", "::1");
    assert_ip_prints("2001:DB8:0:0::5", 65535, "[2001:db8::5]:65535", "2001:db8::5");
}

static void ipv4_mapped_prints_as_ipv4(void **state)
{
    (void)state;
    assert_ip_prints("::ffff:10.1.2.3", 7000, "10.1.2.3:7000", "10.1.2.3");
}

static void zone_is_an_interface_name_or_number(void **state)
{
    struct addr addr;

    (void)state;
    assert_ip_prints("fe80::1%lo", 80, "[fe80::1%lo]:80", "fe80::1%lo");
    assert_ip_prints("fe80::1%999999", 80, "[fe80::1%999999]:80", "fe80::1%999999");
    assert_int_equal(addr_parse_ip(&addr, "fe80::1%nosuchif0", 80), -EINVAL);
    assert_int_equal(addr_parse_ip(&addr, "fe80::1%", 80), -EINVAL);
}

static void longest_ip_text_fits(void **state)
{
    (void)state;
    assert_ip_prints("abcd:ef01:2345:6789:abcd:ef01:2345:6789%4294967295", 65535,
                     "[abcd:ef01:2345:6789:abcd:ef01:2345:6789%4294967295]:65535",
                     "abcd:ef01:2345:6789:abcd:ef01:2345:6789%4294967295");
}

static void what_is_no_address_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "localhost",
        "127.1",
        "127.0.0.1 ",
        "127.0.0.256",
        "[::1]",
        "::1::",
        "::1%",
        "%lo",
        "0x7f.1",
        "1.2.3.4:80",
        ":",
        "abcd:ef01:2345:6789:abcd:ef01:2345:6789:abcd:ef01:2345:6789:abcd:ef01:2345:6789",
    };
    struct addr addr;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(addr_parse_ip(&addr, bad[i], 80), -EINVAL);
}

static void unix_path_counts_with_its_nul(void **state)
{
    struct addr addr;
    char text[ADDR_TEXT_MAX];

    (void)state;
    assert_int_equal(addr_parse_unix(&addr, "/run/app.sock"), 0);
    assert_int_equal(addr.len, offsetof(struct sockaddr_un, sun_path) + sizeof("/run/app.sock"));
    assert_string_equal(addr.un.sun_path, "/run/app.sock");
    assert_true(addr_is_unix(&addr));
    assert_int_equal(addr_port(&addr), 0);
    assert_string_equal(addr_format(&addr, text), "unix:/run/app.sock");
    assert_string_equal(addr_format_host(&addr, text), "/run/app.sock");
}

static void abstract_name_has_no_nul_at_its_end(void **state)
{
    struct addr addr;
    char text[ADDR_TEXT_MAX];

    (void)state;
    assert_int_equal(addr_parse_unix(&addr, "@zerg"), 0);
    assert_int_equal(addr.len, offsetof(struct sockaddr_un, sun_path) + strlen("@zerg"));
    assert_memory_equal(addr.un.sun_path, "\0zerg", 5);
    assert_string_equal(addr_format(&addr, text), "unix:@zerg");
    assert_string_equal(addr_format_host(&addr, text), "@zerg");
}

static void unix_path_lengths_are_checked(void **state)
{
    struct addr addr;
    char path[sizeof(addr.un.sun_path) + 1];
    char text[ADDR_TEXT_MAX];

    (void)state;
    memset(path, 'p', sizeof(path));
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(addr_parse_unix(&addr, path), -ENAMETOOLONG);
    path[sizeof(path) - 2] = '\0';
    assert_int_equal(addr_parse_unix(&addr, path), 0);
    assert_string_equal(addr_format_host(&addr, text), path);
    assert_int_equal(addr_parse_unix(&addr, ""), -EINVAL);
    assert_int_equal(addr_parse_unix(&addr, "@"), -EINVAL);
}

/* accept(2) reports an unbound unix peer as the family alone. */
static void unnamed_unix_peer_has_no_host(void **state)
{
    struct addr addr = {.len = sizeof(sa_family_t)};
    char text[ADDR_TEXT_MAX];

    (void)state;
    addr.sa.sa_family = AF_UNIX;
    assert_string_equal(addr_format_host(&addr, text), "");
    assert_string_equal(addr_format(&addr, text), "unix:");
}

static void bytes_that_could_garble_a_log_print_as_question_marks(void **state)
{
    struct addr addr;
    char text[ADDR_TEXT_MAX];

    (void)state;
    assert_int_equal(addr_parse_unix(&addr, "@a\nb\033c"), 0);
    assert_string_equal(addr_format_host(&addr, text), "@a?b?c");
}

static void path_that_fills_its_field_needs_no_nul(void **state)
{
    struct addr addr = {.len = sizeof(addr.un)};
    char text[ADDR_TEXT_MAX];

    (void)state;
    addr.un.sun_family = AF_UNIX;
    memset(addr.un.sun_path, 'p', sizeof(addr.un.sun_path));
    assert_int_equal(strlen(addr_format_host(&addr, text)), sizeof(addr.un.sun_path));
    assert_int_equal(strlen(addr_format(&addr, text)), strlen("unix:") + sizeof(addr.un.sun_path));
}

static void unset_address_prints_as_nothing(void **state)
{
    const struct addr addr = {0};
    char text[ADDR_TEXT_MAX];

    (void)state;
    assert_string_equal(addr_format(&addr, text), "");
    assert_string_equal(addr_format_host(&addr, text), "");
}

static bool has(const char *range_text, const char *host)
{
    struct addr_range range;
    struct addr addr;

    assert_int_equal(addr_range_parse(&range, range_text), 0);
    assert_int_equal(addr_parse_ip(&addr, host, 80), 0);
    return addr_range_has(&range, &addr);
}

static void range_has_what_begins_with_its_prefix(void **state)
{
    (void)state;
    assert_true(has("10.0.0.0/8", "10.255.1.2"));
    assert_false(has("10.0.0.0/8", "11.0.0.0"));
    assert_true(has("192.168.4.0/22", "192.168.7.255"));
    assert_false(has("192.168.4.0/22", "192.168.8.0"));
    assert_true(has("127.0.0.1", "127.0.0.1"));
    assert_false(has("127.0.0.1", "127.0.0.2"));
    assert_true(has("0.0.0.0/0", "203.0.113.9"));
    assert_false(has("0.0.0.0/0", "2001:db8::1"));
    assert_true(has("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(has("2001:db8::/33", "2001:db8:8000::1"));
    assert_true(has("10.0.0.0/8", "::ffff:10.1.1.1"));
    assert_false(has("::/0", "10.1.1.1"));
}

static void range_unix_has_peers_on_unix_sockets_only(void **state)
{
    struct addr unnamed = {.sa.sa_family = AF_UNSPEC};
    struct addr_range range;

    (void)state;
    assert_int_equal(addr_range_parse(&range, "unix"), 0);
    assert_true(addr_range_has(&range, &unnamed));
    assert_false(has("unix", "127.0.0.1"));
    assert_int_equal(addr_range_parse(&range, "0.0.0.0/0"), 0);
    assert_false(addr_range_has(&range, &unnamed));
}

static void range_refuses_what_is_none(void **state)
{
    static const char *const wrong[] = {"",          "10.0.0.0/33", "::1/129",
                                        "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8x",
                                        "10.0.0/8",  "example.org", "10.0.0.0/ 8"};
    struct addr_range range;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        assert_int_equal(addr_range_parse(&range, wrong[i]), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ipv4_is_parsed_and_printed),
        cmocka_unit_test(ipv6_prints_in_brackets_with_its_port),
        cmocka_unit_test(ipv4_mapped_prints_as_ipv4),
        cmocka_unit_test(zone_is_an_interface_name_or_number),
        cmocka_unit_test(longest_ip_text_fits),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(unix_path_counts_with_its_nul),
        cmocka_unit_test(abstract_name_has_no_nul_at_its_end),
        cmocka_unit_test(unix_path_lengths_are_checked),
        cmocka_unit_test(unnamed_unix_peer_has_no_host),
        cmocka_unit_test(bytes_that_could_garble_a_log_print_as_question_marks),
        cmocka_unit_test(path_that_fills_its_field_needs_no_nul),
        cmocka_unit_test(unset_address_prints_as_nothing),
        cmocka_unit_test(range_has_what_begins_with_its_prefix),
        cmocka_unit_test(range_unix_has_peers_on_unix_sockets_only),
        cmocka_unit_test(range_refuses_what_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
