/* takeover: what a process makes of sockets that it was started with, and of a process that makes way for it. */
#include "admin/takeover.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "admin/control_socket.h"
#include "base/addr.h"
#include "base/log.h"
#include "core/inherited.h"
#include "listening.h"

enum { FIRST_FD = 3 };

/* A socket that listens at an abstract address of its own, at this descriptor. */
static int listen_at(int wanted)
{
    int fd = listen_somewhere();

    if (wanted == fd)
        return fd;
    assert_int_equal(dup2(fd, wanted), wanted);
    close(fd);
    return wanted;
}

static void set_listen_fds(const char *count)
{
    char pid[32];

    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", count, 1);
    unsetenv("LISTEN_FDNAMES");
}

/* In a process of its own, as it is about the lowest descriptors. Gives what that found, 0: all is well. */
static int in_a_child(int (*work)(void))
{
    pid_t child = fork();
    int status;

    if (child == 0)
        _exit(work());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int receive(struct inherited *inherited)
{
    takeover_remember();
    takeover_receive(inherited);
    return (int)inherited->count;
}

static int take_two_of_three(void)
{
    struct inherited inherited;

    closefrom(FIRST_FD);
    listen_at(3);
    if (socket(AF_UNIX, SOCK_STREAM, 0) != 4)
        return 1;
    listen_at(5);
    set_listen_fds("3");
    if (receive(&inherited) != 2)
        return 2;
    if (!inherited.sockets[0].stays_lent || inherited.sockets[0].fd != 3 || inherited.sockets[1].fd != 5)
        return 3;
    if (fcntl(4, F_GETFD) >= 0 || !(fcntl(3, F_GETFD) & FD_CLOEXEC) || getenv("LISTEN_FDS") || getenv("LISTEN_PID"))
        return 4;
    return !takeover_has_predecessor() ? 0 : 5;
}

static void listening_sockets_are_taken_and_others_closed(void **state)
{
    (void)state;
    assert_int_equal(in_a_child(take_two_of_three), 0);
}

static int leave_our_own_alone(void)
{
    struct inherited inherited;

    closefrom(FIRST_FD);
    listen_at(3);
    takeover_remember();
    listen_at(4); /* opened by the program itself */
    set_listen_fds("2");
    takeover_receive(&inherited);
    return inherited.count == 1 && fcntl(4, F_GETFD) >= 0 ? 0 : 1;
}

static void more_than_there_were_at_the_start_are_not_taken(void **state)
{
    (void)state;
    assert_int_equal(in_a_child(leave_our_own_alone), 0);
}

static int take_none(void)
{
    static const char *const counts[] = {"x", "-1", "", "0", "99999999999", "2"};
    struct inherited inherited;

    closefrom(FIRST_FD);
    listen_at(3);
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        set_listen_fds(counts[i]);
        if (receive(&inherited) != 0)
            return (int)i + 1;
    }
    set_listen_fds("1");
    setenv("LISTEN_PID", "1", 1);
    return receive(&inherited) == 0 && fcntl(3, F_GETFD) >= 0 ? 0 : 20;
}

static void what_makes_no_sense_is_none(void **state)
{
    (void)state;
    assert_int_equal(in_a_child(take_none), 0);
}

static int believe_no_predecessor(void)
{
    struct inherited inherited;

    closefrom(FIRST_FD);
    setenv("ZERG_CONTROL", "0 1 2 3 /some/path", 1);
    setenv("ZERG_READY_FD", "7", 1); /* is not open */
    unsetenv("LISTEN_FDS");
    if (receive(&inherited) != 0 || takeover_has_predecessor() || takeover_control()->fd >= 0)
        return 1;
    if (takeover_confirm(&inherited) != 0) /* to nobody */
        return 2;
    return getenv("ZERG_READY_FD") || getenv("ZERG_CONTROL") ? 3 : 0;
}

static int say_it_to_nobody(void)
{
    struct inherited inherited;
    char number[32];
    int fds[2];

    signal(SIGPIPE, SIG_IGN);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
        return 1;
    snprintf(number, sizeof(number), "%d", fds[1]);
    setenv("ZERG_READY_FD", number, 1);
    unsetenv("LISTEN_FDS");
    if (receive(&inherited) != 0 || !takeover_has_predecessor())
        return 2;
    close(fds[0]);
    return takeover_confirm(&inherited) == -EPIPE ? 0 : 3;
}

static void who_makes_way_for_it_may_be_gone(void **state)
{
    (void)state;
    assert_int_equal(in_a_child(say_it_to_nobody), 0);
}

static void without_the_pipe_there_is_no_process_before(void **state)
{
    (void)state;
    assert_int_equal(in_a_child(believe_no_predecessor), 0);
}

static int setup(void **state)
{
    (void)state;
    return log_open("/dev/null", LOG_DEBUG, LOG_TEXT);
}

static int teardown(void **state)
{
    (void)state;
    log_close();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listening_sockets_are_taken_and_others_closed),
        cmocka_unit_test(more_than_there_were_at_the_start_are_not_taken),
        cmocka_unit_test(what_makes_no_sense_is_none),
        cmocka_unit_test(who_makes_way_for_it_may_be_gone),
        cmocka_unit_test(without_the_pipe_there_is_no_process_before),
    };

    return cmocka_run_group_tests_name("takeover", tests, setup, teardown);
}
