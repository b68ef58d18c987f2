/* handover: what the new process is given and says, with this very program as the new one. test_takeover.c is about what a process
 * that was started with sockets makes of them. */
#include "admin/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "admin/control_socket.h"
#include "admin/program.h"
#include "admin/takeover.h"
#include "base/addr.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/config.h"
#include "core/engine.h"
#include "core/inherited.h"
#include "core/listener.h"
#include "core/version.h"
#include "listening.h"
#include "versions.h"

enum { SOCKETS = 2, FIRST_FD = 3, WAIT_MS = 20000 };

struct handing {
    struct listener_config listeners[SOCKETS];
    struct config config;
    struct listen_socket sockets[SOCKETS];
    int fds[SOCKETS];
    struct engine engine;
    struct control_handed control;
    struct handover handover;
    char problem[HANDOVER_PROBLEM_BYTES];
};

static int setup(void **state)
{
    struct handing *h = calloc(1, sizeof(*h));

    assert_non_null(h);
    assert_int_equal(log_open("/dev/null", LOG_DEBUG, LOG_TEXT), 0);
    h->listeners[0].name = (char *)"first";
    h->listeners[1].name = (char *)"second";
    h->config = (struct config){.listeners = h->listeners, .listener_count = SOCKETS};
    h->engine.control_eventfd = -1;
    h->engine.version = version_by_hand(&h->engine, &h->config, h->sockets);
    for (int i = 0; i < SOCKETS; i++) {
        h->fds[i] = listen_somewhere();
        h->sockets[i].fds[0] = h->fds[i];
    }
    h->control =
        (struct control_handed){.fd = listen_somewhere(), .is_default = true, .inode = 4711, .path = "/some where/s"};
    handover_init(&h->handover);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    struct handing *h = *state;

    handover_cancel(&h->handover);
    handover_deinit(&h->handover);
    for (int i = 0; i < SOCKETS; i++)
        close(h->fds[i]);
    close(h->control.fd);
    version_by_hand_free(h->engine.version);
    log_close();
    free(h);
    return 0;
}

/* ---- the new process ---- */

/* What is wrong with what it was given; 0: nothing. The second socket is the service manager's. */
static int check_what_was_given(struct inherited *inherited)
{
    char self[32];

    snprintf(self, sizeof(self), "%d", (int)getpid());
    if (!getenv("LISTEN_PID") || strcmp(getenv("LISTEN_PID"), self) != 0)
        return 10;
    if (strcmp(getenv("LISTEN_FDS"), "2") != 0 || strcmp(getenv("LISTEN_FDNAMES"), "own:lent") != 0)
        return 11;
    if (!getenv("TEST_HANDOVER") || strcmp(getenv("TEST_HANDOVER"), "stays") != 0)
        return 12;
    if (fcntl(FIRST_FD + SOCKETS + 2, F_GETFD) >= 0) /* behind the sockets, that of control, and the pipe */
        return 13;
    takeover_receive(inherited);
    if (inherited->count != SOCKETS || inherited->sockets[0].stays_lent || !inherited->sockets[1].stays_lent)
        return 14;
    if (!takeover_has_predecessor() || getenv("LISTEN_FDS") || getenv("ZERG_READY_FD") || getenv("ZERG_CONTROL"))
        return 15;
    if (takeover_control()->fd != FIRST_FD + SOCKETS || !takeover_control()->is_default ||
        takeover_control()->inode != 4711 || strcmp(takeover_control()->path, "/some where/s") != 0)
        return 16;
    return 0;
}

static void complain(const char *what)
{
    char message[4 * TAKEOVER_LINE_BYTES];

    memset(message, 'x', sizeof(message));
    if (strcmp(what, "fails at length") == 0)
        takeover_complain(message, sizeof(message));
    if (strcmp(what, "fails for a reason") == 0) {
        takeover_complain("the reason\nand more of it", 16);
        takeover_complain("what comes of it", 16);
    }
}

static int new_process(const char *what)
{
    struct inherited inherited = {0};
    int rc = check_what_was_given(&inherited);

    complain(what);
    if (rc != 0 || strncmp(what, "fails", strlen("fails")) == 0) {
        inherited_close(&inherited);
        return rc != 0 ? rc : 1;
    }
    if (strcmp(what, "waits") == 0)
        pause();
    for (uint32_t i = 0; i < inherited.count; i++)
        inherited.sockets[i].is_taken = strcmp(what, i == 0 ? "takes the second" : "takes the first") != 0;
    if (strcmp(what, "takes the second") == 0)
        takeover_control()->fd = -1;
    rc = takeover_confirm(&inherited);
    inherited_close(&inherited);
    return rc;
}

static int begin(struct handing *h, const char *what)
{
    static char *argv[3] = {(char *)"test_handover", NULL, NULL};

    argv[1] = (char *)what;
    h->sockets[1].stays_lent = true;
    setenv("TEST_HANDOVER", "stays", 1);
    setenv("LISTEN_FDS", "77", 1); /* of whoever started this one */
    program_remember(argv);
    return handover_begin(&h->handover, &h->engine, &h->control, h->problem);
}

/* Until it has said all, or has ended. */
static enum handover_outcome look_when_ready(struct handing *h)
{
    struct pollfd said = {.fd = h->handover.fd, .events = POLLIN};
    enum handover_outcome outcome;

    do {
        assert_int_equal(poll(&said, 1, WAIT_MS), 1);
        outcome = handover_look(&h->handover, clock_now_ms(), h->problem);
    } while (outcome == HANDOVER_WAITS);
    return outcome;
}

static int status_of(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void a_new_process_gets_sockets_and_says_that_it_serves(void **state)
{
    struct handing *h = *state;
    pid_t pid;

    assert_int_equal(begin(h, "serves"), 0);
    pid = h->handover.pid;
    assert_true(pid > 0 && pid != getpid());
    assert_int_equal(look_when_ready(h), HANDOVER_DONE);
    assert_false(h->handover.has_control);
    assert_int_equal(h->handover.fd, -1);
    close(handover_take_fd(&h->handover));
    assert_int_equal(status_of(pid), 0);
}

static void a_process_that_ignores_its_children_can_start_one(void **state)
{
    struct handing *h = *state;

    signal(SIGCHLD, SIG_IGN);
    assert_int_equal(begin(h, "serves"), 0);
    assert_int_equal(look_when_ready(h), HANDOVER_DONE);
    signal(SIGCHLD, SIG_DFL);
}

static void sockets_that_it_took_are_its_own_then(void **state)
{
    struct handing *h = *state;
    pid_t pid;

    assert_int_equal(begin(h, "takes the second"), 0);
    pid = h->handover.pid;
    assert_int_equal(look_when_ready(h), HANDOVER_DONE);
    assert_true(h->handover.has_control);
    handover_lend(&h->handover, &h->engine);
    close(handover_take_fd(&h->handover));
    assert_false(h->sockets[0].is_lent || h->sockets[0].has_successor);
    assert_true(h->sockets[1].is_lent && h->sockets[1].has_successor);
    status_of(pid);
}

static void one_that_ends_before_that_has_failed(void **state)
{
    struct handing *h = *state;
    pid_t pid;

    assert_int_equal(begin(h, "fails"), 0);
    pid = h->handover.pid;
    assert_int_equal(look_when_ready(h), HANDOVER_FAILED);
    assert_non_null(strstr(h->problem, "ended before it was ready: this one goes on"));
    assert_null(strstr(h->problem, "It said"));
    assert_int_equal(h->handover.fd, -1);
    status_of(pid);
}

static void expect_failure(struct handing *h, const char *what)
{
    pid_t pid;

    assert_int_equal(begin(h, what), 0);
    pid = h->handover.pid;
    assert_int_equal(look_when_ready(h), HANDOVER_FAILED);
    assert_int_equal(WEXITSTATUS(status_of(pid)), 1);
}

static void the_first_line_of_its_first_problem_is_passed_on(void **state)
{
    struct handing *h = *state;
    const char *said;

    expect_failure(h, "fails for a reason");
    said = strstr(h->problem, "ended before it was ready: this one goes on. It said: ");
    assert_non_null(said);
    assert_string_equal(strrchr(said, ':'), ": the reason");
}

static void a_long_problem_is_cut(void **state)
{
    struct handing *h = *state;
    const char *said;

    expect_failure(h, "fails at length");
    said = strstr(h->problem, "xxx");
    assert_non_null(said);
    assert_int_equal(strlen(said), TAKEOVER_LINE_BYTES - strlen("problem ") - 2);
}

static void one_that_takes_too_long_is_killed(void **state)
{
    struct handing *h = *state;
    int status;
    pid_t pid;

    assert_int_equal(begin(h, "waits"), 0);
    pid = h->handover.pid;
    assert_int_equal(handover_look(&h->handover, h->handover.until_ms - 1, h->problem), HANDOVER_WAITS);
    assert_int_equal(handover_look(&h->handover, h->handover.until_ms, h->problem), HANDOVER_FAILED);
    assert_non_null(strstr(h->problem, "was not ready in time"));
    status = status_of(pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void one_that_is_not_wanted_any_more_is_killed(void **state)
{
    struct handing *h = *state;
    pid_t pid;

    assert_int_equal(begin(h, "waits"), 0);
    pid = h->handover.pid;
    handover_cancel(&h->handover);
    handover_cancel(&h->handover); /* does nothing */
    assert_true(WIFSIGNALED(status_of(pid)));
}

static void what_keeps_a_process_from_becoming_the_program_is_known(void **state)
{
    struct handing *h = *state;
    struct rlimit before;
    struct rlimit few;
    int lowest = dup(0);

    close(lowest);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = (rlim_t)lowest + 5; /* two pipes, and no room to arrange descriptors */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_int_equal(begin(h, "serves"), -EMFILE);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_non_null(strstr(h->problem, "test_handover: Too many open files"));
    assert_int_equal(h->handover.fd, -1);
    assert_true(waitpid(-1, NULL, 0) > 0);
}

static void nothing_of_ours_changes_with_it(void **state)
{
    struct handing *h = *state;
    int before = dup(0);
    int after;

    close(before);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(begin(h, "fails"), 0);
        pid_t pid = h->handover.pid;

        assert_int_equal(look_when_ready(h), HANDOVER_FAILED);
        status_of(pid);
    }
    after = dup(0);
    close(after);
    assert_int_equal(after, before); /* no descriptor is left */
    assert_int_equal(fcntl(h->fds[0], F_GETFD) & FD_CLOEXEC, 0);
    assert_string_equal(getenv("LISTEN_FDS"), "77");
    assert_null(getenv("ZERG_READY_FD"));
}

static bool has_ended(pid_t pid, int within_ms)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd process = {.fd = fd, .events = POLLIN};
    int rc = poll(&process, 1, within_ms);

    assert_true(fd >= 0);
    close(fd);
    return rc == 1;
}

static void it_goes_on_when_the_service_manager_knows_of_it(void **state)
{
    struct handing *h = *state;
    pid_t pid;

    assert_int_equal(begin(h, "serves"), 0);
    pid = h->handover.pid;
    assert_int_equal(look_when_ready(h), HANDOVER_DONE);
    assert_false(has_ended(pid, 50));
    close(handover_take_fd(&h->handover));
    assert_int_equal(handover_take_fd(&h->handover), -1);
    assert_true(has_ended(pid, WAIT_MS));
    status_of(pid);
}

static void it_does_not_wait_for_that_for_ever(void **state)
{
    struct handing *h = *state;
    pid_t pid;

    assert_int_equal(begin(h, "serves"), 0);
    pid = h->handover.pid;
    assert_int_equal(look_when_ready(h), HANDOVER_DONE);
    assert_true(has_ended(pid, WAIT_MS));
    status_of(pid);
    close(handover_take_fd(&h->handover));
}

/* ---- by a pipe of the test's own ---- */

static int pipe_to(struct handing *h)
{
    int fds[2];

    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    h->handover.fd = fds[0];
    h->handover.pid = INT32_MAX; /* nobody, so that nobody is killed */
    h->handover.until_ms = 1000;
    h->handover.fd_count = SOCKETS;
    h->handover.is_left = calloc(SOCKETS, sizeof(bool));
    assert_non_null(h->handover.is_left);
    return fds[1];
}

static void say(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void its_word_may_come_in_pieces(void **state)
{
    struct handing *h = *state;
    int fd = pipe_to(h);

    assert_int_equal(handover_look(&h->handover, 1, h->problem), HANDOVER_WAITS);
    say(fd, "rea");
    assert_int_equal(handover_look(&h->handover, 2, h->problem), HANDOVER_WAITS);
    say(fd, "dy\n");
    close(fd);
    assert_int_equal(handover_look(&h->handover, 3, h->problem), HANDOVER_DONE);
}

static int try_connecting(int listening)
{
    struct addr addr = {.len = sizeof(addr.storage)};

    assert_int_equal(getsockname(listening, &addr.sa, &addr.len), 0);
    return connect_to(&addr);
}

static void of_several_at_one_address_those_that_it_left_are_shut(void **state)
{
    struct handing *h = *state;
    struct version *version = h->engine.version;
    struct listen_socket socket = {.fds = h->fds, .fd_count = SOCKETS};
    struct listener listener = {.socket = &socket};
    struct version one = {.listeners = &listener, .listener_count = 1};
    int fd = pipe_to(h);

    h->engine.version = &one;
    say(fd, "left 1\nleft 99\nsomething of another version\nready\n");
    close(fd);
    assert_int_equal(handover_look(&h->handover, 1, h->problem), HANDOVER_DONE);
    handover_lend(&h->handover, &h->engine);
    assert_true(socket.is_lent && socket.has_successor);
    assert_int_equal(try_connecting(h->fds[0]), 0);
    assert_int_equal(try_connecting(h->fds[1]), -ECONNREFUSED);
    h->engine.version = version;
}

static void other_words_are_not_it(void **state)
{
    struct handing *h = *state;
    char endless[TAKEOVER_LINE_BYTES + 1] = "";
    int fd = pipe_to(h);

    memset(endless, 'x', TAKEOVER_LINE_BYTES);
    say(fd, "ready or not\nalready\n\nready ");
    assert_int_equal(handover_look(&h->handover, 1, h->problem), HANDOVER_WAITS);
    say(fd, endless);
    assert_int_equal(handover_look(&h->handover, 2, h->problem), HANDOVER_FAILED);
    close(fd);
}

static pid_t somebody(void)
{
    pid_t pid = fork();

    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pause();
    _exit(0);
}

static void whoever_has_the_process_id_of_one_that_ended_is_left_alone(void **state)
{
    struct handing *h = *state;
    pid_t pid = somebody();

    close(pipe_to(h));
    h->handover.pid = pid;
    assert_int_equal(handover_look(&h->handover, 1, h->problem), HANDOVER_FAILED);
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_int_equal(WTERMSIG(status_of(pid)), SIGTERM);
}

static void the_process_itself_is_killed_where_the_kernel_can_tell(void **state)
{
    struct handing *h = *state;
    pid_t pid = somebody();
    int fd = pipe_to(h);

    h->handover.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    assert_true(h->handover.pidfd >= 0);
    handover_cancel(&h->handover);
    assert_int_equal(WTERMSIG(status_of(pid)), SIGKILL);
    close(fd);
}

static void an_end_in_the_middle_of_its_word_is_a_failure(void **state)
{
    struct handing *h = *state;
    int fd = pipe_to(h);

    say(fd, "ready");
    close(fd);
    assert_int_equal(handover_look(&h->handover, 1, h->problem), HANDOVER_FAILED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_process_gets_sockets_and_says_that_it_serves),
        TEST(a_process_that_ignores_its_children_can_start_one),
        TEST(sockets_that_it_took_are_its_own_then),
        TEST(one_that_ends_before_that_has_failed),
        TEST(the_first_line_of_its_first_problem_is_passed_on),
        TEST(a_long_problem_is_cut),
        TEST(one_that_takes_too_long_is_killed),
        TEST(one_that_is_not_wanted_any_more_is_killed),
        TEST(what_keeps_a_process_from_becoming_the_program_is_known),
        TEST(nothing_of_ours_changes_with_it),
        TEST(it_goes_on_when_the_service_manager_knows_of_it),
        TEST(it_does_not_wait_for_that_for_ever),
        TEST(its_word_may_come_in_pieces),
        TEST(of_several_at_one_address_those_that_it_left_are_shut),
        TEST(other_words_are_not_it),
        TEST(whoever_has_the_process_id_of_one_that_ended_is_left_alone),
        TEST(the_process_itself_is_killed_where_the_kernel_can_tell),
        TEST(an_end_in_the_middle_of_its_word_is_a_failure),
    };

    if (argc == 2 && getenv("ZERG_READY_FD")) {
        takeover_remember();
        return new_process(argv[1]);
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); /* so that it can wait for what it has started */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
