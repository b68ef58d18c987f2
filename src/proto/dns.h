/* What a DNS answer says about a service (SRV records, RFC 2782), and which names are host names. The rest of DNS is left to
 * a library: that of Debian 12 gives no TTL of SRV records. Answers come from whoever answers: nothing in them is trusted. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/macros.h"

enum {
    DNS_NAME_MAX = 253, /* as text, without a dot at its end (RFC 1035: 255 bytes on the wire) */
    DNS_LABEL_MAX = 63,
};

struct dns_srv {
    uint16_t priority; /* lower ones first */
    uint16_t weight;
    uint16_t port;
    char
        target[DNS_NAME_MAX + 2]; /* a host name without a dot at its end, but with room for one; "": the service is not
                                      offered */
};

struct dns_srv_answer {
    uint32_t ttl_s; /* the smallest of the records that were read, and of the aliases that lead to them */
    uint32_t count;
    struct dns_srv records[RESOLVE_TARGETS_MAX]; /* by priority, then as they came */
};

/* Letters, digits, "-" and "_" in labels of 1 to 63, with dots between them and perhaps one at the end. */
bool dns_is_host_name(const char *name);

/* Reads the SRV records of a DNS message. Those whose target is no host name, and those past RESOLVE_TARGETS_MAX, are left
 * out. False when the message is broken: *answer is of no use then. */
MUST_CHECK bool dns_read_srv(struct dns_srv_answer *answer, const uint8_t *message, size_t len);
