/* See group_set.h. */
#include "proxy/group_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "core/config.h"
#include "proxy/group.h"
#include "proxy/group_config.h"

/* What is configured as it was is the same, so that nothing of it begins anew. */
static int find_or_make_config(struct group_config **out, const struct upstream_config *upstream,
                               const struct group *group)
{
    if (!group || !group_config_is_made_of(group->config, upstream))
        return group_config_new(out, upstream);
    group_config_hold(group->config);
    *out = group->config;
    return 0;
}

static int add(struct group_set *set, const struct upstream_config *upstream, const struct group_set *previous,
               struct proxy_shared *shared)
{
    struct group_set_item *item = &set->items[set->count];
    struct group *known = previous ? group_set_find(previous, upstream->name, strlen(upstream->name)) : NULL;
    int rc = find_or_make_config(&item->config, upstream, known);

    if (rc < 0)
        return rc;
    if (known) {
        group_hold(known);
        item->group = known;
    } else {
        rc = group_new(&item->group, upstream->name, item->config, shared);
    }
    if (rc < 0)
        group_config_release(item->config);
    else
        set->count++;
    return rc;
}

int group_set_new(struct group_set **out, const struct config *config, const struct group_set *previous,
                  struct proxy_shared *shared)
{
    struct group_set *set = calloc(1, sizeof(*set) + config->upstream_count * sizeof(struct group_set_item));

    *out = NULL;
    if (!set) {
        log_error("upstreams: %s", strerrordesc_np(ENOMEM));
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < config->upstream_count; i++) {
        int rc = add(set, &config->upstreams[i], previous, shared);

        if (rc < 0) {
            log_error("upstream %s: %s", config->upstreams[i].name, strerrordesc_np(-rc));
            group_set_free(set);
            return rc;
        }
    }
    *out = set;
    return 0;
}

void group_set_apply(struct group_set *set, struct ring *own_ring)
{
    for (uint32_t i = 0; i < set->count; i++)
        group_configure(set->items[i].group, set->items[i].config, own_ring);
}

void group_set_free(struct group_set *set)
{
    for (uint32_t i = 0; set && i < set->count; i++) {
        group_release(set->items[i].group);
        group_config_release(set->items[i].config);
    }
    free(set);
}

struct group *group_set_find(const struct group_set *set, const char *name, size_t len)
{
    for (uint32_t i = 0; i < set->count; i++) {
        struct group *group = set->items[i].group;

        if (strlen(group->name) == len && memcmp(group->name, name, len) == 0)
            return group;
    }
    return NULL;
}
