/* The numbers of HTTP status codes (RFC 9110 section 15) that zerg uses by itself, and the words behind all. */
#pragma once

#include <stdint.h>

enum http_status_code {
    STATUS_CONTINUE = 100,
    STATUS_SWITCHING = 101,
    STATUS_OK = 200,
    STATUS_NO_CONTENT = 204,
    STATUS_NOT_MODIFIED = 304,
    STATUS_BAD_REQUEST = 400,
    STATUS_NOT_FOUND = 404,
    STATUS_TIMED_OUT = 408,
    STATUS_TOO_LARGE = 413,
    STATUS_HEADERS_TOO_LARGE = 431,
    STATUS_FAILED = 500,
    STATUS_NOT_IMPLEMENTED = 501,
    STATUS_BAD_GATEWAY = 502,
    STATUS_UNAVAILABLE = 503,
    STATUS_GATEWAY_TIMEOUT = 504,
};

/* What scripts and logs see where memory is out. */
#define NO_MEMORY_WORD "limit: out of memory"

/* Static; "Unknown" for a status that RFC 9110 and its relatives do not name. */
const char *http_reason(uint32_t status);
