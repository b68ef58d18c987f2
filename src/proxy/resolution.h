/* What came of a question about a name: addresses in the order to try them, put together from answers that arrive in any
 * order. Pure: no sockets, no clock. */
#pragma once

#include <stdint.h>

#include "base/addr.h"
#include "base/limits.h"

struct resolved {
    struct addr addr;  /* with the port */
    uint16_t priority; /* of the SRV record, lower ones first; otherwise 0 */
    uint16_t weight;   /* the same; among equal priorities */
};

struct resolution {
    const char *problem; /* why there is no address, a static text; NULL: there is one */
    /* How long it may be kept, from RESOLVE_TTL_MIN_MS to RESOLVE_TTL_MAX_MS: the smallest TTL of what it was made of.
     * Entries of /etc/hosts have a TTL of 0. Failures are kept for RESOLVE_TTL_FAILED_MS, and also what had to do
     * without some of the servers of an SRV answer. */
    uint32_t ttl_ms;
    uint32_t count; /* at most RESOLVE_ADDRS_MAX: further ones are left out */
    /* No two are the same. By priority, then by SRV record, then as RFC 6724 sorts, IPv4 and IPv6 taking turns as RFC
     * 8305, section 4, wants it. */
    struct resolved items[RESOLVE_ADDRS_MAX];
};

/* One that is being put together. */
struct resolution_draft {
    struct resolution out;
    uint16_t ranks[RESOLVE_ADDRS_MAX]; /* of the items' names */
};

/* A name whose addresses are a part of it. */
struct resolution_name {
    uint16_t rank; /* lower ones are tried first, whenever their answer comes */
    uint16_t priority;
    uint16_t weight;
};

void resolution_begin(struct resolution_draft *draft);
/* The addresses of one name, in the order of RFC 6724. */
void resolution_add(struct resolution_draft *draft, const struct resolution_name *name, const struct addr *addrs,
                    uint32_t count);
/* Something it is made of may be kept for so long. */
void resolution_limit_ttl(struct resolution_draft *draft, uint32_t ttl_s);
/* The addresses of one name could not be found. The first problem stays. */
void resolution_fail(struct resolution_draft *draft, const char *problem);
/* Borrowed from the draft. */
const struct resolution *resolution_finish(struct resolution_draft *draft);
