/* Telling a server who the client is: a PROXY protocol header (proto/proxy_protocol.h) as the first bytes of a connection. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"
#include "core/config.h"

struct conn;
struct proxy_field;

/* Writes the header to out, which has room for `size` bytes, and returns its length; 0 without a version. Errors as below. */
MUST_CHECK int proxy_send_build(uint8_t *out, size_t size, const struct conn *client, enum proxy_send version,
                                const struct proxy_field *fields, size_t field_count);
/* Stages the header on `server`, a connection that nothing was written to. client: whose addresses it tells, NULL for a connection
 * of our own (LOCAL; UNKNOWN in version 1). Fields go into version 2 only. 0; -EPIPE, -ENOMEM; -EMSGSIZE (the fields are too
 * long), -EINVAL (a field that a receiver may refuse). */
MUST_CHECK int proxy_send(struct conn *server, const struct conn *client, enum proxy_send version,
                          const struct proxy_field *fields, size_t field_count);
