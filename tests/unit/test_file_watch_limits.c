/* Watching files where the kernel sets limits: its queue of events, numbers of watches, directories that may not be read. */
#include "admin/file_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "watching.h"

static int events_queued_max(void)
{
    FILE *file = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
    int max = 0;

    if (!file)
        return 0;
    if (fscanf(file, "%d", &max) != 1) /* NOLINT(cert-err34-c): the kernel's number */
        max = 0;
    fclose(file);
    return max;
}

static void events_past_the_queue_of_the_kernel_are_a_change(void **state)
{
    struct watch_fixture *f = *state;
    int max = events_queued_max();

    if (max == 0 || max > 100 * 1000)
        skip();
    write_file("other", "1");
    watch_file(f, "a.lua");
    for (int i = 0; i <= max; i++)
        move(i % 2 ? "another" : "other", i % 2 ? "other" : "another");
    assert_true(due(f) == f->now_ms + FILE_WATCH_QUIET_MS);
    while (poll(&(struct pollfd){.fd = file_watch_fd(f->watch), .events = POLLIN}, 1, 0) > 0)
        file_watch_read(f->watch, f->now_ms);
    assert_true(file_watch_take(f->watch, f->now_ms + FILE_WATCH_QUIET_MS));
    assert_null(file_watch_changed(f->watch));
    write_file("a.lua", "1");
    expect_change(f, "a.lua");
}

/* Runs check in a child, whose exit status it gives; 0 is as it should be, SKIPPED that it could not be tried. */
enum { SKIPPED = 77 };

static void in_child(int (*check)(struct watch_fixture *), struct watch_fixture *f)
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(check(f));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == SKIPPED)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* A limit of a user namespace of our own, so that nobody else notices. */
static bool limit_inotify(const char *file, const char *number)
{
    int fd = unshare(CLONE_NEWUSER) < 0 ? -1 : open(file, O_WRONLY | O_CLOEXEC);
    bool is_set = fd >= 0 && write(fd, number, strlen(number)) > 0;

    if (fd >= 0)
        close(fd);
    return is_set;
}

static int too_many_watches(struct watch_fixture *f)
{
    const char *const few[] = {"a.lua"};
    const char *const many[] = {"b.lua", "lib/a.lua", "lib/sub/a.lua"};
    char text[FILE_WATCH_PROBLEM_MAX];

    /* "/", "/tmp" and the directory itself are three. */
    file_watch_close(f->watch);
    if (!limit_inotify("/proc/sys/user/max_inotify_watches", "4"))
        return SKIPPED;
    if (file_watch_open(&f->watch) < 0 || file_watch_set(f->watch, few, 1) < 0)
        return 1;
    if (file_watch_set(f->watch, many, 3) != -ENOSPC)
        return 2;
    if (!strstr(file_watch_explain(f->watch, -ENOSPC, text), "max_user_watches"))
        return 3;
    /* The set is the old one, and what was added for the new one has gone: there is room for another. */
    write_file("b.lua", "1");
    if (due(f) != NEVER || file_watch_set(f->watch, &many[1], 1) < 0)
        return 4;
    write_file("lib/a.lua", "1");
    return due(f) == NEVER ? 5 : 0;
}

static void the_limit_of_watches_is_explained_and_changes_nothing(void **state)
{
    make_directory("lib");
    make_directory("lib/sub");
    in_child(too_many_watches, *state);
}

static int too_many_watches_later(struct watch_fixture *f)
{
    const char *const paths[] = {"lib/sub/a.lua", "b.lua"};

    file_watch_close(f->watch);
    if (!limit_inotify("/proc/sys/user/max_inotify_watches", "4"))
        return SKIPPED;
    if (file_watch_open(&f->watch) < 0 || file_watch_set(f->watch, paths, 2) < 0)
        return 1;
    make_directory("lib/sub"); /* a fifth directory to watch */
    if (due(f) != NEVER)
        return 2;
    write_file("b.lua", "1");
    return due(f) == NEVER ? 3 : 0;
}

static void what_can_be_watched_is_watched_when_the_rest_cannot(void **state)
{
    make_directory("lib");
    in_child(too_many_watches_later, *state);
}

static int too_many_instances(struct watch_fixture *f)
{
    struct file_watch *watch;
    char text[FILE_WATCH_PROBLEM_MAX];

    (void)f;
    if (!limit_inotify("/proc/sys/user/max_inotify_instances", "0"))
        return SKIPPED;
    if (file_watch_open(&watch) != -EMFILE || watch)
        return 1;
    return strstr(file_watch_explain(NULL, -EMFILE, text), "max_user_instances") ? 0 : 2;
}

static void the_limit_of_instances_is_explained(void **state)
{
    in_child(too_many_instances, *state);
}

static int unreadable_directories(struct watch_fixture *f)
{
    const struct passwd *nobody = getpwnam("nobody");
    const char *const below[] = {"closed/open/a.lua"};
    const char *const in[] = {"closed/a.lua"};
    char text[FILE_WATCH_PROBLEM_MAX];

    if (geteuid() == 0 && (!nobody || setuid(nobody->pw_uid) < 0))
        return SKIPPED;
    if (file_watch_set(f->watch, below, 1) != 0)
        return 1;
    if (file_watch_set(f->watch, in, 1) != -EACCES)
        return 2;
    return strstr(file_watch_explain(f->watch, -EACCES, text), "/closed cannot be watched") ? 0 : 3;
}

static void only_the_directory_of_a_file_must_be_readable(void **state)
{
    struct watch_fixture *f = *state;

    make_directory("closed");
    make_directory("closed/open");
    write_file("closed/a.lua", "1");
    write_file("closed/open/a.lua", "1");
    assert_int_equal(chmod(".", 0755), 0);
    assert_int_equal(chmod("closed", 0311), 0);
    in_child(unreadable_directories, f);
    assert_int_equal(chmod("closed", 0755), 0);
}

static int quiet(void **state)
{
    (void)state;
    return log_open("/dev/null", LOG_ERROR, LOG_TEXT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WATCH_TEST(events_past_the_queue_of_the_kernel_are_a_change),
        WATCH_TEST(the_limit_of_watches_is_explained_and_changes_nothing),
        WATCH_TEST(what_can_be_watched_is_watched_when_the_rest_cannot),
        WATCH_TEST(the_limit_of_instances_is_explained),
        WATCH_TEST(only_the_directory_of_a_file_must_be_readable),
    };

    return cmocka_run_group_tests_name("file_watch_limits", tests, quiet, NULL);
}
