/* A group: an upstream as it was configured, or what a plain target ("db.internal:5432") amounts to, and which servers it
 * has just now. Those of names come and go with the answers of the DNS: each change makes a new version of the upstream
 * (upstream.h), behind a lock that is held only to copy a pointer; every reactor keeps a hold on the version it uses, and
 * takes a newer one when it next looks.
 *
 * A group of the configuration is shared by all reactors; one of a plain target belongs to one reactor. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/macros.h"
#include "core/config.h"
#include "proxy/target.h"
#include "proxy/waitline.h"

struct proxy_shared;
struct resolution;
struct resolved;
struct upstream;

/* A server as it was configured, and what is known of where it is. */
struct source {
    struct target target;
    uint32_t weight;
    uint32_t max_connections;
    bool is_backup;

    /* Of names; guarded by the group's lock. */
    struct resolved *found; /* owned; kept while asking again fails */
    uint32_t found_count;
    uint64_t expires_ms;
    const char *problem; /* static: why the last answer was none, NULL: it was one */
};

/* Read-only after it was made, but for what says otherwise. */
struct group {
    char *name;                           /* owned: of the upstream, or the target's text */
    const struct upstream_config *config; /* borrowed until group_free() */
    bool is_plain;                        /* made by group_new_plain() */
    bool has_names;
    struct waitline waitline;
    atomic_uint idle; /* connections in the pools of reactors */

    pthread_mutex_t lock;
    struct upstream *current;    /* guarded by lock: a hold on it */
    uint32_t left_out;           /* guarded by lock: addresses that are too many */
    atomic_uint version;         /* of current */
    atomic_bool is_asking;       /* some reactor asks again for names that have expired */
    _Atomic uint64_t expires_ms; /* when the first of the names has, as of the present version */

    uint32_t source_count;
    struct source sources[];
};

/* A group of the configuration. 0, -ENOMEM, -EINVAL (a target that cannot be parsed; the checker saw to that). */
MUST_CHECK int group_new(struct group **out, const struct upstream_config *config, struct proxy_shared *shared);
/* One for a plain target, with the addresses of a name tried in their order. 0, -ENOMEM, -EINVAL. */
MUST_CHECK int group_new_plain(struct group **out, const char *target, size_t len);
/* When no version of it is in use any more. */
void group_free(struct group *group);

/* The present version, held once more for the caller. Any thread. */
struct upstream *group_hold_current(struct group *group);
/* Any thread: whether a source's name is to be asked for again. */
bool group_has_expired(struct group *group, uint32_t source, uint64_t now_ms);
/* Any thread: the answer about a source. A failure keeps what was found before. */
void group_take_answer(struct group *group, uint32_t source, const struct resolution *resolution, uint64_t now_ms);
/* Any thread: makes a new version when what is known of the sources differs from the present one. 0 or -ENOMEM. */
MUST_CHECK int group_publish(struct group *group);
/* Why there is no server: the problem of the first name that has one; NULL: there are servers, or no names. */
const char *group_problem(struct group *group);
