/* A named group of servers and how connections are shared out among them. One version of it never changes: when its
 * membership does (a reload, a new DNS answer), a new version is made beside the hot path, which takes over the
 * servers that stay, with their counters and health; every reactor then swaps its pointer, and the last one to
 * release the old version frees it. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/macros.h"
#include "core/config.h"

struct group_config;
struct server;

struct server_options {
    const char *name; /* unique in the upstream: "127.0.0.1:3000" */
    struct addr addr;
    uint32_t weight;          /* 1 to UPSTREAM_WEIGHT_MAX */
    uint32_t max_connections; /* 0: no limit */
    bool is_backup;           /* used only when no other can take a connection */
    uint32_t source;          /* which of the config it comes from: servers of one are ways to the same host */
};

/* When a server is held to be unusable, and usable again. */
struct health_limits {
    uint32_t max_fails;       /* failed attempts within fail_timeout that eject a server; 0: never. At most */
    uint32_t fail_timeout_ms; /* UPSTREAM_MAX_FAILS_MAX. Also how long it is ejected; 0: never */
    uint32_t slow_start_ms;   /* time from its recovery to its full weight, 0: at once */
    uint32_t rise;            /* checks in a row that must pass before it is up */
    uint32_t fall;            /* and fail before it is down; both at least 1 */
};

struct upstream_options {
    const char *name;
    struct group_config *config; /* held once more by the version; NULL: there is none, in tests */
    enum balance_method balance;
    struct health_limits health;
    const struct server_options *servers;
    uint32_t server_count; /* 0: nobody is known yet (or any more) */
    uint64_t random_seed;  /* for BALANCE_RANDOM_TWO: another one in each process, or proxies choose in step */
};

/* A server's part in one version of one upstream. */
struct member {
    struct server *server; /* a reference */
    uint32_t weight;
    uint32_t max_connections;
    uint32_t source; /* as server_options */
    int64_t turn;    /* how far its turn is, in WEIGHT_UNITs; guarded by turn_lock */
};

/* Members that are tried together: first the primaries, then the backups. */
enum tier { TIER_PRIMARY, TIER_BACKUP, TIER_COUNT };

/* Read-only and shared by all threads, but for what says otherwise. */
struct upstream {
    char *name;                  /* owned */
    struct group_config *config; /* owned: a hold on what it was made of, whose sources its members name */
    enum balance_method balance;
    struct health_limits health;
    uint32_t tier_end[TIER_COUNT];    /* indices of members where each tier ends, which is where the next begins */
    uint16_t *hash_slots[TIER_COUNT]; /* owned; NULL unless hashing and the tier has members. Indices in the tier */
    atomic_uint references;

    /* What picking writes, off the lines of what it only reads. */
    uint8_t padding_before[CACHE_LINE_BYTES];
    pthread_mutex_t turn_lock; /* held for one pass over the members */
    _Atomic uint64_t random;   /* state of a splitmix64 */
    uint8_t padding_after[CACHE_LINE_BYTES];

    struct member members[]; /* primaries first */
};

/* A version with one reference, the caller's. previous: the version it follows, or NULL; the servers that have the
 * same name and address there are taken over. 0, -ENOMEM, -E2BIG (more than UPSTREAM_SERVERS_MAX servers), -EEXIST
 * (two of the same name). */
MUST_CHECK int upstream_new(struct upstream **upstream, const struct upstream_options *options,
                            const struct upstream *previous);
/* True when upstream_new() would make the same of these options. */
bool upstream_is_made_of(const struct upstream *upstream, const struct upstream_options *options);
void upstream_hold(struct upstream *upstream);
/* Frees it with the last reference; servers live on in other versions, and while a connection has a slot on them. */
void upstream_release(struct upstream *upstream);

static inline uint32_t upstream_member_count(const struct upstream *upstream)
{
    return upstream->tier_end[TIER_COUNT - 1];
}

static inline uint32_t upstream_tier_begin(const struct upstream *upstream, enum tier tier)
{
    return tier == TIER_PRIMARY ? 0 : upstream->tier_end[tier - 1];
}

static inline uint32_t upstream_tier_count(const struct upstream *upstream, enum tier tier)
{
    return upstream->tier_end[tier] - upstream_tier_begin(upstream, tier);
}
