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

enum { TEMPORARY_BYTES = CONTROL_PATH_BYTES + 12 }; /* the path and the process id */

static_assert(TEMPORARY_BYTES <= sizeof(((struct sockaddr_un *)0)->sun_path), "a temporary name fits an address");

static int PRINTF_LIKE(3, 4) refuse(char *error, int rc, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(error, CONTROL_ERROR_MAX, format, args);
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

static int make_directory(const char *directory, const struct control_socket_options *options)
{
    if (mkdir(directory, 0700) < 0)
        return errno == EEXIST ? 0 : -errno;
    if (options->owner != geteuid() && chown(directory, options->owner, options->group) < 0)
        return -errno;
    return 0;
}

/* Whoever may rename files in the directory, or put another one in its place, could put a socket of their own in place of
 * ours: the directory, and the link to it when the path names one, are ours or root's. */
static int check_owner(const struct control_socket_options *options, const struct stat *status, char *error)
{
    if (status->st_uid == 0 || status->st_uid == geteuid() || status->st_uid == options->owner)
        return 0;
    return refuse(error, -EACCES, "control socket %s: %s belongs to somebody else (uid %u)", options->path,
                  S_ISLNK(status->st_mode) ? "the link to its directory" : "its directory", (unsigned)status->st_uid);
}

static int check_directory(const char *directory, const struct control_socket_options *options, char *error)
{
    struct stat named;
    struct stat status;
    int rc;

    if (lstat(directory, &named) < 0 || stat(directory, &status) < 0)
        return refuse(error, -errno, "control socket %s: %s", options->path, strerror(errno));
    rc = check_owner(options, &named, error);
    if (rc == 0)
        rc = check_owner(options, &status, error);
    if (rc < 0)
        return rc;
    if ((status.st_mode & S_IWOTH) && !(status.st_mode & S_ISVTX))
        return refuse(error, -EACCES, "control socket %s: everybody may write in its directory", options->path);
    return 0;
}

static int open_directory(const struct control_socket_options *options, char *error)
{
    char directory[CONTROL_PATH_BYTES];
    int rc;

    name_directory(options->path, directory);
    rc = make_directory(directory, options);
    if (rc < 0)
        return refuse(error, rc, "control socket %s: cannot make its directory: %s", options->path, strerror(-rc));
    return check_directory(directory, options, error);
}

/* Keeps other servers from looking at the same path at the same time, and both from finding it free. Best effort, as anybody
 * who can read a directory can lock it: after CONTROL_LOCK_MS we go on without. Returns a descriptor to close, -1: none. */
static int lock_directory(const char *path)
{
    const struct timespec pause = {.tv_nsec = (long)(LOCK_RETRY_MS * NS_PER_MS)};
    char directory[CONTROL_PATH_BYTES];
    int fd;

    name_directory(path, directory);
    fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

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

static int check_path(const struct control_socket *self, char *error)
{
    struct stat status;
    pid_t pid;
    int rc;

    if (lstat(self->path, &status) < 0)
        return errno == ENOENT ? 0 : refuse(error, -errno, "control socket %s: %s", self->path, strerror(errno));
    if (!S_ISSOCK(status.st_mode))
        return refuse(error, -EEXIST, "control socket %s: there is a file there that is no socket", self->path);
    rc = is_taken(self->path, &pid);
    if (rc == 0)
        return 0;
    if (rc < 0)
        return refuse(error, rc, "control socket %s: %s", self->path, strerror(-rc));
    return refuse(error, -EADDRINUSE, "control socket %s: another server has it (process %d)", self->path, (int)pid);
}

/* ---- opening ---- */

static void name_temporary(const struct control_socket *self, char *out)
{
    snprintf(out, TEMPORARY_BYTES, "%s.%d", self->path, (int)getpid());
}

/* With everything as it is to be. */
static int listen_at(struct control_socket *self, const char *path, const struct control_socket_options *options)
{
    struct stat status;
    struct addr addr;
    int rc = addr_parse_unix(&addr, path);

    if (rc < 0)
        return rc;
    self->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (self->fd < 0)
        return -errno;
    /* Linux makes the file with the mode of the socket, less the umask (unix_bind_bsd()): 0600 from its first moment, without
     * a change of the umask, which all threads have in common. */
    if (fchmod(self->fd, 0600) < 0)
        return -errno;
    unlink(path); /* a process of the same id left it, and is gone */
    if (bind(self->fd, &addr.sa, addr.len) < 0)
        return -errno;
    if (options->owner != geteuid() && lchown(path, options->owner, options->group) < 0)
        return -errno;
    if (lstat(path, &status) < 0)
        return -errno;
    self->device = status.st_dev;
    self->inode = status.st_ino;
    return listen(self->fd, BACKLOG) < 0 ? -errno : 0;
}

/* Whether its file is the one at the path, so far as we may see that: the directory may be one that we cannot look into any more.
 */
static bool is_at(const struct control_handed *handed, const char *path)
{
    struct stat status;

    if (handed->fd < 0)
        return false;
    if (lstat(path, &status) == 0)
        return status.st_dev == handed->device && status.st_ino == handed->inode;
    return errno == EACCES && strcmp(path, handed->path) == 0;
}

static void take_handed(struct control_socket *self, struct control_handed *handed)
{
    self->fd = handed->fd;
    self->device = handed->device;
    self->inode = handed->inode;
    self->is_published = true;
    self->is_lent = true; /* until control_socket_own(): we may not come to serve */
    handed->fd = -1;
}

int control_socket_prepare(struct control_socket *self, const struct control_socket_options *options, char *error)
{
    char temporary[TEMPORARY_BYTES];
    int rc;

    *self = (struct control_socket){.fd = -1};
    assert(strlen(options->path) < CONTROL_PATH_BYTES);
    snprintf(self->path, sizeof(self->path), "%s", options->path);
    if (options->handed && is_at(options->handed, options->path)) {
        take_handed(self, options->handed);
        return 0;
    }
    rc = open_directory(options, error);
    if (rc == 0)
        rc = check_path(self, error);
    if (rc < 0)
        return rc;
    name_temporary(self, temporary);
    rc = listen_at(self, temporary, options);
    if (rc == 0)
        return 0;
    refuse(error, rc, "control socket %s: %s", options->path, strerror(-rc));
    control_socket_close(self);
    return rc;
}

int control_socket_publish(struct control_socket *self, char *error)
{
    char temporary[TEMPORARY_BYTES];
    int lock;
    int rc;

    if (self->is_published)
        return 0;
    lock = lock_directory(self->path);
    rc = check_path(self, error);
    name_temporary(self, temporary);
    if (rc == 0 && rename(temporary, self->path) < 0)
        rc = refuse(error, -errno, "control socket %s: %s", self->path, strerror(errno));
    self->is_published = rc == 0;
    unlock_directory(lock);
    return rc;
}

void control_socket_hand(const struct control_socket *self, bool is_default, struct control_handed *out)
{
    *out = (struct control_handed){
        .fd = self->fd,
        .is_default = is_default,
        .device = self->device,
        .inode = self->inode,
    };
    memcpy(out->path, self->path, sizeof(out->path));
}

void control_socket_lend(struct control_socket *self)
{
    self->is_lent = true;
    control_socket_close(self);
}

void control_socket_own(struct control_socket *self)
{
    self->is_lent = false;
}

static void remove_file(const struct control_socket *self)
{
    int lock = lock_directory(self->path);
    int rc = socket_remove_file(self->path, self->device, self->inode);

    if (rc < 0)
        log_debug("control socket %s: cannot be removed: %s", self->path, strerror(-rc));
    unlock_directory(lock);
}

void control_socket_close(struct control_socket *self)
{
    char temporary[TEMPORARY_BYTES];

    if (self->fd < 0)
        return;
    name_temporary(self, temporary);
    if (!self->is_published)
        unlink(temporary);
    else if (!self->is_lent)
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
