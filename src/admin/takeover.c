/* See takeover.h. */
#include "admin/takeover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "core/inherited.h"

static_assert(TAKEOVER_FIRST_FD == SD_LISTEN_FDS_START, "it is systemd's convention");

static struct {
    int fd_count;   /* that were said to be sockets */
    int open_count; /* descriptors from TAKEOVER_FIRST_FD on that were open at the start */
    int ready_fd;   /* where to say that we serve; -1: nobody asks */
    pid_t predecessor;
} takeover = {.ready_fd = -1};

void takeover_remember(void)
{
    takeover.open_count = 0;
    while (takeover.open_count < INHERITED_MAX && fcntl(TAKEOVER_FIRST_FD + takeover.open_count, F_GETFD) >= 0)
        takeover.open_count++;
}

static int take_ready_fd(void)
{
    const char *text = getenv(TAKEOVER_READY_VARIABLE);
    int fd = text ? (int)strtol(text, NULL, 10) : -1;

    unsetenv(TAKEOVER_READY_VARIABLE);
    return fd >= TAKEOVER_FIRST_FD && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? fd : -1;
}

static pid_t take_predecessor(void)
{
    const char *text = getenv(TAKEOVER_PREDECESSOR_VARIABLE);
    long pid = text ? strtol(text, NULL, 10) : 0;

    unsetenv(TAKEOVER_PREDECESSOR_VARIABLE);
    return takeover.ready_fd >= 0 && pid > 0 ? (pid_t)pid : 0;
}

pid_t takeover_predecessor(void)
{
    return takeover.predecessor;
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
    takeover.ready_fd = take_ready_fd();
    takeover.predecessor = take_predecessor();
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
    return dprintf(takeover.ready_fd, "ready\n") < 0 ? -errno : 0;
}

void takeover_confirm(const struct inherited *inherited)
{
    int rc;

    if (takeover.ready_fd < 0)
        return;
    rc = say(inherited);
    if (rc < 0)
        log_warn("cannot tell the process before this one that it may end: %s", strerror(-rc));
    close(takeover.ready_fd);
    takeover.ready_fd = -1;
}
