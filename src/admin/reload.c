/* See reload.h. */
#include "admin/reload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "admin/notify.h"
#include "admin/reload_work.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "core/config.h"
#include "core/engine.h"
#include "core/listen_socket.h"
#include "core/reactor.h"
#include "core/version.h"
#include "script/config.h"
#include "script/runtime.h"

enum { LINE_BYTES = 2048 };

void reload_init(struct reload *reload, struct engine *engine, const struct config_request *request,
                 void (*on_end)(void *context), void *context)
{
    *reload = (struct reload){
        .engine = engine,
        .request = request,
        .on_end = on_end,
        .context = context,
        .forbidden_why = "the server has ended",
    };
    clock_gettime(CLOCK_REALTIME, &reload->read_from);
    list_init(&reload->asked);
    list_init(&reload->asking);
}

/* ---- ending ---- */

static void tell_all(struct list *waiters, uint32_t version, const char *problem)
{
    struct list *node;

    while ((node = list_pop(waiters))) {
        struct reload_waiter *waiter = CONTAINER_OF(node, struct reload_waiter, link);

        waiter->on_done(waiter, version, problem);
    }
}

static void start(struct reload *reload);

static bool is_more_wanted(const struct reload *reload)
{
    return !reload->is_forbidden && !reload->is_held && (reload->is_wanted || !list_is_empty(&reload->asking));
}

static void end(struct reload *reload)
{
    config_free(reload->config);
    reload->config = NULL;
    reload->version = NULL;
    free(reload->problem);
    reload->problem = NULL;
    reload->stage = RELOAD_IDLE;
    reload->is_stuck = false;
    if (is_more_wanted(reload))
        start(reload);
}

/* A version whose parts no reactor has is freed here, once its scripts have ended: they may have finalizers, and those may never
 * return. True when a thread sees to that. */
static bool drop_version(struct reload *reload)
{
    struct version *version = reload->version;

    if (!version)
        return false;
    version_drop(version);
    if (version->is_begun) /* engine_collect() frees it */
        return false;
    version_stop_own_sockets(version);
    if (version_is_loaded(version) && reload_start_work(reload, RELOAD_DROP) == 0)
        return true;
    version_free(version);
    return false;
}

/* Those of the configuration, and what the scripts of the version require; also when they could not be loaded. */
static void note_files(struct reload *reload)
{
    const char *loaded = reload->stage == RELOAD_LOAD ? runtime_files(&reload->version->parts[0]) : NULL;
    char *files = loaded ? strdup(loaded) : reload->read;

    if (!files)
        return;
    if (files == reload->read)
        reload->read = NULL;
    free(reload->files);
    reload->files = files;
}

static void fail(struct reload *reload)
{
    const char *nothing = reload->is_forbidden ? reload->forbidden_why : "not enough memory";
    const char *problem = reload->problem ? reload->problem : nothing;

    if (reload->kind == RELOAD_SWITCH && !reload->is_stuck)
        log_error("reload: version %u goes on: %s", reload->engine->version->number, problem);
    reload->on_end(reload->context);
    tell_all(&reload->asked, 0, problem);
    reload->is_stuck = false;
    if (!drop_version(reload))
        end(reload);
}

static void after_drop(struct reload *reload)
{
    version_free(reload->version);
    end(reload);
}

/* problem: what keeps a reactor from it for now; NULL: nothing. */
static void succeed(struct reload *reload, const char *problem)
{
    if (reload->kind == RELOAD_SWITCH) {
        free(reload->files);
        reload->files = NULL;
    }
    reload->on_end(reload->context);
    tell_all(&reload->asked, reload->engine->version->number, problem);
    end(reload);
}

/* ---- a thread that does not come back ---- */

/* Why there is no reload; out has LINE_BYTES bytes. */
static const char *explain_stuck(const struct reload *reload, uint64_t now_ms, char *out)
{
    const char *what = "a script that is being loaded";

    if (reload->stage == RELOAD_DROP)
        what = "a finalizer of a script that could not be used";
    else if (reload->stage == RELOAD_READ)
        what = reload->kind == RELOAD_CHECK ? "the configuration or a script that is being checked"
                                            : "the configuration that is being read";
    snprintf(out, LINE_BYTES,
             "%s has not returned for %u s: until it does nothing can be reloaded; correct it, then use `zerg upgrade` "
             "or restart the server",
             what, (unsigned)((now_ms - reload->began_ms) / (uint64_t)MS_PER_S));
    return out;
}

/* When what the stage waits for is late. Parts have a time limit of their own for their `start` hooks, but its timer is of no use
 * on a reactor that does not turn. */
static uint64_t late_at_ms(const struct reload *reload)
{
    switch (reload->stage) {
    case RELOAD_IDLE: break;
    case RELOAD_READ:
    case RELOAD_LOAD:
    case RELOAD_DROP: return reload->is_stuck ? UINT64_MAX : reload->began_ms + START_MS_MAX;
    case RELOAD_START:
        if (version_reactor_behind(reload->version, PART_NEW) >= 0)
            return reload->began_ms + ORDER_MS_MAX;
        if (version_reactor_behind(reload->version, PART_STARTING) >= 0)
            return reload->began_ms + START_MS_MAX + 2 * ORDER_MS_MAX;
        break; /* the acceptor is to answer, which nothing holds */
    case RELOAD_SWITCHING: return reload->began_ms + ORDER_MS_MAX;
    }
    return UINT64_MAX;
}

/* The thread cannot be ended, so what it works on stays; but nobody waits for it. */
static void give_up_thread(struct reload *reload, uint64_t now_ms)
{
    char problem[LINE_BYTES];

    reload->is_stuck = true;
    reload->is_wanted = false;
    if (reload->version)
        version_stop_own_sockets(reload->version);
    log_error("reload: %s", explain_stuck(reload, now_ms, problem));
    reload->on_end(reload->context);
    tell_all(&reload->asked, 0, problem);
    tell_all(&reload->asking, 0, problem);
}

/* Whoever waits is told; the log is for signals. */
static void refuse(struct reload_waiter *waiter, const char *problem)
{
    if (waiter)
        waiter->on_done(waiter, 0, problem);
    else
        log_error("reload: %s", problem);
}

int reload_left_ms(const struct reload *reload, uint64_t now_ms)
{
    uint64_t late_ms = late_at_ms(reload);

    if (late_ms == UINT64_MAX)
        return -1;
    return now_ms < late_ms ? (int)(late_ms - now_ms) : 0;
}

bool reload_is_busy(const struct reload *reload)
{
    if (reload->stage == RELOAD_DROP)
        return !reload->is_stuck && is_more_wanted(reload);
    return reload->stage != RELOAD_IDLE && !reload->is_stuck;
}

/* ---- the stages ---- */

/* Those who want the same are answered together. */
static void take_waiters(struct reload *reload)
{
    struct list *next;

    for (struct list *node = reload->asking.next; node != &reload->asking; node = next) {
        next = node->next;
        if (CONTAINER_OF(node, struct reload_waiter, link)->kind == reload->kind)
            list_move_tail(&reload->asked, node);
    }
}

static void start(struct reload *reload)
{
    int rc;

    reload->kind = RELOAD_SWITCH;
    if (!reload->is_wanted)
        reload->kind = CONTAINER_OF(reload->asking.next, struct reload_waiter, link)->kind;
    reload->is_wanted = false;
    take_waiters(reload);
    clock_gettime(CLOCK_REALTIME, &reload->read_from);
    if (reload->kind == RELOAD_SWITCH) {
        notify_reloading();
        reload->is_announced = true;
    }
    rc = reload_start_work(reload, RELOAD_READ);
    if (rc == 0)
        return;
    reload_add_problem(reload, "cannot start a thread: %s", strerror(-rc));
    fail(reload);
}

void reload_begin(struct reload *reload, struct reload_waiter *waiter)
{
    char problem[LINE_BYTES];

    if (reload->is_forbidden) {
        refuse(waiter, reload->forbidden_why);
        return;
    }
    if (reload->is_stuck) {
        refuse(waiter, explain_stuck(reload, clock_now_ms(), problem));
        return;
    }
    if (waiter) {
        list_init(&waiter->link);
        list_add_tail(&reload->asking, &waiter->link);
    } else {
        reload->is_wanted = true;
    }
    if (reload->stage == RELOAD_IDLE && is_more_wanted(reload))
        start(reload);
}

/* The configuration is there: sockets are opened, and the scripts loaded. */
static void after_read(struct reload *reload)
{
    char error[LISTEN_ERROR_MAX];
    struct config *config = reload->config;
    int rc;

    reload->config = NULL;
    rc = version_new(&reload->version, reload->engine, config, error);
    if (rc < 0) {
        reload_add_problem(reload, "%s", error);
        fail(reload);
        return;
    }
    rc = reload_start_work(reload, RELOAD_LOAD);
    if (rc < 0) {
        reload_add_problem(reload, "cannot start a thread: %s", strerror(-rc));
        fail(reload);
    }
}

static void after_load(struct reload *reload)
{
    reload->stage = RELOAD_START;
    reload->began_ms = clock_now_ms();
    version_begin(reload->version);
}

static void look_at_thread(struct reload *reload, uint64_t now_ms)
{
    if (!atomic_load(&reload->is_done)) {
        if (now_ms >= late_at_ms(reload))
            give_up_thread(reload, now_ms);
        return;
    }
    pthread_join(reload->thread, NULL);
    if (reload->is_stuck)
        log_info("reload: what had not returned did so after all: it is dropped, and reloading works again");
    if (reload->stage == RELOAD_DROP) {
        after_drop(reload);
        return;
    }
    note_files(reload);
    if ((reload->is_forbidden || reload->is_stuck) && reload->result == 0)
        reload->result = -ECANCELED;
    if (reload->result < 0)
        fail(reload);
    else if (reload->kind == RELOAD_CHECK)
        succeed(reload, NULL);
    else if (reload->stage == RELOAD_READ)
        after_read(reload);
    else
        after_load(reload);
}

/* What is the process's, not a reactor's. 0 or a negative errno after reload_add_problem(). */
static int apply_settings(struct reload *reload)
{
    const struct log_config *log = &reload->version->config->log;
    int rc = log_open(log->file, log->level, log->format);

    if (rc < 0)
        reload_add_problem(reload, "log.file: cannot open %s: %s", log->file, strerror(-rc));
    return rc;
}

static void make_switch(struct reload *reload)
{
    struct version *version = reload->version;

    if (apply_settings(reload) < 0) {
        fail(reload);
        return;
    }
    version_switch(version);
    reload->stage = RELOAD_SWITCHING;
    reload->began_ms = clock_now_ms();
}

/* There is no way back: that reactor has the order, and carries it out when it turns. */
static void leave_switch(struct reload *reload)
{
    int reactor = version_reactor_behind(reload->version, PART_READY);
    char problem[LINE_BYTES];

    snprintf(
        problem, sizeof(problem),
        "reactor %d is held by a script that has not parked for %d s: it follows when that parks; if it never does, "
        "correct the script, then use `zerg upgrade` or restart the server",
        reactor, ORDER_MS_MAX / 1000);
    log_warn("reload: version %u is current, but %s", reload->version->number, problem);
    succeed(reload, problem);
}

static void look_at_switch(struct reload *reload, uint64_t now_ms)
{
    enum part_state state = version_state(reload->version);

    if (state == PART_CURRENT || state == PART_ENDED) { /* which a server that stops may make it meanwhile */
        log_info("reload: version %u is current", reload->version->number);
        succeed(reload, NULL);
    } else if (now_ms >= late_at_ms(reload)) {
        leave_switch(reload);
    }
}

/* Its part is dropped as soon as it turns; nobody waits for that. */
static void give_up_reactor(struct reload *reload)
{
    int reactor = version_reactor_behind(reload->version, PART_NEW);

    if (reactor < 0)
        reactor = version_reactor_behind(reload->version, PART_STARTING);
    reload_add_problem(
        reload,
        "reactor %d is held by a script that does not park: correct that, then use `zerg upgrade` or restart the "
        "server; or reload again when the script has parked",
        reactor);
    fail(reload);
}

static void look_at_reactors(struct reload *reload, uint64_t now_ms)
{
    switch (version_state(reload->version)) {
    case PART_READY: make_switch(reload); break;
    case PART_ENDED:
        reload_add_problem(reload, "%s", version_problem(reload->version));
        fail(reload);
        break;
    default:
        if (now_ms >= late_at_ms(reload))
            give_up_reactor(reload);
    }
}

void reload_look(struct reload *reload, uint64_t now_ms)
{
    switch (reload->stage) {
    case RELOAD_IDLE: break;
    case RELOAD_READ:
    case RELOAD_LOAD:
    case RELOAD_DROP: look_at_thread(reload, now_ms); break;
    case RELOAD_START: look_at_reactors(reload, now_ms); break;
    case RELOAD_SWITCHING: look_at_switch(reload, now_ms); break;
    }
}

/* ---- waiting for an upgrade ---- */

void reload_hold(struct reload *reload)
{
    assert(!reload_is_busy(reload));
    reload->is_held = true;
}

void reload_release(struct reload *reload)
{
    reload->is_held = false;
    if (reload->stage == RELOAD_IDLE && is_more_wanted(reload))
        start(reload);
}

bool reload_is_due(const struct reload *reload)
{
    return reload->is_held && reload->is_wanted;
}

/* ---- the end of the server ---- */

void reload_forbid(struct reload *reload, const char *why)
{
    reload->is_forbidden = true;
    reload->forbidden_why = why;
    tell_all(&reload->asking, 0, why);
    /* Its reactors end what they have begun; what a thread is at is dropped when that has come back. */
    if (reload->stage == RELOAD_START)
        fail(reload);
}

static bool has_thread(const struct reload *reload)
{
    return reload->stage == RELOAD_READ || reload->stage == RELOAD_LOAD || reload->stage == RELOAD_DROP;
}

bool reload_join(struct reload *reload, uint32_t wait_ms)
{
    struct timespec until;

    if (reload->stage == RELOAD_SWITCHING)
        succeed(reload, NULL);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(wait_ms / (uint32_t)MS_PER_S);
    while (has_thread(reload)) {
        if (pthread_timedjoin_np(reload->thread, NULL, &until) != 0)
            return false;
        if (reload->stage == RELOAD_DROP)
            after_drop(reload);
        else
            fail(reload); /* which may start another thread, to end what this one has loaded */
    }
    return true;
}

void reload_deinit(struct reload *reload)
{
    assert(reload->stage == RELOAD_IDLE);
    free(reload->read);
    free(reload->files);
    tell_all(&reload->asking, 0, reload->forbidden_why);
}
