/* Shared by the tests of file_watch: a watch in a directory of the test's own, which is also the working directory, and what is
 * done to the files in it. The kernel queues an event before the system call that causes it returns, so nothing has to be
 * waited for; time is given by hand. */
#pragma once

#include <stdint.h>

#include "admin/file_watch.h"

#define NEVER UINT64_MAX
#define WATCH_TEST(name) cmocka_unit_test_setup_teardown(name, watching_begin, watching_end)

struct watch_fixture {
    struct file_watch *watch;
    uint64_t now_ms;
    char directory[32];
};

int watching_begin(void **state);
int watching_end(void **state);

void write_file(const char *path, const char *text);
void read_file(const char *path);
void make_directory(const char *path);
void move(const char *from, const char *to);
void drop(const char *path);
/* What `ln -sfn` does. */
void point_link(const char *path, const char *target);

void watch_files(struct watch_fixture *f, const char *const *paths, size_t count);
void watch_file(struct watch_fixture *f, const char *path);
/* Reads the events; when a change is due then. */
uint64_t due(struct watch_fixture *f);
void expect_nothing(struct watch_fixture *f);
/* There are events, and they are one change, of path first. It is taken. */
void expect_change(struct watch_fixture *f, const char *path);
