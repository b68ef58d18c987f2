/* The upstreams of one configuration. A set is made beside the one in use, with all that can fail, and changes nothing until it
 * is applied: groups that the set before it has under the same name are the same groups, with their health, load and lines.
 * The control thread makes, applies and frees sets; reactors may read one that stays as long as they do. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

struct config;
struct group;
struct group_config;
struct proxy_shared;
struct ring;

struct group_set_item {
    struct group *group;         /* owned: a hold */
    struct group_config *config; /* owned: a hold on how it is configured by this set */
};

struct group_set {
    uint32_t count;
    struct group_set_item items[]; /* in the order of the configuration's upstreams */
};

/* Nothing of the configuration is needed afterwards. previous: the set in use, NULL: there is none. 0 or a negative errno after
 * logging why. */
MUST_CHECK int group_set_new(struct group_set **out, const struct config *config, const struct group_set *previous,
                             struct proxy_shared *shared);
/* Its groups are configured as it says from now on (group_configure()). own_ring: of the calling thread, NULL: it has none. */
void group_set_apply(struct group_set *set, struct ring *own_ring);
/* Groups live on in other sets and where they are used. Also for one that was never applied. NULL is ignored. */
void group_set_free(struct group_set *set);
/* NULL: it has none of that name. */
struct group *group_set_find(const struct group_set *set, const char *name, size_t len);
