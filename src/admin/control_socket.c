/* See control_socket.h. */
#include "admin/control_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "core/socket.h"

enum { BACKLOG = 64, LOCK_RETRY_MS = 10 };

/* What control_socket_open() works on. */
struct opening {
    struct control_socket *self;
    const struct control_socket_options *options;
    char directory[CONTROL_PATH_BYTES];
    char temporary[CONTROL_PATH_BYTES + 12]; /* the path and the process id, until it is renamed */
    char *error;
};

static_assert(CONTROL_PATH_BYTES + 12 <= sizeof(((struct sockaddr_un *)0)->sun_path),
              "a temporary name fits an address");

static int PRINTF_LIKE(3, 4) refuse(const struct opening *opening, int rc, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(opening->error, CONTROL_ERROR_MAX, format, args);
    va_end(args);
    return rc;
}

/* ---- the directory ---- */

static void name_directory(const char *path, char *out)
{
    const char *slash = strrchr(path, '/');
    int len = slash ? (int)(slash - path) : 0;

    if (!slash)
        snprintf(out, CONTROL_PATH_BYTES, ".");
    else
        snprintf(out, CONTROL_PATH_BYTES, "%.*s", len > 0 ? len : 1, path);
}

static int make_directory(const struct opening *opening)
{
    const struct control_socket_options *options = opening->options;

    if (mkdir(opening->directory, 0700) < 0)
        return errno == EEXIST ? 0 : -errno;
    if (options->owner != geteuid() && chown(opening->directory, options->owner, options->group) < 0)
        return -errno;
    return 0;
}

/* Whoever may rename files in the directory, or put another one in its place, could put a socket of their own in place of
 * ours: the directory, and the link to it when the path names one, are ours or root's. */
static int check_owner(const struct opening *opening, const struct stat *status)
{
    if (status->st_uid == 0 || status->st_uid == geteuid() || status->st_uid == opening->options->owner)
        return 0;
    return refuse(opening, -EACCES, "control socket %s: %s belongs to somebody else (uid %u)", opening->options->path,
                  S_ISLNK(status->st_mode) ? "the link to its directory" : "its directory", (unsigned)status->st_uid);
}

static int check_directory(const struct opening *opening)
{
    struct stat named;
    struct stat status;
    int rc;

    if (lstat(opening->directory, &named) < 0 || stat(opening->directory, &status) < 0)
        return refuse(opening, -errno, "control socket %s: %s", opening->options->path, strerror(errno));
    rc = check_owner(opening, &named);
    if (rc == 0)
        rc = check_owner(opening, &status);
    if (rc < 0)
        return rc;
    if ((status.st_mode & S_IWOTH) && !(status.st_mode & S_ISVTX))
        return refuse(opening, -EACCES, "control socket %s: everybody may write in its directory",
                      opening->options->path);
    return 0;
}

/* Keeps other servers from looking at the same path at the same time, and both from finding it free. Best effort, as anybody
 * who can read a directory can lock it: after CONTROL_LOCK_MS we go on without. Returns a descriptor to close, -1: none. */
static int lock_directory(const char *directory)
{
    const struct timespec pause = {.tv_nsec = (long)(LOCK_RETRY_MS * NS_PER_MS)};
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    for (int waited_ms = 0; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0; waited_ms += LOCK_RETRY_MS) {
        if (errno != EWOULDBLOCK || waited_ms >= CONTROL_LOCK_MS)
            break;
        nanosleep(&pause, NULL);
    }
    return fd;
}

static void unlock_directory(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* ---- the path ---- */

/* 1 when somebody listens at the path, with who it is; 0 when nobody does, or a negative errno. */
static int is_taken(const char *path, pid_t *pid)
{
    struct addr addr;
    int rc = addr_parse_unix(&addr, path);

    return rc < 0 ? rc : socket_find_listener(&addr, pid);
}

static int check_path(const struct opening *opening)
{
    const char *path = opening->options->path;
    struct stat status;
    pid_t pid;
    int rc;

    if (lstat(path, &status) < 0)
        return errno == ENOENT ? 0 : refuse(opening, -errno, "control socket %s: %s", path, strerror(errno));
    if (!S_ISSOCK(status.st_mode))
        return refuse(opening, -EEXIST, "control socket %s: there is a file there that is no socket", path);
    rc = is_taken(path, &pid);
    if (rc < 0)
        return refuse(opening, rc, "control socket %s: %s", path, strerror(-rc));
    if (rc == 0 || (pid != 0 && pid == opening->options->predecessor))
        return 0;
    return refuse(opening, -EADDRINUSE, "control socket %s: another server has it (process %d)", path, (int)pid);
}

/* ---- opening ---- */

/* Under the temporary name, with everything as it is to be. */
static int prepare(struct opening *opening)
{
    const struct control_socket_options *options = opening->options;
    struct control_socket *self = opening->self;
    struct stat status;
    struct addr addr;
    int rc = addr_parse_unix(&addr, opening->temporary);

    if (rc < 0)
        return rc;
    self->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (self->fd < 0)
        return -errno;
    /* Linux makes the file with the mode of the socket, less the umask (unix_bind_bsd()): 0600 from its first moment, without
     * a change of the umask, which all threads have in common. */
    if (fchmod(self->fd, 0600) < 0)
        return -errno;
    unlink(opening->temporary); /* a process of the same id left it, and is gone */
    if (bind(self->fd, &addr.sa, addr.len) < 0)
        return -errno;
    if (options->owner != geteuid() && lchown(opening->temporary, options->owner, options->group) < 0)
        return -errno;
    if (lstat(opening->temporary, &status) < 0)
        return -errno;
    self->device = status.st_dev;
    self->inode = status.st_ino;
    return listen(self->fd, BACKLOG) < 0 ? -errno : 0;
}

static int publish(struct opening *opening)
{
    int lock = lock_directory(opening->directory);
    int rc = check_path(opening);

    if (rc == 0 && rename(opening->temporary, opening->options->path) < 0)
        rc = refuse(opening, -errno, "control socket %s: %s", opening->options->path, strerror(errno));
    unlock_directory(lock);
    return rc;
}

int control_socket_open(struct control_socket *self, const struct control_socket_options *options, char *error)
{
    struct opening opening = {.self = self, .options = options, .error = error};
    int rc;

    *self = (struct control_socket){.fd = -1};
    assert(strlen(options->path) < CONTROL_PATH_BYTES);
    snprintf(self->path, sizeof(self->path), "%s", options->path);
    snprintf(opening.temporary, sizeof(opening.temporary), "%s.%d", options->path, (int)getpid());
    name_directory(options->path, opening.directory);
    rc = make_directory(&opening);
    if (rc < 0)
        return refuse(&opening, rc, "control socket %s: cannot make its directory: %s", options->path, strerror(-rc));
    rc = check_directory(&opening);
    if (rc < 0)
        return rc;
    rc = prepare(&opening);
    if (rc < 0)
        refuse(&opening, rc, "control socket %s: %s", options->path, strerror(-rc));
    else
        rc = publish(&opening);
    if (rc == 0)
        return 0;
    if (self->fd >= 0) {
        unlink(opening.temporary);
        close(self->fd);
        self->fd = -1;
    }
    return rc;
}

static void remove_file(const struct control_socket *self)
{
    char directory[CONTROL_PATH_BYTES];
    struct stat status;
    int lock;

    name_directory(self->path, directory);
    lock = lock_directory(directory);
    if (lstat(self->path, &status) == 0 && status.st_dev == self->device && status.st_ino == self->inode &&
        unlink(self->path) < 0)
        log_debug("control socket %s: cannot be removed: %s", self->path, strerror(errno));
    unlock_directory(lock);
}

void control_socket_close(struct control_socket *self)
{
    if (self->fd < 0)
        return;
    remove_file(self);
    close(self->fd);
    self->fd = -1;
}

/* ---- clients ---- */

static bool may_control(const struct ucred *peer)
{
    return peer->uid == 0 || peer->uid == geteuid();
}

int control_socket_accept(const struct control_socket *self)
{
    struct ucred peer = {.pid = 0};
    socklen_t len = sizeof(peer);
    int fd = accept4(self->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return -errno;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && may_control(&peer))
        return fd;
    log_warn("control socket: process %d of uid %u was turned away", (int)peer.pid, (unsigned)peer.uid);
    close(fd);
    return -EPERM;
}
