/* See accept.h. */
#include "core/accept.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"
#include "core/engine.h"
#include "core/listen_socket.h"
#include "core/listener.h"
#include "core/version.h"
#include "uring/op.h"

static uint32_t held_count(const struct accept_source *source)
{
    return source->held_end - source->held_first;
}

static void on_retry(struct timer *timer, uint64_t now_ms)
{
    (void)now_ms;
    accept_resume(CONTAINER_OF(timer, struct accept_group, retry));
}

void accept_init(struct accept_group *group, uint32_t index, uint32_t count)
{
    timer_init(&group->retry, on_retry);
    group->index = index;
    group->count = count;
}

void accept_deinit(struct accept_group *group)
{
    assert(group->operations == 0);
    for (uint32_t i = 0; i < group->source_count; i++) {
        if (group->sources[i].socket)
            atomic_fetch_sub(&group->sources[i].socket->groups, 1);
        free(group->sources[i].held);
    }
    free(group->sources);
    group->sources = NULL;
    group->source_count = 0;
    group->source_capacity = 0;
}

/* ---- which sockets ---- */

/* The group's descriptor of that number, -1: it has no more. */
static int fd_of(const struct accept_group *group, const struct listen_socket *socket, uint32_t number)
{
    return listen_socket_fd(socket, group->index, group->count, number);
}

int accept_reserve(struct accept_group *group, const struct version *version)
{
    uint32_t capacity = group->source_count;
    struct accept_source *sources;

    for (uint32_t i = 0; i < version->listener_count; i++) {
        for (uint32_t j = 0; fd_of(group, version->listeners[i].socket, j) >= 0; j++)
            capacity++;
    }
    if (capacity <= group->source_capacity)
        return 0;
    sources = realloc(group->sources, capacity * sizeof(*sources));
    if (!sources)
        return -ENOMEM;
    group->sources = sources;
    group->source_capacity = capacity;
    return 0;
}

/* socket: NULL: a free place, which has the descriptor 0. */
static struct accept_source *find_source(struct accept_group *group, const struct listen_socket *socket, int fd)
{
    for (uint32_t i = 0; i < group->source_count; i++) {
        if (group->sources[i].socket == socket && group->sources[i].fd == fd)
            return &group->sources[i];
    }
    return NULL;
}

static void add_source(struct accept_group *group, struct listen_socket *socket, int fd)
{
    struct accept_source *source = find_source(group, NULL, 0);

    if (!source) {
        assert(group->source_count < group->source_capacity);
        source = &group->sources[group->source_count++];
    }
    *source = (struct accept_source){.socket = socket, .fd = fd};
    atomic_fetch_add(&socket->groups, 1);
}

static void follow_socket(struct accept_group *group, struct listen_socket *socket)
{
    int fd;

    for (uint32_t i = 0; (fd = fd_of(group, socket, i)) >= 0; i++) {
        struct accept_source *source = find_source(group, socket, fd);

        if (source)
            source->is_leaving = false;
        else
            add_source(group, socket, fd);
    }
}

void accept_follow(struct accept_group *group, const struct version *version)
{
    for (uint32_t i = 0; i < group->source_count; i++)
        group->sources[i].is_leaving = true;
    for (uint32_t i = 0; i < version->listener_count; i++)
        follow_socket(group, version->listeners[i].socket);
}

/* Once nothing of it is with the kernel, and nobody is held, the socket may be closed. */
static void leave_if_done(struct accept_group *group, struct accept_source *source)
{
    struct listen_socket *socket = source->socket;

    if (!source->is_leaving || source->operations > 0 || held_count(source) > 0)
        return;
    free(source->held);
    *source = (struct accept_source){0};
    atomic_fetch_sub(&socket->groups, 1);
    engine_wake_control(group->engine);
}

/* ---- what waits for room ---- */

static int grow_held(struct accept_source *source)
{
    uint32_t capacity = source->held_capacity ? 2 * source->held_capacity : 64;
    int *held;

    if (source->held_first > 0) { /* room at the front: move down first */
        memmove(source->held, source->held + source->held_first, held_count(source) * sizeof(int));
        source->held_end -= source->held_first;
        source->held_first = 0;
        return 0;
    }
    held = realloc(source->held, capacity * sizeof(int));
    if (!held)
        return -ENOMEM;
    source->held = held;
    source->held_capacity = capacity;
    return 0;
}

static void hold(struct accept_source *source, int fd)
{
    if (source->held_end == source->held_capacity && grow_held(source) < 0) {
        log_error("listening on %s: out of memory, a connection was refused", source->socket->where);
        close(fd);
        return;
    }
    source->held[source->held_end++] = fd;
}

/* Once another process accepts, who is here already is served past the limit: otherwise nobody would serve them any more. */
static bool may_exceed_limit(const struct accept_group *group, const struct listen_socket *socket)
{
    return group->is_stopping && !group->is_dropping && socket->has_successor;
}

/* Counts one more connection on the socket if its limit allows. */
static bool count_connection(const struct accept_group *group, struct listen_socket *socket)
{
    uint32_t max = atomic_load(&socket->max_connections);

    if (atomic_fetch_add(&socket->open, 1) < max || max == 0 || may_exceed_limit(group, socket))
        return true;
    atomic_fetch_sub(&socket->open, 1);
    return false;
}

static bool hand_over(struct accept_group *group, struct listen_socket *socket, int fd)
{
    if (!count_connection(group, socket))
        return false;
    if (group->take(group, socket, fd))
        return true;
    atomic_fetch_sub(&socket->open, 1);
    return false;
}

/* True when the oldest held socket was handed over. */
static bool hand_over_held(struct accept_group *group, struct accept_source *source)
{
    if (!hand_over(group, source->socket, source->held[source->held_first]))
        return false;
    source->held_first++;
    if (source->held_first == source->held_end) {
        source->held_first = 0;
        source->held_end = 0;
    }
    return true;
}

static void pump(struct accept_group *group, struct accept_source *source)
{
    while (held_count(source) > 0 && hand_over_held(group, source))
        continue;
    if (held_count(source) == 0)
        return;
    /* Announce first, then look once more: room made in between is either seen here or reported to us. */
    engine_await_room(group->engine);
    while (held_count(source) > 0 && hand_over_held(group, source))
        continue;
}

void accept_resume(struct accept_group *group)
{
    group->is_starved = false;
    group->is_waiting = false;
    for (uint32_t i = 0; i < group->source_count; i++)
        pump(group, &group->sources[i]);
}

/* ---- completions ---- */

static void on_accepted(struct accept_group *group, struct accept_source *source, int fd)
{
    bool is_handed_over = !group->is_dropping && held_count(source) == 0 && hand_over(group, source->socket, fd);

    if (is_handed_over)
        return;
    if (group->is_stopping) { /* nobody would wait for room */
        close(fd);
        return;
    }
    hold(source, fd);
    pump(group, source);
}

static void on_accept_error(struct accept_group *group, const struct accept_source *source, int error)
{
    if (group->is_stopping)
        return;
    switch (error) {
    case -EMFILE:
    case -ENFILE:
    case -ENOBUFS:
    case -ENOMEM:
        /* The backlog stays readable: accepting at once again would spin. */
        if (group->timers->now_ms >= group->report_again_ms) {
            log_warn("listening on %s: cannot accept: %s; paused until a connection ends (raise RLIMIT_NOFILE)",
                     source->socket->where, strerror(-error));
            group->report_again_ms = group->timers->now_ms + ACCEPT_REPORT_MS;
        }
        group->is_starved = true;
        engine_await_room(group->engine);
        timer_start(group->timers, &group->retry, group->timers->now_ms + ACCEPT_RETRY_MS);
        break;
    case -ECANCELED: break;
    default: /* of that one peer (ECONNABORTED, ...): the next accept is independent of it */
        log_debug("listening on %s: accept: %s", source->socket->where, strerror(-error));
    }
}

void accept_on_completion(struct accept_group *group, const struct completion *completion)
{
    struct accept_source *source = &group->sources[op_slot(completion->user_data)];

    if (!(completion->flags & COMPLETION_MORE)) {
        source->is_armed = false;
        source->is_cancelled = false;
        source->operations--;
        group->operations--;
    }
    if (completion->result >= 0)
        on_accepted(group, source, completion->result);
    else
        on_accept_error(group, source, completion->result);
}

void accept_on_cancel(struct accept_group *group, const struct completion *completion)
{
    struct accept_source *source = &group->sources[op_slot(completion->user_data)];

    source->operations--;
    group->operations--;
    if (completion->result < 0) /* not found, or just then at work: if it goes on it wants another cancel */
        source->is_cancelled = false;
}

static void arm(struct accept_group *group, struct accept_source *source, uint32_t slot)
{
    ring_add_accept(group->ring, op_pack(OP_ACCEPT, slot, 0), source->fd);
    source->is_armed = true;
    source->operations++;
    group->operations++;
}

static void cancel(struct accept_group *group, struct accept_source *source, uint32_t slot)
{
    ring_add_cancel(group->ring, op_pack(OP_CANCEL_ACCEPT, slot, 0), op_pack(OP_ACCEPT, slot, 0));
    source->is_cancelled = true;
    source->operations++;
    group->operations++;
}

static bool has_backlog(int fd)
{
    struct pollfd backlog = {.fd = fd, .events = POLLIN};

    return poll(&backlog, 1, 0) > 0 && (backlog.revents & POLLIN);
}

/* Of a socket that another process accepts from, too: the kernel wakes one of both for each connection (an accept waits
 * exclusively), and if that was ours, which was cancelled then, nobody takes it until the next one comes. An accept takes who is
 * there before it waits. */
static void sweep(struct accept_group *group, struct accept_source *source, uint32_t slot)
{
    if (!group->is_stopping || source->operations > 0 || source->sweeps_left == 0)
        return;
    source->sweeps_left--;
    if (source->sweeps_left == 0 || !has_backlog(source->fd)) {
        source->sweeps_left = 0;
        return;
    }
    arm(group, source, slot);
    cancel(group, source, slot);
}

static void settle_source(struct accept_group *group, struct accept_source *source, uint32_t slot)
{
    uint32_t max = atomic_load(&source->socket->max_connections);
    bool is_full = max > 0 && atomic_load(&source->socket->open) >= max;
    bool is_wanted = !group->is_stopping && !group->is_starved && !group->is_waiting && !source->is_leaving &&
                     held_count(source) == 0;

    if (is_wanted && is_full) {
        engine_await_room(group->engine);
        is_full = atomic_load(&source->socket->open) >= max;
    }
    is_wanted = is_wanted && !is_full;
    if (is_wanted && !source->is_armed)
        arm(group, source, slot);
    else if (!is_wanted && source->is_armed && !source->is_cancelled)
        cancel(group, source, slot);
    sweep(group, source, slot);
    leave_if_done(group, source);
}

void accept_settle(struct accept_group *group)
{
    for (uint32_t i = 0; i < group->source_count; i++) {
        if (group->sources[i].socket)
            settle_source(group, &group->sources[i], i);
    }
}

void accept_stop(struct accept_group *group, enum accept_rest rest)
{
    group->is_stopping = true;
    group->is_dropping |= rest == ACCEPT_DROP_REST;
    if (!group->ring) /* a reactor that does not accept by itself */
        return;
    timer_stop(group->timers, &group->retry);
    for (uint32_t i = 0; i < group->source_count; i++) {
        struct accept_source *source = &group->sources[i];

        while (held_count(source) > 0 && may_exceed_limit(group, source->socket) && hand_over_held(group, source))
            continue;
        while (held_count(source) > 0)
            close(source->held[source->held_first++]);
        if (source->is_armed && source->socket->has_successor)
            source->sweeps_left = ACCEPT_SWEEPS_MAX;
    }
}

bool accept_is_stopped(const struct accept_group *group)
{
    bool is_stopped = group->is_stopping && group->operations == 0;

    for (uint32_t i = 0; i < group->source_count && is_stopped; i++)
        is_stopped = group->sources[i].sweeps_left == 0;
    return is_stopped;
}
