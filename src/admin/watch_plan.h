/* What has to be watched for a set of files: of each, every name that is looked up on the way to it, in the directory where that
 * happens. Symbolic links are followed by hand, as any of them may be replaced, and so may any directory; a way that ends
 * early ends with the name that is missing. The inotify(7) watch of a directory is added before a name is looked up in it, so
 * that no change is lost in between. Control thread only. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/macros.h"

/* Two that are equal are the same content. All 0: there is no such file. */
struct file_version {
    uint64_t device;
    uint64_t inode;
    int64_t bytes;
    struct timespec modified;
    struct timespec changed;
};

struct watch_file {
    char *path; /* owned, as it was given */
    struct file_version version;
    bool is_new; /* it was not in the set before */
};

struct watch_step {
    char *name;   /* owned: looked up in the directory of wd */
    size_t file;  /* index in files */
    int wd;       /* inotify's number of the directory */
    bool is_last; /* the name of the file itself, or of a link in its place */
};

struct watch_plan {
    struct watch_file *files; /* owned */
    size_t file_count;
    struct watch_step *steps; /* owned */
    size_t step_count;
    size_t step_room;
    int *wds; /* owned: those of the steps, each once */
    size_t wd_count;
    size_t wd_room;
    char failed_at[PATH_MAX]; /* the directory that could not be watched */
};

/* Adds watches to inotify_fd for the files at paths, which are copied, and looks at their versions. 0 or a negative errno:
 * -ENOSPC, -ENOMEM, -EACCES (the directory of a file is not readable), -ENAMETOOLONG; the plan then holds what was watched
 * until then. A directory further up that is not readable is left out. To be ended by watch_plan_deinit() either way. */
MUST_CHECK int watch_plan_init(struct watch_plan *plan, int inotify_fd, const char *const *paths, size_t count);
/* Frees memory; watches stay. */
void watch_plan_deinit(struct watch_plan *plan);
/* Removes those watches of plan from inotify_fd that are not in kept. */
void watch_plan_unwatch(const struct watch_plan *plan, int inotify_fd, const struct watch_plan *kept);
bool watch_plan_has(const struct watch_plan *plan, int wd);
/* The version that is at path now. */
struct file_version file_version_of(const char *path);
bool file_version_is(const struct file_version *a, const struct file_version *b);
