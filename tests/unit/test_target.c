/* Targets: what is one, and what is not. */
#include "proxy/target.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct target parsed(const char *text)
{
    struct target target;

    assert_int_equal(target_parse(&target, text, strlen(text)), 0);
    return target;
}

static void addresses_are_parsed(void **state)
{
    static const char *const texts[] = {"127.0.0.1:3000", "[::1]:3000", "[2001:db8::7]:65535", "unix:/run/app.sock",
                                        "unix:@app"};
    char text[ADDR_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct target target = parsed(texts[i]);

        assert_int_equal(target.kind, TARGET_ADDR);
        assert_string_equal(addr_format(&target.addr, text), texts[i]);
    }
}

static void names_have_a_port(void **state)
{
    struct target target = parsed("db-1.internal_net.example:5432");

    (void)state;
    assert_int_equal(target.kind, TARGET_HOST);
    assert_string_equal(target.host, "db-1.internal_net.example");
    assert_int_equal(target.port, 5432);
    assert_int_equal(parsed("localhost:1").kind, TARGET_HOST);
    assert_string_equal(parsed("example.org.:80").host, "example.org.");
    assert_string_equal(parsed("3com.example:80").host, "3com.example");
}

static void srv_names_have_none(void **state)
{
    struct target target = parsed("srv:_pg._tcp.db.internal");

    (void)state;
    assert_int_equal(target.kind, TARGET_SRV);
    assert_string_equal(target.host, "_pg._tcp.db.internal");
}

static void a_host_alone_is_a_name_or_an_address(void **state)
{
    struct target target;

    (void)state;
    assert_int_equal(target_parse_host(&target, "db.internal", 11), 0);
    assert_int_equal(target.kind, TARGET_HOST);
    assert_int_equal(target_parse_host(&target, "::1", 3), 0);
    assert_int_equal(target.kind, TARGET_ADDR);
    assert_int_equal(target_parse_host(&target, "db.internal:80", 14), -EINVAL);
    assert_int_equal(target_parse_host(&target, "a b", 3), -EINVAL);
}

static void what_is_no_target_is_refused(void **state)
{
    static const char *const wrong[] = {
        "",
        ":",
        ":80",
        "app",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:8o",
        "127.0.0.1:000080",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[127.0.0.1]:80",
        "[db]:80",
        "[]:80",
        "127.0.0:80",
        "1.2.3.4.5:80",
        "a..b:80",
        ".a:80",
        "a b:80",
        "a/b:80",
        "unix:",
        "unix:@",
        "srv:",
        "srv:_a..b",
        "srv:a:80",
        "-:x",
    };
    char long_name[HOST_NAME_BYTES_MAX + 8];
    char long_label[72];
    struct target target;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        assert_int_equal(target_parse(&target, wrong[i], strlen(wrong[i])), -EINVAL);
    assert_int_equal(target_parse(&target, "a\0b:80", 6), -EINVAL);
    for (size_t i = 0; i < sizeof(long_name); i++)
        long_name[i] = i % 2 ? '.' : 'a';
    memcpy(long_name + sizeof(long_name) - 3, ":80", 3);
    assert_int_equal(target_parse(&target, long_name, sizeof(long_name)), -EINVAL);
    memset(long_label, 'a', sizeof(long_label));
    memcpy(long_label + sizeof(long_label) - 3, ":80", 3);
    assert_int_equal(target_parse(&target, long_label, sizeof(long_label)), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_parsed),         cmocka_unit_test(names_have_a_port),
        cmocka_unit_test(srv_names_have_none),          cmocka_unit_test(a_host_alone_is_a_name_or_an_address),
        cmocka_unit_test(what_is_no_target_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
