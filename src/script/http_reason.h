/* The words behind the numbers of HTTP status codes. */
#pragma once

#include <stdint.h>

/* Static; "Unknown" for a status that RFC 9110 and its relatives do not name. */
const char *http_reason(uint32_t status);
