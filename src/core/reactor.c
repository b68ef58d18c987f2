/* See reactor.h: opening, the turn, and what conn.c asks of its reactor. */
#include "core/reactor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/acceptor.h"
#include "core/admission.h"
#include "core/conn.h"
#include "core/connect.h"
#include "core/engine.h"
#include "core/listen_socket.h"
#include "core/listener.h"
#include "core/part.h"
#include "core/reactor_inbox.h"
#include "core/reactor_options.h"
#include "core/starved.h"
#include "core/version.h"
#include "uring/bufring.h"
#include "uring/op.h"

/* How many completions ahead the memory of a connection, and what is found through it, is asked for. */
enum { AHEAD_CONN = 8, AHEAD_OWNER = 6, AHEAD_NEAR = 4, AHEAD_FAR = 2 };

/* ---- opening and closing ---- */

static void read_clock(struct reactor *reactor)
{
    reactor->now_ns = clock_now_ns();
    reactor->now_ms = reactor->now_ns / NS_PER_MS;
}

static bool take_accepted(struct accept_group *group, struct listen_socket *socket, int fd)
{
    struct reactor *reactor = CONTAINER_OF(group, struct reactor, accept);

    /* Held until the last version that listened there had ended: there will never be room. */
    if (UNLIKELY(!part_listener(reactor, socket))) {
        reactor_refuse(reactor, socket, fd);
        return true;
    }
    if (!reactor_adopt(reactor, socket, fd))
        return false;
    atomic_fetch_add(&reactor->open, 1); /* the acceptor counts what it promises; here nobody else does */
    return true;
}

static int open_accept(struct reactor *reactor)
{
    const struct config *config = reactor->engine->config;

    if (config->accept != ACCEPT_REUSEPORT)
        return 0;
    reactor->accept.engine = reactor->engine;
    reactor->accept.ring = reactor->ring;
    reactor->accept.timers = &reactor->timers;
    reactor->accept.take = take_accepted;
    reactor->accept.is_waiting = true; /* no client is served before every reactor could load its scripts */
    accept_init(&reactor->accept, reactor->index, config->reactors);
    return accept_reserve(&reactor->accept, reactor->engine->version);
}

static int open_ring(struct reactor *reactor)
{
    struct ring_options ring_options = reactor_ring_options(reactor->engine);
    struct bufring_options buf_options = reactor_buffer_options(reactor->engine);
    int rc = ring_open(&reactor->ring, &ring_options);
    char text[1024];

    if (rc < 0) {
        log_error("reactor %u: cannot open its io_uring: %s", reactor->index, probe_explain(rc, text, sizeof(text)));
        return rc;
    }
    rc = bufring_open(&reactor->bufs, reactor->ring, REACTOR_BUFFER_GROUP, &buf_options);
    if (rc < 0)
        log_error("reactor %u: cannot register %u receive buffers of %u bytes: %s", reactor->index, buf_options.entries,
                  buf_options.buffer_bytes, strerror(-rc));
    return rc;
}

static struct version_part *first_part(const struct reactor *reactor)
{
    return &reactor->engine->version->parts[reactor->index];
}

static void log_problem(const struct reactor *reactor)
{
    const char *problem = first_part(reactor)->problem;

    log_error("reactor %u: %s", reactor->index, problem ? problem : "no memory for its scripts");
}

int reactor_open(struct reactor *reactor)
{
    const struct config *config = reactor->engine->config;
    int rc;

    read_clock(reactor);
    list_init(&reactor->parts);
    list_init(&reactor->live);
    list_init(&reactor->dirty);
    list_init(&reactor->starved);
    list_init(&reactor->starved_again);
    list_init(&reactor->holding);
    timer_wheel_init(&reactor->timers, reactor->now_ms);
    reactor->batch_max = config->reactor.batch_cqes;
    reactor->batch = calloc(reactor->batch_max, sizeof(*reactor->batch));
    if (!reactor->batch)
        return -ENOMEM;
    rc = open_ring(reactor);
    if (rc < 0)
        return rc;
    watch_table_init(&reactor->watches, reactor->ring);
    write_waits_init(&reactor->write_waits);
    chunk_pool_init(&reactor->chunks);
    lease_pool_init(&reactor->leases, reactor->bufs, &reactor->chunks);
    rc = conn_table_init(&reactor->conns, config->reactor.max_connections);
    if (rc < 0)
        return rc;
    rc = open_accept(reactor);
    if (rc < 0)
        return rc;
    if (reactor->engine->probe.doorbell)
        inbox_set_doorbell(&reactor->inbox, ring_fd(reactor->ring));
    inbox_arm_eventfd(&reactor->inbox, reactor->ring);
    reactor->has_ready = true; /* opening the app may have made something ready: the first turn does not sleep */
    rc = reactor->app->open(reactor);
    if (rc < 0)
        return rc;
    rc = part_open_first(first_part(reactor));
    if (rc < 0)
        log_problem(reactor);
    return rc;
}

static void log_balance(const struct reactor *reactor)
{
    const struct reactor_stats *stats = &reactor->stats;
    const struct lease_pool *leases = &reactor->leases;

    log_info("reactor %u stopped: accepted=%llu closed=%llu connects=%llu connects_closed=%llu starved=%llu "
             "compacted=%llu overflows=%llu leases=%u buffers_leased=%u operations=%u connections=%u chunks=%u",
             reactor->index, (unsigned long long)stats->accepted, (unsigned long long)stats->closed,
             (unsigned long long)stats->connects, (unsigned long long)stats->connects_closed,
             (unsigned long long)stats->starved, (unsigned long long)stats->compacted,
             (unsigned long long)stats->overflows, leases->slab.taken, bufring_leases(reactor->bufs),
             reactor->accept.operations, reactor->conns.taken, chunk_pool_out(&reactor->chunks));
}

void reactor_close(struct reactor *reactor)
{
    if (reactor->parts.next)
        part_close_all(reactor); /* runs finalizers, which may give leases back */
    if (reactor->app_data)
        reactor->app->close(reactor);
    if (reactor->conns.blocks) {
        reactor_inbox_drop(reactor);
        log_balance(reactor);
        accept_deinit(&reactor->accept);
        conn_table_deinit(&reactor->conns);
        lease_pool_deinit(&reactor->leases);
        chunk_pool_deinit(&reactor->chunks);
        timer_wheel_deinit(&reactor->timers);
    }
    write_waits_deinit(&reactor->write_waits);
    watch_table_deinit(&reactor->watches);
    if (reactor->bufs)
        bufring_close(reactor->bufs);
    if (reactor->ring)
        ring_close(reactor->ring);
    free(reactor->batch);
}

/* ---- completions ---- */

void reactor_discard(struct reactor *reactor, const struct completion *completion)
{
    struct buf_piece piece;

    if (completion->flags & COMPLETION_BUFFER && bufring_take(reactor->bufs, completion, &piece))
        bufring_release(reactor->bufs, piece.bid);
}

static void on_close_done(struct conn *conn)
{
    conn->operations--;
    conn_mark_dirty(conn);
}

static void dispatch_conn(struct reactor *reactor, const struct completion *completion)
{
    struct conn *conn = conn_table_find(&reactor->conns, completion->user_data);

    if (!conn) {
        reactor_discard(reactor, completion);
        return;
    }
    switch (op_kind(completion->user_data)) {
    case OP_RECV: conn_on_recv(conn, completion); break;
    case OP_SEND: conn_on_send(conn, completion); break;
    case OP_CANCEL: conn_on_cancel(conn, completion); break;
    case OP_CONNECT: conn_on_connect(conn, completion); break;
    default: on_close_done(conn);
    }
}

static void dispatch(struct reactor *reactor, const struct completion *completion)
{
    switch (op_kind(completion->user_data)) {
    case OP_RECV:
    case OP_SEND:
    case OP_CANCEL:
    case OP_CLOSE:
    case OP_CONNECT: dispatch_conn(reactor, completion); break;
    case OP_ACCEPT: accept_on_completion(&reactor->accept, completion); break;
    case OP_CANCEL_ACCEPT: accept_on_cancel(&reactor->accept, completion); break;
    case OP_WATCH: watch_on_completion(&reactor->watches, completion); break;
    case OP_EVENTFD: inbox_arm_eventfd(&reactor->inbox, reactor->ring); break;
    case OP_RUNG: /* only failures matter: the receiver must be woken in another way */
        if (completion->result < 0)
            engine_wake(reactor->engine, op_slot(completion->user_data));
        break;
    default: /* a doorbell: it woke us, and the inbox is looked into every turn */ break;
    }
}

static void prefetch_handler(const struct reactor *reactor, const struct completion *completion,
                             enum prefetch_step step)
{
    const struct conn *conn;

    if (op_kind(completion->user_data) != OP_RECV)
        return;
    conn = conn_table_find(&reactor->conns, completion->user_data);
    if (conn && conn->owner && conn->handler->prefetch)
        conn->handler->prefetch(conn, step);
}

/* With more connections than the cache holds, each completion would wait for its connection's memory: ask for that of the
 * ones to come, in steps, as each part is found through the one before. */
static void prefetch_ahead(const struct reactor *reactor, uint32_t i, uint32_t count)
{
    const struct completion *next = &reactor->batch[i];

    if (i + AHEAD_CONN < count)
        conn_table_prefetch(&reactor->conns, next[AHEAD_CONN].user_data);
    if (i + AHEAD_OWNER < count)
        conn_table_prefetch_owner(&reactor->conns, next[AHEAD_OWNER].user_data);
    if (i + AHEAD_NEAR < count)
        prefetch_handler(reactor, &next[AHEAD_NEAR], PREFETCH_NEAR);
    if (i + AHEAD_FAR < count)
        prefetch_handler(reactor, &next[AHEAD_FAR], PREFETCH_FAR);
}

/* ---- settling ---- */

static void settle_dirty(struct reactor *reactor)
{
    struct list *node;

    while ((node = list_pop(&reactor->dirty)))
        conn_settle(CONTAINER_OF(node, struct conn, dirty_link));
}

static void settle(struct reactor *reactor)
{
    settle_dirty(reactor);
    bufring_publish(reactor->bufs);
    starved_rearm(reactor);
    settle_dirty(reactor);
    if (reactor->accept.ring)
        accept_settle(&reactor->accept);
}

/* ---- the turn ---- */

static uint64_t until_next_timer(const struct reactor *reactor)
{
    uint64_t next_ms = timer_wheel_next_ms(&reactor->timers);
    uint64_t now_ns = reactor->now_ns;

    if (next_ms == TIMER_NEVER)
        return RING_WAIT_FOREVER;
    return next_ms * NS_PER_MS > now_ns ? next_ms * NS_PER_MS - now_ns : RING_NO_WAIT;
}

/* How long the next wait may be. Zero while something is left to do without any event. */
static uint64_t next_wait(struct reactor *reactor, uint64_t wait_ns)
{
    uint64_t until_timer = until_next_timer(reactor);
    bool starved_can_go = starved_is_any(reactor) && bufring_published(reactor->bufs) > 0;

    if (reactor->has_ready || starved_can_go || !inbox_prepare_sleep(&reactor->inbox))
        return RING_NO_WAIT;
    return until_timer < wait_ns ? until_timer : wait_ns;
}

/* For the watchdog: we are awake. It sleeps itself while no reactor turns, so that an idle server is idle. */
static void beat(struct reactor *reactor)
{
    uint64_t turns = atomic_load_explicit(&reactor->pulse.turns, memory_order_relaxed);

    /* In one order with the watchdog's store and load: one of us sees the other. */
    atomic_store(&reactor->pulse.turns, turns + 1);
    if (UNLIKELY(atomic_load(&reactor->engine->watchdog_sleeps)))
        engine_wake_watchdog(reactor->engine);
}

/* A watchdog that sees this may sleep: the next beat() wakes it. */
static void rest(struct reactor *reactor)
{
    uint64_t turns = atomic_load_explicit(&reactor->pulse.turns, memory_order_relaxed);

    atomic_store_explicit(&reactor->pulse.turns, turns + 1, memory_order_release);
}

int reactor_turn(struct reactor *reactor, uint64_t wait_ns)
{
    uint32_t count;
    int rc = ring_submit_and_wait(reactor->ring, next_wait(reactor, wait_ns));

    if (rc < 0)
        return rc;
    inbox_awake(&reactor->inbox);
    beat(reactor);
    if (LIKELY(!ring_has_unsubmitted(reactor->ring)))
        reactor->messages_used = 0;
    read_clock(reactor);
    if (UNLIKELY(ring_take_overflow(reactor->ring)))
        reactor->stats.overflows++;
    reactor_inbox_drain(reactor);
    count = ring_reap(reactor->ring, reactor->batch, reactor->batch_max);
    for (uint32_t i = 0; i < count; i++) {
        prefetch_ahead(reactor, i, count);
        dispatch(reactor, &reactor->batch[i]);
    }
    timer_wheel_advance(&reactor->timers, reactor->now_ms);
    reactor->has_ready = reactor->app->turn(reactor);
    part_turn(reactor);
    settle(reactor);
    rest(reactor);
    return 0;
}

static bool has_ended(const struct reactor *reactor)
{
    if (reactor->state == REACTOR_RUNNING || reactor->conns.taken > 0)
        return false;
    return !reactor->accept.ring || accept_is_stopped(&reactor->accept);
}

static void run(struct reactor *reactor)
{
    uint32_t cq_timeout_ms = reactor->engine->config->reactor.cq_timeout_ms;
    uint64_t longest = cq_timeout_ms ? cq_timeout_ms * NS_PER_MS : RING_WAIT_FOREVER;

    settle(reactor);
    while (!has_ended(reactor)) {
        int rc = reactor_turn(reactor, longest);

        if (rc < 0)
            fatal("reactor %u: its io_uring failed: %s", reactor->index, strerror(-rc));
    }
}

/* Turns until the first part has started, which may wait for its own timers and tasks; no connection comes before. */
static int become_ready(struct reactor *reactor)
{
    struct version_part *part = first_part(reactor);
    int rc;

    while ((rc = part_starting(part)) > 0) {
        rc = reactor_turn(reactor, START_LOOK_MS * NS_PER_MS);
        if (rc < 0)
            return rc;
    }
    if (rc == 0)
        part_make_current(part);
    else
        log_problem(reactor);
    return rc;
}

static void begin(struct reactor *reactor)
{
    int rc = become_ready(reactor);

    if (rc < 0)
        reactor_stop(reactor); /* what was begun meanwhile, connections of our own making, has to end first */
    engine_report_start(reactor->engine, rc);
    run(reactor);
}

static void *reactor_main(void *arg)
{
    struct reactor *reactor = arg;
    struct engine *engine = reactor->engine;
    int rc;

    reactor_thread_setup(reactor);
    rc = reactor_open(reactor);
    if (rc == 0)
        begin(reactor);
    else
        engine_report_start(engine, rc);
    reactor_close(reactor);
    engine_wake_all(engine);
    atomic_store(&reactor->has_ended, true);
    engine_report_end(engine);
    return NULL;
}

int reactor_start(struct reactor *reactor)
{
    return -pthread_create(&reactor->thread, NULL, reactor_main, reactor);
}

void reactor_join(struct reactor *reactor)
{
    pthread_join(reactor->thread, NULL);
}

/* ---- for connections ---- */

struct conn *reactor_take_slot(struct reactor *reactor)
{
    struct conn *conn = NULL;

    /* Counted first: the acceptor must not promise the same slot. */
    if (atomic_fetch_add(&reactor->open, 1) < reactor->conns.max)
        conn = conn_table_take(&reactor->conns);
    if (!conn) {
        reactor_on_slot_free(reactor);
        return NULL;
    }
    conn->reactor = reactor;
    reactor->stats.connects++;
    return conn;
}

bool reactor_adopt(struct reactor *reactor, struct listen_socket *socket, int fd)
{
    struct listener *listener = part_listener(reactor, socket);
    struct conn *conn = listener ? conn_table_take(&reactor->conns) : NULL;

    if (!conn)
        return false;
    conn->reactor = reactor;
    reactor->stats.accepted++;
    conn_open(conn, fd, listener, listener_first_handler(listener, reactor->app));
    return true;
}

void reactor_begin_serving(struct conn *conn)
{
    part_catch_up(conn);
    if (conn->listener->config->connections_per_ip > 0 && !admission_admit(conn))
        return;
    conn->handler = listener_handler(conn->listener, conn->reactor->app);
    conn->owner = NULL;
    conn_stop_awaiting(conn);
    conn_set_timeouts(conn, &conn->listener->config->timeouts);
    conn->handler->on_open(conn);
    if (conn->state == CONN_OPEN && (conn->in.first || conn->input_ended))
        conn->handler->on_input(conn);
}

uint64_t reactor_next_conn_id(struct reactor *reactor)
{
    return reactor->next_conn_id++ * reactor->engine->reactor_count + reactor->index + 1;
}

struct iovec *reactor_send_pieces(struct reactor *reactor)
{
    if (reactor->messages_used == SEND_MESSAGES_MAX) {
        int rc = ring_submit(reactor->ring);

        if (rc < 0)
            fatal("reactor %u: its io_uring failed: %s", reactor->index, strerror(-rc));
        /* The kernel reads descriptions at submission: only after it are they ours again. It may take none just now, for want
         * of memory or because completions must be reaped first, which happens in the next turn. */
        if (ring_has_unsubmitted(reactor->ring))
            return NULL;
        reactor->messages_used = 0;
    }
    return reactor->pieces[reactor->messages_used];
}

struct msghdr *reactor_send_message(struct reactor *reactor, uint32_t pieces)
{
    struct msghdr *message = &reactor->messages[reactor->messages_used];

    *message = (struct msghdr){.msg_iov = reactor->pieces[reactor->messages_used], .msg_iovlen = pieces};
    reactor->messages_used++;
    return message;
}

void reactor_on_conn_closed(struct conn *conn)
{
    struct reactor *reactor = conn->reactor;

    if (!conn->listener) {
        reactor->stats.connects_closed++;
        return;
    }
    reactor->stats.closed++;
    if (UNLIKELY(conn->client))
        admission_leave(conn);
    atomic_fetch_sub(&conn->listener->socket->open, 1);
    engine_on_room(reactor->engine, reactor->ring);
}

void reactor_on_slot_free(struct reactor *reactor)
{
    if (UNLIKELY(reactor->state == REACTOR_DRAINING))
        reactor->has_ready = true; /* the app looks what is left to wait for */
    atomic_fetch_sub(&reactor->open, 1);
    engine_on_room(reactor->engine, reactor->ring);
}
