/* A group: an upstream as it is configured, or what a plain target ("db.internal:5432") amounts to, and which servers it has
 * just now. Those of names come and go with the answers of the DNS, and all of it may change with a new configuration: each
 * change makes a new version of the upstream (upstream.h), behind a lock that is held only to copy a pointer; every reactor
 * keeps a hold on the version it uses, and with it on what was configured then, and takes a newer one when it next looks.
 *
 * A group of the configuration is shared by all reactors and lives on from one configuration to the next; one of a plain
 * target belongs to one reactor. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"
#include "proxy/waitline.h"

struct group_config;
struct proxy_shared;
struct resolution;
struct ring;
struct source;
struct upstream;

/* Read-only after it was made, but for what says otherwise. */
struct group {
    char *name;    /* owned: of the upstream, or the target's text */
    bool is_plain; /* made by group_new_plain() */
    atomic_uint references;
    struct waitline waitline;
    atomic_uint idle; /* connections in the pools of reactors */
    atomic_uint
        changes; /* made by configurations and operators: pools may keep connections to servers that are of no more use */

    pthread_mutex_t lock;
    struct group_config *config; /* guarded by lock: a hold on what the next version is made of */
    struct upstream *current;    /* guarded by lock: a hold on it */
    uint32_t left_out;           /* guarded by lock: addresses that are too many */
    atomic_uint version;         /* of current */
    atomic_bool is_asking;       /* some reactor asks again for names that have expired */
    _Atomic uint64_t expires_ms; /* when the first of the names has, as of the present version */
};

/* An upstream of a configuration, with one reference, the caller's. 0 or -ENOMEM. */
MUST_CHECK int group_new(struct group **out, const char *name, struct group_config *config,
                         struct proxy_shared *shared);
/* One for a plain target, with the addresses of a name tried in their order. 0, -ENOMEM, -EINVAL. */
MUST_CHECK int group_new_plain(struct group **out, const char *target, size_t len);
/* Any thread. */
void group_hold(struct group *group);
/* Frees it with the last reference, when nobody waits in its line any more. Any thread. */
void group_release(struct group *group);

/* It is configured in another way from now on: servers that stay keep what is known of them, names that stay are not asked for
 * anew, those who wait in line are called. Without memory the servers stay as they were, which is logged. From one thread;
 * own_ring: of that, NULL: it has none. */
void group_configure(struct group *group, struct group_config *config, struct ring *own_ring);

/* The present version, held once more for the caller. Any thread. */
struct upstream *group_hold_current(struct group *group);
/* Who waits in line may find a server now, and pools may have to let go of some. Any thread; own_ring as above. */
void group_announce_change(struct group *group, struct ring *own_ring);
/* Any thread: whether a source's name is to be asked for again. */
bool group_has_expired(struct group *group, const struct source *source, uint64_t now_ms);
/* Any thread: the answer about a source, to all of the present sources that have its name. A failure keeps what was found
 * before. */
void group_take_answer(struct group *group, const struct source *asked, const struct resolution *resolution,
                       uint64_t now_ms);
/* Any thread: makes a new version when what is known of the sources differs from the present one. 0 or -ENOMEM. */
MUST_CHECK int group_publish(struct group *group);
/* The same in any case: something that is kept in its servers counts when a version is made. */
MUST_CHECK int group_publish_anew(struct group *group);
/* Why there is no server: the problem of the first name that has one; NULL: there are servers, or no names. */
const char *group_problem(struct group *group);
