/* One log entry as bytes: time stamp, escaping, indentation, cutting. Pure, so that tests give the time. log.c has
 * the files and the threads. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/log.h"

enum { LOG_LINE_BYTES_MAX = 16 * 1024 }; /* one entry with its newline */

struct log_entry {
    enum log_level level;
    uint64_t wall_ns;    /* since the epoch */
    const char *thread;  /* borrowed; NULL: not shown */
    const char *message; /* borrowed; any bytes */
    size_t message_len;
};

/* Writes the entry and its newline (no NUL) to out, which has LOG_LINE_BYTES_MAX bytes; one that is too long is cut and
 * ends in "...". Returns the number of bytes. */
size_t log_line_format(char *out, enum log_format format, const struct log_entry *entry);
/* "debug" | "info" | "warn" | "error"; static. */
const char *log_level_name(enum log_level level);
