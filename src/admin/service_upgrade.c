/* The part of service.h about another process that takes the place of this one. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "admin/notify.h"
#include "admin/program.h"
#include "admin/service.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/config.h"
#include "core/engine.h"

/* Who asked has gone over to the new process by then, or learns it here. */
static void answer(struct service *service, const char *problem, pid_t pid)
{
    struct control_request *request = service->upgrade_request;

    service->upgrade_request = NULL;
    if (!request)
        return;
    if (problem)
        control_fail(request, "%s", problem);
    else
        control_ok(request, json_pack("{s:i}", "pid", (int)pid));
}

/* What was asked for meanwhile is for what it has loaded, too. */
static void pass_reload_on(const struct service *service)
{
    if (!reload_is_due(&service->reload))
        return;
    log_info("upgrade: process %d is to reload, as was asked for meanwhile", (int)service->handover.pid);
    handover_signal(&service->handover, SIGHUP);
}

static void hand_over(struct service *service)
{
    pid_t pid = service->handover.pid;

    log_info("upgrade: process %d serves now", (int)pid);
    notify_main_pid(pid, handover_take_fd(&service->handover));
    if (service->handover.has_control)
        control_lend(&service->control); /* who has the answer finds the new one */
    answer(service, NULL, pid);
    handover_lend(&service->handover, &service->engine);
    service->is_replaced = true;
    pass_reload_on(service);
}

static void fail(struct service *service, const char *problem)
{
    log_error("upgrade: %s", problem);
    answer(service, problem, 0);
}

static enum handover_outcome look(struct service *service, uint64_t now_ms)
{
    char problem[HANDOVER_PROBLEM_BYTES];
    enum handover_outcome outcome = handover_look(&service->handover, now_ms, problem);

    if (outcome == HANDOVER_WAITS)
        return outcome;
    loop_remove(&service->loop, &service->successor);
    if (outcome == HANDOVER_DONE)
        hand_over(service);
    else
        fail(service, problem);
    return outcome;
}

/* What is left to us when it serves is what we have. */
static void go_on(struct service *service, uint64_t now_ms)
{
    switch (look(service, now_ms)) {
    case HANDOVER_WAITS: return;
    case HANDOVER_DONE: service_drain(service, "upgrade"); return;
    case HANDOVER_FAILED: reload_release(&service->reload);
    }
}

static void on_successor(struct loop_source *source, short ready)
{
    (void)ready;
    go_on(CONTAINER_OF(source, struct service, successor), clock_now_ms());
}

/* At the wrong time. Who asked is told; the log is for signals. */
static void refuse(struct control_request *request, const char *problem)
{
    if (request)
        control_fail(request, "%s", problem);
    else
        log_warn("upgrade: %s", problem);
}

static void begin(struct service *service, struct control_request *request)
{
    char problem[HANDOVER_PROBLEM_BYTES];
    struct control_handed control;

    service->upgrade_request = request;
    control_socket_hand(&service->control.socket, !service->config->control, &control);
    if (handover_begin(&service->handover, &service->engine, &control, problem) < 0) {
        fail(service, problem);
        return;
    }
    service->successor = (struct loop_source){.fd = service->handover.fd, .events = POLLIN, .on_ready = on_successor};
    if (loop_add(&service->loop, &service->successor) < 0) {
        handover_cancel(&service->handover);
        answer(service, "too many clients of the control socket", 0);
        return;
    }
    reload_hold(&service->reload);
    log_info("upgrade: process %d starts, of %s", (int)service->handover.pid, program_path());
    if (request)
        control_progress(request, "process %d starts", (int)service->handover.pid);
}

void service_upgrade(struct service *service, struct control_request *request)
{
    if (service->is_draining || service->is_stopping)
        refuse(request, "the server is shutting down");
    else if (service->handover.fd >= 0)
        refuse(request, "another process is being started already");
    else if (getpid() == 1) /* of its namespace: the kernel ends all others with it */
        refuse(request, "this is process 1, with which its container ends: start the new program in another container, "
                        "and stop this one");
    else if (reload_is_busy(&service->reload))
        refuse(request, "a reload is under way");
    else
        begin(service, request);
}

int service_look_at_successor(struct service *service, uint64_t now_ms)
{
    if (service->handover.fd >= 0 && now_ms >= service->handover.until_ms)
        go_on(service, now_ms);
    return service->handover.fd < 0 ? -1 : (int)(service->handover.until_ms - now_ms);
}

void service_cancel_upgrade(struct service *service)
{
    if (service->handover.fd < 0)
        return;
    if (look(service, clock_now_ms()) != HANDOVER_WAITS) /* it may serve already, and nobody has heard it yet */
        return;
    loop_remove(&service->loop, &service->successor);
    handover_cancel(&service->handover);
    answer(service, "the server is shutting down", 0);
}
