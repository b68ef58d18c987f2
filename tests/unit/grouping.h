/* Groups of a test without a reactor: made of what the test configures, with answers about names that it makes up. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/config.h"

enum { NOW_MS = 1000, TTL_MS = 60 * 1000, GROUPED_SERVERS = 4 };

struct group;
struct group_config;
struct resolution;
struct source;

/* What the next group or configuration is made of: "app", which picks in order. */
extern struct server_config grouped_servers[GROUPED_SERVERS];
extern struct upstream_config grouped_config;

int grouping_setup(void **state);
void configure(uint32_t index, const char *target, uint32_t weight, uint32_t max_connections, bool is_backup);
/* Of the first so many servers. */
struct group_config *config_of(uint32_t count);
struct group *group_of(uint32_t count);

/* One more address of an answer. */
void add(struct resolution *resolution, const char *ip, uint16_t port, uint16_t priority, uint16_t weight);
const struct source *source_of(const struct group *group, uint32_t index);
/* The answer about a source, and what it makes of the group. */
void publish(struct group *group, uint32_t source, const struct resolution *resolution, uint64_t now_ms);
/* One or (unless NULL) two addresses with port 80. */
void answer(struct group *group, uint32_t source, const char *first, const char *second);

void assert_member(const struct group *group, uint32_t index, const char *name);
void assert_count(const struct group *group, uint32_t primaries, uint32_t backups);
