/* config_path: a file is the same by whatever name. */
#include "admin/config_path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[] = "/tmp/zerg-config-path-XXXXXX";

static int enter(void **state)
{
    FILE *file;

    (void)state;
    if (!mkdtemp(directory) || chdir(directory) < 0)
        return -1;
    file = fopen("zerg.lua", "w");
    return file && fclose(file) == 0 ? symlink("zerg.lua", "link.lua") : -1;
}

static int leave(void **state)
{
    (void)state;
    unlink("zerg.lua");
    unlink("link.lua");
    return rmdir(directory);
}

static void every_name_of_a_file_leads_to_it(void **state)
{
    char absolute[PATH_MAX];
    char link[PATH_MAX];

    (void)state;
    config_path_absolute("./zerg.lua", absolute);
    snprintf(link, sizeof(link), "%s/link.lua", directory);
    assert_true(config_path_is("zerg.lua", absolute));
    assert_true(config_path_is("link.lua", absolute));
    assert_true(config_path_is(absolute, absolute));
    assert_true(config_path_is("zerg.lua", link)); /* of a server that could not read the link */
    assert_false(config_path_is("other.lua", absolute));
}

static void a_file_that_is_not_there_has_a_path(void **state)
{
    char absolute[PATH_MAX];
    char expected[PATH_MAX];

    (void)state;
    config_path_absolute("absent.lua", absolute);
    snprintf(expected, sizeof(expected), "%s/absent.lua", directory);
    assert_string_equal(absolute, expected);
    assert_true(config_path_is("absent.lua", absolute));
    assert_true(config_path_is("/nowhere/absent.lua", "/nowhere/absent.lua"));
}

static void what_is_unknown_is_nothing(void **state)
{
    char too_long[PATH_MAX + 10];
    char absolute[PATH_MAX];

    (void)state;
    memset(too_long, 'x', sizeof(too_long) - 1);
    too_long[sizeof(too_long) - 1] = '\0';
    config_path_absolute(too_long, absolute);
    assert_string_equal(absolute, "");
    assert_false(config_path_is(too_long, ""));
    assert_false(config_path_is("zerg.lua", ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_of_a_file_leads_to_it),
        cmocka_unit_test(a_file_that_is_not_there_has_a_path),
        cmocka_unit_test(what_is_unknown_is_nothing),
    };

    return cmocka_run_group_tests_name("config_path", tests, enter, leave);
}
