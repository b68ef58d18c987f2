/* See connecting.h. */
#include "script/connecting.h"

#include "base/hash.h"
#include "core/conn.h"
#include "core/listener.h"
#include "core/reactor.h"
#include "proxy/dial.h"
#include "proxy/group.h"
#include "proxy/proxy.h"
#include "script/api_common.h"
#include "script/greeting.h"
#include "script/pending.h"
#include "script/runtime.h"
#include "script/script_conn.h"
#include "script/task.h"

enum { CONNECTINGS_PER_BLOCK = 16 };

struct connecting {
    struct pending pending;
    struct dial dial;
    struct greeting greeting;
    struct script_conn *made; /* owned until it is taken; NULL while dialling, and after a failure */
    uint64_t overdue_ms;      /* when all of it has taken too long; TIMER_NEVER: that is not asked */
    bool is_done;
};

void connecting_init_slab(struct slab *slab)
{
    slab_init(slab, sizeof(struct connecting), CONNECTINGS_PER_BLOCK, 0);
}

static void drop(struct pending *pending)
{
    struct connecting *connecting = CONTAINER_OF(pending, struct connecting, pending);
    struct runtime *runtime = pending->task->runtime;

    pending_end(pending);
    dial_cancel(&connecting->dial);
    if (connecting->made)
        script_conn_let_go(connecting->made);
    greeting_free(&connecting->greeting);
    slab_free(&runtime->connecting_slab, connecting);
}

/* The dial has ended: its connection gets a script side at once, so that no event is missed. */
static void take_outcome(struct connecting *connecting)
{
    struct dial *dial = &connecting->dial;
    struct conn *conn = dial->conn;

    connecting->is_done = true;
    if (!conn)
        return;
    connecting->made = script_conn_adopt(connecting->pending.task->runtime, conn, &dial->slot);
    /* One that was used before has been told, and the same: the pool sees to that. */
    if (connecting->made && (conn->bytes_out > 0 || greeting_send(&connecting->greeting, conn) == 0))
        return;
    dial->failure = DIAL_NO_ROOM;
    conn_kill(conn, CLOSE_NO_MEMORY);
    slot_give(&dial->slot); /* unless the script side has it */
    if (connecting->made)
        script_conn_let_go(connecting->made);
    connecting->made = NULL;
}

static void on_dial_done(struct dial *dial)
{
    struct connecting *connecting = dial->owner;

    take_outcome(connecting);
    pending_wake(&connecting->pending);
}

/* As the client's connection is, so its server's shall be. */
static void take_from_client(struct dial_options *dial, const struct conn *client)
{
    struct addr addr;

    conn_remote(client, &addr);
    dial->key_hash = balance_hash_client(&addr);
    dial->timeouts = client->timeouts;
    dial->write_buffer_max = client->write_buffer_max;
    if (client->listener)
        dial->tcp = &client->listener->config->tcp;
}

struct dial_options connecting_options(struct group_view *view, const struct zerg_dial_options *options,
                                       const struct conn *client)
{
    struct dial_options dial = dial_defaults(view, 0);

    if (client)
        take_from_client(&dial, client);
    if (options->hash_key)
        dial.key_hash = hash_bytes(options->hash_key, options->hash_key_len);
    if (options->connect_s >= 0)
        dial.connect_ms = api_ms(options->connect_s);
    return dial;
}

/* The outcome goes to the script. */
static int hand_over(struct connecting *connecting, struct zerg_conn *out)
{
    struct script_conn *made = connecting->made;
    struct runtime *runtime = connecting->pending.task->runtime;
    int rc = made ? ZERG_OK : ZERG_END;

    if (made)
        script_conn_fill_handle(made, out);
    else if (connecting->dial.failure == DIAL_GIVEN_UP && runtime->reactor->now_ms >= connecting->overdue_ms)
        pending_set_reason(runtime, close_reason_text(CLOSE_TIMEOUT));
    else
        pending_set_dial_reason(runtime, &connecting->dial);
    connecting->made = NULL;
    drop(&connecting->pending);
    return rc;
}

/* The time that all of it may take, where the options say so. */
static void limit(struct connecting *connecting, const struct zerg_dial_options *options)
{
    uint32_t total_ms = options->total_s > 0 ? api_ms(options->total_s) : 0;

    if (total_ms == 0)
        return;
    connecting->overdue_ms = connecting->dial.view->reactor->now_ms + total_ms;
    dial_limit(&connecting->dial, total_ms);
}

int connecting_begin(struct task *task, struct group_view *view, const struct zerg_dial_options *options,
                     struct zerg_conn *out)
{
    struct runtime *runtime = task->runtime;
    const struct conn *client = options->client ? api_conn(options->client) : NULL;
    struct dial_options dial = connecting_options(view, options, client);
    struct connecting *connecting = slab_new(&runtime->connecting_slab);
    int rc;

    if (!connecting)
        return ZERG_NO_MEMORY;
    *connecting = (struct connecting){.overdue_ms = TIMER_NEVER};
    pending_begin(&connecting->pending, task, drop);
    rc = greeting_make(&connecting->greeting, options, group_view_settings(view)->proxy_send, client);
    if (rc != ZERG_OK) {
        drop(&connecting->pending);
        return rc;
    }
    dial.uses_pool = !options->no_reuse;
    dial.told = connecting->greeting.bytes ? hash_bytes(connecting->greeting.bytes, connecting->greeting.len) : 0;
    if (dial_start(&connecting->dial, view, &dial, on_dial_done, connecting) == DIAL_WAITS) {
        limit(connecting, options);
        return pending_park(task);
    }
    take_outcome(connecting);
    return hand_over(connecting, out);
}

int connecting_finish(struct task *task, struct zerg_conn *out)
{
    struct pending *pending = pending_of(task, drop);
    struct connecting *connecting;

    if (!pending)
        return ZERG_END;
    connecting = CONTAINER_OF(pending, struct connecting, pending);
    return connecting->is_done ? hand_over(connecting, out) : pending_park(task);
}
