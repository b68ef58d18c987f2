/* The status line that an HTTP/1 answer begins with (RFC 9112 section 4), and nothing of what follows it: all that an active
 * check wants to know. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/parse.h"

enum { HTTP_STATUS_LINE_BYTES_MAX = 1024 }; /* with the line's end: the reason phrase may be anything */

/* Looks for a whole line at the start of `data`. After PARSE_DONE *status has the three digits, whatever they are. A line feed alone
 * ends the line, too; a version other than 1.0 and 1.1 is bad, and so is a line that is too long. */
enum parse_outcome http_status_parse(uint16_t *status, const uint8_t *data, size_t len);
