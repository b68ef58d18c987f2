/* All methods but hash first gather the members of a tier that can take a connection, and then choose among these
 * candidates by effective weight. hash looks at members only as its table leads to them. Either way the decision is
 * made good by take(), which may fail when another reactor was faster; then the next best is looked for. */
#include "proxy/balance.h"

#include "base/assert.h"
#include "base/hash.h"
#include "proxy/maglev.h"
#include "proxy/server.h"
#include "proxy/upstream.h"

static_assert(UPSTREAM_SERVERS_MAX % 64 == 0, "tried has a bit for each member");

/* One call of balance_pick(). */
struct search {
    struct upstream *upstream;
    const struct tried *tried;
    uint64_t key_hash;
    uint64_t now_ms;
    struct pick *pick;
    bool is_last_resort; /* of those that are ejected, and of no others */
    bool saw_full;
};

struct candidate {
    struct member *member;
    uint32_t weight; /* effective, in WEIGHT_UNITs */
    uint32_t open;   /* read once, so that one decision is made on one figure */
};

struct candidates {
    uint32_t count;
    struct candidate items[UPSTREAM_SERVERS_MAX];
};

static uint32_t effective_weight(const struct search *search, const struct member *member)
{
    return server_weight(member->server, member->weight, search->upstream->health.slow_start_ms, search->now_ms);
}

static bool is_usable(const struct search *search, enum server_state state)
{
    return search->is_last_resort ? state == SERVER_EJECTED : state == SERVER_UP || state == SERVER_TRIAL_DUE;
}

static bool can_take(struct search *search, const struct member *member)
{
    if (tried_has(search->tried, (uint32_t)(member - search->upstream->members)))
        return false;
    if (!is_usable(search, server_state(member->server, search->now_ms)))
        return false;
    if (member->max_connections == 0 || server_open(member->server) < member->max_connections)
        return true;
    search->saw_full = true;
    return false;
}

/* When a trial that is never decided is followed by another one. A server may still be ejected by limits that were configured
 * before, when these eject nobody. */
static uint64_t next_trial_ms(const struct search *search)
{
    uint32_t fail_timeout_ms = search->upstream->health.fail_timeout_ms;

    return fail_timeout_ms > 0 ? fail_timeout_ms : 1;
}

/* The slot, and the trial if it is due. */
static bool take(struct search *search, const struct member *member)
{
    struct server *server = member->server;
    enum server_state state = server_state(server, search->now_ms);
    bool is_trial = state == SERVER_TRIAL_DUE;

    if (!is_usable(search, state)) /* any more: others change it meanwhile */
        return false;
    if (!server_take_slot(server, member->max_connections)) {
        search->saw_full = true;
        return false;
    }
    if (is_trial && !server_claim_trial(server, search->now_ms, next_trial_ms(search))) {
        server_uncount(server);
        server_give_slot(server);
        return false;
    }
    *search->pick = (struct pick){
        .server = server,
        .index = (uint32_t)(member - search->upstream->members),
        .is_trial = is_trial,
        .is_last_resort = search->is_last_resort,
    };
    return true;
}

static void gather(struct search *search, enum tier tier, struct candidates *candidates)
{
    struct upstream *upstream = search->upstream;

    candidates->count = 0;
    for (uint32_t i = upstream_tier_begin(upstream, tier); i < upstream->tier_end[tier]; i++) {
        struct member *member = &upstream->members[i];

        if (!can_take(search, member))
            continue;
        candidates->items[candidates->count++] = (struct candidate){
            .member = member,
            .weight = effective_weight(search, member),
            .open = server_open(member->server),
        };
    }
}

/* In the order of the members: among equals the first one is chosen. */
static void remove_member(struct candidates *candidates, const struct member *member)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < candidates->count; i++) {
        if (candidates->items[i].member != member)
            candidates->items[kept++] = candidates->items[i];
    }
    candidates->count = kept;
}

/* Connections for its weight: left < right, without a division. */
static bool is_less_loaded(const struct candidate *left, const struct candidate *right)
{
    return (uint64_t)left->open * right->weight < (uint64_t)right->open * left->weight;
}

/* nginx's smooth weighting: everybody comes nearer by its weight, the nearest has its turn and goes back by the sum. Over
 * any stretch each member is less than one connection away from its share. With the turn_lock held. */
static struct member *choose_next_turn(const struct candidates *candidates)
{
    struct member *nearest = NULL;
    int64_t sum = 0;

    for (uint32_t i = 0; i < candidates->count; i++) {
        struct member *member = candidates->items[i].member;

        member->turn += candidates->items[i].weight;
        sum += candidates->items[i].weight;
        if (!nearest || member->turn > nearest->turn)
            nearest = member;
    }
    assert(nearest);
    nearest->turn -= sum;
    return nearest;
}

/* Those of the least load take turns by weight, so that idle servers share short connections as in round_robin. With
 * the turn_lock held, which also keeps two reactors from both seeing the same server as the least loaded. */
static struct member *choose_least_loaded(const struct candidates *candidates)
{
    const struct candidate *least = &candidates->items[0];
    struct candidates equals;

    for (uint32_t i = 1; i < candidates->count; i++) {
        if (is_less_loaded(&candidates->items[i], least))
            least = &candidates->items[i];
    }
    equals.count = 0;
    for (uint32_t i = 0; i < candidates->count; i++) {
        if (!is_less_loaded(least, &candidates->items[i]))
            equals.items[equals.count++] = candidates->items[i];
    }
    return choose_next_turn(&equals);
}

static uint64_t next_random(struct upstream *upstream)
{
    return hash_mix(atomic_fetch_add_explicit(&upstream->random, HASH_STEP, memory_order_relaxed));
}

/* Each with the probability of its weight; `except` (an index, or count for nobody) is left out. */
static uint32_t choose_at_random(struct upstream *upstream, const struct candidates *candidates, uint32_t except)
{
    uint64_t sum = 0;
    uint64_t left;
    uint32_t chosen = 0;

    for (uint32_t i = 0; i < candidates->count; i++)
        sum += i == except ? 0 : candidates->items[i].weight;
    assert(sum > 0); /* somebody but "except" is there */
    left = next_random(upstream) % sum;
    for (uint32_t i = 0; i < candidates->count; i++) {
        uint32_t weight = i == except ? 0 : candidates->items[i].weight;

        if (left < weight) {
            chosen = i;
            break;
        }
        left -= weight;
    }
    return chosen;
}

/* Two choices are enough: the fullest of n servers is then ahead of the mean by log log n, not log n (Mitzenmacher,
 * "The Power of Two Choices in Randomized Load Balancing"), and reactors that decide at once on the same figures do
 * not all run to the same server. */
static struct member *choose_of_two(struct upstream *upstream, const struct candidates *candidates)
{
    uint32_t first = choose_at_random(upstream, candidates, candidates->count);
    uint32_t second;

    if (candidates->count == 1)
        return candidates->items[first].member;
    second = choose_at_random(upstream, candidates, first);
    if (is_less_loaded(&candidates->items[second], &candidates->items[first]))
        first = second;
    return candidates->items[first].member;
}

static struct member *choose(struct upstream *upstream, const struct candidates *candidates)
{
    switch (upstream->balance) {
    case BALANCE_LEAST_CONNECTIONS: return choose_least_loaded(candidates);
    case BALANCE_RANDOM_TWO: return choose_of_two(upstream, candidates);
    case BALANCE_IN_ORDER: return candidates->items[0].member;
    case BALANCE_ROUND_ROBIN:
    case BALANCE_HASH: break;
    }
    return choose_next_turn(candidates);
}

static bool pick_candidate(struct search *search, enum tier tier)
{
    struct candidates candidates;

    gather(search, tier, &candidates);
    while (candidates.count > 0) {
        const struct member *member = choose(search->upstream, &candidates);

        if (take(search, member))
            return true;
        remove_member(&candidates, member);
    }
    return false;
}

static bool pick_candidate_locked(struct search *search, enum tier tier)
{
    bool found;

    pthread_mutex_lock(&search->upstream->turn_lock);
    found = pick_candidate(search, tier);
    pthread_mutex_unlock(&search->upstream->turn_lock);
    return found;
}

/* A server that recovers gets its keys back one after the other, each at its own point of the ramp, and each once. */
static bool is_ramped_up(const struct search *search, const struct member *member)
{
    uint64_t threshold = hash_mix(search->key_hash + 2 * HASH_STEP) % WEIGHT_UNIT;

    return threshold * server_full_weight(member->server, member->weight) < effective_weight(search, member);
}

enum ramp { RAMP_HONOURED, RAMP_IGNORED };

/* From the key's slot on, by the key's step, to the first one whose member can take it: the keys of a member that cannot
 * are spread over all others by weight, and keys of the others stay. Each member is asked once. */
static bool probe_slots(struct search *search, enum tier tier, enum ramp ramp)
{
    const struct upstream *upstream = search->upstream;
    const struct member *members = &upstream->members[upstream_tier_begin(upstream, tier)];
    uint32_t unasked = upstream_tier_count(upstream, tier);
    uint32_t slot = maglev_slot(search->key_hash);
    uint32_t step = maglev_step(search->key_hash);
    struct tried asked = {{0}};

    for (; unasked > 0; slot = maglev_next_slot(slot, step)) { /* ends: every member has a slot */
        uint32_t index = upstream->hash_slots[tier][slot];
        const struct member *member = &members[index];

        if (tried_has(&asked, index))
            continue;
        if (can_take(search, member) && (ramp == RAMP_IGNORED || is_ramped_up(search, member)) && take(search, member))
            return true;
        tried_add_index(&asked, index);
        unasked--;
    }
    return false;
}

static bool pick_by_hash(struct search *search, enum tier tier)
{
    if (upstream_tier_count(search->upstream, tier) == 0)
        return false;
    if (probe_slots(search, tier, RAMP_HONOURED))
        return true;
    /* Rather a cold server than a backup or none. */
    return search->upstream->health.slow_start_ms > 0 && probe_slots(search, tier, RAMP_IGNORED);
}

static bool pick_from_tier(struct search *search, enum tier tier)
{
    switch (search->upstream->balance) {
    case BALANCE_ROUND_ROBIN:
    case BALANCE_LEAST_CONNECTIONS: return pick_candidate_locked(search, tier);
    case BALANCE_RANDOM_TWO:
    case BALANCE_IN_ORDER: return pick_candidate(search, tier);
    case BALANCE_HASH: return pick_by_hash(search, tier);
    }
    return false;
}

static enum pick_outcome run(struct search *search)
{
    for (enum tier tier = 0; tier < TIER_COUNT; tier++) {
        if (pick_from_tier(search, tier))
            return PICK_OK;
    }
    return search->saw_full ? PICK_BUSY : PICK_NONE;
}

enum pick_outcome balance_pick(struct upstream *upstream, uint64_t key_hash, const struct tried *tried, uint64_t now_ms,
                               struct pick *pick)
{
    struct search search = {
        .upstream = upstream,
        .tried = tried,
        .key_hash = key_hash,
        .now_ms = now_ms,
        .pick = pick,
    };

    return run(&search);
}

enum pick_outcome balance_pick_ejected(struct upstream *upstream, uint64_t key_hash, const struct tried *tried,
                                       uint64_t now_ms, struct pick *pick)
{
    struct search search = {
        .upstream = upstream,
        .tried = tried,
        .key_hash = key_hash,
        .now_ms = now_ms,
        .pick = pick,
        .is_last_resort = true,
    };

    return run(&search);
}

uint64_t balance_hash_client(const struct addr *addr)
{
    switch (addr->sa.sa_family) {
    case AF_INET: return hash_bytes(&addr->in4.sin_addr, sizeof(addr->in4.sin_addr));
    case AF_INET6:
        if (IN6_IS_ADDR_V4MAPPED(&addr->in6.sin6_addr))
            return hash_bytes(&addr->in6.sin6_addr.s6_addr[12], sizeof(addr->in4.sin_addr));
        return hash_bytes(&addr->in6.sin6_addr, sizeof(addr->in6.sin6_addr));
    default: return hash_bytes(NULL, 0);
    }
}
