/* Tells when one of a set of files has changed, through inotify(7): written in place, replaced by a rename, deleted and created,
 * moved into place by a symbolic link or directory on the way to it. Files are found by their names in the directories, so
 * one need not exist. Changes are gathered: one is due when nothing more has come for a while. Whether other files in the
 * same directories change does not matter. Control thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/macros.h"

enum {
    FILE_WATCH_QUIET_MS = 100,   /* a change is due when no other has come for so long, */
    FILE_WATCH_LATEST_MS = 1000, /* and at the latest so long after the first */
    FILE_WATCH_PROBLEM_MAX = 4096 + 256,
};

struct file_watch;

/* Without files. *out is owned by the caller, NULL on failure. 0 or a negative errno: -EMFILE, -ENFILE, -ENOMEM. */
MUST_CHECK int file_watch_open(struct file_watch **out);
/* NULL is allowed. */
void file_watch_close(struct file_watch *watch);
/* Watches the files at paths, which are copied, in place of those watched until now; relative ones are in the working directory.
 * A change that is pending stays so, and of files that are in both sets none is missed. A file that is new counts as it is
 * now. 0 or a negative errno, and then all is as before: -ENOSPC, -ENOMEM, -EACCES, -ENAMETOOLONG. */
MUST_CHECK int file_watch_set(struct file_watch *watch, const char *const *paths, size_t count);
/* Of the files that were new in the last set, those that were changed after `since` (CLOCK_REALTIME), when they had perhaps been
 * read already, count as changed now. */
void file_watch_note_newer(struct file_watch *watch, const struct timespec *since, uint64_t now_ms);
/* Why file_watch_set() failed with this error, or with watch NULL file_watch_open(), as a sentence without its end. Returns
 * text. */
const char *file_watch_explain(const struct file_watch *watch, int error, char text[FILE_WATCH_PROBLEM_MAX]);
/* Readable when file_watch_read() has something to do. Valid until the watch is closed. */
int file_watch_fd(const struct file_watch *watch);
/* Reads what the kernel has to say, without waiting. When the ways to the files have changed so that they cannot all be watched
 * any more, that is logged. */
void file_watch_read(struct file_watch *watch, uint64_t now_ms);
/* When file_watch_take() will give a change; UINT64_MAX: there is none. */
uint64_t file_watch_due_ms(const struct file_watch *watch);
/* True once for each change that is due. */
bool file_watch_take(struct file_watch *watch, uint64_t now_ms);
/* The file that changed first, of the change that is pending or was taken last, as its path was given. NULL: the kernel had more
 * to say than fits its queue, and it may be any. Borrowed until the next call that is not const. */
const char *file_watch_changed(const struct file_watch *watch);
