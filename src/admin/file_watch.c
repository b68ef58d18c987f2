/* See file_watch.h. */
#include "admin/file_watch.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "admin/watch_plan.h"
#include "base/assert.h"
#include "base/log.h"

enum {
    READ_BYTES = 16 * 1024,
    READS_MAX = 64, /* at a time; the descriptor stays readable if there is more */

    NAME_EVENTS = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO, /* a name stands for something else now */
    DIRECTORY_EVENTS = IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED,
};

static_assert(FILE_WATCH_PROBLEM_MAX >= PATH_MAX + 256, "a path fits, and what is said about it");
static_assert(READ_BYTES >= sizeof(struct inotify_event) + NAME_MAX + 1, "an event fits");

struct file_watch {
    int fd;                 /* owned */
    struct watch_plan plan; /* owned */
    bool is_stale;          /* what is watched may no longer be the ways to the files */
    bool is_reported;       /* that it could not be made so */
    bool is_pending;
    uint64_t first_ms;
    uint64_t last_ms;
    char changed[PATH_MAX]; /* "": any */
};

int file_watch_open(struct file_watch **out)
{
    struct file_watch *watch = calloc(1, sizeof(*watch));
    int rc;

    *out = NULL;
    if (!watch)
        return -ENOMEM;
    watch->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    rc = watch->fd < 0 ? -errno : watch_plan_init(&watch->plan, watch->fd, NULL, 0);
    if (rc < 0)
        goto fail;
    *out = watch;
    return 0;
fail:
    file_watch_close(watch);
    return rc;
}

void file_watch_close(struct file_watch *watch)
{
    if (!watch)
        return;
    watch_plan_deinit(&watch->plan);
    if (watch->fd >= 0)
        close(watch->fd);
    free(watch);
}

/* ---- the set ---- */

/* Makes `to` what is watched, in place of the present plan. */
static void replace_plan(struct file_watch *watch, const struct watch_plan *to)
{
    watch_plan_unwatch(&watch->plan, watch->fd, to);
    watch_plan_deinit(&watch->plan);
    watch->plan = *to;
}

/* Undoes watch_plan_init(), of which the present plan keeps what it has, but for failed_at. */
static void drop_plan(struct file_watch *watch, struct watch_plan *plan)
{
    memcpy(watch->plan.failed_at, plan->failed_at, sizeof(plan->failed_at));
    watch_plan_unwatch(plan, watch->fd, &watch->plan);
    watch_plan_deinit(plan);
}

static const struct watch_file *find_file(const struct watch_plan *plan, const char *path)
{
    for (size_t i = 0; i < plan->file_count; i++) {
        if (strcmp(plan->files[i].path, path) == 0)
            return &plan->files[i];
    }
    return NULL;
}

int file_watch_set(struct file_watch *watch, const char *const *paths, size_t count)
{
    struct watch_plan plan;
    int rc = watch_plan_init(&plan, watch->fd, paths, count);

    if (rc < 0) {
        drop_plan(watch, &plan);
        return rc;
    }
    /* Events about files that stay may be waiting to be read: they are compared with what was known when those came. */
    for (size_t i = 0; i < plan.file_count; i++) {
        const struct watch_file *known = find_file(&watch->plan, plan.files[i].path);

        plan.files[i].is_new = !known;
        if (known)
            plan.files[i].version = known->version;
    }
    replace_plan(watch, &plan);
    return 0;
}

const char *file_watch_explain(const struct file_watch *watch, int error, char text[FILE_WATCH_PROBLEM_MAX])
{
    const char *limit = NULL;

    if (error == -EMFILE && !watch)
        limit = "this process has too many open files, or its user too many inotify instances "
                "(sysctl fs.inotify.max_user_instances)";
    else if (error == -ENOSPC)
        limit = "the user of this process watches as many directories as the kernel allows "
                "(sysctl fs.inotify.max_user_watches)";
    if (limit)
        snprintf(text, FILE_WATCH_PROBLEM_MAX, "%s", limit);
    else if (watch && watch->plan.failed_at[0] != '\0')
        snprintf(text, FILE_WATCH_PROBLEM_MAX, "%s cannot be watched: %s", watch->plan.failed_at, strerror(-error));
    else
        snprintf(text, FILE_WATCH_PROBLEM_MAX, "%s", strerror(-error));
    return text;
}

/* ---- changes ---- */

/* path NULL: any. */
static void note_change(struct file_watch *watch, const char *path, uint64_t now_ms)
{
    if (!watch->is_pending) {
        watch->is_pending = true;
        watch->first_ms = now_ms;
        snprintf(watch->changed, sizeof(watch->changed), "%s", path ? path : "");
    }
    watch->last_ms = now_ms;
}

static bool is_later(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec > b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec > b->tv_nsec);
}

void file_watch_note_newer(struct file_watch *watch, const struct timespec *since, uint64_t now_ms)
{
    for (size_t i = 0; i < watch->plan.file_count; i++) {
        const struct watch_file *file = &watch->plan.files[i];

        if (file->is_new && is_later(&file->version.changed, since))
            note_change(watch, file->path, now_ms);
    }
}

uint64_t file_watch_due_ms(const struct file_watch *watch)
{
    uint64_t quiet_ms = watch->last_ms + FILE_WATCH_QUIET_MS;
    uint64_t latest_ms = watch->first_ms + FILE_WATCH_LATEST_MS;

    if (!watch->is_pending)
        return UINT64_MAX;
    return quiet_ms < latest_ms ? quiet_ms : latest_ms;
}

bool file_watch_take(struct file_watch *watch, uint64_t now_ms)
{
    if (now_ms < file_watch_due_ms(watch) || !watch->is_pending)
        return false;
    watch->is_pending = false;
    return true;
}

const char *file_watch_changed(const struct file_watch *watch)
{
    return watch->changed[0] == '\0' ? NULL : watch->changed;
}

/* ---- events ---- */

static void report_stale(struct file_watch *watch, int error)
{
    char problem[FILE_WATCH_PROBLEM_MAX];

    if (!watch->is_reported)
        log_warn("watch: changes of scripts may go unnoticed: %s", file_watch_explain(watch, error, problem));
    watch->is_reported = true;
}

/* Makes a plan for the same files as the present one. */
static int plan_again(struct file_watch *watch, struct watch_plan *plan)
{
    size_t count = watch->plan.file_count;
    const char **paths = calloc(count + 1, sizeof(*paths));
    int rc;

    *plan = (struct watch_plan){0};
    if (!paths)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        paths[i] = watch->plan.files[i].path;
    rc = watch_plan_init(plan, watch->fd, paths, count);
    free(paths);
    return rc;
}

/* Walks the ways to all files anew. Files that are others now have changed. */
static void refresh(struct file_watch *watch, uint64_t now_ms)
{
    struct watch_plan plan;
    int rc = plan_again(watch, &plan);

    if (rc < 0) {
        drop_plan(watch, &plan);
        report_stale(watch, rc);
        return;
    }
    for (size_t i = 0; i < plan.file_count; i++) {
        if (!file_version_is(&plan.files[i].version, &watch->plan.files[i].version))
            note_change(watch, plan.files[i].path, now_ms);
    }
    replace_plan(watch, &plan);
    watch->is_stale = false;
    watch->is_reported = false;
}

/* An event about the name of a step. That of the file itself is a change, also when the version is the same: file systems with
 * coarse time stamps would hide a second write. What a name further up leads to now is for refresh() to find out. */
static void on_step(struct file_watch *watch, const struct watch_step *step, uint32_t events, uint64_t now_ms)
{
    struct watch_file *file = &watch->plan.files[step->file];

    if (step->is_last) {
        note_change(watch, file->path, now_ms);
        file->version = file_version_of(file->path);
    }
    if (events & NAME_EVENTS)
        watch->is_stale = true;
}

static void on_event(struct file_watch *watch, const struct inotify_event *event, uint64_t now_ms)
{
    const struct watch_plan *plan = &watch->plan;

    if (event->mask & IN_Q_OVERFLOW) {
        note_change(watch, NULL, now_ms);
        watch->is_stale = true;
    }
    if ((event->mask & DIRECTORY_EVENTS) && watch_plan_has(plan, event->wd))
        watch->is_stale = true;
    for (size_t i = 0; event->len > 0 && i < plan->step_count; i++) {
        const struct watch_step *step = &plan->steps[i];

        if (step->wd == event->wd && strcmp(step->name, event->name) == 0)
            on_step(watch, step, event->mask, now_ms);
    }
}

/* False when there was nothing to read. */
static bool read_events(struct file_watch *watch, uint64_t now_ms)
{
    _Alignas(struct inotify_event) char bytes[READ_BYTES];
    ssize_t len = read(watch->fd, bytes, sizeof(bytes));
    const struct inotify_event *event;

    for (ssize_t at = 0; at < len; at += (ssize_t)(sizeof(*event) + event->len)) {
        event = (const void *)(bytes + at);
        on_event(watch, event, now_ms);
    }
    return len > 0;
}

int file_watch_fd(const struct file_watch *watch)
{
    return watch->fd;
}

void file_watch_read(struct file_watch *watch, uint64_t now_ms)
{
    for (int i = 0; i < READS_MAX && read_events(watch, now_ms); i++) {
        if (watch->is_stale)
            refresh(watch, now_ms);
    }
}
