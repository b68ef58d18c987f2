/* What a running server consists of, for those parts of the control thread that look at all of it: the loop of server.c and the
 * commands of the control socket. Here is how far it is on its way to the end. Control thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "admin/control.h"
#include "admin/handover.h"
#include "admin/loop.h"
#include "admin/reload.h"
#include "admin/watchdog.h"
#include "base/limits.h"
#include "base/macros.h"
#include "core/engine.h"
#include "core/inherited.h"

struct config;
struct config_request;
struct file_watch;

/* Requests to stop, which are answered when all is over. */
struct stop_waits {
    struct control_request *requests[STOP_WAITS_MAX];
    uint32_t count;
    uint32_t told; /* connections that were left when that was said last */
    uint64_t told_ms;
};

struct service {
    struct config *config;      /* borrowed: that it started with */
    struct inherited inherited; /* sockets that it was started with */
    struct engine engine;
    struct watchdog watchdog;
    struct reload reload;
    struct loop loop;
    struct loop_source signals; /* a signalfd, owned; -1: not open */
    struct loop_source wakeups; /* the engine's control eventfd */
    struct control control;
    struct list inquiries; /* struct inquiry: of commands to reactors */
    struct stop_waits stops;
    struct handover handover;
    struct loop_source successor;            /* the handover's descriptor */
    struct control_request *upgrade_request; /* NULL: nobody waits for the upgrade */
    struct file_watch *watch;                /* owned; NULL: nothing is watched */
    struct loop_source changes;              /* its descriptor */
    uint64_t watchdog_due_ms;                /* when the service manager wants to hear from us */
    uint64_t started_ms;
    bool is_replaced; /* by another process, which serves already */
    bool is_draining;
    bool is_stopping;
    uint64_t drain_until_ms;
    uint64_t stop_until_ms;
};

/* No more connections; those that are open may finish within drain_timeout. why goes to the log. Nothing, once it ends. */
void service_drain(struct service *service, const char *why);
/* Connections are cut. Nothing, once that was said. */
void service_stop(struct service *service, const char *why);
/* Starts the program anew, and drains when that serves; request: who asks, NULL: a signal. */
void service_upgrade(struct service *service, struct control_request *request);
/* When that takes too long. Milliseconds until it wants to be called again, -1: no time is set. */
int service_look_at_successor(struct service *service, uint64_t now_ms);
/* Ends what was started, if it does not serve yet; else that takes our place all the same. */
void service_cancel_upgrade(struct service *service);
/* Another version may be current, or have ended: whenever the control thread was woken. */
void service_look_at_versions(struct service *service);
/* For reload_init(); context: the service. */
void service_on_reload_end(void *context);
/* Tells the service manager that it serves. */
void service_tell_ready(const struct service *service);
/* Something did not end that had to: ends the process without it. */
NORETURN void service_give_up(struct service *service, const char *what);
/* Goes on to the next stage of ending when its time has come. Returns when that is, UINT64_MAX: no time is set. Ends the
 * process when a reactor does not stop. */
uint64_t service_check_deadlines(struct service *service, uint64_t now_ms);
