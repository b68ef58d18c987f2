/* The body of a request: how long it may be, what was wrong with it, and skipping what nobody wants. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "http/http_inflow.h"

struct http_exchange;

/* How long it may be, for the route that was found. */
uint64_t http_intake_max(const struct http_exchange *exchange);
/* For the head that was parsed. 0, or -ENOMEM. */
MUST_CHECK int http_intake_init(struct http_exchange *exchange);
/* As http_inflow_next(); after BAD exchange->failure says what. */
enum http_inflow_outcome http_intake_next(struct http_exchange *exchange, uint32_t *bytes);
/* Skips what is left: at most HTTP_DRAIN_BYTES, past that it is BAD. */
enum http_inflow_outcome http_intake_drain(struct http_exchange *exchange);
/* Whether draining makes sense: what is left, as far as is known, is not too much, and will come. */
bool http_intake_can_drain(const struct http_exchange *exchange);
/* Whether the end of the body can be expected to come: the handler is reading it, or it can be drained. */
bool http_intake_may_end(const struct http_exchange *exchange);
/* There will be no more of the body: this is why. The first failure stays. */
void http_intake_fail(struct http_exchange *exchange, uint16_t status, const char *word);
