/* Dates as HTTP writes them (RFC 9110 section 5.6.7): "Sun, 06 Nov 1994 08:49:37 GMT". The caller, who has the clock,
 * keeps what was written as long as the second lasts. */
#pragma once

#include <stdint.h>

enum { HTTP_DATE_BYTES = 29 };

/* Seconds since 1970; what is before that or past the year 9999 is written as the nearest date that can be. Without a
 * NUL at its end. */
void http_date_format(char out[HTTP_DATE_BYTES], int64_t unix_s);
