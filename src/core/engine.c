/* See engine.h. */
#include "core/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/acceptor.h"
#include "core/listen_socket.h"
#include "core/listener.h"
#include "core/reactor.h"
#include "core/version.h"

/* ---- opening ---- */

/* The configuration that the server starts with. */
static int open_first_version(struct engine *engine)
{
    char error[LISTEN_ERROR_MAX];
    int rc = version_new(&engine->version, engine, engine->config, error);

    if (rc < 0)
        log_error("%s", error);
    return rc;
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

int engine_open(struct engine *engine, struct config *config, const struct reactor_app *app,
                struct inherited *inherited)
{
    int rc;

    *engine = (struct engine){.config = config, .app = app, .inherited = inherited, .control_eventfd = -1};
    pthread_mutex_init(&engine->start_lock, NULL);
    pthread_cond_init(&engine->start_changed, NULL);
    list_init(&engine->versions);
    rc = probe_kernel(engine);
    if (rc == 0)
        rc = open_reactors(engine);
    if (rc == 0 && app->open_shared)
        rc = app->open_shared(engine);
    if (rc == 0)
        rc = open_first_version(engine);
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

    for (uint32_t i = 0; i < engine->version->listener_count; i++) {
        const struct listener_config *config = engine->version->listeners[i].config;

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
    int rc;

    engine->version->is_begun = true; /* its reactors do that themselves */
    rc = start_reactors(engine);

    if (rc == 0)
        rc = start_acceptor(engine);
    if (rc < 0) {
        engine_stop(engine);
        join_reactors(engine);
        return rc;
    }
    engine->version->since_ms = clock_now_ms();
    begin_accepting(engine);
    log_listening(engine);
    return 0;
}

/* ---- stopping ---- */

static void stop_accepting(struct engine *engine)
{
    if (engine->acceptor && engine->acceptor->is_started)
        acceptor_stop(engine->acceptor);
    for (uint32_t i = 0; i < engine->socket_count; i++) {
        if (engine->sockets[i])
            listen_socket_stop(engine->sockets[i]);
    }
}

void engine_configure_inherited(struct engine *engine)
{
    struct version *version = engine->version;

    for (uint32_t i = 0; i < version->listener_count; i++) {
        if (version->listeners[i].socket->is_lent)
            listen_socket_configure(version->listeners[i].socket, version->listeners[i].config);
    }
}

void engine_own_sockets(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->socket_count; i++) {
        if (engine->sockets[i])
            listen_socket_own(engine->sockets[i]);
    }
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

void engine_wake_control(const struct engine *engine)
{
    uint64_t one = 1;

    if (write(engine->control_eventfd, &one, sizeof(one)) < 0)
        log_debug("control eventfd: %s", strerror(errno));
}

void engine_report_end(struct engine *engine)
{
    atomic_fetch_sub(&engine->running, 1);
    engine_wake_control(engine);
}

void engine_wake_watchdog(struct engine *engine)
{
    if (atomic_exchange(&engine->watchdog_sleeps, false))
        engine_wake_control(engine);
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

/* ---- versions ---- */

void engine_close_sockets(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->socket_count; i++) {
        struct listen_socket *socket = engine->sockets[i];

        if (!socket || socket->versions > 0 || atomic_load(&socket->groups) > 0 || atomic_load(&socket->open) > 0)
            continue;
        engine->sockets[i] = NULL;
        listen_socket_free(socket);
    }
}

/* Whether the current version listens there, or one that is on its way. */
static bool is_wanted(const struct engine *engine, const struct listen_socket *socket)
{
    for (const struct list *node = engine->versions.next; node != &engine->versions; node = node->next) {
        const struct version *version = CONTAINER_OF(node, struct version, link);

        if (!version->is_over && version_listener(version, socket))
            return true;
    }
    return false;
}

/* Where nobody wants to listen, and no accept is armed any more, no one is let in. */
static void stop_unused_sockets(const struct engine *engine)
{
    for (uint32_t i = 0; i < engine->socket_count; i++) {
        struct listen_socket *socket = engine->sockets[i];

        if (socket && atomic_load(&socket->groups) == 0 && !is_wanted(engine, socket))
            listen_socket_stop(socket);
    }
}

void engine_collect(struct engine *engine)
{
    struct list *next;

    for (struct list *node = engine->versions.next; node != &engine->versions; node = next) {
        struct version *version = CONTAINER_OF(node, struct version, link);

        next = node->next;
        if (version_has_ended(version))
            version_free(version);
    }
    if (engine->version)
        stop_unused_sockets(engine);
    engine_close_sockets(engine);
}

static void close_versions(struct engine *engine)
{
    struct list *next;

    for (struct list *node = engine->versions.next; node != &engine->versions; node = next) {
        next = node->next;
        version_free(CONTAINER_OF(node, struct version, link));
    }
    engine_close_sockets(engine);
}

static void free_apps(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->reactor_count && engine->app->free; i++) {
        if (engine->reactors[i].app_data)
            engine->app->free(&engine->reactors[i]);
    }
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
    close_versions(engine);
    free_apps(engine);
    if (engine->shared)
        engine->app->close_shared(engine);
    free(engine->reactors);
    free(engine->sockets);
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

void engine_wake_all(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->reactor_count; i++)
        engine_wake(engine, i);
    if (engine->acceptor && engine->acceptor->inbox.eventfd >= 0)
        inbox_ring_eventfd(&engine->acceptor->inbox);
}

void engine_wake(struct engine *engine, uint32_t inbox_id)
{
    if (inbox_id < engine->reactor_count)
        inbox_ring_eventfd(&engine->reactors[inbox_id].inbox);
    else
        inbox_ring_eventfd(&engine->acceptor->inbox);
}
