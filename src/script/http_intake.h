/* The body of a request on its way from the connection's unread bytes to whoever takes it: framing goes, content comes piece by
 * piece where it was received. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"

struct http_exchange;

enum http_intake {
    HTTP_INTAKE_MORE,    /* nothing is there yet */
    HTTP_INTAKE_CONTENT, /* the first unread bytes are content */
    HTTP_INTAKE_DONE,    /* the next request begins there */
    HTTP_INTAKE_BAD,     /* exchange->failure says what */
};

/* For the head that was parsed. 0, or -ENOMEM. */
MUST_CHECK int http_intake_init(struct http_exchange *exchange);
void http_intake_deinit(struct http_exchange *exchange);
/* Takes framing away. *bytes: of content. */
enum http_intake http_intake_next(struct http_exchange *exchange, uint32_t *bytes);
/* Skips what is left of the body: at most HTTP_DRAIN_BYTES, past that it is BAD. */
enum http_intake http_intake_drain(struct http_exchange *exchange);
/* Whether draining makes sense: what is left, as far as is known, is not too much, and will come. */
bool http_intake_can_drain(const struct http_exchange *exchange);
/* Whether the end of the body can be expected to come: the handler is reading it, or it can be drained. */
bool http_intake_may_end(const struct http_exchange *exchange);
/* There will be no more of the body: this is why. The first failure stays. */
void http_intake_fail(struct http_exchange *exchange, uint16_t status, const char *word);
