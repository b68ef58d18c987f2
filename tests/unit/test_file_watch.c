/* What counts as a change of a file that is watched, and when it is due. */
#include "admin/file_watch.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "watching.h"

static void a_file_written_in_place_has_changed(void **state)
{
    struct watch_fixture *f = *state;

    write_file("a.lua", "1");
    watch_file(f, "a.lua");
    expect_nothing(f);
    write_file("a.lua", "2");
    expect_change(f, "a.lua");
    write_file("a.lua", "3");
    expect_change(f, "a.lua");
}

static void reading_is_no_change(void **state)
{
    struct watch_fixture *f = *state;

    write_file("a.lua", "1");
    watch_file(f, "a.lua");
    read_file("a.lua");
    expect_nothing(f);
}

static void other_files_in_the_same_directories_do_not_matter(void **state)
{
    struct watch_fixture *f = *state;

    make_directory("lib");
    write_file("lib/a.lua", "1");
    watch_file(f, "lib/a.lua");
    write_file("lib/.a.lua.swp", "1");
    write_file("lib/b.lua", "1");
    write_file("a.lua", "1");
    drop("lib/b.lua");
    make_directory("lib/sub");
    make_directory("other");
    move("other", "another");
    expect_nothing(f);
}

static void a_file_replaced_by_a_rename_has_changed(void **state)
{
    struct watch_fixture *f = *state;

    write_file("a.lua", "1");
    watch_file(f, "a.lua");
    for (int i = 0; i < 3; i++) {
        write_file("a.lua.new", "2");
        expect_nothing(f);
        move("a.lua.new", "a.lua");
        expect_change(f, "a.lua");
    }
    write_file("a.lua", "3");
    expect_change(f, "a.lua");
}

static void a_file_moved_to_a_backup_and_written_anew_has_changed(void **state)
{
    struct watch_fixture *f = *state;

    write_file("a.lua", "1");
    watch_file(f, "a.lua");
    move("a.lua", "a.lua~");
    write_file("a.lua", "2");
    drop("a.lua~");
    expect_change(f, "a.lua");
}

static void a_file_deleted_and_created_has_changed_twice(void **state)
{
    struct watch_fixture *f = *state;

    write_file("a.lua", "1");
    watch_file(f, "a.lua");
    drop("a.lua");
    expect_change(f, "a.lua");
    write_file("a.lua", "1");
    expect_change(f, "a.lua");
    write_file("a.lua", "2");
    expect_change(f, "a.lua");
}

static void a_file_linked_into_place_has_changed(void **state)
{
    struct watch_fixture *f = *state;

    write_file("b.lua", "1");
    watch_file(f, "a.lua");
    assert_int_equal(link("b.lua", "a.lua"), 0);
    expect_change(f, "a.lua");
}

static void a_file_need_not_exist_nor_its_directories(void **state)
{
    struct watch_fixture *f = *state;

    watch_file(f, "lib/sub/a.lua");
    make_directory("lib");
    expect_nothing(f);
    make_directory("lib/sub");
    expect_nothing(f);
    write_file("lib/sub/a.lua", "1");
    expect_change(f, "lib/sub/a.lua");
}

static void a_file_that_comes_with_its_directories_is_not_missed(void **state)
{
    struct watch_fixture *f = *state;

    watch_file(f, "lib/sub/a.lua");
    make_directory("lib");
    make_directory("lib/sub");
    write_file("lib/sub/a.lua", "1");
    expect_change(f, "lib/sub/a.lua");
}

static void a_file_in_the_place_of_a_directory_is_none(void **state)
{
    struct watch_fixture *f = *state;

    write_file("lib", "1");
    watch_file(f, "lib/a.lua");
    write_file("lib", "2");
    expect_nothing(f);
    drop("lib");
    make_directory("lib");
    write_file("lib/a.lua", "1");
    expect_change(f, "lib/a.lua");
}

static void a_directory_removed_and_made_again_has_changed(void **state)
{
    struct watch_fixture *f = *state;

    make_directory("lib");
    write_file("lib/a.lua", "1");
    watch_file(f, "lib/a.lua");
    drop("lib/a.lua");
    drop("lib");
    expect_change(f, "lib/a.lua");
    make_directory("lib");
    write_file("lib/a.lua", "1");
    expect_change(f, "lib/a.lua");
    write_file("lib/a.lua", "2");
    expect_change(f, "lib/a.lua");
}

static void another_directory_in_its_place_has_changed(void **state)
{
    struct watch_fixture *f = *state;

    make_directory("app");
    make_directory("app/lib");
    write_file("app/lib/a.lua", "1");
    make_directory("app2");
    make_directory("app2/lib");
    write_file("app2/lib/a.lua", "2");
    watch_file(f, "app/lib/a.lua");
    move("app", "app1");
    move("app2", "app");
    expect_change(f, "app/lib/a.lua");
    write_file("app1/lib/a.lua", "3");
    expect_nothing(f);
    write_file("app/lib/a.lua", "3");
    expect_change(f, "app/lib/a.lua");
}

static void a_directory_moved_away_and_back_is_no_change(void **state)
{
    struct watch_fixture *f = *state;

    make_directory("lib");
    write_file("lib/a.lua", "1");
    watch_file(f, "lib/a.lua");
    move("lib", "elsewhere");
    move("elsewhere", "lib");
    expect_nothing(f);
    write_file("lib/a.lua", "2");
    expect_change(f, "lib/a.lua");
}

static void a_link_that_is_replaced_has_changed(void **state)
{
    struct watch_fixture *f = *state;

    write_file("v1.lua", "1");
    write_file("v2.lua", "2");
    assert_int_equal(symlink("v1.lua", "a.lua"), 0);
    watch_file(f, "a.lua");
    write_file("v2.lua", "2");
    expect_nothing(f);
    write_file("v1.lua", "3");
    expect_change(f, "a.lua");
    point_link("a.lua", "v2.lua");
    expect_change(f, "a.lua");
    write_file("v1.lua", "4");
    expect_nothing(f);
    write_file("v2.lua", "4");
    expect_change(f, "a.lua");
}

static void a_link_in_the_place_of_a_file_has_changed(void **state)
{
    struct watch_fixture *f = *state;

    make_directory("v1");
    write_file("v1/a.lua", "1");
    write_file("a.lua", "2");
    watch_file(f, "a.lua");
    point_link("a.lua", "v1/a.lua");
    expect_change(f, "a.lua");
    write_file("v1/a.lua", "3");
    expect_change(f, "a.lua");
}

static void a_linked_directory_that_is_swapped_has_changed(void **state) /* as Kubernetes does it with a ConfigMap */
{
    struct watch_fixture *f = *state;
    char path[PATH_MAX];

    make_directory("..v1");
    make_directory("..v2");
    write_file("..v1/a.lua", "1");
    write_file("..v2/a.lua", "2");
    assert_int_equal(symlink("..v1", "..data"), 0);
    assert_int_equal(symlink("..data/a.lua", "a.lua"), 0);
    snprintf(path, sizeof(path), "%s/a.lua", f->directory);
    watch_file(f, path);
    point_link("..data", "..v2");
    expect_change(f, path);
    drop("..v1/a.lua");
    drop("..v1");
    expect_nothing(f);
    write_file("..v2/a.lua", "3");
    expect_change(f, path);
}

static void an_absolute_link_and_dots_are_followed(void **state)
{
    struct watch_fixture *f = *state;
    char target[PATH_MAX];

    make_directory("releases");
    make_directory("releases/1");
    make_directory("releases/2");
    make_directory("shared");
    write_file("shared/a.lua", "1");
    snprintf(target, sizeof(target), "%s/releases/1", f->directory);
    assert_int_equal(symlink(target, "current"), 0);
    watch_file(f, "./current/../../shared//a.lua");
    write_file("shared/a.lua", "2");
    expect_change(f, "./current/../../shared//a.lua");
    snprintf(target, sizeof(target), "%s/releases/2", f->directory);
    point_link("current", target);
    expect_nothing(f); /* it is the same file */
}

static void links_in_a_circle_end_and_are_watched(void **state)
{
    struct watch_fixture *f = *state;

    assert_int_equal(symlink("b.lua", "a.lua"), 0);
    assert_int_equal(symlink("a.lua", "b.lua"), 0);
    watch_file(f, "a.lua");
    drop("b.lua");
    write_file("b.lua", "1");
    expect_change(f, "a.lua");
}

/* ---- gathering ---- */

static void a_change_is_due_when_it_is_quiet(void **state)
{
    struct watch_fixture *f = *state;

    watch_file(f, "a.lua");
    write_file("a.lua", "1");
    assert_true(due(f) == 5000 + FILE_WATCH_QUIET_MS);
    f->now_ms = 5060;
    write_file("a.lua", "2");
    assert_true(due(f) == 5060 + FILE_WATCH_QUIET_MS);
    assert_false(file_watch_take(f->watch, 5159));
    assert_true(file_watch_take(f->watch, 5160));
    assert_false(file_watch_take(f->watch, 9999));
    assert_true(file_watch_due_ms(f->watch) == NEVER);
}

static void without_quiet_a_change_is_due_at_the_latest_time(void **state)
{
    struct watch_fixture *f = *state;

    watch_file(f, "a.lua");
    for (f->now_ms = 5000; f->now_ms < 5000 + FILE_WATCH_LATEST_MS; f->now_ms += 50) {
        assert_false(file_watch_take(f->watch, f->now_ms));
        write_file("a.lua", "1");
        assert_true(due(f) <= 5000 + FILE_WATCH_LATEST_MS);
    }
    assert_true(file_watch_take(f->watch, 5000 + FILE_WATCH_LATEST_MS));
}

static void the_first_file_that_changed_is_named(void **state)
{
    struct watch_fixture *f = *state;
    const char *const paths[] = {"a.lua", "b.lua", "c.lua"};

    watch_files(f, paths, 3);
    write_file("b.lua", "1");
    write_file("a.lua", "1");
    write_file("c.lua", "1");
    expect_change(f, "b.lua");
    write_file("c.lua", "2");
    expect_change(f, "c.lua");
}

/* ---- other sets ---- */

static void another_set_takes_the_place_of_the_first(void **state)
{
    struct watch_fixture *f = *state;

    make_directory("lib");
    watch_file(f, "lib/a.lua");
    watch_file(f, "b.lua");
    write_file("lib/a.lua", "1");
    expect_nothing(f);
    write_file("b.lua", "1");
    expect_change(f, "b.lua");
    watch_files(f, NULL, 0);
    write_file("b.lua", "2");
    expect_nothing(f);
}

static void a_pending_change_outlives_its_set(void **state)
{
    struct watch_fixture *f = *state;

    watch_file(f, "a.lua");
    write_file("a.lua", "1");
    assert_true(due(f) == 5000 + FILE_WATCH_QUIET_MS);
    watch_file(f, "b.lua");
    assert_true(file_watch_take(f->watch, 5000 + FILE_WATCH_QUIET_MS));
    assert_string_equal(file_watch_changed(f->watch), "a.lua");
}

static void what_is_not_read_yet_is_not_lost_by_another_set(void **state)
{
    struct watch_fixture *f = *state;
    const char *const paths[] = {"b.lua", "current/a.lua"};

    make_directory("v1");
    make_directory("v2");
    write_file("v1/a.lua", "1");
    write_file("v2/a.lua", "2");
    assert_int_equal(symlink("v1", "current"), 0);
    watch_file(f, "current/a.lua");
    write_file("v1/a.lua", "3");
    watch_files(f, paths, 2);
    expect_change(f, "current/a.lua");
    point_link("current", "v2");
    watch_files(f, paths, 2);
    expect_change(f, "current/a.lua");
}

static void a_name_too_long_is_refused_and_changes_nothing(void **state)
{
    struct watch_fixture *f = *state;
    char name[NAME_MAX + 2];
    const char *const paths[] = {"b.lua", name};

    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    watch_file(f, "a.lua");
    assert_int_equal(file_watch_set(f->watch, paths, 2), -ENAMETOOLONG);
    write_file("b.lua", "1");
    expect_nothing(f);
    write_file("a.lua", "1");
    expect_change(f, "a.lua");
}

/* It may have been read before it changed. One that was watched before has had its event. */
static void a_new_file_that_changed_since_it_was_read_has_changed(void **state)
{
    struct watch_fixture *f = *state;
    const char *const both[] = {"known.lua", "new.lua"};
    struct timespec before, after;

    write_file("known.lua", "1");
    watch_file(f, "known.lua");
    clock_gettime(CLOCK_REALTIME, &before);
    before.tv_sec--;
    write_file("new.lua", "1");
    clock_gettime(CLOCK_REALTIME, &after);
    after.tv_sec++;
    expect_nothing(f); /* nobody watched it when it was written */
    watch_files(f, both, 2);
    file_watch_note_newer(f->watch, &after, f->now_ms);
    expect_nothing(f);
    file_watch_note_newer(f->watch, &before, f->now_ms);
    f->now_ms = file_watch_due_ms(f->watch);
    assert_true(file_watch_take(f->watch, f->now_ms));
    assert_string_equal(file_watch_changed(f->watch), "new.lua");
    watch_files(f, both, 2);
    file_watch_note_newer(f->watch, &before, f->now_ms);
    expect_nothing(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WATCH_TEST(a_file_written_in_place_has_changed),
        WATCH_TEST(reading_is_no_change),
        WATCH_TEST(other_files_in_the_same_directories_do_not_matter),
        WATCH_TEST(a_file_replaced_by_a_rename_has_changed),
        WATCH_TEST(a_file_moved_to_a_backup_and_written_anew_has_changed),
        WATCH_TEST(a_file_deleted_and_created_has_changed_twice),
        WATCH_TEST(a_file_linked_into_place_has_changed),
        WATCH_TEST(a_file_need_not_exist_nor_its_directories),
        WATCH_TEST(a_file_that_comes_with_its_directories_is_not_missed),
        WATCH_TEST(a_file_in_the_place_of_a_directory_is_none),
        WATCH_TEST(a_directory_removed_and_made_again_has_changed),
        WATCH_TEST(another_directory_in_its_place_has_changed),
        WATCH_TEST(a_directory_moved_away_and_back_is_no_change),
        WATCH_TEST(a_link_that_is_replaced_has_changed),
        WATCH_TEST(a_link_in_the_place_of_a_file_has_changed),
        WATCH_TEST(a_linked_directory_that_is_swapped_has_changed),
        WATCH_TEST(an_absolute_link_and_dots_are_followed),
        WATCH_TEST(links_in_a_circle_end_and_are_watched),
        WATCH_TEST(a_change_is_due_when_it_is_quiet),
        WATCH_TEST(without_quiet_a_change_is_due_at_the_latest_time),
        WATCH_TEST(the_first_file_that_changed_is_named),
        WATCH_TEST(another_set_takes_the_place_of_the_first),
        WATCH_TEST(a_pending_change_outlives_its_set),
        WATCH_TEST(what_is_not_read_yet_is_not_lost_by_another_set),
        WATCH_TEST(a_name_too_long_is_refused_and_changes_nothing),
        WATCH_TEST(a_new_file_that_changed_since_it_was_read_has_changed),
    };

    return cmocka_run_group_tests_name("file_watch", tests, NULL, NULL);
}
