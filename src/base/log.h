/* The process log: one line an entry, written with one write(2), so lines of several threads never mix.
 * Text: `2026-11-22T18:00:00.123Z info  message key=value ...`; JSON: one object a line. Safe from any thread. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/macros.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_LEVEL_COUNT };
enum log_format { LOG_TEXT, LOG_JSON };

/* Opens the log. path: "stderr", "stdout" or a file (appended to; created 0640). Before this call lines go to
 * stderr as text from info up. A log that has this path already stays open: only level and format change. Returns 0 or
 * a negative errno of open(2) (the log is then unchanged). */
MUST_CHECK int log_open(const char *path, enum log_level level, enum log_format format);
/* Opens the file anew under the same name (after a rotation, USR1). Returns 0 or a negative errno. */
int log_reopen(void);
/* Gives the file to who the process is about to become, so that they can open it anew. One that was there before is
 * left alone: in a directory of somebody else's it may be a link to anything. Returns 0 or a negative errno. */
MUST_CHECK int log_give(uid_t uid, gid_t gid);
void log_close(void);
/* True when an entry of that level would be written: check it before costly arguments. */
bool log_is_on(enum log_level level);
/* "debug" | "info" | "warn" | "error" → level, or -EINVAL. */
MUST_CHECK int log_level_parse(const char *name);

/* Names the calling thread in its log lines ("r0", "acceptor"); the string is borrowed for ever. */
void log_thread_name(const char *name);

/* One entry. The message may have several lines (a traceback): in text they follow indented, in JSON they stay one
 * string. */
void log_write(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);
/* Who is given the message of each entry of level error, too, by the thread that writes it; NULL: nobody any more, though a
 * thread may be about to still. Not zero-terminated. */
void log_hear_errors(void (*hear)(const char *message, size_t len));
/* One entry of a message that is not a format, len bytes, any content (control bytes are escaped). */
void log_write_bytes(enum log_level level, const char *message, size_t len);

#define log_debug(...) (log_is_on(LOG_DEBUG) ? log_write(LOG_DEBUG, __VA_ARGS__) : (void)0)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
