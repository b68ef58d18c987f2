/* See server.h. */
#include "admin/server.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "admin/loop.h"
#include "admin/privileges.h"
#include "admin/reload.h"
#include "admin/watchdog.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/config.h"
#include "core/engine.h"
#include "core/version.h"
#include "script/host.h"
#include "script/stall.h"

enum { STOP_MS_MAX = 3000 }; /* for reactors to end once they were told to */

struct server {
    struct config *config; /* that it started with */
    struct engine engine;
    struct watchdog watchdog;
    struct reload reload;
    struct loop loop;
    struct loop_source signals; /* a signalfd, owned; -1: not open */
    struct loop_source wakeups; /* the engine's control eventfd */
    bool is_draining;
    bool is_stopping;
    uint64_t drain_until_ms;
    uint64_t stop_until_ms;
};

/* Signals arrive as readable bytes, so that nothing runs inside a handler. Before any thread, which inherit the mask. */
static int open_signals(struct server *server)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGQUIT);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    signal(SIGPIPE, SIG_IGN);
    server->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return server->signals.fd < 0 ? -errno : stall_install_signal();
}

/* ---- ending ---- */

static void begin_drain(struct server *server, const char *signal_name)
{
    uint32_t timeout_ms = server->engine.version->config->drain_timeout_ms;
    uint32_t open;

    if (server->is_draining || server->is_stopping)
        return;
    server->is_draining = true;
    server->drain_until_ms = clock_now_ms() + timeout_ms;
    reload_forbid(&server->reload);
    open = engine_open_connections(&server->engine);
    engine_drain(&server->engine);
    /* Afterwards: whoever has read this finds every reactor draining. */
    log_info("%s: no more connections are accepted, %u may finish within %.1f s", signal_name, open,
             (double)timeout_ms / 1000);
}

static void begin_stop(struct server *server, const char *why)
{
    if (server->is_stopping)
        return;
    server->is_stopping = true;
    reload_forbid(&server->reload);
    server->stop_until_ms = clock_now_ms() + STOP_MS_MAX;
    log_info("%s: %u connections are cut", why, engine_open_connections(&server->engine));
    engine_stop(&server->engine);
}

static void reopen_log(void)
{
    int rc = log_reopen();

    if (rc < 0)
        log_error("USR1: cannot reopen the log file: %s", strerror(-rc));
    else
        log_info("USR1: log file reopened");
}

static void on_signal(struct server *server, int number)
{
    switch (number) {
    case SIGTERM: begin_drain(server, "TERM"); break;
    case SIGQUIT: begin_drain(server, "QUIT"); break;
    case SIGINT: begin_stop(server, "INT"); break;
    case SIGUSR1: reopen_log(); break;
    default: log_info("HUP: reloading"); reload_begin(&server->reload, NULL);
    }
}

/* ---- the loop ---- */

static void on_signals_ready(struct loop_source *source, short ready)
{
    struct server *server = CONTAINER_OF(source, struct server, signals);
    struct signalfd_siginfo info;

    (void)ready;
    while (read(source->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        on_signal(server, (int)info.ssi_signo);
}

/* What it is about is looked at in every turn of the loop anyway. */
static void on_wakeup(struct loop_source *source, short ready)
{
    uint64_t count;

    (void)ready;
    while (read(source->fd, &count, sizeof(count)) > 0)
        continue;
}

/* A reactor that a script holds for ever never reads the order to stop. Nothing short of the process's end ends that. */
static NORETURN void give_up(const char *what)
{
    log_error("%s did not stop within %.1f s: the process ends without it", what, (double)STOP_MS_MAX / 1000);
    _exit(1);
}

/* Goes on to the next stage of ending when its time has come. Returns when that is, UINT64_MAX: no time is set. */
static uint64_t check_deadlines(struct server *server, uint64_t now_ms)
{
    if (server->is_draining && !server->is_stopping && now_ms >= server->drain_until_ms)
        begin_stop(server, "drain_timeout has passed");
    if (server->is_stopping && now_ms >= server->stop_until_ms)
        give_up("a reactor that a handler holds");
    if (server->is_stopping)
        return server->stop_until_ms;
    return server->is_draining ? server->drain_until_ms : UINT64_MAX;
}

/* Milliseconds until the control thread has something to do by itself, -1: nothing. */
static int next_timeout(struct server *server)
{
    uint64_t now_ms = clock_now_ms();
    uint64_t until_ms = check_deadlines(server, now_ms);
    int timeout = watchdog_look(&server->watchdog, now_ms);
    uint64_t left_ms = until_ms - now_ms; /* not past: check_deadlines() saw to it */
    int left = until_ms == UINT64_MAX ? -1 : (int)(left_ms < INT_MAX ? left_ms : INT_MAX);

    if (timeout < 0 || left < 0)
        return timeout < 0 ? left : timeout;
    return timeout < left ? timeout : left;
}

/* The reload first: it may wait for a version that has ended. */
static void look_at_versions(struct server *server)
{
    reload_look(&server->reload);
    engine_collect(&server->engine);
    server->watchdog.stall_ms = server->engine.version->config->script_stall_ms;
}

static int serve(struct server *server)
{
    server->wakeups = (struct loop_source){
        .fd = server->engine.control_eventfd,
        .events = POLLIN,
        .on_ready = on_wakeup,
    };
    if (loop_add(&server->loop, &server->signals) < 0 || loop_add(&server->loop, &server->wakeups) < 0)
        return 1;
    while (!engine_has_ended(&server->engine)) {
        int rc = loop_turn(&server->loop, next_timeout(server));

        if (rc < 0) {
            log_error("poll: %s", strerror(-rc));
            begin_stop(server, "the control thread failed");
            return 1;
        }
        look_at_versions(server);
    }
    return server->is_draining || server->is_stopping ? 0 : 1;
}

static int start(struct server *server)
{
    int rc = engine_open(&server->engine, server->config, &host_app, NULL);

    if (rc == 0)
        rc = privileges_drop(server->config);
    if (rc == 0)
        rc = watchdog_init(&server->watchdog, &server->engine, server->config->script_stall_ms);
    if (rc == 0)
        rc = engine_start(&server->engine);
    return rc;
}

int server_run(struct config *config, const struct config_request *request)
{
    struct server server = {
        .config = config,
        .engine.control_eventfd = -1,
        .signals = {.fd = -1, .events = POLLIN, .on_ready = on_signals_ready},
    };
    int status = 1;
    int rc = log_open(config->log.file, config->log.level, config->log.format);

    if (rc < 0) {
        log_error("log.file: cannot open %s: %s", config->log.file, strerror(-rc));
        return 1;
    }
    reload_init(&server.reload, &server.engine, request);
    loop_init(&server.loop);
    privileges_raise_file_limit();
    rc = open_signals(&server);
    if (rc < 0)
        log_error("cannot set up signals: %s", strerror(-rc));
    else if (start(&server) == 0) {
        log_info("zerg %s is ready, %u reactor%s", ZERG_VERSION, config->reactors, config->reactors == 1 ? "" : "s");
        status = serve(&server);
    }
    if (!reload_join(&server.reload, STOP_MS_MAX))
        give_up("a script that is being loaded");
    engine_close(&server.engine);
    reload_deinit(&server.reload);
    watchdog_deinit(&server.watchdog);
    if (server.signals.fd >= 0)
        close(server.signals.fd);
    log_info("zerg has stopped");
    log_close();
    return status;
}
