/* http_path: paths and pairs as scripts see them. */
#include "proto/http_path.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"

enum { TEXT_BYTES_MAX = 256 };

static void assert_path(const char *path, const char *expected)
{
    char out[TEXT_BYTES_MAX];
    int len = http_path_normalize(out, (const uint8_t *)path, strlen(path));

    assert_int_equal(len, strlen(expected));
    assert_memory_equal(out, expected, strlen(expected));
    assert_true((size_t)len <= strlen(path) + 1);
}

static void path_loses_its_dot_segments(void **state)
{
    static const char *const rows[][2] = {
        {"", "/"},
        {"/", "/"},
        {"/a/b/c", "/a/b/c"},
        {"/a/", "/a/"},
        {"/.", "/"},
        {"/..", "/"},
        {"/a/.", "/a/"},
        {"/a/..", "/"},
        {"/a/./b", "/a/b"},
        {"/a/../b", "/b"},
        {"/a/b/../", "/a/"},
        {"/a/b/..", "/a/"},
        {"/../../b", "/b"},
        {"/a/../../b", "/b"},
        {"/a//b", "/a//b"},
        {"/a//../b", "/a/b"},
        {"//../b", "/b"},
        {"/...", "/..."},
        {"/.a/..b", "/.a/..b"},
        {"/a/b/c/./../../g", "/a/g"}, /* RFC 3986 section 5.2.4 */
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_path(rows[i][0], rows[i][1]);
}

static void path_loses_its_escapes(void **state)
{
    (void)state;
    assert_path("/caf%C3%a9%20au%0alait", "/caf\xc3\xa9 au\nlait");
    assert_path("/a/%2e%2E/b", "/b");
    assert_path("/a/.%2e/%2e/b", "/b");
    assert_path("/%252e%252e/b", "/%2e%2e/b");
    assert_path("/a+b", "/a+b");
}

static void escaped_slash_separates_nothing(void **state)
{
    (void)state;
    assert_path("/a%2fb", "/a%2Fb");
    assert_path("/a/..%2F..%2fb", "/a/..%2F..%2Fb");
    assert_path("/a%2F/../b", "/b");
}

static void bad_escapes_have_no_path(void **state)
{
    static const char *const paths[] = {"/%", "/%4", "/%4g", "/%g4", "/a%00b", "/%%41", "/% 1", "/../%00"};
    char out[TEXT_BYTES_MAX];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(paths); i++)
        assert_int_equal(http_path_normalize(out, (const uint8_t *)paths[i], strlen(paths[i])), -EINVAL);
}

static void assert_pairs(const char *query, const char *expected)
{
    const uint8_t *text = (const uint8_t *)query;
    size_t len = strlen(query);
    char out[TEXT_BYTES_MAX];
    struct http_pair pair;
    size_t at = 0;

    while (http_pair_next(&pair, &text, &len)) {
        at += http_pair_decode(out + at, pair.name, pair.name_len);
        out[at++] = '=';
        at += http_pair_decode(out + at, pair.value, pair.value_len);
        out[at++] = '|';
    }
    out[at] = '\0';
    assert_string_equal(out, expected);
}

static void query_is_pairs(void **state)
{
    (void)state;
    assert_pairs("", "");
    assert_pairs("a=1&b=2", "a=1|b=2|");
    assert_pairs("a&b=&=c&a=2", "a=|b=|=c|a=2|");
    assert_pairs("&&a=1&&", "a=1|");
    assert_pairs("a=b=c?d/e", "a=b=c?d/e|");
    assert_pairs("a+b=c%20%2B+d&%26=%3D", "a b=c + d|&==|");
    assert_pairs("a=%&b=%4&c=%zz", "a=%|b=%4|c=%zz|");
}

static void path_loses_its_front(void **state)
{
    static const struct {
        const char *path;
        const char *prefix;
        const char *expected; /* NULL: it does not begin so */
    } rows[] = {
        {"/api/x", "/api", "/x"},
        {"/api/x", "/api/", "/x"},
        {"/api", "/api", "/"},
        {"/api/", "/api/", "/"},
        {"/apix", "/api", "/x"},
        {"/a/b", "/", "/a/b"},
        {"/%61pi/%2e%2E/api/a%20b%2Fc", "/api", "/a%20b%2Fc"},
        {"/a/../api/./x/..", "/api", "/"},
        {"/api/../other", "/api", NULL},
        {"/a%2Fpi/x", "/a/pi", NULL},
        {"/my%20files/x", "/my files", "/x"},
        {"/ap", "/api", NULL},
        {"", "/", "/"},
        {"/api//x", "/api", "//x"},
        {"/api/...", "/api", "/..."},
        {"/api../x", "/api", "/x"},
        {"/api%2e%2E/x", "/api", "/x"},
        {"/api./x", "/api", "/x"},
        {"/api..", "/api", "/"},
    };
    char out[TEXT_BYTES_MAX];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const char *path = rows[i].path;
        int len = http_path_strip(out, (const uint8_t *)path, strlen(path), rows[i].prefix);

        if (!rows[i].expected) {
            assert_int_equal(len, -EINVAL);
            continue;
        }
        assert_int_equal(len, strlen(rows[i].expected));
        assert_memory_equal(out, rows[i].expected, (size_t)len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(path_loses_its_dot_segments), cmocka_unit_test(path_loses_its_front),
        cmocka_unit_test(path_loses_its_escapes),      cmocka_unit_test(escaped_slash_separates_nothing),
        cmocka_unit_test(bad_escapes_have_no_path),    cmocka_unit_test(query_is_pairs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
