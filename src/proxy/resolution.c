/* See resolution.h. */
#include "proxy/resolution.h"

#include <stdbool.h>
#include <string.h>

void resolution_begin(struct resolution_draft *draft)
{
    draft->out.problem = NULL;
    draft->out.ttl_ms = RESOLVE_TTL_MAX_MS;
    draft->out.count = 0;
}

/* Behind those of its own rank. With no room left, the last one makes room for one of a lower rank. */
static void insert(struct resolution_draft *draft, const struct resolution_name *name, const struct addr *addr)
{
    struct resolution *out = &draft->out;
    uint32_t at = out->count;

    while (at > 0 && draft->ranks[at - 1] > name->rank)
        at--;
    if (at == RESOLVE_ADDRS_MAX)
        return;
    if (out->count < RESOLVE_ADDRS_MAX)
        out->count++;
    memmove(&out->items[at + 1], &out->items[at], (out->count - 1 - at) * sizeof(*out->items));
    memmove(&draft->ranks[at + 1], &draft->ranks[at], (out->count - 1 - at) * sizeof(*draft->ranks));
    out->items[at] = (struct resolved){.addr = *addr, .priority = name->priority, .weight = name->weight};
    draft->ranks[at] = name->rank;
}

/* The first address from there on that is of the preferred family, or is not. */
static uint32_t next_of(const struct addr *addrs, uint32_t count, uint32_t from, bool is_preferred)
{
    while (from < count && (addrs[from].sa.sa_family == addrs[0].sa.sa_family) != is_preferred)
        from++;
    return from;
}

/* Preferred is the family of the first address. */
void resolution_add(struct resolution_draft *draft, const struct resolution_name *name, const struct addr *addrs,
                    uint32_t count)
{
    uint32_t preferred = 0;
    uint32_t other = next_of(addrs, count, 0, false);

    while (preferred < count || other < count) {
        if (preferred < count) {
            insert(draft, name, &addrs[preferred]);
            preferred = next_of(addrs, count, preferred + 1, true);
        }
        if (other < count) {
            insert(draft, name, &addrs[other]);
            other = next_of(addrs, count, other + 1, false);
        }
    }
}

void resolution_limit_ttl(struct resolution_draft *draft, uint32_t ttl_s)
{
    if (ttl_s < draft->out.ttl_ms / 1000)
        draft->out.ttl_ms = ttl_s * 1000;
}

void resolution_fail(struct resolution_draft *draft, const char *problem)
{
    if (!draft->out.problem)
        draft->out.problem = problem;
    resolution_limit_ttl(draft, RESOLVE_TTL_FAILED_MS / 1000);
}

static bool is_known(const struct resolution *out, uint32_t count, const struct addr *addr)
{
    for (uint32_t i = 0; i < count; i++) {
        if (addr_equals(&out->items[i].addr, addr))
            return true;
    }
    return false;
}

static void drop_repeated(struct resolution *out)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < out->count; i++) {
        if (is_known(out, kept, &out->items[i].addr))
            continue;
        if (kept != i)
            out->items[kept] = out->items[i];
        kept++;
    }
    out->count = kept;
}

const struct resolution *resolution_finish(struct resolution_draft *draft)
{
    struct resolution *out = &draft->out;

    drop_repeated(out);
    if (out->count > 0)
        out->problem = NULL;
    else
        resolution_fail(draft, "the name has no address");
    if (out->ttl_ms < RESOLVE_TTL_MIN_MS)
        out->ttl_ms = RESOLVE_TTL_MIN_MS;
    return out;
}
