/* See dial_pick.h. */
#include "proxy/dial_pick.h"

#include "core/reactor.h"
#include "proxy/dial.h"
#include "proxy/group.h"
#include "proxy/proxy.h"
#include "proxy/server.h"
#include "proxy/upstream.h"

static enum pick_outcome pick(const struct dial *dial, const struct tried *tried, struct pick *out)
{
    return balance_pick(dial->upstream, dial->options.key_hash, tried, dial->view->reactor->now_ms, out);
}

enum pick_outcome dial_pick_next(const struct dial *dial, struct pick *out)
{
    enum pick_outcome outcome = pick(dial, &dial->tried, out);

    if (outcome != PICK_NONE)
        return outcome;
    return balance_pick_ejected(dial->upstream, dial->options.key_hash, &dial->tried, dial->view->reactor->now_ms, out);
}

/* ---- of those that are full ---- */

/* A server that is full may be so by connections that are idle here. */
static bool may_be_idle(const struct dial *dial, uint32_t index)
{
    const struct server *server = dial->upstream->members[index].server;

    return !tried_has(&dial->tried, index) && server_state(server, dial->view->reactor->now_ms) == SERVER_UP;
}

struct conn *dial_find_idle(const struct dial *dial, struct slot *slot)
{
    struct pool *pool = &dial->view->reactor->proxy->pool;
    struct conn *conn = NULL;

    for (uint32_t i = 0; i < upstream_member_count(dial->upstream) && !conn; i++) {
        if (may_be_idle(dial, i))
            conn = pool_checkout(pool, dial->view, &dial->upstream->members[i].server->addr, dial->options.told,
                                 !dial->options.takes_unseen, slot);
    }
    return conn;
}

/* True when one of them was closed for its slot. */
static bool drop_any(const struct dial *dial)
{
    struct pool *pool = &dial->view->reactor->proxy->pool;

    for (uint32_t i = 0; i < upstream_member_count(dial->upstream); i++) {
        if (may_be_idle(dial, i) && pool_drop_one(pool, dial->view, &dial->upstream->members[i].server->addr))
            return true;
    }
    return false;
}

enum pick_outcome dial_make_room(const struct dial *dial, struct pick *out)
{
    enum pick_outcome outcome = PICK_BUSY;

    while (outcome == PICK_BUSY && drop_any(dial))
        outcome = dial_pick_next(dial, out);
    return outcome;
}

/* ---- races ---- */

static sa_family_t family_of(const struct member *member)
{
    return member->server->addr.sa.sa_family;
}

/* Whether a member is another way to the host of one that was picked. */
static bool is_rival_of(const struct dial *dial, const struct member *member, const struct pick *other)
{
    const struct member *beside = &dial->upstream->members[other->index];

    if (beside->source != member->source)
        return false;
    return dial->view->group->is_plain || family_of(beside) != family_of(member);
}

/* Whether it may run beside the attempts under way, and one that just failed (NULL: none has). */
static bool may_race(const struct dial *dial, const struct pick *failed, const struct member *member)
{
    if (failed && !is_rival_of(dial, member, failed))
        return false;
    for (uint32_t i = 0; i < DIAL_ATTEMPTS_MAX; i++) {
        if (dial->attempts[i].conn && !is_rival_of(dial, member, &dial->attempts[i].pick))
            return false;
    }
    return true;
}

enum pick_outcome dial_pick_rival(const struct dial *dial, const struct pick *failed, struct pick *out)
{
    struct tried tried = dial->tried;

    for (uint32_t i = 0; i < upstream_member_count(dial->upstream); i++) {
        if (!may_race(dial, failed, &dial->upstream->members[i]))
            tried_add_index(&tried, i);
    }
    return pick(dial, &tried, out);
}
