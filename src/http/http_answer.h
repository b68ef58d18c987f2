/* The answer to one HTTP request as its bytes: which fields its head has, how its body is framed, and whether the connection can
 * be used on (RFC 9112). Everything is staged as it comes; nothing here waits. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"

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
    struct chunk *
        fields; /* owned: lines that the script set, of the head, and once that is staged, of the trailers; NULL: none */
    uint64_t length; /* Content-Length that the script set, UINT64_MAX: none */
    uint64_t left;   /* of HTTP_FRAMING_LENGTH: content that has not been written */
    uint8_t framing; /* enum http_framing, once it has begun */
    bool has_date;   /* the script set it */
    bool has_type;
    bool is_json; /* what it is, where the script did not set it */
    bool closes;  /* the connection ends behind it */
};

enum http_set { HTTP_SET, HTTP_ADD, HTTP_REMOVE };

void http_answer_init(struct http_answer *answer);
/* Drops what the script set. */
void http_answer_deinit(struct http_exchange *exchange);

/* Changes the fields of the answer: sets one in place of what has that name, adds one more, or removes all of that name (the
 * value does not matter then). 0; -EALREADY (it has begun), -EPERM (what no field may be called, or not by a handler),
 * -EINVAL (what no such field may have for a value), -EBUSY (it is being forwarded), -ERANGE (they are too many bytes),
 * -ENOMEM. */
MUST_CHECK int http_answer_set(struct http_exchange *exchange, enum http_set mode, const char *name, uint32_t name_len,
                               const char *value, uint32_t value_len);
/* Stages the whole answer; what has come of a body that nobody has taken from is skipped first. 0; -EPIPE (the connection is dead,
 * or the body malformed: that is the answer then), -EALREADY, -EBUSY, -ENOMEM. */
MUST_CHECK int http_answer_send(struct http_exchange *exchange, const char *body, uint32_t len);
/* Stages a part of the body, and the head before the first. As http_answer_send(), or -ERANGE: more than Content-Length says. */
MUST_CHECK int http_answer_write(struct http_exchange *exchange, const void *data, uint32_t len);
/* Adds a field behind the body, which goes with http_answer_finish() if the answer is in chunks, and is dropped otherwise. As
 * http_answer_set(), or -EAGAIN: the answer has not begun. */
MUST_CHECK int http_answer_trailer(struct http_exchange *exchange, const char *name, uint32_t name_len,
                                   const char *value, uint32_t value_len);
/* Ends the body. As http_answer_send(), or -ERANGE: less than Content-Length says. */
MUST_CHECK int http_answer_finish(struct http_exchange *exchange);
/* The whole answer for what went wrong: its status and a line that says so, nothing of what a script set. As http_answer_send(). */
MUST_CHECK int http_answer_refuse(struct http_exchange *exchange, uint16_t status);
/* Sets answer->closes: whether the connection ends behind the answer, which is about to begin with this framing. */
void http_answer_decide_end(struct http_exchange *exchange);
/* 100 Continue. 0, -EPIPE, -ENOMEM. */
MUST_CHECK int http_answer_continue(struct conn *conn);
