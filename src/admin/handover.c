/* See handover.h. */
#include "admin/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "core/engine.h"
#include "core/inherited.h"
#include "core/listen_socket.h"
#include "core/listener.h"
#include "core/version.h"

#define READY_VARIABLE "ZERG_READY_FD"
#define PREDECESSOR_VARIABLE "ZERG_PREDECESSOR"
#define NAMES_VARIABLE "LISTEN_FDNAMES"
/* Of a socket that is the service manager's, and of others. */
#define LENT_NAME "lent"
#define OWN_NAME "own"

enum { FIRST_FD = SD_LISTEN_FDS_START, PATH_BYTES = 4096, HANDOVER_MS_MAX = START_MS_MAX + 15 * 1000 };

static struct {
    char path[PATH_BYTES]; /* of the program */
    char **argv;
    int open_count; /* descriptors from FIRST_FD on that were open at the start: LISTEN_FDS may say anything */
    int ready_fd;   /* where to say that we serve; -1: nobody asks */
    pid_t predecessor;
} self = {.ready_fd = -1};

/* ---- the new process ---- */

void handover_remember(char **argv)
{
    ssize_t len = readlink("/proc/self/exe", self.path, sizeof(self.path) - 1);

    self.path[len > 0 ? len : 0] = '\0';
    self.argv = argv;
    self.open_count = 0;
    while (self.open_count < INHERITED_MAX && fcntl(FIRST_FD + self.open_count, F_GETFD) >= 0)
        self.open_count++;
}

static int take_ready_fd(void)
{
    const char *text = getenv(READY_VARIABLE);
    int fd = text ? (int)strtol(text, NULL, 10) : -1;

    unsetenv(READY_VARIABLE);
    return fd >= FIRST_FD && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? fd : -1;
}

static pid_t take_predecessor(void)
{
    const char *text = getenv(PREDECESSOR_VARIABLE);
    long pid = text ? strtol(text, NULL, 10) : 0;

    unsetenv(PREDECESSOR_VARIABLE);
    return self.ready_fd >= 0 && pid > 0 ? (pid_t)pid : 0;
}

pid_t handover_predecessor(void)
{
    return self.predecessor;
}

/* A service manager goes on with its sockets, those that it once gave to who makes way for us among them. */
static void receive(struct inherited *out, int fd, const char *name)
{
    bool stays_lent = self.ready_fd < 0 || strcmp(name, LENT_NAME) == 0;
    int rc = inherited_add(out, fd, stays_lent);

    if (rc == 0)
        return;
    log_warn("the descriptor %d of LISTEN_FDS cannot be used: %s", fd,
             rc == -ENOTSUP ? "it is no listening stream socket" : strerror(-rc));
    close(fd);
}

void handover_receive(struct inherited *out)
{
    char **names = NULL;
    int count;

    *out = (struct inherited){0};
    self.ready_fd = take_ready_fd();
    self.predecessor = take_predecessor();
    count = sd_listen_fds_with_names(1, &names);
    if (count < 0 || count > self.open_count)
        log_warn("LISTEN_FDS: %s", strerror(count < 0 ? -count : EBADF));
    for (int i = 0; i < count; i++) {
        if (i < self.open_count)
            receive(out, FIRST_FD + i, names[i]);
        free(names[i]);
    }
    free(names);
}

void handover_confirm(void)
{
    static const char word[] = "ready\n";

    if (self.ready_fd < 0)
        return;
    if (write(self.ready_fd, word, sizeof(word) - 1) < 0)
        log_warn("cannot tell the process before this one that it may end: %s", strerror(errno));
    close(self.ready_fd);
    self.ready_fd = -1;
}

/* ---- the old process ---- */

void handover_init(struct handover *handover)
{
    *handover = (struct handover){.fd = -1};
}

/* What a child between fork(2) and execve(2) needs, all of it made before: only calls that are safe there may follow. */
struct start {
    int *fds; /* owned: sockets, then the end of the pipe that is written to */
    int fd_count;
    char *names;        /* owned: LISTEN_FDNAMES, of the sockets */
    char **environment; /* owned array; of its strings those that follow are ours */
    char listen_pid[32];
    char listen_fds[32];
    char ready_fd[32];
    char predecessor[32];
};

static bool is_ours(const char *variable)
{
    return strncmp(variable, "LISTEN_", 7) == 0 || strncmp(variable, READY_VARIABLE "=", sizeof(READY_VARIABLE)) == 0 ||
           strncmp(variable, PREDECESSOR_VARIABLE "=", sizeof(PREDECESSOR_VARIABLE)) == 0;
}

static int make_environment(struct start *start)
{
    size_t count = 0;
    size_t at = 0;

    while (environ[count])
        count++;
    start->environment = calloc(count + 6, sizeof(char *));
    if (!start->environment)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        if (!is_ours(environ[i]))
            start->environment[at++] = environ[i];
    }
    snprintf(start->listen_fds, sizeof(start->listen_fds), "LISTEN_FDS=%d", start->fd_count - 1);
    snprintf(start->ready_fd, sizeof(start->ready_fd), READY_VARIABLE "=%d", FIRST_FD + start->fd_count - 1);
    snprintf(start->predecessor, sizeof(start->predecessor), PREDECESSOR_VARIABLE "=%d", (int)getpid());
    start->environment[at++] = start->predecessor;
    start->environment[at++] = start->listen_pid; /* which the child itself fills in */
    start->environment[at++] = start->listen_fds;
    start->environment[at++] = start->names;
    start->environment[at] = start->ready_fd;
    return 0;
}

static int collect_fds(struct start *start, const struct version *version, int ready_fd)
{
    const char *separator = "";
    uint32_t count = 1;
    char *end;

    for (uint32_t i = 0; i < version->listener_count; i++)
        count += version->listeners[i].socket->fd_count;
    start->fds = calloc(count, sizeof(int));
    start->names = calloc(1, sizeof(NAMES_VARIABLE "=") + count * sizeof(LENT_NAME ":"));
    if (!start->fds || !start->names)
        return -ENOMEM;
    end = stpcpy(start->names, NAMES_VARIABLE "=");
    for (uint32_t i = 0; i < version->listener_count; i++) {
        const struct listen_socket *socket = version->listeners[i].socket;

        for (uint32_t j = 0; j < socket->fd_count; j++) {
            start->fds[start->fd_count++] = socket->fds[j];
            end = stpcpy(stpcpy(end, separator), socket->stays_lent ? LENT_NAME : OWN_NAME);
            separator = ":";
        }
    }
    start->fds[start->fd_count++] = ready_fd;
    return 0;
}

static void start_deinit(struct start *start)
{
    free(start->fds);
    free(start->names);
    free(start->environment);
}

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

/* Puts the descriptors in a row from FIRST_FD on, by way of numbers that none of them may have. */
static int arrange_fds(const struct start *start)
{
    for (int i = 0; i < start->fd_count; i++) {
        start->fds[i] = fcntl(start->fds[i], F_DUPFD_CLOEXEC, FIRST_FD + start->fd_count);
        if (start->fds[i] < 0)
            return -errno;
    }
    for (int i = 0; i < start->fd_count; i++) {
        if (dup2(start->fds[i], FIRST_FD + i) < 0)
            return -errno;
    }
    /* Files that scripts have opened, and whatever else does not close itself. */
    (void)syscall(SYS_close_range, FIRST_FD + start->fd_count, ~0U, CLOSE_RANGE_CLOEXEC);
    return 0;
}

static NORETURN void become_program(struct start *start)
{
    int ready_fd = FIRST_FD + start->fd_count - 1;
    sigset_t none;
    pid_t pid = getpid();

    sigemptyset(&none);
    if (arrange_fds(start) == 0 && write(ready_fd, &pid, sizeof(pid)) == sizeof(pid)) {
        write_pid(start->listen_pid);
        sigprocmask(SIG_SETMASK, &none, NULL);
        execve(self.path, self.argv, start->environment);
    }
    _exit(127);
}

/* The process in between ends at once, so that the new one has no parent that knows of it. */
static int spawn(struct start *start)
{
    int status;
    pid_t between = fork();

    if (between < 0)
        return -errno;
    if (between == 0) {
        pid_t child = fork();

        if (child == 0)
            become_program(start);
        _exit(child < 0 ? errno & 0x7f : 0);
    }
    while (waitpid(between, &status, 0) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

/* ---- beginning ---- */

static int start_program(const struct engine *engine, int ready_fd)
{
    struct start start = {0};
    int rc = collect_fds(&start, engine->version, ready_fd);

    if (rc == 0)
        rc = make_environment(&start);
    if (rc == 0)
        rc = spawn(&start);
    start_deinit(&start);
    return rc;
}

/* Comes as soon as the process is there, before it becomes the program. */
static int read_pid(struct handover *handover)
{
    ssize_t count;

    do {
        count = read(handover->fd, &handover->pid, sizeof(handover->pid));
    } while (count < 0 && errno == EINTR);
    return count == sizeof(handover->pid) ? 0 : -EIO;
}

static void end(struct handover *handover)
{
    close(handover->fd);
    handover_init(handover);
}

int handover_begin(struct handover *handover, const struct engine *engine, char *problem)
{
    int pipe_fds[2];
    int rc = 0;

    assert(handover->fd < 0);
    if (access(self.path, X_OK) < 0 || pipe2(pipe_fds, O_CLOEXEC) < 0) {
        rc = -errno;
        snprintf(problem, HANDOVER_PROBLEM_BYTES, "cannot start %.300s: %s", self.path, strerror(-rc));
        return rc;
    }
    handover->fd = pipe_fds[0];
    rc = start_program(engine, pipe_fds[1]);
    close(pipe_fds[1]);
    if (rc == 0)
        rc = read_pid(handover);
    if (rc < 0) {
        snprintf(problem, HANDOVER_PROBLEM_BYTES, "cannot start %.300s: %s", self.path, strerror(-rc));
        end(handover);
        return rc;
    }
    (void)fcntl(handover->fd, F_SETFL, O_NONBLOCK);
    handover->until_ms = clock_now_ms() + HANDOVER_MS_MAX;
    return 0;
}

/* ---- waiting ---- */

static enum handover_outcome fail(struct handover *handover, char *problem, const char *what)
{
    snprintf(problem, HANDOVER_PROBLEM_BYTES, "the new process, %d, %s: this one goes on", (int)handover->pid, what);
    handover_cancel(handover);
    return HANDOVER_FAILED;
}

enum handover_outcome handover_look(struct handover *handover, uint64_t now_ms, char *problem)
{
    ssize_t count =
        read(handover->fd, handover->line + handover->line_bytes, sizeof(handover->line) - 1 - handover->line_bytes);

    if (count > 0) {
        handover->line_bytes += (uint32_t)count;
        handover->line[handover->line_bytes] = '\0';
    }
    if (strcmp(handover->line, "ready\n") == 0) {
        close(handover->fd);
        handover->fd = -1;
        return HANDOVER_DONE;
    }
    if (count == 0)
        return fail(handover, problem, "ended before it was ready, and its messages say why");
    if (now_ms >= handover->until_ms)
        return fail(handover, problem, "was not ready in time");
    return HANDOVER_WAITS;
}

void handover_cancel(struct handover *handover)
{
    if (handover->fd < 0)
        return;
    kill(handover->pid, SIGKILL); /* nothing has come to it yet that it could finish */
    end(handover);
}
