/* The answer to one HTTP request as its bytes: which fields its head has, how its body is framed, and whether the connection can
 * be used on (RFC 9112). Everything is staged as it comes; nothing here waits. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "proto/http_date.h"

struct chunk;
struct conn;
struct http_exchange;

/* How the end of the body is known. */
enum http_framing {
    HTTP_FRAMING_NONE,    /* there is none: HEAD, 204, 304 */
    HTTP_FRAMING_LENGTH,  /* Content-Length */
    HTTP_FRAMING_CHUNKED, /* of 1.1 */
    HTTP_FRAMING_CLOSE,   /* the connection ends with it: of 1.0 */
};

struct http_answer {
    struct chunk *fields; /* owned: lines that the script set, NULL: none */
    uint64_t length;      /* Content-Length that the script set, UINT64_MAX: none */
    uint64_t left;        /* of HTTP_FRAMING_LENGTH: content that has not been written */
    uint8_t framing;      /* enum http_framing, once it has begun */
    bool has_date;        /* the script set it */
    bool has_type;
    bool is_json; /* what it is, where the script did not set it */
    bool closes;  /* the connection ends behind it */
};

/* The present second as HTTP writes it. */
struct http_date {
    uint64_t at_ms; /* when it was looked at */
    int64_t second;
    char text[HTTP_DATE_BYTES];
};

void http_answer_init(struct http_answer *answer);
/* Drops what the script set. */
void http_answer_deinit(struct http_exchange *exchange);

/* All of these give an enum zerg_result, as api.h says of zerg_http_set() and the rest. */
int http_answer_set(struct http_exchange *exchange, int mode, const char *name, uint32_t name_len, const char *value,
                    uint32_t value_len);
int http_answer_send(struct http_exchange *exchange, const char *body, uint32_t len);
int http_answer_write(struct http_exchange *exchange, const void *data, uint32_t len);
int http_answer_finish(struct http_exchange *exchange);
/* The whole answer for what went wrong: its status and a line that says so, nothing of what the script set. */
int http_answer_refuse(struct http_exchange *exchange, uint16_t status);
/* 100 Continue. */
int http_answer_continue(struct conn *conn);
