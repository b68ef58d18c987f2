/* The ways to files: which names in which directories they are made of. What comes of watching them is in test_file_watch.c. */
#include "admin/watch_plan.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct plan_fixture {
    int inotify_fd;
    struct watch_plan plan;
    char directory[32]; /* with two directories in it, `one` and `two` */
    char way[4096];     /* names of the steps behind `directory`; the last one in brackets */
};

static int setup(void **state)
{
    struct plan_fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    memcpy(f->directory, "/tmp/zerg-plan-XXXXXX", sizeof("/tmp/zerg-plan-XXXXXX"));
    assert_non_null(mkdtemp(f->directory));
    assert_int_equal(chdir(f->directory), 0);
    assert_int_equal(mkdir("one", 0755) + mkdir("two", 0755), 0);
    f->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    assert_true(f->inotify_fd >= 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct plan_fixture *f = *state;

    watch_plan_deinit(&f->plan);
    close(f->inotify_fd);
    unlink("link");
    unlink("one/link");
    assert_int_equal(rmdir("one") + rmdir("two") + chdir("/") + rmdir(f->directory), 0);
    free(f);
    return 0;
}

static void plan_file(struct plan_fixture *f, const char *path)
{
    watch_plan_deinit(&f->plan);
    assert_int_equal(watch_plan_init(&f->plan, f->inotify_fd, &path, 1), 0);
}

/* The names behind the directory of the test, whose way is "tmp" and its own name. */
static const char *way(struct plan_fixture *f)
{
    const struct watch_plan *plan = &f->plan;
    size_t len = 0;

    assert_true(plan->step_count >= 2);
    assert_string_equal(plan->steps[0].name, "tmp");
    assert_string_equal(plan->steps[1].name, f->directory + strlen("/tmp/"));
    f->way[0] = '\0';
    for (size_t i = 2; i < plan->step_count; i++) {
        const struct watch_step *step = &plan->steps[i];
        bool is_last = step->is_last;

        assert_true(watch_plan_has(plan, step->wd));
        len += (size_t)snprintf(f->way + len, sizeof(f->way) - len, "%s%s%s%s", len > 0 ? " " : "", is_last ? "[" : "",
                                step->name, is_last ? "]" : "");
    }
    return f->way;
}

static void every_name_on_the_way_is_a_step(void **state)
{
    struct plan_fixture *f = *state;

    plan_file(f, "one/a.lua");
    assert_string_equal(way(f), "one [a.lua]");
    plan_file(f, ".//./one/");
    assert_string_equal(way(f), "[one]");
}

static void a_way_ends_with_the_first_name_that_is_missing(void **state)
{
    struct plan_fixture *f = *state;

    plan_file(f, "one/missing/deep/a.lua");
    assert_string_equal(way(f), "one missing");
}

static void links_are_steps_and_so_is_what_they_lead_to(void **state)
{
    struct plan_fixture *f = *state;

    assert_int_equal(symlink("../two", "one/link"), 0);
    plan_file(f, "one/link/a.lua");
    assert_string_equal(way(f), "one link two [a.lua]");
    assert_int_equal(symlink("one/link/b.lua", "link"), 0);
    plan_file(f, "link");
    assert_string_equal(way(f), "[link] one link two [b.lua]");
}

static void the_parent_of_a_link_is_that_of_its_target(void **state)
{
    struct plan_fixture *f = *state;

    assert_int_equal(symlink("../two", "one/link"), 0);
    plan_file(f, "one/link/../a.lua");
    assert_string_equal(way(f), "one link two [a.lua]");
    assert_int_equal(f->plan.steps[2].wd, f->plan.steps[5].wd);
}

static void nothing_is_above_the_root(void **state)
{
    struct plan_fixture *f = *state;
    char path[64];

    snprintf(path, sizeof(path), "/../..%s/one", f->directory);
    plan_file(f, path);
    assert_string_equal(way(f), "[one]");
}

static void files_in_one_directory_share_its_watch(void **state)
{
    struct plan_fixture *f = *state;
    const char *const paths[] = {"one/a.lua", "one/b.lua"};

    assert_int_equal(watch_plan_init(&f->plan, f->inotify_fd, paths, 2), 0);
    assert_int_equal(f->plan.step_count, 8);
    assert_int_equal(f->plan.wd_count, 4); /* "/", "/tmp", the test's own and one */
}

static void only_what_another_plan_has_not_is_unwatched(void **state)
{
    struct plan_fixture *f = *state;
    struct watch_plan other;
    const char *path = "two/a.lua";
    int one_wd;

    plan_file(f, "one/a.lua");
    one_wd = f->plan.steps[3].wd;
    assert_int_equal(watch_plan_init(&other, f->inotify_fd, &path, 1), 0);
    watch_plan_unwatch(&f->plan, f->inotify_fd, &other);
    assert_int_equal(inotify_rm_watch(f->inotify_fd, one_wd), -1);
    assert_int_equal(errno, EINVAL);
    for (size_t i = 0; i < other.wd_count; i++)
        assert_int_equal(inotify_rm_watch(f->inotify_fd, other.wds[i]), 0);
    watch_plan_deinit(&other);
}

static void what_is_not_there_has_a_version_too(void **state)
{
    const struct file_version none = {0};
    struct file_version missing = file_version_of("one/a.lua");
    struct file_version there = file_version_of("one");

    (void)state;
    assert_true(file_version_is(&missing, &none));
    assert_false(file_version_is(&there, &none));
}

#define PLAN_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLAN_TEST(every_name_on_the_way_is_a_step),
        PLAN_TEST(a_way_ends_with_the_first_name_that_is_missing),
        PLAN_TEST(links_are_steps_and_so_is_what_they_lead_to),
        PLAN_TEST(the_parent_of_a_link_is_that_of_its_target),
        PLAN_TEST(nothing_is_above_the_root),
        PLAN_TEST(files_in_one_directory_share_its_watch),
        PLAN_TEST(only_what_another_plan_has_not_is_unwatched),
        PLAN_TEST(what_is_not_there_has_a_version_too),
    };

    return cmocka_run_group_tests_name("watch_plan", tests, NULL, NULL);
}
