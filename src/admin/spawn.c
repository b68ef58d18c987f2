/* See spawn.h. */
#include "admin/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "admin/program.h"
#include "admin/takeover.h"

/* What comes over a pipe, in one piece each: who the new process is, then why it could not become the program, if it could not. */
struct report {
    pid_t pid;
    int rc;
};

/* ---- in the child: only calls that signal-safety(7) allows ---- */

static void write_pid(char *out)
{
    static const char name[] = "LISTEN_PID=";
    char digits[16];
    pid_t pid = getpid();
    size_t count = 0;

    memcpy(out, name, sizeof(name) - 1);
    out += sizeof(name) - 1;
    for (; pid > 0; pid /= 10)
        digits[count++] = (char)('0' + pid % 10);
    while (count > 0)
        *out++ = digits[--count];
    *out = '\0';
}

/* Puts the descriptors in a row from TAKEOVER_FIRST_FD on, by way of numbers that none of them may have, and *pipe_fd behind. */
static int arrange_fds(const struct spawn *spawn, int *pipe_fd)
{
    int behind = TAKEOVER_FIRST_FD + spawn->fd_count;
    int moved = fcntl(*pipe_fd, F_DUPFD_CLOEXEC, behind);

    if (moved < 0)
        return -errno;
    *pipe_fd = moved;
    for (int i = 0; i < spawn->fd_count; i++) {
        spawn->fds[i] = fcntl(spawn->fds[i], F_DUPFD_CLOEXEC, behind);
        if (spawn->fds[i] < 0)
            return -errno;
    }
    for (int i = 0; i < spawn->fd_count; i++) {
        if (dup2(spawn->fds[i], TAKEOVER_FIRST_FD + i) < 0)
            return -errno;
    }
    /* Files that scripts have opened, and whatever else does not close itself. */
    (void)syscall(SYS_close_range, behind, ~0U, CLOSE_RANGE_CLOEXEC);
    return 0;
}

static void report(int pipe_fd, pid_t pid, int rc)
{
    const struct report report = {.pid = pid, .rc = rc};

    if (write(pipe_fd, &report, sizeof(report)) != (ssize_t)sizeof(report))
        _exit(127);
}

static NORETURN void become_program(struct spawn *spawn, int pipe_fd)
{
    sigset_t none;
    int rc;

    report(pipe_fd, getpid(), 0);
    rc = arrange_fds(spawn, &pipe_fd);
    if (rc == 0) {
        sigemptyset(&none);
        write_pid(spawn->listen_pid);
        sigprocmask(SIG_SETMASK, &none, NULL);
        execve(program_path(), program_argv(), spawn->environment);
        rc = -errno;
    }
    report(pipe_fd, getpid(), rc);
    _exit(127);
}

static NORETURN void be_between(struct spawn *spawn, int pipe_fd)
{
    pid_t child = fork();

    if (child == 0)
        become_program(spawn, pipe_fd);
    if (child < 0)
        report(pipe_fd, 0, -errno);
    _exit(0);
}

/* ---- in this process ---- */

/* Until the pipe is closed, which becoming the program does. */
static int read_reports(int pipe_fd, pid_t *pid)
{
    struct report report = {.rc = -EIO}; /* it was killed before it could say anything */
    ssize_t count;

    do {
        count = read(pipe_fd, &report, sizeof(report));
    } while ((count == (ssize_t)sizeof(report) && report.rc == 0) || (count < 0 && errno == EINTR));
    *pid = report.pid;
    return report.rc;
}

/* The process in between, for which nobody but us should wait; where children are ignored, it is gone by itself. */
static void reap(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

int spawn_program(struct spawn *spawn, pid_t *pid)
{
    int pipe_fds[2];
    pid_t between;
    int rc;

    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return -errno;
    between = fork();
    if (between == 0)
        be_between(spawn, pipe_fds[1]);
    rc = between < 0 ? -errno : 0;
    close(pipe_fds[1]);
    if (rc == 0) {
        reap(between);
        rc = read_reports(pipe_fds[0], pid);
    }
    close(pipe_fds[0]);
    return rc;
}
