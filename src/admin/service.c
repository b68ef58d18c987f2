/* See service.h. */
#include "admin/service.h"

#include <unistd.h>

#include "admin/cmd_stop.h"
#include "admin/notify.h"
#include "admin/service_watch.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/config.h"
#include "core/version.h"

/* To what end the server is on its way. */
static void tell_manager(const struct service *service)
{
    uint32_t open = engine_open_connections(&service->engine);

    notify_stopping();
    notify_status("%u connection%s left", open, open == 1 ? "" : "s");
}

static void forbid_reloads(struct service *service)
{
    reload_forbid(&service->reload,
                  service->is_replaced ? "another process serves now: ask that one" : "the server is shutting down");
}

void service_drain(struct service *service, const char *why)
{
    uint32_t timeout_ms = service->engine.version->config->drain_timeout_ms;
    uint32_t open;

    if (service->is_draining || service->is_stopping)
        return;
    service->is_draining = true;
    service_cancel_upgrade(service);
    service_close_watch(service);
    tell_manager(service);
    service->drain_until_ms = clock_now_ms() + timeout_ms;
    forbid_reloads(service);
    open = engine_open_connections(&service->engine);
    engine_drain(&service->engine);
    /* Afterwards: whoever has read this finds every reactor draining. */
    log_info("%s: no more connections are accepted, %u may finish within %.1f s", why, open, (double)timeout_ms / 1000);
}

void service_stop(struct service *service, const char *why)
{
    uint32_t open;

    if (service->is_stopping)
        return;
    service->is_stopping = true;
    service_cancel_upgrade(service);
    service_close_watch(service);
    tell_manager(service);
    forbid_reloads(service);
    service->stop_until_ms = clock_now_ms() + STOP_MS_MAX;
    open = engine_open_connections(&service->engine);
    log_info("%s: %u connection%s cut", why, open, open == 1 ? " is" : "s are");
    engine_stop(&service->engine);
}

void service_tell_ready(const struct service *service)
{
    const struct version *version = service->engine.version;

    notify_ready("version %u, %u listener%s, %u reactor%s", version->number, version->listener_count,
                 version->listener_count == 1 ? "" : "s", service->engine.reactor_count,
                 service->engine.reactor_count == 1 ? "" : "s");
}

void service_on_reload_end(void *context)
{
    struct service *service = context;

    service->watchdog.stall_ms = service->engine.version->config->script_stall_ms;
    if (!service->is_draining && !service->is_stopping)
        service_watch_files(service);
}

/* One that follows at once is a part of it for the service manager. */
static void announce_reload(struct service *service)
{
    if (!service->reload.is_announced || reload_is_busy(&service->reload))
        return;
    if (service->is_draining || service->is_stopping)
        return;
    service->reload.is_announced = false;
    service_tell_ready(service);
}

/* The reload first: it may wait for a version that has ended. */
void service_look_at_versions(struct service *service)
{
    reload_look(&service->reload, clock_now_ms());
    engine_collect(&service->engine);
    announce_reload(service);
}

/* What a script holds for ever: nothing short of the process's end ends that. */
void service_give_up(struct service *service, const char *what)
{
    double seconds = (double)STOP_MS_MAX / 1000;

    log_error("%s did not stop within %.1f s: the process ends without it", what, seconds);
    stop_fail(service, "%s did not stop within %.1f s: the process ended without it", what, seconds);
    control_close(&service->control);
    _exit(1);
}

uint64_t service_check_deadlines(struct service *service, uint64_t now_ms)
{
    if (service->is_draining && !service->is_stopping && now_ms >= service->drain_until_ms)
        service_stop(service, "drain_timeout has passed");
    if (service->is_stopping && now_ms >= service->stop_until_ms)
        service_give_up(service, "a reactor that a handler holds");
    if (service->is_stopping)
        return service->stop_until_ms;
    return service->is_draining ? service->drain_until_ms : UINT64_MAX;
}
