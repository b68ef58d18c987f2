/* See cmd_servers.h. */
#include "admin/cmd_servers.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <string.h>

#include "admin/control.h"
#include "admin/control_words.h"
#include "admin/service.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "proxy/group.h"
#include "proxy/group_servers.h"
#include "proxy/group_set.h"
#include "proxy/shared.h"

/* What operators say, in the order of enum server_admin. */
static const char *const admin_words[] = {"auto", "up", "down", "drain"};

static const char *state_text(enum server_state state)
{
    switch (state) {
    case SERVER_UP: return "up";
    case SERVER_TRIAL_DUE: return "trial";
    case SERVER_EJECTED: return "ejected";
    case SERVER_DOWN: return "down";
    case SERVER_DRAINING: return "draining";
    }
    return "";
}

/* ---- servers ---- */

struct listing {
    json_t *list;
    const char *upstream;
    bool is_empty; /* the upstream is, so far */
};

static void add(void *owner, const struct server_info *info)
{
    struct listing *listing = owner;

    listing->is_empty = false;
    json_array_append_new(listing->list,
                          json_pack("{s:o, s:o, s:s, s:i, s:i, s:I, s:I, s:b, s:s}", "upstream",
                                    control_text(listing->upstream), "server", control_text(info->name), "state",
                                    state_text(info->state), "weight", (int)info->weight, "connections",
                                    (int)info->open, "total", (json_int_t)info->total, "fails", (json_int_t)info->fails,
                                    "backup", info->is_backup, "admin", admin_words[info->admin]));
}

/* Its names have not been looked up yet, or lead nowhere. */
static void add_unknown(struct listing *listing)
{
    json_array_append_new(listing->list,
                          json_pack("{s:o, s:s}", "upstream", control_text(listing->upstream), "state", "unknown"));
}

void cmd_servers(struct control_request *request, const struct control_words *words)
{
    const struct service *service = control_context(request);
    const struct group_set *set = proxy_shared_groups(&service->engine);
    struct listing listing;

    if (words->count != 1) {
        control_misused(request);
        return;
    }
    listing.list = json_array();
    for (uint32_t i = 0; i < set->count; i++) {
        listing.upstream = set->items[i].group->name;
        listing.is_empty = true;
        group_visit_servers(set->items[i].group, clock_now_ms(), add, &listing);
        if (listing.is_empty)
            add_unknown(&listing);
    }
    control_ok(request, json_pack("{s:o}", "servers", listing.list));
}

/* ---- server ---- */

/* A state that an operator may say, or -EINVAL. */
static int admin_of(const char *word)
{
    for (size_t i = 0; i < COUNT_OF(admin_words); i++) {
        if (strcmp(word, admin_words[i]) == 0)
            return (int)i;
    }
    return -EINVAL;
}

static void answer(struct control_request *request, const struct control_words *words, int rc)
{
    if (rc == 0) {
        log_info("upstream %s: server %s: %s%s%s, as its operator says", words->word[1], words->word[2], words->word[3],
                 words->count > 4 ? " " : "", words->count > 4 ? words->word[4] : "");
        control_ok(request, NULL);
    } else if (rc == -ENOENT) {
        control_fail(request, "upstream %s has no server %s: `servers` lists them", words->word[1], words->word[2]);
    } else {
        control_fail(request, "%s", strerror(-rc));
    }
}

static void set_weight(struct control_request *request, const struct control_words *words, struct group *group)
{
    uint64_t weight;

    if (!control_word_is_number(words->word[4], UPSTREAM_WEIGHT_MAX, &weight) || weight == 0) {
        control_fail(request, "expected a weight from 1 to %d, got \"%s\"", UPSTREAM_WEIGHT_MAX, words->word[4]);
        return;
    }
    answer(request, words, group_set_weight(group, words->word[2], (uint32_t)weight));
}

/* `auto` is as it was configured, the weight too. */
static void set_state(struct control_request *request, const struct control_words *words, struct group *group)
{
    int admin = admin_of(words->word[3]);
    int rc;

    if (admin < 0) {
        control_misused(request);
        return;
    }
    rc = group_set_admin(group, words->word[2], (enum server_admin)admin, NULL);
    if (rc == 0 && admin == SERVER_ADMIN_NONE)
        rc = group_set_weight(group, words->word[2], 0);
    answer(request, words, rc);
}

void cmd_server(struct control_request *request, const struct control_words *words)
{
    const struct service *service = control_context(request);
    bool is_weight = words->count == 5 && strcmp(words->word[3], "weight") == 0;
    struct group *group;

    if (words->count != 4 && !is_weight) {
        control_misused(request);
        return;
    }
    group = group_set_find(proxy_shared_groups(&service->engine), words->word[1], strlen(words->word[1]));
    if (!group)
        control_fail(request, "there is no upstream %s", words->word[1]);
    else if (is_weight)
        set_weight(request, words, group);
    else
        set_state(request, words, group);
}
