/* See watching.h. */
#include "watching.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

int watching_begin(void **state)
{
    struct watch_fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    memcpy(f->directory, "/tmp/zerg-watch-XXXXXX", sizeof("/tmp/zerg-watch-XXXXXX"));
    assert_non_null(mkdtemp(f->directory));
    assert_int_equal(chdir(f->directory), 0);
    assert_int_equal(file_watch_open(&f->watch), 0);
    f->now_ms = 5000;
    *state = f;
    return 0;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

int watching_end(void **state)
{
    struct watch_fixture *f = *state;

    file_watch_close(f->watch);
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(nftw(f->directory, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
    free(f);
    return 0;
}

/* ---- doing things to files ---- */

void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

void read_file(const char *path)
{
    char byte;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(read(fd, &byte, 1), 1);
    close(fd);
}

void make_directory(const char *path)
{
    assert_int_equal(mkdir(path, 0755), 0);
}

void move(const char *from, const char *to)
{
    assert_int_equal(rename(from, to), 0);
}

void drop(const char *path)
{
    assert_int_equal(remove(path), 0);
}

void point_link(const char *path, const char *target)
{
    assert_int_equal(symlink(target, "new-link"), 0);
    move("new-link", path);
}

/* ---- what the watch makes of it ---- */

void watch_files(struct watch_fixture *f, const char *const *paths, size_t count)
{
    assert_int_equal(file_watch_set(f->watch, paths, count), 0);
}

void watch_file(struct watch_fixture *f, const char *path)
{
    watch_files(f, &path, 1);
}

uint64_t due(struct watch_fixture *f)
{
    file_watch_read(f->watch, f->now_ms);
    return file_watch_due_ms(f->watch);
}

void expect_nothing(struct watch_fixture *f)
{
    assert_true(due(f) == NEVER);
    assert_false(file_watch_take(f->watch, f->now_ms + FILE_WATCH_LATEST_MS));
}

void expect_change(struct watch_fixture *f, const char *path)
{
    struct pollfd readable = {.fd = file_watch_fd(f->watch), .events = POLLIN};

    assert_int_equal(poll(&readable, 1, 0), 1);
    assert_true(due(f) == f->now_ms + FILE_WATCH_QUIET_MS);
    f->now_ms += FILE_WATCH_QUIET_MS;
    assert_true(file_watch_take(f->watch, f->now_ms));
    assert_string_equal(file_watch_changed(f->watch), path);
    expect_nothing(f);
}
