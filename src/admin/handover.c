/* See handover.h. */
#include "admin/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "admin/control_socket.h"
#include "admin/program.h"
#include "admin/spawn.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/limits.h"
#include "core/engine.h"
#include "core/inherited.h"
#include "core/listen_socket.h"
#include "core/listener.h"
#include "core/version.h"

#define NAMES_VARIABLE "LISTEN_FDNAMES"

enum { HANDOVER_MS_MAX = START_MS_MAX + 15 * 1000 };

void handover_init(struct handover *handover)
{
    *handover = (struct handover){.fd = -1, .done_fd = -1, .pidfd = -1};
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

void handover_deinit(struct handover *handover)
{
    close_if_open(handover->fd);
    close_if_open(handover->done_fd);
    close_if_open(handover->pidfd);
    free(handover->is_left);
    handover_init(handover);
}

/* ---- what the new process gets ---- */

/* What the new process gets, and is told. */
struct start {
    int *fds; /* owned: sockets, the control socket if there is one, and the other end of handover->fd */
    int fd_count;
    int socket_count;
    char *names; /* owned: LISTEN_FDNAMES, of the sockets */
    char *names_end;
    char **environment; /* owned array; of its strings those that follow are ours */
    char listen_pid[SPAWN_PID_BYTES];
    char listen_fds[32];
    char ready_fd[32];
    char control[CONTROL_PATH_BYTES + 128]; /* empty: there is none */
};

enum { OWN_VARIABLES = 5 };

static bool is_ours(const char *variable)
{
    static const char *const names[] = {"LISTEN_", TAKEOVER_READY_VARIABLE "=", TAKEOVER_CONTROL_VARIABLE "="};

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (strncmp(variable, names[i], strlen(names[i])) == 0)
            return true;
    }
    return false;
}

static int make_environment(struct start *start)
{
    size_t count = 0;
    size_t at = 0;

    while (environ[count])
        count++;
    start->environment = calloc(count + OWN_VARIABLES + 1, sizeof(char *));
    if (!start->environment)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        if (!is_ours(environ[i]))
            start->environment[at++] = environ[i];
    }
    snprintf(start->listen_fds, sizeof(start->listen_fds), "LISTEN_FDS=%d", start->socket_count);
    snprintf(start->ready_fd, sizeof(start->ready_fd), TAKEOVER_READY_VARIABLE "=%d",
             TAKEOVER_FIRST_FD + start->fd_count - 1);
    start->environment[at++] = start->listen_pid; /* which the child itself fills in */
    start->environment[at++] = start->listen_fds;
    start->environment[at++] = start->names;
    start->environment[at++] = start->ready_fd;
    if (start->control[0] != '\0')
        start->environment[at] = start->control;
    return 0;
}

/* Room for all sockets, and for what is none of them. */
static int make_room(struct start *start, const struct engine *engine)
{
    const struct version *version = engine->version;
    uint32_t count = 2 + (engine->inherited ? engine->inherited->count : 0);

    for (uint32_t i = 0; i < version->listener_count; i++)
        count += version->listeners[i].socket->fd_count;
    start->fds = calloc(count, sizeof(int));
    start->names = calloc(1, sizeof(NAMES_VARIABLE "=") + count * sizeof(TAKEOVER_LENT_NAME ":"));
    if (!start->fds || !start->names)
        return -ENOMEM;
    start->names_end = stpcpy(start->names, NAMES_VARIABLE "=");
    return 0;
}

static void add_socket(struct start *start, int fd, const char *name)
{
    const char *separator = start->socket_count > 0 ? ":" : "";

    start->names_end = stpcpy(stpcpy(start->names_end, separator), name);
    start->fds[start->socket_count++] = fd;
    start->fd_count = start->socket_count;
}

/* First those of the listeners, in their order, as handover_lend() counts them; then what the service manager has given and no
 * listener is for. */
static int collect_sockets(struct start *start, const struct engine *engine)
{
    const struct version *version = engine->version;
    const struct inherited *inherited = engine->inherited;
    int rc = make_room(start, engine);

    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < version->listener_count; i++) {
        const struct listen_socket *socket = version->listeners[i].socket;

        for (uint32_t j = 0; j < socket->fd_count; j++)
            add_socket(start, socket->fds[j], socket->stays_lent ? TAKEOVER_LENT_NAME : TAKEOVER_OWN_NAME);
    }
    for (uint32_t i = 0; inherited && i < inherited->count; i++) {
        if (inherited_is_spare(&inherited->sockets[i]))
            add_socket(start, inherited->sockets[i].fd, TAKEOVER_LENT_NAME);
    }
    return 0;
}

static void add_control(struct start *start, const struct control_handed *control)
{
    if (control->fd < 0)
        return;
    snprintf(start->control, sizeof(start->control), TAKEOVER_CONTROL_VARIABLE "=" TAKEOVER_CONTROL_FORMAT,
             TAKEOVER_FIRST_FD + start->fd_count, control->is_default, (unsigned long long)control->device,
             (unsigned long long)control->inode, control->path);
    start->fds[start->fd_count++] = control->fd;
}

static void start_deinit(struct start *start)
{
    free(start->fds);
    free(start->names);
    free(start->environment);
}

/* ---- beginning ---- */

/* Of each of these descriptors it may say that it has no use for it. */
static int expect_answers(struct handover *handover, uint32_t fd_count)
{
    handover->fd_count = fd_count;
    handover->is_left = calloc(fd_count + 1, sizeof(bool));
    return handover->is_left ? 0 : -ENOMEM;
}

static int start_program(struct handover *handover, const struct engine *engine, const struct control_handed *control,
                         int ready_fd)
{
    struct start start = {0};
    int rc = collect_sockets(&start, engine);

    if (rc == 0)
        rc = expect_answers(handover, (uint32_t)start.socket_count);
    if (rc == 0) {
        add_control(&start, control);
        start.fds[start.fd_count++] = ready_fd;
        rc = make_environment(&start);
    }
    if (rc == 0) {
        struct spawn spawn = {
            .fds = start.fds,
            .fd_count = start.fd_count,
            .environment = start.environment,
            .listen_pid = start.listen_pid,
        };

        rc = spawn_program(&spawn, &handover->pid);
    }
    start_deinit(&start);
    return rc;
}

static int begin(struct handover *handover, const struct engine *engine, const struct control_handed *control)
{
    int pair[2];
    int rc;

    if (access(program_path(), X_OK) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    handover->fd = pair[0];
    rc = start_program(handover, engine, control, pair[1]);
    close(pair[1]);
    if (rc < 0)
        handover_deinit(handover);
    else
        handover->pidfd = (int)syscall(SYS_pidfd_open, handover->pid, 0);
    return rc;
}

int handover_begin(struct handover *handover, const struct engine *engine, const struct control_handed *control,
                   char *problem)
{
    int rc;

    assert(handover->fd < 0);
    rc = begin(handover, engine, control);
    if (rc < 0) {
        snprintf(problem, HANDOVER_PROBLEM_BYTES, "cannot start %.300s: %s", program_path(), strerror(-rc));
        return rc;
    }
    (void)fcntl(handover->fd, F_SETFL, O_NONBLOCK);
    handover->until_ms = clock_now_ms() + HANDOVER_MS_MAX;
    return 0;
}

/* ---- waiting ---- */

static void explain(const struct handover *handover, char *problem, const char *what)
{
    snprintf(problem, HANDOVER_PROBLEM_BYTES, "the new process, %d of %.300s, %s: this one goes on", (int)handover->pid,
             program_path(), what);
}

static enum handover_outcome fail(struct handover *handover, char *problem, const char *what)
{
    explain(handover, problem, what);
    handover_cancel(handover);
    return HANDOVER_FAILED;
}

/* Of itself: who has its process id by now is somebody else. */
static enum handover_outcome fail_ended(struct handover *handover, char *problem)
{
    size_t used;

    explain(handover, problem, "ended before it was ready");
    used = strlen(problem);
    if (handover->problem[0] != '\0')
        snprintf(problem + used, HANDOVER_PROBLEM_BYTES - used, ". It said: %s", handover->problem);
    handover_deinit(handover);
    return HANDOVER_FAILED;
}

/* takeover.h says what lines there are. True: it was the last one. */
static bool take_line(struct handover *handover, const char *line)
{
    static const char problem[] = "problem ";
    unsigned number;

    if (strncmp(line, problem, sizeof(problem) - 1) == 0 && handover->problem[0] == '\0')
        snprintf(handover->problem, sizeof(handover->problem), "%s", line + sizeof(problem) - 1);
    if (sscanf(line, "left %u", &number) == 1 && number < handover->fd_count)
        handover->is_left[number] = true;
    if (strcmp(line, "control") == 0)
        handover->has_control = true;
    return strcmp(line, "ready") == 0;
}

static bool take_lines(struct handover *handover)
{
    char *line = handover->line;
    bool is_ready = false;
    char *end;

    handover->line[handover->line_bytes] = '\0';
    for (; !is_ready && (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        is_ready = take_line(handover, line);
    }
    handover->line_bytes = (uint32_t)strlen(line);
    memmove(handover->line, line, handover->line_bytes + 1);
    return is_ready;
}

/* What has come. */
static enum handover_outcome hear(struct handover *handover, char *problem)
{
    for (;;) {
        size_t room = sizeof(handover->line) - 1 - handover->line_bytes;
        ssize_t count = read(handover->fd, handover->line + handover->line_bytes, room);

        if (count < 0)
            return HANDOVER_WAITS;
        if (room == 0)
            return fail(handover, problem, "says what no version of this program does");
        if (count == 0)
            return fail_ended(handover, problem);
        handover->line_bytes += (uint32_t)count;
        if (take_lines(handover))
            return HANDOVER_DONE;
    }
}

enum handover_outcome handover_look(struct handover *handover, uint64_t now_ms, char *problem)
{
    enum handover_outcome outcome = hear(handover, problem);

    if (outcome == HANDOVER_WAITS && now_ms >= handover->until_ms)
        return fail(handover, problem, "was not ready in time");
    if (outcome == HANDOVER_DONE) {
        handover->done_fd = handover->fd;
        handover->fd = -1;
    }
    return outcome;
}

int handover_take_fd(struct handover *handover)
{
    int fd = handover->done_fd;

    handover->done_fd = -1;
    return fd;
}

/* first: the number of its first descriptor among those that the new process was given. */
static void lend(const struct handover *handover, struct listen_socket *socket, uint32_t first)
{
    uint32_t left = 0;

    for (uint32_t i = 0; i < socket->fd_count; i++)
        left += handover->is_left[first + i];
    if (left == socket->fd_count)
        return;
    listen_socket_lend(socket);
    for (uint32_t i = 0; i < socket->fd_count; i++) {
        if (handover->is_left[first + i])
            listen_socket_shut(socket, i);
    }
}

void handover_lend(struct handover *handover, const struct engine *engine)
{
    const struct version *version = engine->version;
    uint32_t first = 0;

    for (uint32_t i = 0; i < version->listener_count; i++) {
        struct listen_socket *socket = version->listeners[i].socket;

        assert(first + socket->fd_count <= handover->fd_count);
        lend(handover, socket, first);
        first += socket->fd_count;
    }
}

void handover_signal(const struct handover *handover, int number)
{
    if (handover->pidfd >= 0)
        (void)syscall(SYS_pidfd_send_signal, handover->pidfd, number, NULL, 0);
    else
        kill(handover->pid, number);
}

void handover_cancel(struct handover *handover)
{
    if (handover->fd < 0)
        return;
    handover_signal(handover, SIGKILL); /* nothing has come to it yet that it could finish */
    handover_deinit(handover);
}
