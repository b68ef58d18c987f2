/* See engine.h. */
#include "core/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/assert.h"
#include "base/log.h"
#include "core/acceptor.h"
#include "core/listener.h"
#include "core/reactor.h"

/* ---- opening ---- */

static int open_listeners(struct engine *engine)
{
    const struct config *config = engine->config;
    uint32_t fd_count = config->accept == ACCEPT_REUSEPORT ? config->reactors : 1;
    char error[LISTENER_ERROR_MAX];

    engine->listeners = calloc(config->listener_count, sizeof(*engine->listeners));
    if (!engine->listeners)
        return -ENOMEM;
    for (uint32_t i = 0; i < config->listener_count; i++) {
        int rc = listener_open(&engine->listeners[i], &config->listeners[i], i, fd_count, error);

        if (rc < 0) {
            log_error("%s", error);
            return rc;
        }
        engine->listener_count = i + 1;
    }
    return 0;
}

static int open_reactors(struct engine *engine)
{
    uint32_t count = engine->config->reactors;

    engine->reactors = calloc(count, sizeof(*engine->reactors));
    if (!engine->reactors)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        struct reactor *reactor = &engine->reactors[i];
        int rc = inbox_open(&reactor->inbox, i);

        if (rc < 0)
            return rc;
        reactor->engine = engine;
        reactor->app = engine->app;
        reactor->index = i;
        reactor->resume_accept.kind = REACTOR_RESUME_ACCEPT;
        reactor->order.kind = REACTOR_DRAIN;
        reactor->stop_order.kind = REACTOR_STOP;
        engine->reactor_count = i + 1;
    }
    return 0;
}

static int probe_kernel(struct engine *engine)
{
    const struct config *config = engine->config;
    char text[1024];
    int rc = probe_run(&engine->probe);

    if (rc < 0) {
        log_error("%s", probe_explain(rc, text, sizeof(text)));
        return rc;
    }
    if (config->reactor.incremental == FEATURE_ON && !engine->probe.incremental) {
        log_error("reactor.incremental: this kernel has no working incremental buffer rings (Linux 6.12 and newer have "
                  "them): set it to \"auto\" or false");
        return -ENOTSUP;
    }
    return 0;
}

int engine_open(struct engine *engine, const struct config *config, const struct reactor_app *app)
{
    int rc;

    *engine = (struct engine){.config = config, .app = app, .control_eventfd = -1};
    pthread_mutex_init(&engine->start_lock, NULL);
    pthread_cond_init(&engine->start_changed, NULL);
    rc = probe_kernel(engine);
    if (rc == 0)
        rc = open_listeners(engine);
    if (rc == 0)
        rc = open_reactors(engine);
    if (rc == 0 && app->open_shared)
        rc = app->open_shared(engine);
    if (rc < 0)
        return rc;
    engine->control_eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return engine->control_eventfd < 0 ? -errno : 0;
}

/* ---- starting ---- */

void engine_report_start(struct engine *engine, int error)
{
    pthread_mutex_lock(&engine->start_lock);
    engine->started++;
    if (engine->start_error == 0)
        engine->start_error = error;
    pthread_cond_signal(&engine->start_changed);
    pthread_mutex_unlock(&engine->start_lock);
}

static int await_started(struct engine *engine, uint32_t threads)
{
    int rc;

    pthread_mutex_lock(&engine->start_lock);
    while (engine->started < threads)
        pthread_cond_wait(&engine->start_changed, &engine->start_lock);
    rc = engine->start_error;
    pthread_mutex_unlock(&engine->start_lock);
    return rc;
}

static void join_reactors(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->reactor_count; i++) {
        if (engine->reactors[i].is_started)
            reactor_join(&engine->reactors[i]);
        engine->reactors[i].is_started = false;
    }
}

static int start_reactors(struct engine *engine)
{
    uint32_t started = 0;
    int rc = 0;
    int failed;

    for (; started < engine->reactor_count && rc == 0; started++) {
        atomic_fetch_add(&engine->running, 1);
        rc = reactor_start(&engine->reactors[started]);
        engine->reactors[started].is_started = rc == 0;
        if (rc < 0) {
            log_error("cannot start a reactor thread: %s", strerror(-rc));
            atomic_fetch_sub(&engine->running, 1);
            break;
        }
    }
    failed = await_started(engine, started);
    return rc < 0 ? rc : failed;
}

static int start_acceptor(struct engine *engine)
{
    int rc;

    if (engine->config->accept != ACCEPT_ACCEPTOR)
        return 0;
    engine->acceptor = calloc(1, sizeof(*engine->acceptor));
    if (!engine->acceptor)
        return -ENOMEM;
    rc = acceptor_start(engine->acceptor, engine);
    if (rc < 0) {
        log_error("cannot start the acceptor thread: %s", strerror(-rc));
        return rc;
    }
    return await_started(engine, engine->reactor_count + 1);
}

static void log_listening(const struct engine *engine)
{
    char where[ADDR_TEXT_MAX];

    for (uint32_t i = 0; i < engine->listener_count; i++) {
        const struct listener_config *config = engine->listeners[i].config;

        log_info("listening on %s: %s", addr_format(&config->addr, where), config->handler);
    }
}

/* The acceptor, if there is one, is started last and needs no word. */
static void begin_accepting(struct engine *engine)
{
    if (engine->acceptor)
        return;
    engine_await_room(engine);
    engine_on_room(engine, NULL);
}

int engine_start(struct engine *engine)
{
    int rc = start_reactors(engine);

    if (rc == 0)
        rc = start_acceptor(engine);
    if (rc < 0) {
        engine_stop(engine);
        join_reactors(engine);
        return rc;
    }
    begin_accepting(engine);
    log_listening(engine);
    return 0;
}

/* ---- stopping ---- */

static void stop_accepting(struct engine *engine)
{
    if (engine->acceptor && engine->acceptor->is_started)
        acceptor_stop(engine->acceptor);
    for (uint32_t i = 0; i < engine->listener_count; i++)
        listener_stop(&engine->listeners[i]);
}

void engine_drain(struct engine *engine)
{
    /* First, so that whatever it accepted is in the inboxes before the order to drain. */
    stop_accepting(engine);
    for (uint32_t i = 0; i < engine->reactor_count; i++)
        inbox_send(&engine->reactors[i].inbox, &engine->reactors[i].order, NULL);
}

void engine_stop(struct engine *engine)
{
    stop_accepting(engine);
    for (uint32_t i = 0; i < engine->reactor_count; i++)
        inbox_send(&engine->reactors[i].inbox, &engine->reactors[i].stop_order, NULL);
}

static void wake_control(const struct engine *engine)
{
    uint64_t one = 1;

    if (write(engine->control_eventfd, &one, sizeof(one)) < 0)
        log_debug("control eventfd: %s", strerror(errno));
}

void engine_report_end(struct engine *engine)
{
    atomic_fetch_sub(&engine->running, 1);
    wake_control(engine);
}

void engine_wake_watchdog(struct engine *engine)
{
    if (atomic_exchange(&engine->watchdog_sleeps, false))
        wake_control(engine);
}

bool engine_has_ended(const struct engine *engine)
{
    return atomic_load(&engine->running) == 0;
}

uint32_t engine_open_connections(const struct engine *engine)
{
    uint32_t open = 0;

    for (uint32_t i = 0; i < engine->reactor_count; i++)
        open += atomic_load(&engine->reactors[i].open);
    return open;
}

/* Messages that came after a thread's last look are of no more use to it. */
static void close_inbox(struct inbox *inbox)
{
    while (inbox_take(inbox))
        continue;
    inbox_close(inbox);
}

void engine_close(struct engine *engine)
{
    join_reactors(engine);
    for (uint32_t i = 0; i < engine->reactor_count; i++)
        close_inbox(&engine->reactors[i].inbox);
    if (engine->acceptor) {
        close_inbox(&engine->acceptor->inbox);
        acceptor_free(engine->acceptor);
    }
    for (uint32_t i = 0; i < engine->listener_count; i++)
        listener_close(&engine->listeners[i]);
    if (engine->shared)
        engine->app->close_shared(engine);
    free(engine->reactors);
    free(engine->listeners);
    if (engine->control_eventfd >= 0)
        close(engine->control_eventfd);
    pthread_cond_destroy(&engine->start_changed);
    pthread_mutex_destroy(&engine->start_lock);
}

/* ---- room for more connections ---- */

void engine_await_room(struct engine *engine)
{
    atomic_store(&engine->room_awaited, true);
}

static void send_once(struct inbox *inbox, struct inbox_message *message, atomic_bool *sent, struct ring *own_ring)
{
    if (!atomic_exchange(sent, true))
        inbox_send(inbox, message, own_ring);
}

void engine_on_room(struct engine *engine, struct ring *own_ring)
{
    if (LIKELY(!atomic_load(&engine->room_awaited)) || !atomic_exchange(&engine->room_awaited, false))
        return;
    if (engine->acceptor) {
        send_once(&engine->acceptor->inbox, &engine->acceptor->resume, &engine->acceptor->resume_sent, own_ring);
        return;
    }
    for (uint32_t i = 0; i < engine->reactor_count; i++) {
        struct reactor *reactor = &engine->reactors[i];

        send_once(&reactor->inbox, &reactor->resume_accept, &reactor->resume_sent, own_ring);
    }
}

void engine_wake(struct engine *engine, uint32_t inbox_id)
{
    if (inbox_id < engine->reactor_count)
        inbox_ring_eventfd(&engine->reactors[inbox_id].inbox);
    else
        inbox_ring_eventfd(&engine->acceptor->inbox);
}
