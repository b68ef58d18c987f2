/* See acceptor.h. */
#include "core/acceptor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/engine.h"
#include "core/reactor.h"
#include "core/version.h"
#include "uring/op.h"

enum { ACCEPTOR_REAP_MAX = 256, ACCEPTOR_INBOX_ID = REACTORS_MAX };

/* ---- batches ---- */

void acceptor_return_batch(struct acceptor *acceptor, struct accept_batch *batch)
{
    struct accept_batch *top = atomic_load_explicit(&acceptor->returned, memory_order_relaxed);

    do {
        batch->next_free = top;
    } while (!atomic_compare_exchange_weak_explicit(&acceptor->returned, &top, batch, memory_order_release,
                                                    memory_order_relaxed));
}

static struct accept_batch *new_batch(struct acceptor *acceptor)
{
    struct accept_batch *batch;

    if (!acceptor->free)
        acceptor->free = atomic_exchange_explicit(&acceptor->returned, NULL, memory_order_acquire);
    batch = acceptor->free;
    if (batch)
        acceptor->free = batch->next_free;
    else
        batch = malloc(sizeof(*batch));
    if (batch) {
        batch->message.kind = REACTOR_ACCEPTED;
        batch->count = 0;
    }
    return batch;
}

static void free_batches(struct accept_batch *batch)
{
    while (batch) {
        struct accept_batch *next = batch->next_free;

        free(batch);
        batch = next;
    }
}

static void send_batch(struct acceptor *acceptor, uint32_t index)
{
    struct accept_batch *batch = acceptor->batches[index];

    if (!batch)
        return;
    acceptor->batches[index] = NULL;
    inbox_send(&acceptor->engine->reactors[index].inbox, &batch->message, acceptor->ring);
}

static void send_batches(struct acceptor *acceptor)
{
    for (uint32_t i = 0; i < acceptor->engine->reactor_count; i++)
        send_batch(acceptor, i);
}

static bool add_to_batch(struct acceptor *acceptor, uint32_t index, struct listen_socket *socket, int fd)
{
    struct accept_batch *batch = acceptor->batches[index];

    if (!batch) {
        batch = new_batch(acceptor);
        acceptor->batches[index] = batch;
    }
    if (!batch)
        return false;
    batch->items[batch->count].fd = fd;
    batch->items[batch->count].socket = socket;
    if (++batch->count == ACCEPT_BATCH_MAX)
        send_batch(acceptor, index);
    return true;
}

/* The next reactor in turn that has room. */
static bool take_accepted(struct accept_group *group, struct listen_socket *socket, int fd)
{
    struct acceptor *acceptor = CONTAINER_OF(group, struct acceptor, accept);
    struct engine *engine = acceptor->engine;

    for (uint32_t tried = 0; tried < engine->reactor_count; tried++) {
        uint32_t index = acceptor->next_reactor;
        struct reactor *reactor = &engine->reactors[index];

        acceptor->next_reactor = (index + 1) % engine->reactor_count;
        /* Counted first: the reactor takes slots too, for connections of its own making. */
        if (atomic_fetch_add(&reactor->open, 1) < engine->config->reactor.max_connections &&
            add_to_batch(acceptor, index, socket, fd))
            return true;
        atomic_fetch_sub(&reactor->open, 1);
    }
    return false;
}

/* ---- the thread ---- */

/* While the version can still fail. */
static void reserve(struct acceptor *acceptor, struct version *version)
{
    int rc = accept_reserve(&acceptor->accept, version);

    atomic_store_explicit(&version->reserved, rc, memory_order_release);
    version_on_message_done(version);
}

static void follow(struct acceptor *acceptor, struct version *version)
{
    accept_follow(&acceptor->accept, version);
    version_on_message_done(version);
}

static void on_message(struct acceptor *acceptor, struct inbox_message *message)
{
    switch ((enum acceptor_message)message->kind) {
    case ACCEPTOR_RESUME:
        atomic_store(&acceptor->resume_sent, false);
        accept_resume(&acceptor->accept);
        break;
    case ACCEPTOR_STOP: accept_stop(&acceptor->accept, ACCEPT_SERVE_REST); break;
    case ACCEPTOR_RESERVE: reserve(acceptor, CONTAINER_OF(message, struct version, reserve)); break;
    case ACCEPTOR_FOLLOW: follow(acceptor, CONTAINER_OF(message, struct version, follow)); break;
    }
}

static void drain_inbox(struct acceptor *acceptor)
{
    struct inbox_message *next;

    for (struct inbox_message *message = inbox_take(&acceptor->inbox); message; message = next) {
        next = message->next;
        on_message(acceptor, message);
    }
}

static void dispatch(struct acceptor *acceptor, const struct completion *completion)
{
    switch (op_kind(completion->user_data)) {
    case OP_ACCEPT: accept_on_completion(&acceptor->accept, completion); break;
    case OP_CANCEL_ACCEPT: accept_on_cancel(&acceptor->accept, completion); break;
    case OP_EVENTFD: inbox_arm_eventfd(&acceptor->inbox, acceptor->ring); break;
    case OP_RUNG: /* the doorbell did not get through: wake that reactor in the other way */
        if (completion->result < 0)
            engine_wake(acceptor->engine, op_slot(completion->user_data));
        break;
    default: /* a doorbell: the inbox is looked into every turn */ break;
    }
}

static uint64_t next_wait(struct acceptor *acceptor)
{
    uint64_t next_ms = timer_wheel_next_ms(&acceptor->timers);
    uint64_t now_ns = clock_now_ns();

    if (!inbox_prepare_sleep(&acceptor->inbox))
        return RING_NO_WAIT;
    if (next_ms == TIMER_NEVER)
        return RING_WAIT_FOREVER;
    return next_ms * NS_PER_MS > now_ns ? next_ms * NS_PER_MS - now_ns : RING_NO_WAIT;
}

static int turn(struct acceptor *acceptor)
{
    struct completion batch[ACCEPTOR_REAP_MAX];
    uint32_t count;
    int rc;

    rc = ring_submit_and_wait(acceptor->ring, next_wait(acceptor));
    if (rc < 0)
        return rc;
    inbox_awake(&acceptor->inbox);
    drain_inbox(acceptor);
    count = ring_reap(acceptor->ring, batch, ACCEPTOR_REAP_MAX);
    for (uint32_t i = 0; i < count; i++)
        dispatch(acceptor, &batch[i]);
    timer_wheel_advance(&acceptor->timers, clock_now_ms());
    accept_settle(&acceptor->accept);
    send_batches(acceptor);
    return 0;
}

static int open_all(struct acceptor *acceptor)
{
    const struct config *config = acceptor->engine->config;
    struct ring_options options = {
        .sq_entries = config->acceptor_ring_entries,
        .cq_entries = 4 * config->acceptor_ring_entries,
    };
    int rc = ring_open(&acceptor->ring, &options);

    if (rc < 0) {
        log_error("acceptor: cannot open its io_uring: %s", strerror(-rc));
        return rc;
    }
    timer_wheel_init(&acceptor->timers, clock_now_ms());
    acceptor->accept.engine = acceptor->engine;
    acceptor->accept.ring = acceptor->ring;
    acceptor->accept.timers = &acceptor->timers;
    acceptor->accept.take = take_accepted;
    accept_init(&acceptor->accept, 0, 1);
    rc = accept_reserve(&acceptor->accept, acceptor->engine->version);
    if (rc < 0)
        return rc;
    accept_follow(&acceptor->accept, acceptor->engine->version);
    if (acceptor->engine->probe.doorbell)
        inbox_set_doorbell(&acceptor->inbox, ring_fd(acceptor->ring));
    inbox_arm_eventfd(&acceptor->inbox, acceptor->ring);
    accept_settle(&acceptor->accept);
    return 0;
}

static void close_all(struct acceptor *acceptor)
{
    accept_deinit(&acceptor->accept);
    if (acceptor->ring)
        ring_close(acceptor->ring);
}

static void *acceptor_main(void *arg)
{
    struct acceptor *acceptor = arg;
    int rc;

    pthread_setname_np(pthread_self(), "zerg-acceptor");
    log_thread_name("acceptor");
    rc = open_all(acceptor);
    engine_report_start(acceptor->engine, rc);
    while (rc == 0 && !accept_is_stopped(&acceptor->accept)) {
        int failed = turn(acceptor);

        if (failed < 0)
            fatal("acceptor: its io_uring failed: %s", strerror(-failed));
    }
    engine_wake_all(acceptor->engine);
    close_all(acceptor);
    return NULL;
}

int acceptor_start(struct acceptor *acceptor, struct engine *engine)
{
    int rc;

    *acceptor = (struct acceptor){.engine = engine, .inbox.eventfd = -1};
    acceptor->stop.kind = ACCEPTOR_STOP;
    acceptor->resume.kind = ACCEPTOR_RESUME;
    acceptor->batches = calloc(engine->reactor_count, sizeof(struct accept_batch *));
    if (!acceptor->batches)
        return -ENOMEM;
    rc = inbox_open(&acceptor->inbox, ACCEPTOR_INBOX_ID);
    if (rc < 0)
        return rc;
    rc = -pthread_create(&acceptor->thread, NULL, acceptor_main, acceptor);
    acceptor->is_started = rc == 0;
    return rc;
}

void acceptor_stop(struct acceptor *acceptor)
{
    inbox_send(&acceptor->inbox, &acceptor->stop, NULL);
    pthread_join(acceptor->thread, NULL);
    acceptor->is_started = false;
}

void acceptor_free(struct acceptor *acceptor)
{
    assert(!acceptor->is_started);
    free_batches(acceptor->free);
    free_batches(atomic_load(&acceptor->returned));
    free(acceptor->batches);
    free(acceptor);
}
