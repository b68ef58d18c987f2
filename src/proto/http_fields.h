/* Field lines of HTTP/1 (RFC 9112 section 5), up to the empty line that ends them: the headers of a message, or the
 * trailers behind its content. Where each name and value is, and which known name it is; what the values mean is
 * http_framing.h's. */
#pragma once

#include <stdint.h>

#include "base/limits.h"
#include "proto/http_name.h"
#include "proto/http_span.h"
#include "proto/parse.h"

/* Why something was refused. */
struct http_refusal {
    const char *problem; /* for the log; static; NULL: nothing was refused */
    uint16_t status;     /* for the answer to a bad request */
};

struct http_field {
    struct http_span name;  /* a token */
    struct http_span value; /* without the blanks around it; no control characters but tabs in it */
    uint8_t known;          /* enum http_name */
    uint8_t is_hop_by_hop;  /* by its name, or since Connection names it */
};

struct http_fields {
    uint16_t count;
    uint16_t count_max;
    uint16_t at;   /* where the scan goes on */
    uint8_t state; /* enum of http_fields.c: within what it goes on */
    struct http_refusal refusal;
    struct http_field list[HTTP_FIELDS_MAX];
};

/* The fields begin at `at`. One more than count_max (1 to HTTP_FIELDS_MAX) is refused. */
void http_fields_init(struct http_fields *fields, uint16_t at, uint16_t count_max);

/* Goes on where the last call stopped. `data` has all that there is so far, from the same first byte as then, but may
 * have moved; len is at most HTTP_HEAD_BYTES_MAX. After PARSE_DONE fields->at is behind the empty line. */
enum parse_outcome http_fields_parse(struct http_fields *fields, const uint8_t *data, uint16_t len);
