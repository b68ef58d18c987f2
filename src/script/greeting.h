/* The PROXY protocol header that a script's connection to a server begins with: made while the script's bytes are there, sent
 * when there is a server. */
#pragma once

#include <stdint.h>

#include "base/macros.h"
#include "core/config.h"

struct conn;
struct zerg_dial_options;

struct greeting {
    uint8_t *bytes; /* owned; NULL: nothing is to be sent */
    uint32_t len;
};

/* usual: the version that the upstream wants, unless the options say otherwise. client: whom it tells of, NULL: nobody.
 * ZERG_OK, _RANGE (fields that do not add up, or that a receiver may refuse), _NO_MEMORY. */
MUST_CHECK int greeting_make(struct greeting *greeting, const struct zerg_dial_options *options, enum proxy_send usual,
                             const struct conn *client);
/* Stages it. 0 or a negative errno. */
MUST_CHECK int greeting_send(const struct greeting *greeting, struct conn *server);
void greeting_free(struct greeting *greeting);
