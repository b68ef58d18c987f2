/* What the fields of a head say of its message: where the body ends, whether another message may follow on the
 * connection, whom it is for. The second half of http_head_parse(), for the whole head. */
#pragma once

#include <stdint.h>

#include "base/macros.h"

struct http_head;

/* Sets what http_head.h calls derived. head->refusal tells what is wrong; its problem is returned too, NULL if nothing
 * is. */
MUST_CHECK const char *http_framing_derive(struct http_head *head, const uint8_t *data);
