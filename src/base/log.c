/* Where log lines go: one descriptor for the life of the process, which log_open() and log_reopen() point at another
 * file with dup3(2). A writer therefore needs no lock: its write(2) lands in the old file or in the new one, whole.
 * log_open, log_reopen, log_give and log_close belong to the control thread. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log_line.h"

enum { MESSAGE_BYTES_MAX = 8 * 1024, LOG_FILE_MODE = 0640 };

static struct {
    _Atomic int fd; /* ours once log_open() made it, before that stderr */
    _Atomic enum log_level level;
    _Atomic enum log_format format;
    void (*_Atomic hear)(const char *message, size_t len);
    char *path;   /* owned; NULL before log_open() */
    bool is_made; /* this process made the file */
} process_log = {.fd = STDERR_FILENO, .level = LOG_INFO, .format = LOG_TEXT};

static _Thread_local const char *thread_name;

static bool is_stream(const char *path)
{
    return strcmp(path, "stderr") == 0 || strcmp(path, "stdout") == 0;
}

/* A descriptor of its own for path, a stream included, so that it can be closed and replaced like any other. */
static int open_path(const char *path, bool *is_made)
{
    const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY;
    int fd;

    *is_made = false;
    if (is_stream(path)) {
        fd = fcntl(strcmp(path, "stdout") == 0 ? STDOUT_FILENO : STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        return fd < 0 ? -errno : fd;
    }
    fd = open(path, flags | O_EXCL, LOG_FILE_MODE);
    *is_made = fd >= 0;
    if (fd < 0 && errno == EEXIST)
        fd = open(path, flags, LOG_FILE_MODE);
    return fd < 0 ? -errno : fd;
}

/* Writers go over to fd, which is consumed. */
static int replace_fd(int fd)
{
    int present = atomic_load(&process_log.fd);
    int result = 0;

    if (present == STDERR_FILENO) {
        atomic_store(&process_log.fd, fd);
        return 0;
    }
    if (dup3(fd, present, O_CLOEXEC) < 0)
        result = -errno;
    close(fd);
    return result;
}

/* Nothing can be done about a log that takes no more (disk full, reader gone): serving goes on without it. */
static void write_line(const char *line, size_t len)
{
    int fd = atomic_load_explicit(&process_log.fd, memory_order_relaxed);
    ssize_t written;

    do {
        written = write(fd, line, len);
    } while (written < 0 && errno == EINTR);
}

static int open_log(const char *path)
{
    char *path_copy = strdup(path);
    bool is_made;
    int fd = path_copy ? open_path(path, &is_made) : -ENOMEM;
    int result = fd < 0 ? fd : replace_fd(fd);

    if (result < 0) {
        free(path_copy);
        return result;
    }
    free(process_log.path);
    process_log.path = path_copy;
    process_log.is_made = is_made;
    return 0;
}

int log_open(const char *path, enum log_level level, enum log_format format)
{
    bool is_open = process_log.path && strcmp(process_log.path, path) == 0;
    int result = is_open ? 0 : open_log(path);

    if (result < 0)
        return result;
    atomic_store(&process_log.level, level);
    atomic_store(&process_log.format, format);
    return 0;
}

int log_reopen(void)
{
    bool is_made;
    int result;

    if (!process_log.path || is_stream(process_log.path))
        return 0;
    result = open_path(process_log.path, &is_made);
    if (result >= 0)
        result = replace_fd(result);
    if (result == 0)
        process_log.is_made = is_made;
    return result;
}

int log_give(uid_t uid, gid_t gid)
{
    int fd = atomic_load(&process_log.fd);
    struct stat status;

    if (!process_log.is_made)
        return 0;
    if (fstat(fd, &status) < 0)
        return -errno;
    return S_ISREG(status.st_mode) && fchown(fd, uid, gid) < 0 ? -errno : 0;
}

void log_close(void)
{
    int fd = atomic_exchange(&process_log.fd, STDERR_FILENO);

    if (fd != STDERR_FILENO)
        close(fd);
    free(process_log.path);
    process_log.path = NULL;
    process_log.is_made = false;
    atomic_store(&process_log.level, LOG_INFO);
    atomic_store(&process_log.format, LOG_TEXT);
}

bool log_is_on(enum log_level level)
{
    return level >= atomic_load_explicit(&process_log.level, memory_order_relaxed);
}

int log_level_parse(const char *name)
{
    for (int level = 0; level < LOG_LEVEL_COUNT; level++) {
        if (strcmp(name, log_level_name((enum log_level)level)) == 0)
            return level;
    }
    return -EINVAL;
}

void log_thread_name(const char *name)
{
    thread_name = name;
}

void log_hear_errors(void (*hear)(const char *message, size_t len))
{
    atomic_store(&process_log.hear, hear);
}

static void pass_on(const char *message, size_t len)
{
    void (*hear)(const char *, size_t) = atomic_load_explicit(&process_log.hear, memory_order_relaxed);

    if (hear)
        hear(message, len);
}

void log_write(enum log_level level, const char *format, ...)
{
    char message[MESSAGE_BYTES_MAX];
    va_list args;
    int len;

    if (!log_is_on(level))
        return;
    va_start(args, format);
    len = vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    if (len >= (int)sizeof(message)) {
        len = sizeof(message) - 1;
        memcpy(message + len - 3, "...", 3);
    }
    if (len >= 0)
        log_write_bytes(level, message, (size_t)len);
}

void log_write_bytes(enum log_level level, const char *message, size_t len)
{
    int saved_errno = errno; /* a caller may log first and look at errno then */
    char line[LOG_LINE_BYTES_MAX];
    struct log_entry entry = {
        .level = level,
        .wall_ns = clock_wall_ns(),
        .thread = thread_name,
        .message = message,
        .message_len = len,
    };

    if (log_is_on(level))
        write_line(line, log_line_format(line, atomic_load(&process_log.format), &entry));
    if (level == LOG_ERROR)
        pass_on(message, len);
    errno = saved_errno;
}
