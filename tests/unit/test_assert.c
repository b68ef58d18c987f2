/* assert: what a failed one leaves behind, seen from a parent process. */
#include "base/assert.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { OUTPUT_BYTES_MAX = 16 * 1024 };

static void break_a_promise(int answer)
{
    assert(answer == 42);
}

/* Runs break_a_promise(answer) in a child; its stderr goes to output. Returns the child's wait status. */
static int run_in_child(int answer, char *output)
{
    int pipe_fds[2];
    int status = 0;
    size_t len = 0;
    ssize_t got;
    pid_t child;

    assert_int_equal(pipe(pipe_fds), 0);
    child = fork();
    if (child == 0) {
        const struct rlimit no_core = {0, 0};

        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL); /* cmocka's handler would carry on with the tests in the child */
        dup2(pipe_fds[1], STDERR_FILENO);
        break_a_promise(answer);
        _exit(0);
    }
    close(pipe_fds[1]);
    while ((got = read(pipe_fds[0], output + len, OUTPUT_BYTES_MAX - 1 - len)) > 0)
        len += (size_t)got;
    output[len] = '\0';
    close(pipe_fds[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void true_condition_changes_nothing(void **state)
{
    char output[OUTPUT_BYTES_MAX];
    int status = run_in_child(42, output);

    (void)state;
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_string_equal(output, "");
}

static void false_condition_aborts_and_says_where(void **state)
{
    char output[OUTPUT_BYTES_MAX];
    int status = run_in_child(7, output);

    (void)state;
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(output, "assertion failed: answer == 42"));
    assert_non_null(strstr(output, "test_assert.c:"));
    assert_non_null(strstr(output, "break_a_promise"));
}

static void failure_prints_a_back_trace(void **state)
{
    char output[OUTPUT_BYTES_MAX];

    (void)state;
    run_in_child(7, output);
    assert_non_null(strstr(output, "test_assert(")); /* a frame of this binary: file(symbol+offset) [address] */
}

static void debug_assert_is_off_in_release(void **state)
{
    int evaluated = 0;

    (void)state;
    debug_assert(++evaluated == 1);
#ifdef ZERG_DEBUG
    assert_int_equal(evaluated, 1);
#else
    assert_int_equal(evaluated, 0);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(true_condition_changes_nothing),
        cmocka_unit_test(false_condition_aborts_and_says_where),
        cmocka_unit_test(failure_prints_a_back_trace),
        cmocka_unit_test(debug_assert_is_off_in_release),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
