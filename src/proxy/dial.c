/* See dial.h. */
#include "proxy/dial.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"
#include "core/conn.h"
#include "core/connect.h"
#include "core/engine.h"
#include "core/reactor.h"
#include "proxy/dial_pick.h"
#include "proxy/group.h"
#include "proxy/group_config.h"
#include "proxy/health.h"
#include "proxy/health_report.h"
#include "proxy/proxy.h"
#include "proxy/server.h"
#include "proxy/shared.h"
#include "proxy/upstream.h"

static const struct conn_handler dial_handler;

static struct reactor *reactor_of(const struct dial *dial)
{
    return dial->view->reactor;
}

/* ---- one attempt ---- */

static void report(const struct dial *dial, const struct attempt *attempt, enum attempt_result result)
{
    health_report(dial->view, dial->upstream, &attempt->pick, result);
}

/* The attempt is over and has no connection to show: its slot goes back. */
static void give_up_slot(const struct dial *dial, struct attempt *attempt)
{
    attempt->conn = NULL;
    slot_release(dial->view, attempt->pick.server);
}

static void abandon_attempt(const struct dial *dial, struct attempt *attempt)
{
    struct conn *conn = attempt->conn;

    if (!conn)
        return;
    conn->owner = NULL; /* no more events */
    conn_close(conn, CLOSE_LOCAL);
    report(dial, attempt, ATTEMPT_ABANDONED);
    give_up_slot(dial, attempt);
}

static struct attempt *free_attempt(struct dial *dial)
{
    for (uint32_t i = 0; i < DIAL_ATTEMPTS_MAX; i++) {
        if (!dial->attempts[i].conn)
            return &dial->attempts[i];
    }
    return NULL;
}

static bool is_under_way(const struct dial *dial)
{
    for (uint32_t i = 0; i < DIAL_ATTEMPTS_MAX; i++) {
        if (dial->attempts[i].conn)
            return true;
    }
    return false;
}

enum role { ROLE_FIRST, ROLE_RIVAL };

/* Starts to connect to what was picked. 0 or a negative errno: then the slot has gone back. */
static int begin_attempt(struct dial *dial, const struct pick *pick, enum role role)
{
    struct attempt *attempt = free_attempt(dial);
    struct connect_options options = {
        .addr = &pick->server->addr,
        .tcp = dial->options.tcp,
        .timeouts = dial->options.timeouts,
        .write_buffer_max = dial->options.write_buffer_max,
        .connect_ms = dial->view->group->is_plain ? 0 : dial->options.connect_ms,
    };
    int rc;

    *attempt = (struct attempt){.dial = dial, .pick = *pick, .is_rival = role == ROLE_RIVAL};
    tried_add(&dial->tried, pick);
    rc = conn_connect(&attempt->conn, reactor_of(dial), &options, &dial_handler, attempt);
    if (rc < 0) {
        report(dial, attempt, ATTEMPT_ABANDONED);
        give_up_slot(dial, attempt);
    }
    return rc;
}

/* ---- states ---- */

static void leave_line(struct dial *dial)
{
    struct waitline *line = &dial->view->group->waitline;

    if (waitline_leave(line, &dial->waiter))
        waitline_call_next(line, reactor_of(dial)->ring);
}

/* Whatever it was at. */
static void end(struct dial *dial)
{
    struct timer_wheel *timers = &reactor_of(dial)->timers;

    if (dial->state == DIAL_QUEUED)
        leave_line(dial);
    view_waiter_cancel(&dial->view_waiter);
    timer_stop(timers, &dial->limit);
    timer_stop(timers, &dial->step);
    dial->state = DIAL_ENDED;
    for (uint32_t i = 0; i < DIAL_ATTEMPTS_MAX; i++)
        abandon_attempt(dial, &dial->attempts[i]);
    if (dial->upstream)
        upstream_release(dial->upstream);
    dial->upstream = NULL;
    if (dial->was_called) /* and had no use for it */
        waitline_call_next(&dial->view->group->waitline, reactor_of(dial)->ring);
    dial->was_called = false;
    group_view_unuse(dial->view);
}

static enum dial_outcome fail(struct dial *dial, enum dial_failure failure)
{
    dial->failure = failure;
    dial->was_queued = dial->state == DIAL_QUEUED || failure == DIAL_QUEUE_FULL;
    end(dial);
    return DIAL_FAILED;
}

/* Tells the owner, in whose hands the dial is then. */
static void finish(struct dial *dial, enum dial_outcome outcome)
{
    if (outcome != DIAL_WAITS)
        dial->on_done(dial);
}

/* Turns to the present version of the group, while no attempt is under way that counts by another. */
static void use_present_version(struct dial *dial)
{
    struct upstream *present = group_view_upstream(dial->view);

    if (dial->upstream == present)
        return;
    upstream_hold(present);
    if (dial->upstream)
        upstream_release(dial->upstream);
    dial->upstream = present;
    dial->tried = (struct tried){{0}};
    for (uint32_t i = 0; i < upstream_member_count(present) && dial->options.avoid; i++) {
        if (present->members[i].server == dial->options.avoid)
            tried_add_index(&dial->tried, i);
    }
}

/* There is nobody else than whom the owner would rather not have: true when that may be tried now. */
static bool stop_avoiding(struct dial *dial)
{
    bool was_avoided = false;

    for (uint32_t i = 0; i < upstream_member_count(dial->upstream) && dial->options.avoid; i++) {
        if (dial->upstream->members[i].server != dial->options.avoid)
            continue;
        tried_remove_index(&dial->tried, i);
        was_avoided = true;
    }
    dial->options.avoid = NULL;
    return was_avoided;
}

/* A server that was picked for somebody who waits longer. */
static void pass_on(struct dial *dial, const struct pick *picked)
{
    struct attempt unused = {.pick = *picked};

    report(dial, &unused, ATTEMPT_ABANDONED);
    server_uncount(picked->server);
    give_up_slot(dial, &unused); /* which calls the first in the line */
}

/* Sets the timer: to the end of the wait, or to when a server that is ejected may be tried, if that is before it. */
static void start_waiting(struct dial *dial)
{
    struct reactor *reactor = reactor_of(dial);
    uint64_t at_ms = dial->queue_deadline_ms;

    for (uint32_t i = 0; i < upstream_member_count(dial->upstream); i++) {
        uint64_t trial_ms = server_trial_ms(dial->upstream->members[i].server);

        if (trial_ms > reactor->now_ms && trial_ms < at_ms && !tried_has(&dial->tried, i))
            at_ms = trial_ms;
    }
    timer_start(&reactor->timers, &dial->step, at_ms);
}

/* Nobody gives a slot back when a trial is due: who sees that it is has the first in the line called. */
static void look_for_trial(struct dial *dial)
{
    struct pick picked;

    if (dial_pick_next(dial, &picked) == PICK_OK)
        pass_on(dial, &picked);
    start_waiting(dial);
}

static enum dial_outcome join_line(struct dial *dial)
{
    struct group *group = dial->view->group;
    struct reactor *reactor = reactor_of(dial);
    struct waitline *line = &group->waitline;
    bool goes_back = dial->was_called;
    struct pick picked;

    dial->was_called = false;
    if (waitline_join(line, &dial->waiter, goes_back ? WAITLINE_BACK : WAITLINE_LAST) < 0)
        return fail(dial, DIAL_QUEUE_FULL);
    dial->state = DIAL_QUEUED;
    if (dial->queue_deadline_ms == 0)
        dial->queue_deadline_ms = reactor->now_ms + dial->upstream->config->settings.queue_ms;
    start_waiting(dial);
    /* A slot may have become free, or a version with more servers, before we stood in the line. */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load(&group->version) != dial->view->version)
        waitline_call_all(line, reactor->ring);
    else if (dial_pick_next(dial, &picked) == PICK_OK)
        pass_on(dial, &picked);
    else if (atomic_load(&group->idle) > 0 && line->shared) /* the slots that pools keep are wanted */
        proxy_shared_wake_all(line->shared, reactor->ring);
    /* What became free may be what has failed us already, and is of use to others. */
    if (goes_back && dial->attempts_left < dial->options.attempts)
        waitline_call_behind(line, &dial->waiter, reactor->ring);
    return DIAL_WAITS;
}

/* The dial has its connection. */
static void succeed(struct dial *dial, struct conn *conn, struct slot slot)
{
    dial->failure = DIAL_NO_FAILURE;
    dial->conn = conn;
    dial->slot = slot;
    dial->slot.told = dial->options.told;
    conn->owner = NULL;
    end(dial);
}

static void take_idle(struct dial *dial, struct conn *conn, struct slot slot)
{
    conn_set_timeouts(conn, &dial->options.timeouts);
    dial->was_called = false;
    dial->is_reused = true;
    succeed(dial, conn, slot);
}

/* True when an idle connection to that server was there. Whether connecting works is what one that is ejected is asked. */
static bool reuse(struct dial *dial, const struct pick *picked)
{
    struct slot idle;
    struct conn *conn;

    if (!dial->options.uses_pool || picked->is_trial || picked->is_last_resort)
        return false;
    conn = pool_checkout(&reactor_of(dial)->proxy->pool, dial->view, &picked->server->addr, dial->options.told,
                         !dial->options.takes_unseen, &idle);
    if (!conn)
        return false;
    take_idle(dial, conn, slot_of(dial->view, picked->server));
    slot_give(&idle); /* the one that was picked counts */
    return true;
}

/* The same with any server that could be used, when all of them are full. */
static bool reuse_any(struct dial *dial)
{
    struct slot idle;
    struct conn *conn = dial->options.uses_pool ? dial_find_idle(dial, &idle) : NULL;

    if (conn)
        take_idle(dial, conn, idle);
    return conn != NULL;
}

/* 0 or a negative errno. An address that cannot be tried from here, as IPv6 may be off, counts as tried but is no attempt. */
static int connect_to(struct dial *dial, const struct pick *picked)
{
    struct reactor *reactor = reactor_of(dial);
    int rc;

    pool_spare(&reactor->proxy->pool);
    rc = begin_attempt(dial, picked, ROLE_FIRST);
    if (rc == -EAFNOSUPPORT) {
        dial->failure = DIAL_REFUSED;
        dial->reason = CLOSE_UNREACHABLE;
    }
    if (rc < 0)
        return rc;
    dial->attempts_left--;
    dial->was_called = false;
    dial->state = DIAL_CONNECTING;
    timer_start(&reactor->timers, &dial->step, reactor->now_ms + RACE_MS);
    return 0;
}

/* Connects to the next server, or waits for one. */
static enum dial_outcome try_next(struct dial *dial)
{
    bool others_wait = atomic_load(&dial->view->group->waitline.waiting) > 0 && !dial->was_called;
    enum pick_outcome outcome;
    struct pick picked;
    int rc;

    do {
        if (dial->attempts_left == 0)
            return fail(dial, dial->failure);
        outcome = dial_pick_next(dial, &picked);
        if (outcome == PICK_NONE && stop_avoiding(dial))
            outcome = dial_pick_next(dial, &picked);
        if (outcome == PICK_BUSY && !others_wait) { /* what is idle here would be theirs */
            if (reuse_any(dial))
                return DIAL_CONNECTED;
            outcome = dial_make_room(dial, &picked);
        }
        switch (outcome) {
        case PICK_OK: break;
        case PICK_BUSY: return join_line(dial);
        case PICK_NONE: return fail(dial, dial->failure ? dial->failure : DIAL_NO_SERVER);
        }
        if (UNLIKELY(others_wait)) {
            pass_on(dial, &picked);
            return join_line(dial);
        }
        if (reuse(dial, &picked))
            return DIAL_CONNECTED;
        rc = connect_to(dial, &picked);
    } while (rc == -EAFNOSUPPORT);
    if (rc == 0)
        return DIAL_WAITS;
    dial->problem = rc == -EBUSY ? "reactor.max_connections are open" : strerrordesc_np(-rc);
    return fail(dial, DIAL_NO_ROOM);
}

/* From the start, or when names have been looked up, or a server has failed, or it is our turn in the line. */
static enum dial_outcome advance(struct dial *dial)
{
    struct group *group = dial->view->group;
    /* First: answers make a version, and then say when they expire. */
    bool has_expired = reactor_of(dial)->now_ms >= atomic_load(&group->expires_ms);

    use_present_version(dial);
    if (upstream_member_count(dial->upstream) > 0) {
        group_view_refresh(dial->view);
        return try_next(dial);
    }
    /* That a name cannot be looked up is remembered for a while, too. */
    if (!dial->has_asked && has_expired) {
        dial->has_asked = true;
        if (group_view_await(dial->view, &dial->view_waiter) == 0) {
            dial->state = DIAL_RESOLVING;
            return DIAL_WAITS;
        }
    }
    dial->problem = group_problem(group);
    return fail(dial, dial->problem ? DIAL_NO_ADDRESS : DIAL_NO_SERVER);
}

/* ---- events ---- */

static void on_names_answered(struct view_waiter *waiter)
{
    struct dial *dial = CONTAINER_OF(waiter, struct dial, view_waiter);

    finish(dial, advance(dial));
}

static void on_limit(struct timer *timer, uint64_t now_ms)
{
    struct dial *dial = CONTAINER_OF(timer, struct dial, limit);

    (void)now_ms;
    dial->reason = CLOSE_TIMEOUT;
    finish(dial, fail(dial, dial->is_limited ? DIAL_GIVEN_UP : DIAL_TIMEOUT));
}

/* When nobody can be started, what is under way goes on alone. */
static void start_rival(struct dial *dial, const struct pick *failed)
{
    struct reactor *reactor = reactor_of(dial);
    struct pick rival;
    int rc;

    do {
        if (!free_attempt(dial) || dial_pick_rival(dial, failed, &rival) != PICK_OK)
            return;
        rc = begin_attempt(dial, &rival, ROLE_RIVAL);
    } while (rc == -EAFNOSUPPORT);
    if (rc == 0)
        timer_start(&reactor->timers, &dial->step, reactor->now_ms + RACE_MS);
}

static void on_step(struct timer *timer, uint64_t now_ms)
{
    struct dial *dial = CONTAINER_OF(timer, struct dial, step);

    if (dial->state == DIAL_QUEUED && now_ms < dial->queue_deadline_ms)
        look_for_trial(dial);
    else if (dial->state == DIAL_QUEUED)
        finish(dial, fail(dial, DIAL_QUEUE_TIMEOUT));
    else if (dial->state == DIAL_CONNECTING)
        start_rival(dial, NULL);
}

static void on_connected(struct conn *conn)
{
    struct attempt *attempt = conn->owner;
    struct dial *dial = attempt->dial;

    report(dial, attempt, ATTEMPT_OK);
    attempt->conn = NULL;
    succeed(dial, conn, slot_of(dial->view, attempt->pick.server));
    finish(dial, DIAL_CONNECTED);
}

static enum dial_failure failure_of(enum close_reason reason)
{
    switch (reason) {
    case CLOSE_TIMEOUT: return DIAL_TIMEOUT;
    case CLOSE_NO_MEMORY: return DIAL_NO_ROOM;
    default: return DIAL_REFUSED;
    }
}

static bool is_servers_fault(enum close_reason reason)
{
    return reason != CLOSE_SHUTDOWN && reason != CLOSE_NO_MEMORY;
}

static void on_end(struct conn *conn)
{
    struct attempt *attempt = conn->owner;
    enum close_reason reason = conn->reason;
    struct attempt ended;
    struct dial *dial;

    if (!attempt) /* abandoned */
        return;
    ended = *attempt; /* a rival may take its place */
    dial = attempt->dial;
    conn->owner = NULL;
    dial->reason = (uint8_t)reason;
    dial->failure = failure_of(reason);
    snprintf(dial->failed, sizeof(dial->failed), "%s", attempt->pick.server->name);
    report(dial, attempt, is_servers_fault(reason) ? ATTEMPT_FAILED : ATTEMPT_ABANDONED);
    give_up_slot(dial, attempt);
    if (reason == CLOSE_SHUTDOWN) {
        finish(dial, fail(dial, DIAL_GIVEN_UP));
        return;
    }
    /* Now rather than when its time has come (RFC 8305 section 5). A host has two families, so one rival. */
    if (!ended.is_rival || is_under_way(dial))
        start_rival(dial, &ended.pick);
    if (!is_under_way(dial))
        finish(dial, advance(dial));
}

/* Nothing is received before the owner has taken over. */
static void ignore(struct conn *conn)
{
    (void)conn;
}

static const struct conn_handler dial_handler = {
    .on_open = ignore,
    .on_connected = on_connected,
    .on_input = ignore,
    .on_output = ignore,
    .on_read_timeout = ignore,
    .on_end = on_end,
};

/* ---- for the owner ---- */

struct dial_options dial_defaults(struct group_view *view, uint64_t key_hash)
{
    const struct upstream_config *config = group_view_settings(view);

    return (struct dial_options){
        .key_hash = key_hash,
        .connect_ms = config->connect_ms,
        .attempts = config->retries + 1,
        .write_buffer_max = WRITE_BUFFER_BYTES,
    };
}

enum dial_outcome dial_start(struct dial *dial, struct group_view *view, const struct dial_options *options,
                             void (*on_done)(struct dial *dial), void *owner)
{
    *dial = (struct dial){
        .view = view,
        .options = *options,
        .on_done = on_done,
        .owner = owner,
        .attempts_left = options->attempts,
    };
    assert(options->attempts > 0);
    group_view_use(view);
    timer_init(&dial->limit, on_limit);
    timer_init(&dial->step, on_step);
    view_waiter_init(&dial->view_waiter, on_names_answered);
    waiter_init(&dial->waiter, reactor_of(dial)->index);
    if (view->group->is_plain && options->connect_ms)
        timer_start(&reactor_of(dial)->timers, &dial->limit, reactor_of(dial)->now_ms + options->connect_ms);
    return advance(dial);
}

void dial_cancel(struct dial *dial)
{
    if (dial->state != DIAL_IDLE && dial->state != DIAL_ENDED)
        end(dial);
}

void dial_limit(struct dial *dial, uint32_t ms)
{
    uint64_t at_ms = reactor_of(dial)->now_ms + ms;

    if (timer_is_armed(&dial->limit) && dial->limit.at_ms <= at_ms)
        return;
    timer_start(&reactor_of(dial)->timers, &dial->limit, at_ms);
    dial->is_limited = true;
}

static void on_called(struct dial *dial)
{
    timer_stop(&reactor_of(dial)->timers, &dial->step);
    dial->was_called = true;
    finish(dial, advance(dial));
}

void dial_look_for_calls(struct proxy *proxy)
{
    const struct reactor *reactor = proxy->reactor;
    struct list called;
    struct list *node;

    list_init(&called);
    proxy_shared_take_called(reactor->engine->shared, reactor->index, &called);
    /* One of them may end others, which leave this list then. Who is called meanwhile has its turn after the next wake. */
    while ((node = list_pop(&called))) {
        struct dial *dial = CONTAINER_OF(node, struct dial, waiter.called_link);

        if (waitline_take_call(&dial->view->group->waitline, &dial->waiter))
            on_called(dial);
    }
}

const char *dial_failure_text(const struct dial *dial)
{
    switch (dial->failure) {
    case DIAL_NO_FAILURE: return "no failure";
    case DIAL_NO_ADDRESS:
    case DIAL_NO_ROOM: return dial->problem ? dial->problem : "not enough memory";
    case DIAL_NO_SERVER: return "no server of it can be used";
    case DIAL_REFUSED: return close_reason_text(dial->reason);
    case DIAL_TIMEOUT: return "timeout";
    case DIAL_QUEUE_FULL: return "too many wait for a server already";
    case DIAL_QUEUE_TIMEOUT: return "no server became free in time";
    case DIAL_GIVEN_UP: return close_reason_text(dial->reason);
    }
    return "unknown";
}
