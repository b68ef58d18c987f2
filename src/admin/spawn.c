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

/* Puts the descriptors in a row from TAKEOVER_FIRST_FD on, by way of numbers that none of them may have. */
static int arrange_fds(const struct spawn *spawn)
{
    for (int i = 0; i < spawn->fd_count; i++) {
        spawn->fds[i] = fcntl(spawn->fds[i], F_DUPFD_CLOEXEC, TAKEOVER_FIRST_FD + spawn->fd_count);
        if (spawn->fds[i] < 0)
            return -errno;
    }
    for (int i = 0; i < spawn->fd_count; i++) {
        if (dup2(spawn->fds[i], TAKEOVER_FIRST_FD + i) < 0)
            return -errno;
    }
    /* Files that scripts have opened, and whatever else does not close itself. */
    (void)syscall(SYS_close_range, TAKEOVER_FIRST_FD + spawn->fd_count, ~0U, CLOSE_RANGE_CLOEXEC);
    return 0;
}

static NORETURN void become_program(struct spawn *spawn)
{
    int ready_fd = TAKEOVER_FIRST_FD + spawn->fd_count - 1;
    sigset_t none;
    pid_t pid = getpid();

    sigemptyset(&none);
    if (arrange_fds(spawn) == 0 && write(ready_fd, &pid, sizeof(pid)) == sizeof(pid)) {
        write_pid(spawn->listen_pid);
        sigprocmask(SIG_SETMASK, &none, NULL);
        execve(program_path(), program_argv(), spawn->environment);
    }
    _exit(127);
}

/* ---- in this process ---- */

/* The process in between ends at once, so that the new one has no parent that knows of it. */
int spawn_program(struct spawn *spawn)
{
    int status;
    pid_t between = fork();

    if (between < 0)
        return -errno;
    if (between == 0) {
        pid_t child = fork();

        if (child == 0)
            become_program(spawn);
        _exit(child < 0 ? errno & 0x7f : 0);
    }
    while (waitpid(between, &status, 0) < 0) {
        if (errno == ECHILD) /* somebody else has waited for it: what it has started says that it is there */
            return 0;
        if (errno != EINTR)
            return -errno;
    }
    return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}
