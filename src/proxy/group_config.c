/* See group_config.h. */
#include "proxy/group_config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "proxy/resolution.h"

/* A plain target is not judged: there is nobody to go to instead. */
static const struct upstream_config plain_settings = {
    .balance = BALANCE_IN_ORDER,
    .keepalive = PLAIN_KEEPALIVE,
    .connect_ms = PLAIN_CONNECT_MS,
    .read_ms = PLAIN_READ_MS,
    .retries = RESOLVE_ADDRS_MAX,
};

/* ---- making one ---- */

/* 0 or -ENOMEM; of NULL that is NULL. */
static int copy_text(char **out, const char *text)
{
    *out = text ? strdup(text) : NULL;
    return text && !*out ? -ENOMEM : 0;
}

static int copy_settings(struct group_config *config, const struct upstream_config *upstream)
{
    config->settings = *upstream;
    config->settings.name = NULL;
    config->settings.servers = NULL;
    config->settings.server_count = 0;
    config->settings.check.path = NULL;
    config->settings.check.host = NULL;
    if (copy_text(&config->settings.check.path, upstream->check.path) < 0)
        return -ENOMEM;
    return copy_text(&config->settings.check.host, upstream->check.host);
}

static int add_source(struct group_config *config, const char *text, size_t len, const struct server_config *server)
{
    struct source *source = &config->sources[config->source_count++];

    source->weight = server->weight;
    source->max_connections = server->max_connections;
    source->is_backup = server->is_backup;
    source->text = strndup(text, len);
    if (!source->text)
        return -ENOMEM;
    if (target_parse(&source->target, text, len) < 0)
        return -EINVAL;
    config->has_names |= source->target.kind != TARGET_ADDR;
    return 0;
}

/* With one reference, and room for so many sources. */
static struct group_config *allocate(const struct upstream_config *settings, uint32_t source_count)
{
    struct group_config *config = calloc(1, sizeof(*config) + source_count * sizeof(struct source));

    if (!config)
        return NULL;
    atomic_init(&config->references, 1);
    if (copy_settings(config, settings) == 0)
        return config;
    group_config_release(config);
    return NULL;
}

int group_config_new(struct group_config **out, const struct upstream_config *upstream)
{
    struct group_config *config = allocate(upstream, upstream->server_count);

    *out = NULL;
    if (!config)
        return -ENOMEM;
    for (uint32_t i = 0; i < upstream->server_count; i++) {
        const struct server_config *server = &upstream->servers[i];
        int rc = add_source(config, server->target, strlen(server->target), server);

        if (rc < 0) {
            group_config_release(config);
            return rc;
        }
    }
    *out = config;
    return 0;
}

int group_config_new_plain(struct group_config **out, const char *target, size_t len)
{
    struct group_config *config;
    int rc;

    *out = NULL;
    if (len >= TARGET_TEXT_MAX)
        return -EINVAL;
    config = allocate(&plain_settings, 1);
    if (!config)
        return -ENOMEM;
    rc = add_source(config, target, len, &(struct server_config){.weight = 1});
    if (rc < 0)
        group_config_release(config);
    else
        *out = config;
    return rc;
}

void group_config_hold(struct group_config *config)
{
    unsigned int before = atomic_fetch_add_explicit(&config->references, 1, memory_order_relaxed);

    assert(before > 0);
}

void group_config_release(struct group_config *config)
{
    unsigned int before = atomic_fetch_sub_explicit(&config->references, 1, memory_order_acq_rel);

    assert(before > 0);
    if (before > 1)
        return;
    for (uint32_t i = 0; i < config->source_count; i++) {
        free(config->sources[i].text);
        free(config->sources[i].found);
    }
    free(config->settings.check.path);
    free(config->settings.check.host);
    free(config);
}

/* ---- comparing ---- */

/* Who adds a field has to say below whether it is the same, or a reload would not see it change. */
static_assert(sizeof(struct check_config) == 40, "all fields of a check are compared");
static_assert(sizeof(struct upstream_config) == 104, "all fields of an upstream are compared");
static_assert(sizeof(struct server_config) == 24, "all fields of a server are compared");

static bool is_same_text(const char *text, const char *other)
{
    return text && other ? strcmp(text, other) == 0 : text == other;
}

static bool is_same_check(const struct check_config *check, const struct check_config *other)
{
    return check->interval_ms == other->interval_ms && check->timeout_ms == other->timeout_ms &&
           check->rise == other->rise && check->fall == other->fall && check->status_min == other->status_min &&
           check->status_max == other->status_max && is_same_text(check->path, other->path) &&
           is_same_text(check->host, other->host);
}

static bool is_same_settings(const struct upstream_config *settings, const struct upstream_config *other)
{
    return settings->balance == other->balance && settings->proxy_send == other->proxy_send &&
           settings->keepalive == other->keepalive && settings->connect_ms == other->connect_ms &&
           settings->read_ms == other->read_ms && settings->retries == other->retries &&
           settings->max_fails == other->max_fails && settings->fail_timeout_ms == other->fail_timeout_ms &&
           settings->slow_start_ms == other->slow_start_ms && settings->queue == other->queue &&
           settings->queue_ms == other->queue_ms && is_same_check(&settings->check, &other->check);
}

static bool is_same_server(const struct source *source, const struct server_config *server)
{
    return strcmp(source->text, server->target) == 0 && source->weight == server->weight &&
           source->max_connections == server->max_connections && source->is_backup == server->is_backup;
}

bool group_config_is_made_of(const struct group_config *config, const struct upstream_config *upstream)
{
    if (config->source_count != upstream->server_count || !is_same_settings(&config->settings, upstream))
        return false;
    for (uint32_t i = 0; i < config->source_count; i++) {
        if (!is_same_server(&config->sources[i], &upstream->servers[i]))
            return false;
    }
    return true;
}

bool source_is_same_name(const struct source *source, const struct source *other)
{
    return source->target.kind != TARGET_ADDR && strcmp(source->text, other->text) == 0;
}

/* ---- what is known of names ---- */

/* It is moved: nobody makes versions of the other one any more. */
static void take_over(struct source *source, struct source *from)
{
    source->found = from->found;
    source->found_count = from->found_count;
    source->expires_ms = from->expires_ms;
    source->problem = from->problem;
    from->found = NULL;
    from->found_count = 0;
}

void group_config_inherit(struct group_config *config, struct group_config *from)
{
    for (uint32_t i = 0; i < config->source_count; i++) {
        for (uint32_t j = 0; j < from->source_count; j++) {
            if (source_is_same_name(&config->sources[i], &from->sources[j]) && !config->sources[i].found)
                take_over(&config->sources[i], &from->sources[j]);
        }
    }
}
