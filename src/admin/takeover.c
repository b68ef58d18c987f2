/* See takeover.h. */
#include "admin/takeover.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "admin/control_socket.h"
#include "base/assert.h"
#include "base/log.h"
#include "core/inherited.h"

static_assert(TAKEOVER_FIRST_FD == SD_LISTEN_FDS_START, "it is systemd's convention");

enum { TAKEOVER_WAIT_MS = 1000 }; /* for the process before this one to talk to the service manager */

static struct {
    int fd_count;         /* that were said to be sockets */
    int open_count;       /* descriptors from TAKEOVER_FIRST_FD on that were open at the start */
    pthread_mutex_t lock; /* of who uses or closes ready_fd while there may be other threads */
    int ready_fd;         /* where to say that we serve; -1: nobody asks */
    bool has_predecessor;
    bool had_control;
    struct control_handed control;
} takeover = {.lock = PTHREAD_MUTEX_INITIALIZER, .ready_fd = -1, .control.fd = -1};

static int take_ready_fd(void)
{
    const char *text = getenv(TAKEOVER_READY_VARIABLE);
    int fd = text ? (int)strtol(text, NULL, 10) : -1;

    unsetenv(TAKEOVER_READY_VARIABLE);
    return fd >= TAKEOVER_FIRST_FD && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? fd : -1;
}

void takeover_remember(void)
{
    takeover.open_count = 0;
    while (takeover.open_count < INHERITED_MAX && fcntl(TAKEOVER_FIRST_FD + takeover.open_count, F_GETFD) >= 0)
        takeover.open_count++;
    takeover.ready_fd = take_ready_fd();
    takeover.has_predecessor = takeover.ready_fd >= 0;
    log_hear_errors(takeover.has_predecessor ? takeover_complain : NULL);
}

void takeover_complain(const char *message, size_t len)
{
    char line[TAKEOVER_LINE_BYTES];
    const char *end = memchr(message, '\n', len);
    int shown = (int)(end ? end - message : (ptrdiff_t)len);
    int count = snprintf(line, sizeof(line) - 1, "problem %.*s", shown, message);

    if (count > (int)sizeof(line) - 2)
        count = sizeof(line) - 2;
    line[count] = '\n';
    pthread_mutex_lock(&takeover.lock);
    /* Where it takes no more, it has had enough. */
    if (takeover.ready_fd >= 0)
        (void)send(takeover.ready_fd, line, (size_t)count + 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    pthread_mutex_unlock(&takeover.lock);
}

/* Reads the value of the variable. False: it makes no sense. */
static bool read_control(const char *text, struct control_handed *out)
{
    unsigned long long device, inode;
    int is_default;
    int begin = 0;

    if (sscanf(text, "%d %d %llu %llu %n", &out->fd, &is_default, &device, &inode, &begin) != 4 || begin == 0 ||
        strlen(text + begin) >= sizeof(out->path))
        return false;
    out->is_default = is_default;
    out->device = device;
    out->inode = inode;
    memcpy(out->path, text + begin, strlen(text + begin) + 1);
    return out->fd >= TAKEOVER_FIRST_FD && fcntl(out->fd, F_SETFD, FD_CLOEXEC) == 0;
}

static void take_control(void)
{
    const char *text = getenv(TAKEOVER_CONTROL_VARIABLE);

    if (!text || takeover.ready_fd < 0 || !read_control(text, &takeover.control))
        takeover.control.fd = -1;
    takeover.had_control = takeover.control.fd >= 0;
    unsetenv(TAKEOVER_CONTROL_VARIABLE);
}

bool takeover_has_predecessor(void)
{
    return takeover.has_predecessor;
}

struct control_handed *takeover_control(void)
{
    return &takeover.control;
}

/* A service manager goes on with its sockets, those that it once gave to who makes way for us among them. */
static void receive(struct inherited *out, int fd, const char *name)
{
    bool stays_lent = takeover.ready_fd < 0 || strcmp(name, TAKEOVER_LENT_NAME) == 0;
    int rc = inherited_add(out, fd, stays_lent);

    if (rc == 0)
        return;
    log_warn("the descriptor %d of LISTEN_FDS cannot be used: %s", fd,
             rc == -ENOTSUP ? "it is no listening stream socket" : strerror(-rc));
    close(fd);
}

void takeover_receive(struct inherited *out)
{
    char **names = NULL;
    int count;

    *out = (struct inherited){0};
    take_control();
    count = sd_listen_fds_with_names(1, &names);
    if (count < 0 || count > takeover.open_count)
        log_warn("LISTEN_FDS: %s", strerror(count < 0 ? -count : EBADF));
    for (int i = 0; i < count; i++) {
        takeover.fd_count = i + 1;
        if (i < takeover.open_count)
            receive(out, TAKEOVER_FIRST_FD + i, names[i]);
        free(names[i]);
    }
    free(names);
}

static int say(const struct inherited *inherited)
{
    for (int i = 0; i < takeover.fd_count; i++) {
        if (!inherited_has_taken(inherited, TAKEOVER_FIRST_FD + i) && dprintf(takeover.ready_fd, "left %d\n", i) < 0)
            return -errno;
    }
    if (takeover.had_control && takeover.control.fd < 0 && dprintf(takeover.ready_fd, "control\n") < 0)
        return -errno;
    return dprintf(takeover.ready_fd, "ready\n") < 0 ? -errno : 0;
}

/* Of the connection, which is all that comes back over it. */
static void await_end(void)
{
    struct pollfd other = {.fd = takeover.ready_fd, .events = POLLIN};

    while (poll(&other, 1, TAKEOVER_WAIT_MS) < 0 && errno == EINTR)
        continue;
}

static void close_ready_fd(void)
{
    log_hear_errors(NULL);
    pthread_mutex_lock(&takeover.lock);
    close(takeover.ready_fd);
    takeover.ready_fd = -1;
    pthread_mutex_unlock(&takeover.lock);
}

int takeover_confirm(const struct inherited *inherited)
{
    int rc;

    if (takeover.ready_fd < 0)
        return 0;
    rc = say(inherited);
    if (rc == 0)
        await_end();
    else
        log_error("the process before this one does not hear that it may make way: %s", strerror(-rc));
    close_ready_fd();
    if (takeover.control.fd >= 0)
        close(takeover.control.fd);
    takeover.control.fd = -1;
    return rc;
}
