/* What one configuration says of a group: its settings, and the sources that its servers come from. It is a copy that
 * stands for itself, so that whoever holds it (a version of the upstream, a question about names, a check under way) needs
 * nothing of the configuration that it was made of.
 *
 * Read-only after it was made and shared by all threads, but for what is known of names: the lock of the group guards that. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"
#include "core/config.h"
#include "proxy/target.h"

struct resolved;

/* A server as it was configured, and what is known of where it is. */
struct source {
    char *text; /* owned: the target as it was written */
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

struct group_config {
    atomic_uint references;
    struct upstream_config settings; /* without a name and servers; its other strings are owned */
    bool has_names;
    uint32_t source_count;
    struct source sources[];
};

/* Of an upstream, with one reference, the caller's. 0, -ENOMEM, -EINVAL (a target that cannot be parsed; the checker saw to
 * that). */
MUST_CHECK int group_config_new(struct group_config **out, const struct upstream_config *upstream);
/* Of a plain target, with the addresses of a name tried in their order. The same, -EINVAL: this is none. */
MUST_CHECK int group_config_new_plain(struct group_config **out, const char *target, size_t len);
void group_config_hold(struct group_config *config);
/* Frees it with the last reference. */
void group_config_release(struct group_config *config);

/* Whether an upstream is configured in the same way, whatever it is called. */
bool group_config_is_made_of(const struct group_config *config, const struct upstream_config *upstream);
/* Takes over from another one what is known of the names that both have. With the lock of their group held. */
void group_config_inherit(struct group_config *config, struct group_config *from);

/* Both lead to the same servers. */
bool source_is_same_name(const struct source *source, const struct source *other);
