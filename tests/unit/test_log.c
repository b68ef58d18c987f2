/* log: levels, files, rotation under concurrent writers. Each test has a directory of its own. */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { WRITERS = 4, LINES_EACH = 500, ROTATIONS = 50, PATH_BYTES_MAX = 64, CONTENT_BYTES_MAX = 64 * 1024 };

static char directory[PATH_BYTES_MAX];
static char log_path[PATH_BYTES_MAX + 16];
static char rotated_path[PATH_BYTES_MAX + 16];

static int make_directory(void **state)
{
    (void)state;
    snprintf(directory, sizeof(directory), "/tmp/zerg-test-log-XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    snprintf(log_path, sizeof(log_path), "%s/zerg.log", directory);
    snprintf(rotated_path, sizeof(rotated_path), "%s/zerg.log.1", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    log_close();
    unlink(log_path);
    unlink(rotated_path);
    return rmdir(directory);
}

/* The whole file as a string, in static storage; "" when there is none. */
static const char *content(const char *path)
{
    static char bytes[CONTENT_BYTES_MAX];
    FILE *file = fopen(path, "r");
    size_t len = 0;

    if (file) {
        len = fread(bytes, 1, sizeof(bytes) - 1, file);
        fclose(file);
    }
    bytes[len] = '\0';
    return bytes;
}

static void open_text_log(enum log_level level)
{
    assert_int_equal(log_open(log_path, level, LOG_TEXT), 0);
}

static void entries_below_the_level_are_dropped(void **state)
{
    (void)state;
    open_text_log(LOG_WARN);
    log_debug("one");
    log_info("two");
    log_warn("three %d", 3);
    log_error("four");
    assert_null(strstr(content(log_path), "one"));
    assert_null(strstr(content(log_path), "two"));
    assert_non_null(strstr(content(log_path), " warn  three 3\n"));
    assert_non_null(strstr(content(log_path), " error four\n"));
    assert_false(log_is_on(LOG_INFO));
    assert_true(log_is_on(LOG_WARN));
}

static void level_is_info_until_the_log_is_opened(void **state)
{
    (void)state;
    assert_false(log_is_on(LOG_DEBUG));
    assert_true(log_is_on(LOG_INFO));
}

static void thread_name_is_shown(void **state)
{
    (void)state;
    open_text_log(LOG_INFO);
    log_thread_name("r7");
    log_info("hello");
    log_thread_name(NULL);
    log_info("world");
    assert_non_null(strstr(content(log_path), " info  [r7] hello\n"));
    assert_non_null(strstr(content(log_path), " info  world\n"));
}

static void bytes_are_no_format(void **state)
{
    (void)state;
    open_text_log(LOG_INFO);
    log_write_bytes(LOG_INFO, "100 %s\0%n", 9);
    assert_non_null(strstr(content(log_path), "100 %s\\x00%n\n"));
}

static void file_is_appended_to_and_not_for_everybody(void **state)
{
    struct stat status;

    (void)state;
    open_text_log(LOG_INFO);
    log_info("first");
    log_close();
    open_text_log(LOG_INFO);
    log_info("second");
    assert_non_null(strstr(content(log_path), "first\n"));
    assert_non_null(strstr(content(log_path), "second\n"));
    assert_int_equal(stat(log_path, &status), 0);
    assert_int_equal(status.st_mode & 07, 0);
}

static void failed_open_changes_nothing(void **state)
{
    (void)state;
    open_text_log(LOG_INFO);
    assert_int_equal(log_open("/nonexistent/zerg.log", LOG_ERROR, LOG_JSON), -ENOENT);
    log_info("still here");
    assert_non_null(strstr(content(log_path), " info  still here\n"));
}

static void reopen_makes_a_new_file_under_the_same_name(void **state)
{
    (void)state;
    open_text_log(LOG_INFO);
    log_info("before");
    assert_int_equal(rename(log_path, rotated_path), 0);
    log_info("between");
    assert_int_equal(log_reopen(), 0);
    log_info("after");
    assert_non_null(strstr(content(rotated_path), "between\n"));
    assert_null(strstr(content(rotated_path), "after"));
    assert_non_null(strstr(content(log_path), "after\n"));
    assert_null(strstr(content(log_path), "between"));
}

static void what_is_open_at_that_path_stays_open(void **state)
{
    (void)state;
    open_text_log(LOG_INFO);
    assert_int_equal(rename(log_path, rotated_path), 0);
    assert_int_equal(log_open(log_path, LOG_ERROR, LOG_JSON), 0);
    log_info("below the level");
    log_error("still the file of before");
    assert_int_equal(access(log_path, F_OK), -1);
    assert_non_null(strstr(content(rotated_path), "\"still the file of before\""));
    assert_null(strstr(content(rotated_path), "below"));
}

static void reopen_of_a_stream_does_nothing(void **state)
{
    (void)state;
    assert_int_equal(log_reopen(), 0);
    assert_int_equal(log_open("stderr", LOG_INFO, LOG_TEXT), 0);
    assert_int_equal(log_reopen(), 0);
}

static void over_long_message_ends_in_dots(void **state)
{
    static char message[32 * 1024];

    (void)state;
    open_text_log(LOG_INFO);
    memset(message, 'm', sizeof(message) - 1);
    log_info("%s", message);
    assert_non_null(strstr(content(log_path), "mmm...\n"));
}

static void errno_survives(void **state)
{
    (void)state;
    open_text_log(LOG_INFO);
    errno = EMFILE;
    log_error("cannot accept: %m");
    assert_int_equal(errno, EMFILE);
    assert_non_null(strstr(content(log_path), "cannot accept: Too many open files\n"));
}

static void levels_are_parsed_by_name(void **state)
{
    (void)state;
    assert_int_equal(log_level_parse("debug"), LOG_DEBUG);
    assert_int_equal(log_level_parse("error"), LOG_ERROR);
    assert_int_equal(log_level_parse("ERROR"), -EINVAL);
    assert_int_equal(log_level_parse(""), -EINVAL);
}

/* ---- whose the file is ---- */

enum { NOBODY = 65534 };

static uid_t owner(const char *path)
{
    struct stat status;

    assert_int_equal(stat(path, &status), 0);
    return status.st_uid;
}

static void a_file_that_was_made_is_given_away(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    open_text_log(LOG_INFO);
    assert_int_equal(log_give(NOBODY, NOBODY), 0);
    assert_int_equal(owner(log_path), NOBODY);
    assert_int_equal(rename(log_path, rotated_path), 0);
    assert_int_equal(log_reopen(), 0);
    assert_int_equal(owner(log_path), 0);
    assert_int_equal(log_give(NOBODY, NOBODY), 0);
    assert_int_equal(owner(log_path), NOBODY);
}

static void a_file_that_was_there_is_left_alone(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    open_text_log(LOG_INFO);
    log_close();
    open_text_log(LOG_INFO);
    assert_int_equal(log_give(NOBODY, NOBODY), 0);
    assert_int_equal(owner(log_path), 0);
    log_close();
    assert_int_equal(rename(log_path, rotated_path), 0);
    assert_int_equal(symlink(rotated_path, log_path), 0);
    open_text_log(LOG_INFO);
    assert_int_equal(log_give(NOBODY, NOBODY), 0);
    assert_int_equal(owner(rotated_path), 0);
    log_close();
    assert_int_equal(unlink(rotated_path), 0); /* a link to nothing: its target is made, but through the link */
    open_text_log(LOG_INFO);
    assert_int_equal(log_give(NOBODY, NOBODY), 0);
    assert_int_equal(owner(rotated_path), 0);
}

static void streams_are_left_alone(void **state)
{
    (void)state;
    assert_int_equal(log_give(NOBODY, NOBODY), 0);
    assert_int_equal(log_open("stderr", LOG_INFO, LOG_TEXT), 0);
    assert_int_equal(log_give(NOBODY, NOBODY), 0);
}

static void *write_lines(void *unused)
{
    (void)unused;
    log_thread_name("w");
    for (int i = 0; i < LINES_EACH; i++)
        log_info("line %d with an ending", i);
    return NULL;
}

/* Lines of the file that are whole, appended to *total; a torn one fails the test. */
static void count_lines(const char *path, size_t *total)
{
    FILE *file = fopen(path, "r");
    char line[256];

    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        assert_non_null(strstr(line, " info  [w] line "));
        assert_non_null(strstr(line, " with an ending\n"));
        (*total)++;
    }
    fclose(file);
}

static void rotation_under_writers_loses_and_tears_no_line(void **state)
{
    pthread_t writers[WRITERS];
    size_t total = 0;

    (void)state;
    open_text_log(LOG_INFO);
    for (size_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&writers[i], NULL, write_lines, NULL), 0);
    assert_int_equal(rename(log_path, rotated_path), 0);
    for (int i = 0; i < ROTATIONS; i++)
        assert_int_equal(log_reopen(), 0);
    for (size_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_join(writers[i], NULL), 0);
    count_lines(log_path, &total);
    count_lines(rotated_path, &total);
    assert_int_equal(total, WRITERS * LINES_EACH);
}

static char heard[64];

static void hear(const char *message, size_t len)
{
    snprintf(heard + strlen(heard), sizeof(heard) - strlen(heard), "<%.*s>", (int)len, message);
}

static void errors_and_nothing_else_are_heard_too(void **state)
{
    (void)state;
    open_text_log(LOG_DEBUG);
    log_hear_errors(hear);
    log_warn("not this");
    log_error("this %d", 1);
    log_write_bytes(LOG_ERROR, "and that", 7);
    log_hear_errors(NULL);
    log_error("not any more");
    assert_string_equal(heard, "<this 1><and tha>");
    assert_non_null(strstr(content(log_path), "not any more"));
}

#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOG_TEST(level_is_info_until_the_log_is_opened),
        LOG_TEST(entries_below_the_level_are_dropped),
        LOG_TEST(thread_name_is_shown),
        LOG_TEST(bytes_are_no_format),
        LOG_TEST(file_is_appended_to_and_not_for_everybody),
        LOG_TEST(failed_open_changes_nothing),
        LOG_TEST(reopen_makes_a_new_file_under_the_same_name),
        LOG_TEST(what_is_open_at_that_path_stays_open),
        LOG_TEST(reopen_of_a_stream_does_nothing),
        LOG_TEST(a_file_that_was_made_is_given_away),
        LOG_TEST(a_file_that_was_there_is_left_alone),
        LOG_TEST(streams_are_left_alone),
        LOG_TEST(over_long_message_ends_in_dots),
        LOG_TEST(errno_survives),
        LOG_TEST(levels_are_parsed_by_name),
        LOG_TEST(rotation_under_writers_loses_and_tears_no_line),
        LOG_TEST(errors_and_nothing_else_are_heard_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
