/* See server.h. */
#include "admin/server.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "admin/cmd_stop.h"
#include "admin/commands.h"
#include "admin/control_path.h"
#include "admin/inquiry.h"
#include "admin/notify.h"
#include "admin/privileges.h"
#include "admin/service.h"
#include "admin/service_watch.h"
#include "admin/takeover.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/config.h"
#include "script/host.h"
#include "script/stall.h"

/* ---- signals ---- */

/* Signals arrive as readable bytes, so that nothing runs inside a handler. Before any thread, which inherit the mask. */
static int open_signals(struct service *service)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGQUIT);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL); /* which supervisors may ignore, and then nobody can wait for a child */
    service->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return service->signals.fd < 0 ? -errno : stall_install_signal();
}

static void reopen_log(void)
{
    int rc = log_reopen();

    if (rc < 0)
        log_error("USR1: cannot reopen the log file: %s", strerror(-rc));
    else
        log_info("USR1: log file reopened");
}

/* The second one does not wait any more. */
static void drain_or_stop(struct service *service, const char *name)
{
    char again[32];

    if (!service->is_draining) {
        service_drain(service, name);
        return;
    }
    snprintf(again, sizeof(again), "%s again", name);
    service_stop(service, again);
}

static void reload(struct service *service)
{
    log_info("HUP: reloading%s", service->handover.fd >= 0 ? " when the upgrade is over" : "");
    reload_begin(&service->reload, NULL);
}

static void on_signal(struct service *service, int number)
{
    switch (number) {
    case SIGTERM: drain_or_stop(service, "TERM"); break;
    case SIGQUIT: drain_or_stop(service, "QUIT"); break;
    case SIGINT: service_stop(service, "INT"); break;
    case SIGUSR1: reopen_log(); break;
    case SIGUSR2: service_upgrade(service, NULL); break;
    default: reload(service);
    }
}

static void on_signals_ready(struct loop_source *source, short ready)
{
    struct service *service = CONTAINER_OF(source, struct service, signals);
    struct signalfd_siginfo info;

    (void)ready;
    while (read(source->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        on_signal(service, (int)info.ssi_signo);
}

/* ---- the loop ---- */

/* What it is about is looked at in every turn of the loop anyway. */
static void on_wakeup(struct loop_source *source, short ready)
{
    uint64_t count;

    (void)ready;
    while (read(source->fd, &count, sizeof(count)) > 0)
        continue;
}

/* The earlier of two, -1 being never. */
static int earlier(int left_ms, int right_ms)
{
    if (left_ms < 0 || right_ms < 0)
        return left_ms < 0 ? right_ms : left_ms;
    return left_ms < right_ms ? left_ms : right_ms;
}

/* The service manager's watchdog: that the control thread turns is what it is told. */
static int feed_watchdog(struct service *service, uint64_t now_ms)
{
    uint32_t interval_ms = notify_watchdog_ms();

    if (interval_ms == 0)
        return -1;
    if (now_ms >= service->watchdog_due_ms) {
        notify_watchdog();
        service->watchdog_due_ms = now_ms + interval_ms;
    }
    return (int)(service->watchdog_due_ms - now_ms);
}

/* Milliseconds until the control thread has something to do by itself, -1: nothing. */
static int next_timeout(struct service *service)
{
    uint64_t now_ms = clock_now_ms();
    uint64_t until_ms = service_check_deadlines(service, now_ms);
    int timeout = watchdog_look(&service->watchdog, now_ms);
    uint64_t left_ms = until_ms - now_ms; /* not past: service_check_deadlines() saw to it */

    if (until_ms != UINT64_MAX)
        timeout = earlier(timeout, (int)(left_ms < INT_MAX ? left_ms : INT_MAX));
    timeout = earlier(timeout, stop_look(service, now_ms));
    timeout = earlier(timeout, reload_left_ms(&service->reload, now_ms));
    timeout = earlier(timeout, inquiry_look(service, now_ms));
    timeout = earlier(timeout, service_look_at_files(service, now_ms));
    timeout = earlier(timeout, service_look_at_successor(service, now_ms));
    timeout = earlier(timeout, feed_watchdog(service, now_ms));
    return earlier(timeout, control_look(&service->control, now_ms));
}

static int add_sources(struct service *service)
{
    int rc;

    service->wakeups = (struct loop_source){
        .fd = service->engine.control_eventfd,
        .events = POLLIN,
        .on_ready = on_wakeup,
    };
    rc = loop_add(&service->loop, &service->signals);
    return rc == 0 ? loop_add(&service->loop, &service->wakeups) : rc;
}

static int serve(struct service *service)
{
    int rc = add_sources(service);

    while (rc == 0 && !engine_has_ended(&service->engine)) {
        rc = loop_turn(&service->loop, next_timeout(service));
        service_look_at_versions(service);
    }
    if (rc < 0) {
        log_error("the control thread cannot wait: %s", strerror(-rc));
        service_stop(service, "the control thread failed");
        return 1;
    }
    return service->is_draining || service->is_stopping ? 0 : 1;
}

/* ---- start and end ---- */

/* A server that was not told where its control socket is to be does without when it cannot be there: it may be the second of its
 * user. */
static int judge_control(const struct config *config, int rc, const char *error)
{
    if (rc == 0)
        return 0;
    if (config->control) {
        log_error("%s", error);
        return rc;
    }
    log_warn("%s: this server runs without one; `control` or --control names another path", error);
    return 0;
}

/* Another process may have found it when it was root still. */
static int usual_path(char *out)
{
    const struct control_handed *handed = takeover_control();

    if (handed->fd < 0 || !handed->is_default)
        return control_path_default(out);
    memcpy(out, handed->path, CONTROL_PATH_BYTES);
    return 0;
}

/* Before privileges are dropped, as the directory may be root's. */
static int prepare_control(struct service *service)
{
    const struct config *config = service->config;
    char path[CONTROL_PATH_BYTES];
    char error[CONTROL_ERROR_MAX];
    struct identity identity;
    struct control_socket_options options = {
        .path = config->control ? config->control : path,
        .handed = takeover_control(),
    };
    int rc = config->has_control ? privileges_find(config, &identity) : 0;

    if (rc < 0 || !config->has_control)
        return rc;
    options.owner = identity.uid;
    options.group = identity.gid;
    if (!config->control)
        rc = usual_path(path);
    if (rc < 0)
        snprintf(error, sizeof(error), "control socket: the path of RUNTIME_DIRECTORY or XDG_RUNTIME_DIR is too long");
    else
        rc = control_prepare(&service->control, &options, error);
    return judge_control(config, rc, error);
}

static int publish_control(struct service *service)
{
    char error[CONTROL_ERROR_MAX];

    return judge_control(service->config, control_publish(&service->control, error), error);
}

/* Root made the log's file: who we are to become could not open it anew. */
static void give_log(const struct config *config)
{
    struct identity identity;
    int rc;

    if (geteuid() != 0 || privileges_find(config, &identity) < 0)
        return;
    rc = log_give(identity.uid, identity.gid);
    if (rc < 0)
        log_warn("log.file: cannot give %s to uid %u: %s", config->log.file, (unsigned)identity.uid, strerror(-rc));
}

/* All that can fail by itself comes before connections are accepted. */
static int prepare(struct service *service)
{
    int rc = engine_open(&service->engine, service->config, &host_app, &service->inherited);

    if (rc < 0)
        return rc;
    inherited_drop(&service->inherited);
    if (!takeover_has_predecessor())
        engine_configure_inherited(&service->engine);
    rc = prepare_control(service);
    if (rc == 0 && !takeover_has_predecessor())
        rc = publish_control(service);
    if (rc == 0) {
        give_log(service->config);
        rc = privileges_drop(service->config);
    }
    if (rc == 0)
        rc = watchdog_init(&service->watchdog, &service->engine, service->config->script_stall_ms);
    return rc;
}

/* Where another process served until now, it goes on with its control socket until this one serves. */
static int start(struct service *service)
{
    int rc = prepare(service);

    if (rc == 0)
        rc = engine_start(&service->engine);
    if (rc < 0)
        return rc;
    if (takeover_has_predecessor())
        rc = publish_control(service);
    if (rc == 0)
        rc = takeover_confirm(&service->inherited);
    if (rc < 0) {
        service_stop(service, "the start has failed");
        (void)serve(service);
        return rc;
    }
    if (takeover_has_predecessor())
        engine_configure_inherited(&service->engine);
    engine_own_sockets(&service->engine);
    control_socket_own(&service->control.socket);
    return 0;
}

/* Whoever waited for the end finds the ports, the path and the log as they are without this server. */
static void end(struct service *service)
{
    control_stop(&service->control);
    if (!reload_join(&service->reload, STOP_MS_MAX))
        service_give_up(service, service->reload.stage == RELOAD_DROP ? "a finalizer of a script that could not be used"
                                                                      : "a script that is being loaded");
    engine_close(&service->engine);
    inherited_close(&service->inherited);
    inquiry_lose_all(service);
    service_close_watch(service);
    reload_deinit(&service->reload);
    watchdog_deinit(&service->watchdog);
    handover_deinit(&service->handover);
    if (service->signals.fd >= 0)
        close(service->signals.fd);
    log_info("zerg has stopped");
    log_close();
    stop_done(service);
    control_close(&service->control);
    notify_close();
}

int server_run(struct config *config, const struct config_request *request)
{
    struct service service = {
        .config = config,
        .engine.control_eventfd = -1,
        .signals = {.fd = -1, .events = POLLIN, .on_ready = on_signals_ready},
        .started_ms = clock_now_ms(),
    };
    int status = 1;
    int rc = log_open(config->log.file, config->log.level, config->log.format);

    if (rc < 0) {
        log_error("log.file: cannot open %s: %s", config->log.file, strerror(-rc));
        return 1;
    }
    takeover_receive(&service.inherited);
    notify_open();
    loop_init(&service.loop);
    list_init(&service.inquiries);
    handover_init(&service.handover);
    control_init(&service.control, &service.loop, service_commands, &service);
    reload_init(&service.reload, &service.engine, request, service_on_reload_end, &service);
    privileges_raise_file_limit();
    rc = open_signals(&service);
    if (rc < 0)
        log_error("cannot set up signals: %s", strerror(-rc));
    else if (start(&service) == 0) {
        service_watch_files(&service);
        service_tell_ready(&service);
        log_info("zerg %s is ready, %u reactor%s", ZERG_VERSION, config->reactors, config->reactors == 1 ? "" : "s");
        status = serve(&service);
    }
    end(&service);
    return status;
}
