/* What forwarding keeps for each reactor. Opened and closed by the reactor's app, on the reactor's thread. */
#pragma once

#include "base/macros.h"
#include "base/slab.h"

struct reactor;
struct resolver;

struct proxy {
    struct resolver *resolver; /* owned */
    struct slab relays;
};

/* Makes reactor->proxy. 0 or -ENOMEM. */
MUST_CHECK int proxy_open(struct reactor *reactor);
/* After the last connection has ended; asserts that every relay has. Idempotent. */
void proxy_close(struct reactor *reactor);
