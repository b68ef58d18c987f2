/* See watch_plan.h. */
#include "admin/watch_plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"

enum {
    LINKS_MAX = 40, /* on the way to one file, as the kernel has it: path_resolution(7) */
    ROOM_FIRST = 16,

    /* Of every directory on the way: its names come and go, or it goes itself. */
    WAY_EVENTS = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF,
    /* Of the directory of a file: written, and complete. */
    FILE_EVENTS = WAY_EVENTS | IN_CLOSE_WRITE,

    /* One directory may be on the way to one file and hold another: events add up. */
    WATCH_FLAGS = IN_MASK_ADD | IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK,
};

enum walk_step { WALK_MORE, WALK_ENDED };

struct walk {
    struct watch_plan *plan; /* borrowed */
    int inotify_fd;
    uint32_t links;
    char at[PATH_MAX];   /* the directory that was reached, without links in it; "" is the root */
    char rest[PATH_MAX]; /* what is left to walk from there */
};

/* ---- versions ---- */

struct file_version file_version_of(const char *path)
{
    struct stat status;

    if (stat(path, &status) < 0)
        return (struct file_version){0};
    return (struct file_version){
        .device = status.st_dev,
        .inode = status.st_ino,
        .bytes = status.st_size,
        .modified = status.st_mtim,
        .changed = status.st_ctim,
    };
}

static bool is_same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool file_version_is(const struct file_version *a, const struct file_version *b)
{
    return a->device == b->device && a->inode == b->inode && a->bytes == b->bytes &&
           is_same_time(&a->modified, &b->modified) && is_same_time(&a->changed, &b->changed);
}

/* ---- steps and watches of a plan ---- */

bool watch_plan_has(const struct watch_plan *plan, int wd)
{
    for (size_t i = 0; i < plan->wd_count; i++) {
        if (plan->wds[i] == wd)
            return true;
    }
    return false;
}

/* Room for one more item of item_bytes, at least. */
static int reserve(void **items, size_t *room, size_t count, size_t item_bytes)
{
    size_t more = *room ? *room * 2 : ROOM_FIRST;
    void *grown;

    if (count < *room)
        return 0;
    grown = reallocarray(*items, more, item_bytes);
    if (!grown)
        return -ENOMEM;
    *items = grown;
    *room = more;
    return 0;
}

static int reserve_step(struct watch_plan *plan)
{
    void *steps = plan->steps;
    void *wds = plan->wds;
    int rc = reserve(&steps, &plan->step_room, plan->step_count, sizeof(*plan->steps));

    plan->steps = steps;
    if (rc == 0)
        rc = reserve(&wds, &plan->wd_room, plan->wd_count, sizeof(*plan->wds));
    plan->wds = wds;
    return rc;
}

static const char *directory_of(const struct walk *walk)
{
    return walk->at[0] == '\0' ? "/" : walk->at;
}

/* Watches the directory that was reached. Its wd, or a negative errno. */
static int watch_directory(struct walk *walk, bool is_last)
{
    uint32_t events = is_last ? FILE_EVENTS : WAY_EVENTS;
    int wd = inotify_add_watch(walk->inotify_fd, directory_of(walk), events | WATCH_FLAGS);

    return wd < 0 ? -errno : wd;
}

/* What it means for the walk that a directory cannot be watched. */
static int without_watch(struct walk *walk, int error, bool is_last)
{
    if (error == -ENOENT || error == -ENOTDIR || error == -ELOOP)
        return WALK_ENDED; /* it is none, or has just gone: its parent is watched and will tell */
    if (error == -EACCES && !is_last)
        return WALK_MORE;
    snprintf(walk->plan->failed_at, sizeof(walk->plan->failed_at), "%s", directory_of(walk));
    return error;
}

/* A new step, for the last file of the plan. Returns an enum walk_step or a negative errno. */
static int add_step(struct walk *walk, const char *name, bool is_last)
{
    struct watch_plan *plan = walk->plan;
    struct watch_step step = {.file = plan->file_count - 1, .is_last = is_last};
    int rc = reserve_step(plan); /* first: a watch that no step knows would stay for ever */

    if (rc < 0)
        return rc;
    step.name = strdup(name);
    if (!step.name)
        return -ENOMEM;
    step.wd = watch_directory(walk, is_last);
    if (step.wd < 0) {
        free(step.name);
        return without_watch(walk, step.wd, is_last);
    }
    plan->steps[plan->step_count++] = step;
    if (!watch_plan_has(plan, step.wd))
        plan->wds[plan->wd_count++] = step.wd;
    return WALK_MORE;
}

/* ---- the way to a file ---- */

static void go_up(struct walk *walk)
{
    char *slash = strrchr(walk->at, '/');

    if (slash)
        *slash = '\0';
}

static int go_down(struct walk *walk, const char *name)
{
    size_t len = strlen(walk->at);
    int added = snprintf(walk->at + len, sizeof(walk->at) - len, "/%s", name);

    return (size_t)added < sizeof(walk->at) - len ? 0 : -ENAMETOOLONG;
}

/* Goes on at target, which stands in the place of the name that was reached, and with the rest behind it. */
static int follow(struct walk *walk, const char *target)
{
    char rest[PATH_MAX];
    int len = snprintf(rest, sizeof(rest), "%s/%s", target, walk->rest);

    if ((size_t)len >= sizeof(rest))
        return -ENAMETOOLONG;
    memcpy(walk->rest, rest, (size_t)len + 1);
    if (target[0] == '/')
        walk->at[0] = '\0';
    else
        go_up(walk);
    return ++walk->links > LINKS_MAX ? WALK_ENDED : WALK_MORE;
}

/* Walks over one name: notes it as a step, and finds out what it is. */
static int walk_over(struct walk *walk, const char *name, bool is_last)
{
    char target[PATH_MAX];
    ssize_t len;
    int rc = add_step(walk, name, is_last);

    if (rc == WALK_MORE)
        rc = go_down(walk, name);
    if (rc != WALK_MORE)
        return rc;
    len = readlink(walk->at, target, sizeof(target) - 1);
    if (len < 0)
        return errno == EINVAL && !is_last ? WALK_MORE : WALK_ENDED; /* EINVAL: it is there, and no link */
    target[len] = '\0';
    return follow(walk, target);
}

/* Takes the first name off the rest and walks over it. */
static int walk_on(struct walk *walk)
{
    const char *begin = walk->rest + strspn(walk->rest, "/");
    size_t len = strcspn(begin, "/");
    const char *behind = begin + len + strspn(begin + len, "/");
    char name[NAME_MAX + 1];

    if (len == 0)
        return WALK_ENDED;
    if (len > NAME_MAX)
        return -ENAMETOOLONG;
    memcpy(name, begin, len);
    name[len] = '\0';
    memmove(walk->rest, behind, strlen(behind) + 1);
    if (strcmp(name, ".") == 0)
        return WALK_MORE;
    if (strcmp(name, "..") != 0)
        return walk_over(walk, name, walk->rest[0] == '\0');
    go_up(walk);
    return WALK_MORE;
}

static int begin_walk(struct walk *walk, const char *path)
{
    char directory[PATH_MAX] = "";
    int len;

    if (path[0] != '/' && !getcwd(directory, sizeof(directory)))
        return -errno;
    len = snprintf(walk->rest, sizeof(walk->rest), "%s/%s", directory, path);
    return (size_t)len < sizeof(walk->rest) ? 0 : -ENAMETOOLONG;
}

/* Ends: each name is taken off the rest, and only LINKS_MAX links add to it. */
static int add_file(struct watch_plan *plan, int inotify_fd, const char *path)
{
    struct walk walk = {.plan = plan, .inotify_fd = inotify_fd};
    struct watch_file *file = &plan->files[plan->file_count];
    int rc = begin_walk(&walk, path);

    if (rc < 0)
        return rc;
    file->path = strdup(path);
    if (!file->path)
        return -ENOMEM;
    plan->file_count++;
    while (rc == WALK_MORE)
        rc = walk_on(&walk);
    file->version = file_version_of(path); /* last, so that a change from here on is also an event */
    return rc < 0 ? rc : 0;
}

/* ---- plans ---- */

int watch_plan_init(struct watch_plan *plan, int inotify_fd, const char *const *paths, size_t count)
{
    int rc = 0;

    *plan = (struct watch_plan){.files = calloc(count + 1, sizeof(*plan->files))};
    if (!plan->files)
        return -ENOMEM;
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = add_file(plan, inotify_fd, paths[i]);
    return rc;
}

void watch_plan_deinit(struct watch_plan *plan)
{
    for (size_t i = 0; i < plan->step_count; i++)
        free(plan->steps[i].name);
    for (size_t i = 0; i < plan->file_count; i++)
        free(plan->files[i].path);
    free(plan->steps);
    free(plan->files);
    free(plan->wds);
    *plan = (struct watch_plan){0};
}

void watch_plan_unwatch(const struct watch_plan *plan, int inotify_fd, const struct watch_plan *kept)
{
    for (size_t i = 0; i < plan->wd_count; i++) {
        /* EINVAL: it went with its directory. */
        if (!watch_plan_has(kept, plan->wds[i]) && inotify_rm_watch(inotify_fd, plan->wds[i]) < 0)
            assert(errno == EINVAL);
    }
}
