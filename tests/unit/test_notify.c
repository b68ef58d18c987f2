/* Talking to a service manager that the test plays: a datagram socket, of which every message is read and compared. */
#include "admin/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"

enum { MESSAGE_S_MAX = 10, CLOSE_MS_MAX = 10 * NOTIFY_CLOSE_MS };

struct manager {
    int fd;
    char address[108]; /* as in NOTIFY_SOCKET */
    char message[4096];
};

static void begin(struct manager *manager, const char *format)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    const struct timeval patience = {.tv_sec = MESSAGE_S_MAX};
    socklen_t len = (socklen_t)offsetof(struct sockaddr_un, sun_path);

    snprintf(manager->address, sizeof(manager->address), "%szerg-notify-%ld", format, (long)getpid());
    len += (socklen_t)strlen(manager->address);
    memcpy(name.sun_path, manager->address, strlen(manager->address) + 1);
    if (name.sun_path[0] == '@')
        name.sun_path[0] = '\0';
    else
        unlink(name.sun_path);
    manager->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(manager->fd >= 0);
    assert_int_equal(bind(manager->fd, (struct sockaddr *)&name, len), 0);
    assert_int_equal(setsockopt(manager->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", manager->address, 1), 0);
}

static int setup(void **state)
{
    struct manager *manager = calloc(1, sizeof(*manager));

    assert_non_null(manager);
    begin(manager, "/tmp/");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    *state = manager;
    return 0;
}

static int teardown(void **state)
{
    struct manager *manager = *state;

    notify_close();
    unlink(manager->address);
    close(manager->fd);
    free(manager);
    return 0;
}

/* The next message; waits for it. */
static const char *next_message(struct manager *manager)
{
    ssize_t len = recv(manager->fd, manager->message, sizeof(manager->message) - 1, 0);

    assert_true(len > 0);
    manager->message[len] = '\0';
    return manager->message;
}

/* True when nothing more has been sent, after notify_close(). */
static bool is_all(struct manager *manager)
{
    return recv(manager->fd, manager->message, sizeof(manager->message), MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static void set_watchdog(const char *usec, long pid)
{
    char text[32];

    setenv("WATCHDOG_USEC", usec, 1);
    snprintf(text, sizeof(text), "%ld", pid);
    setenv("WATCHDOG_PID", text, 1);
}

static void without_a_manager_nothing_happens(void **state)
{
    struct manager *manager = *state;

    unsetenv("NOTIFY_SOCKET");
    set_watchdog("10000000", getpid());
    notify_open();
    assert_int_equal(notify_watchdog_ms(), 0);
    notify_ready("serving");
    notify_watchdog();
    notify_main_pid(1, -1);
    notify_close();
    assert_true(is_all(manager));
    assert_string_equal(getenv("WATCHDOG_USEC"), "10000000");
}

static void each_state_is_one_message(void **state)
{
    struct manager *manager = *state;

    notify_open();
    notify_ready("serving, %d connections", 12);
    assert_string_equal(next_message(manager), "READY=1\nSTATUS=serving, 12 connections");
    notify_status("%s", "loading");
    assert_string_equal(next_message(manager), "STATUS=loading");
    notify_watchdog();
    assert_string_equal(next_message(manager), "WATCHDOG=1");
    notify_stopping();
    assert_string_equal(next_message(manager), "STOPPING=1");
    notify_main_pid(4711, -1);
    assert_string_equal(next_message(manager), "MAINPID=4711");
    notify_close();
    assert_true(is_all(manager));
}

static void a_reload_says_its_time(void **state)
{
    struct manager *manager = *state;
    uint64_t before = clock_now_ns() / 1000;
    uint64_t usec;
    char *end;
    static const char text[] = "RELOADING=1\nMONOTONIC_USEC=";

    notify_open();
    notify_reloading();
    assert_memory_equal(next_message(manager), text, strlen(text));
    usec = strtoull(manager->message + strlen(text), &end, 10);
    assert_int_equal(*end, '\0');
    assert_true(usec >= before && usec <= clock_now_ns() / 1000);
    notify_ready("serving version 2");
    assert_string_equal(next_message(manager), "READY=1\nSTATUS=serving version 2");
}

static void an_abstract_socket_does_as_well(void **state)
{
    struct manager *manager = *state;
    struct manager abstract;

    (void)manager;
    begin(&abstract, "@");
    notify_open();
    notify_stopping();
    assert_string_equal(next_message(&abstract), "STOPPING=1");
    close(abstract.fd);
}

static void a_status_is_one_line_of_whole_characters(void **state)
{
    struct manager *manager = *state;
    char text[NOTIFY_BYTES_MAX + 1] = "x";

    notify_open();
    notify_status("a.lua:1:\nMAINPID=1\tend\x7f");
    assert_string_equal(next_message(manager), "STATUS=a.lua:1: MAINPID=1 end ");
    for (size_t i = 1; i + 2 < sizeof(text); i += 2)
        memcpy(text + i, "\xc3\xa4", 3);
    for (int i = 0; i < 2; i++) { /* once the cut is within a character */
        notify_status("%s", text + i);
        assert_memory_equal(next_message(manager), "STATUS=", 7);
        assert_true(strlen(manager->message) >= NOTIFY_BYTES_MAX - 4);
        assert_string_equal(manager->message + strlen(manager->message) - 2, "\xc3\xa4");
    }
}

static void after_handing_over_nothing_is_said(void **state)
{
    struct manager *manager = *state;

    set_watchdog("10000000", getpid());
    notify_open();
    notify_main_pid(4711, -1);
    assert_string_equal(next_message(manager), "MAINPID=4711");
    assert_int_equal(notify_watchdog_ms(), 0);
    notify_stopping();
    notify_watchdog();
    notify_close();
    assert_true(is_all(manager));
}

/* Which the process that takes over waits for. */
static bool is_closed(int fd)
{
    struct pollfd other = {.fd = fd, .events = POLLIN};

    return poll(&other, 1, 1000 * MESSAGE_S_MAX) == 1 && (other.revents & POLLHUP);
}

static void its_descriptor_is_closed_when_the_manager_knows(void **state)
{
    struct manager *manager = *state;
    int fds[2];

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    notify_open();
    notify_main_pid(4711, fds[1]);
    assert_true(is_closed(fds[0]));
    assert_string_equal(next_message(manager), "MAINPID=4711");
    close(fds[0]);
}

static void without_a_manager_its_descriptor_is_closed_at_once(void **state)
{
    int fds[2];

    (void)state;
    unsetenv("NOTIFY_SOCKET");
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    notify_open();
    notify_main_pid(4711, fds[1]);
    assert_true(is_closed(fds[0]));
    close(fds[0]);
}

/* ---- the watchdog and the environment ---- */

static void the_watchdog_wants_to_hear_from_us_twice_as_often(void **state)
{
    (void)state;
    set_watchdog("10000000", getpid());
    notify_open();
    assert_int_equal(notify_watchdog_ms(), 5000);
    notify_close();
    setenv("WATCHDOG_USEC", "1", 1);
    notify_open();
    assert_int_equal(notify_watchdog_ms(), 1);
}

static void the_process_of_an_upgrade_takes_the_watchdog_over(void **state)
{
    struct manager *manager = *state;

    set_watchdog("10000000", getpid());
    notify_open();
    notify_close();
    assert_string_equal(getenv("NOTIFY_SOCKET"), manager->address);
    assert_string_equal(getenv("WATCHDOG_USEC"), "10000000");
    assert_null(getenv("WATCHDOG_PID"));
    notify_open(); /* as it does there */
    assert_int_equal(notify_watchdog_ms(), 5000);
}

static void the_watchdog_of_another_process_is_not_ours(void **state)
{
    struct manager *manager = *state;

    set_watchdog("10000000", getppid());
    notify_open();
    assert_int_equal(notify_watchdog_ms(), 0);
    assert_null(getenv("WATCHDOG_USEC"));
    assert_null(getenv("WATCHDOG_PID"));
    assert_string_equal(getenv("NOTIFY_SOCKET"), manager->address);
}

static void a_watchdog_that_makes_no_sense_is_none(void **state)
{
    (void)state;
    set_watchdog("soon", getpid());
    notify_open();
    assert_int_equal(notify_watchdog_ms(), 0);
    assert_null(getenv("WATCHDOG_USEC"));
}

/* ---- managers that are not as they should be ---- */

/* So many messages that no more fit: whoever sends one waits, until one is read. */
static void fill_queue(struct manager *manager)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    memcpy(name.sun_path, manager->address, strlen(manager->address) + 1);
    while (sendto(fd, "old", 3, MSG_DONTWAIT, (struct sockaddr *)&name, sizeof(name)) > 0)
        continue;
    assert_int_equal(errno, EAGAIN);
    close(fd);
}

static void a_manager_that_does_not_read_holds_nobody_up(void **state)
{
    struct manager *manager = *state;
    int count = 1;

    fill_queue(manager);
    notify_open();
    for (int i = 0; i < 2000; i++)
        notify_status("%d", i);
    while (strcmp(next_message(manager), "old") == 0)
        continue;
    while (strcmp(manager->message, "STATUS=1999") != 0) { /* the last of them is told, whatever was left out */
        next_message(manager);
        count++;
    }
    assert_in_range(count, NOTIFY_QUEUE_MAX, NOTIFY_QUEUE_MAX + 1); /* those that waited, and one under way */
}

static void closing_waits_until_all_is_sent(void **state)
{
    struct manager *manager = *state;
    char text[32];

    notify_open();
    for (int i = 0; i < 5; i++)
        notify_status("%d", i);
    notify_close();
    for (int i = 0; i < 5; i++) {
        snprintf(text, sizeof(text), "STATUS=%d", i);
        assert_int_equal(recv(manager->fd, manager->message, sizeof(manager->message), MSG_DONTWAIT), strlen(text));
        assert_memory_equal(manager->message, text, strlen(text));
    }
}

static void closing_does_not_wait_for_ever(void **state)
{
    int status = 0;
    uint64_t begin_ms = clock_now_ms();
    pid_t pid;

    fill_queue(*state);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) { /* in a child: it leaves a thread that cannot end */
        notify_open();
        notify_stopping();
        notify_close();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_in_range(clock_now_ms() - begin_ms, NOTIFY_CLOSE_MS - 100, CLOSE_MS_MAX);
}

static uint32_t lines_in_log(const char *path, const char *text)
{
    FILE *file = fopen(path, "re");
    char line[1024];
    uint32_t count = 0;

    assert_non_null(file);
    while (fgets(line, sizeof(line), file))
        count += strstr(line, text) != NULL;
    fclose(file);
    return count;
}

static void a_manager_that_is_not_there_is_reported_once(void **state)
{
    char path[] = "/tmp/zerg-notify-log-XXXXXX";
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(log_open(path, LOG_INFO, LOG_TEXT), 0);
    setenv("NOTIFY_SOCKET", "/tmp/zerg-no-such-socket", 1);
    notify_open();
    notify_ready("serving");
    notify_stopping();
    notify_close();
    assert_int_equal(lines_in_log(path, "cannot tell the service manager: No such file or directory"), 1);
    assert_int_equal(log_open("/dev/null", LOG_ERROR, LOG_TEXT), 0);
    unlink(path);
}

static int quiet(void **state)
{
    (void)state;
    return log_open("/dev/null", LOG_ERROR, LOG_TEXT);
}

#define NOTIFY_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NOTIFY_TEST(without_a_manager_nothing_happens),
        NOTIFY_TEST(each_state_is_one_message),
        NOTIFY_TEST(a_reload_says_its_time),
        NOTIFY_TEST(an_abstract_socket_does_as_well),
        NOTIFY_TEST(a_status_is_one_line_of_whole_characters),
        NOTIFY_TEST(after_handing_over_nothing_is_said),
        NOTIFY_TEST(its_descriptor_is_closed_when_the_manager_knows),
        NOTIFY_TEST(without_a_manager_its_descriptor_is_closed_at_once),
        NOTIFY_TEST(the_watchdog_wants_to_hear_from_us_twice_as_often),
        NOTIFY_TEST(the_process_of_an_upgrade_takes_the_watchdog_over),
        NOTIFY_TEST(the_watchdog_of_another_process_is_not_ours),
        NOTIFY_TEST(a_watchdog_that_makes_no_sense_is_none),
        NOTIFY_TEST(a_manager_that_does_not_read_holds_nobody_up),
        NOTIFY_TEST(closing_waits_until_all_is_sent),
        NOTIFY_TEST(closing_does_not_wait_for_ever),
        NOTIFY_TEST(a_manager_that_is_not_there_is_reported_once),
    };

    return cmocka_run_group_tests_name("notify", tests, quiet, NULL);
}
