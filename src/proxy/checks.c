/* See checks.h. A server has one timer: it fires when its next check is due, which is an interval after the last one ended. An
 * upstream with names has one more, to ask for them again when they expire and to look for a new version; it need not be
 * more exact than the interval. */
#include "proxy/checks.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"
#include "core/config.h"
#include "core/reactor.h"
#include "proxy/check.h"
#include "proxy/group.h"
#include "proxy/group_config.h"
#include "proxy/group_view.h"
#include "proxy/health.h"
#include "proxy/proxy.h"
#include "proxy/routing.h"
#include "proxy/server.h"
#include "proxy/upstream.h"
#include "proxy/waitline.h"

/* The golden ratio's part behind the point, in 2^32nds: its multiples are spread evenly over 0 to 1, however many there are. */
#define SPREAD_STEP 0x9e3779b9u

/* A server and its checks. */
struct checked {
    struct checked_group *group;
    struct server *server; /* owned: a hold */
    struct check check;
    struct timer next;
    const struct member *member; /* borrowed from group->upstream; NULL while it is being replaced */
    struct list link;            /* group->servers */
};

/* An upstream that has checks. */
struct checked_group {
    struct checks *checks;
    struct list link;          /* checks->groups */
    struct group_view *view;   /* in use */
    struct upstream *upstream; /* owned: a hold on the version that `servers` is of; NULL before the first */
    struct list servers;       /* owned: struct checked */
    struct timer look;         /* for a new version; only when there are names */
    struct view_waiter waiter; /* for the answers about them */
    bool is_wanted;            /* by the routing that is being looked at */
};

struct checks {
    struct proxy *proxy; /* borrowed */
    uint32_t spread;     /* how many timers were spread, times SPREAD_STEP */
    uint64_t put_off;    /* checks that we had no room for */
    uint64_t report_ms;  /* when it may be reported again */
    struct list groups;  /* owned: struct checked_group */
    bool is_stopped;
};

static struct reactor *reactor_of(const struct checked_group *group)
{
    return group->checks->proxy->reactor;
}

static uint32_t interval_of(const struct checked_group *group)
{
    return group->upstream->config->settings.check.interval_ms;
}

static void start_timer(const struct checked_group *group, struct timer *timer, uint64_t ms)
{
    struct reactor *reactor = reactor_of(group);

    timer_start(&reactor->timers, timer, reactor->now_ms + ms);
}

/* ---- results ---- */

/* A server that is back can take connections: those who wait in line for one are called, as many as it may have. */
static void call_waiting(const struct checked *checked)
{
    struct waitline *line = &checked->group->view->group->waitline;
    uint32_t max = checked->member->max_connections;
    uint32_t count;

    /* In one order with who joins the line and then looks for a server: one of us sees the other. */
    atomic_thread_fence(memory_order_seq_cst);
    count = atomic_load(&line->waiting);
    if (max > 0 && count > max)
        count = max;
    for (uint32_t i = 0; i < count; i++)
        waitline_call_next(line, reactor_of(checked->group)->ring);
}

static const char *plural(uint32_t count)
{
    return count == 1 ? "" : "s";
}

static void report_result(const struct checked *checked, const struct check_end *end)
{
    const struct upstream *upstream = checked->group->upstream;
    struct server *server = checked->server;

    switch (health_on_check(upstream, server, end->result, reactor_of(checked->group)->now_ms)) {
    case HEALTH_DOWN:
        log_warn("upstream %s: server %s is down: %u check%s in a row failed: %s", upstream->name, server->name,
                 upstream->health.fall, plural(upstream->health.fall), end->problem);
        break;
    case HEALTH_UP:
        log_info("upstream %s: server %s is up again: %u check%s in a row passed", upstream->name, server->name,
                 upstream->health.rise, plural(upstream->health.rise));
        call_waiting(checked);
        break;
    default: break;
    }
}

/* That is no server's failure. */
static void put_off(const struct checked *checked, const char *problem)
{
    struct checks *checks = checked->group->checks;
    uint64_t now_ms = checks->proxy->reactor->now_ms;

    checks->put_off++;
    if (now_ms < checks->report_ms)
        return;
    log_warn("upstream %s: cannot check server %s: %s; checks put off: %llu", checked->group->upstream->name,
             checked->server->name, problem, (unsigned long long)checks->put_off);
    checks->report_ms = now_ms + CHECK_REPORT_MS;
}

static void on_done(struct check *check, const struct check_end *end)
{
    struct checked *checked = CONTAINER_OF(check, struct checked, check);

    start_timer(checked->group, &checked->next, interval_of(checked->group));
    switch (end->outcome) {
    case CHECK_JUDGED: report_result(checked, end); break;
    case CHECK_NO_ROOM: put_off(checked, end->problem); break;
    case CHECK_CUT_OFF: break;
    }
}

/* ---- one server ---- */

/* What its operator calls it: a name as it was configured, where that is a host. */
static const char *host_of(const struct checked *checked)
{
    const struct source *source = &checked->group->upstream->config->sources[checked->member->source];

    if (addr_is_unix(&checked->server->addr))
        return "localhost";
    return source->target.kind == TARGET_HOST ? source->text : checked->server->name;
}

static void on_next(struct timer *timer, uint64_t now_ms)
{
    struct checked *checked = CONTAINER_OF(timer, struct checked, next);
    int rc;

    (void)now_ms;
    if (reactor_of(checked->group)->state != REACTOR_RUNNING)
        return;
    rc = check_start(&checked->check, checked->group->upstream->config, &checked->server->addr, host_of(checked));
    if (rc == 0)
        return;
    start_timer(checked->group, &checked->next, interval_of(checked->group));
    put_off(checked, rc == -EBUSY ? "reactor.max_connections are open" : strerrordesc_np(-rc));
}

/* When the next one of many is due, within the interval. */
static uint64_t spread(struct checked_group *group)
{
    uint64_t at = (uint64_t)interval_of(group) * group->checks->spread >> 32;

    group->checks->spread += SPREAD_STEP;
    return at;
}

static int add(struct checked_group *group, const struct member *member)
{
    struct checked *checked = calloc(1, sizeof(*checked));

    if (!checked)
        return -ENOMEM;
    checked->group = group;
    checked->server = member->server;
    checked->member = member;
    server_hold(checked->server);
    check_init(&checked->check, reactor_of(group), on_done);
    timer_init(&checked->next, on_next);
    list_add_tail(&group->servers, &checked->link);
    start_timer(group, &checked->next, spread(group));
    return 0;
}

static void stop_one(struct checked *checked)
{
    timer_stop(&reactor_of(checked->group)->timers, &checked->next);
    check_cancel(&checked->check);
}

static void drop(struct checked *checked)
{
    stop_one(checked);
    list_del(&checked->link);
    server_release(checked->server);
    free(checked);
}

/* ---- versions ---- */

static struct checked *find(struct checked_group *group, const struct server *server)
{
    for (struct list *node = group->servers.next; node != &group->servers; node = node->next) {
        struct checked *checked = CONTAINER_OF(node, struct checked, link);

        if (checked->server == server)
            return checked;
    }
    return NULL;
}

static void forget_members(struct checked_group *group)
{
    for (struct list *node = group->servers.next; node != &group->servers; node = node->next)
        CONTAINER_OF(node, struct checked, link)->member = NULL;
}

static void drop_those_that_left(struct checked_group *group)
{
    struct list *next;

    for (struct list *node = group->servers.next; node != &group->servers; node = next) {
        struct checked *checked = CONTAINER_OF(node, struct checked, link);

        next = node->next;
        if (!checked->member)
            drop(checked);
    }
}

/* Each member of this version keeps its checks, or gets some. -ENOMEM: some have none. */
static int adopt_members(struct checked_group *group, const struct upstream *upstream)
{
    int rc = 0;

    for (uint32_t i = 0; i < upstream_member_count(upstream); i++) {
        const struct member *member = &upstream->members[i];
        struct checked *known = find(group, member->server);

        if (known)
            known->member = member;
        else if (add(group, member) < 0)
            rc = -ENOMEM;
    }
    return rc;
}

static bool has_checks(const struct upstream *upstream)
{
    return upstream->config->settings.check.interval_ms > 0;
}

/* Checks the servers of the present version. One without checks is of a configuration that checks_configure() will bring. 0 or
 * -ENOMEM. */
static int use_present_version(struct checked_group *group)
{
    struct upstream *before = group->upstream;
    struct upstream *present = group_view_upstream(group->view);
    int rc;

    if (present == before || !has_checks(present))
        return 0;
    forget_members(group);
    upstream_hold(present);
    group->upstream = present;
    rc = adopt_members(group, present);
    drop_those_that_left(group);
    if (before)
        upstream_release(before);
    return rc;
}

static void look_again(struct checked_group *group)
{
    if (use_present_version(group) < 0)
        log_warn("upstream %s: no memory to check its new servers", group->view->group->name);
}

static void on_answered(struct view_waiter *waiter)
{
    look_again(CONTAINER_OF(waiter, struct checked_group, waiter));
}

/* Whoever else asks for the names, on this reactor or another: what they find is seen here. */
static void on_look(struct timer *timer, uint64_t now_ms)
{
    struct checked_group *group = CONTAINER_OF(timer, struct checked_group, look);

    (void)now_ms;
    if (reactor_of(group)->state != REACTOR_RUNNING)
        return;
    start_timer(group, &group->look, interval_of(group));
    look_again(group);
    group_view_refresh(group->view);
    if (!group->view->refresh || list_is_linked(&group->waiter.link))
        return;
    if (group_view_await(group->view, &group->waiter) < 0) /* no: there are questions to join */
        log_debug("upstream %s: no answer to wait for", group->view->group->name);
}

/* ---- one upstream ---- */

/* Nobody waits for longer than the interval is now. */
static void hasten(struct checked_group *group)
{
    uint64_t latest_ms = reactor_of(group)->now_ms + interval_of(group);

    for (struct list *node = group->servers.next; node != &group->servers; node = node->next) {
        struct checked *checked = CONTAINER_OF(node, struct checked, link);

        if (timer_is_armed(&checked->next) && checked->next.at_ms > latest_ms)
            start_timer(group, &checked->next, spread(group));
    }
}

/* As it is configured now. */
static int configure_group(struct checked_group *group)
{
    int rc = use_present_version(group);

    if (!group->upstream) /* it has lost its checks just now, by a configuration that is about to come */
        return rc;
    hasten(group);
    if (group->upstream->config->has_names)
        start_timer(group, &group->look, 0);
    else
        timer_stop(&reactor_of(group)->timers, &group->look);
    return rc;
}

static struct checked_group *new_group(struct checks *checks, struct group_view *view)
{
    struct checked_group *group = calloc(1, sizeof(*group));

    if (!group)
        return NULL;
    *group = (struct checked_group){.checks = checks, .view = view};
    group_view_use(view);
    list_init(&group->servers);
    timer_init(&group->look, on_look);
    view_waiter_init(&group->waiter, on_answered);
    list_add_tail(&checks->groups, &group->link);
    return group;
}

static void stop_group(struct checked_group *group)
{
    timer_stop(&reactor_of(group)->timers, &group->look);
    view_waiter_cancel(&group->waiter);
    for (struct list *node = group->servers.next; node != &group->servers; node = node->next)
        stop_one(CONTAINER_OF(node, struct checked, link));
}

/* Its list is the caller's to mend. */
static void close_group(struct checked_group *group)
{
    stop_group(group);
    forget_members(group);
    drop_those_that_left(group);
    if (group->upstream)
        upstream_release(group->upstream);
    group_view_unuse(group->view);
    free(group);
}

/* Nobody would ever find those that are down to be up again. */
static void let_up(struct checked_group *group)
{
    bool was_down = false;

    for (struct list *node = group->servers.next; node != &group->servers; node = node->next)
        was_down |= health_forget_checks(CONTAINER_OF(node, struct checked, link)->server);
    if (!was_down)
        return;
    log_info("upstream %s: it is not checked any more: its servers that were down are up", group->view->group->name);
    waitline_call_all(&group->view->group->waitline, reactor_of(group)->ring);
}

/* ---- all of them ---- */

int checks_open(struct checks **out, struct proxy *proxy)
{
    *out = NULL;
    if (proxy->reactor->index != 0)
        return 0;
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return -ENOMEM;
    (*out)->proxy = proxy;
    list_init(&(*out)->groups);
    return 0;
}

static struct checked_group *find_group(struct checks *checks, const struct group_view *view)
{
    for (struct list *node = checks->groups.next; node != &checks->groups; node = node->next) {
        struct checked_group *group = CONTAINER_OF(node, struct checked_group, link);

        if (group->view == view)
            return group;
    }
    return NULL;
}

static int want(struct checks *checks, struct group_view *view)
{
    struct checked_group *group = find_group(checks, view);

    if (!group)
        group = new_group(checks, view);
    if (!group)
        return -ENOMEM;
    group->is_wanted = true;
    return configure_group(group);
}

/* Forgets which are wanted, on the way. */
static void close_unwanted(struct checks *checks)
{
    struct list *next;

    for (struct list *node = checks->groups.next; node != &checks->groups; node = next) {
        struct checked_group *group = CONTAINER_OF(node, struct checked_group, link);

        next = node->next;
        if (!group->is_wanted) {
            list_del(&group->link);
            let_up(group);
            close_group(group);
        } else {
            group->is_wanted = false;
        }
    }
}

int checks_configure(struct checks *checks, const struct routing *routing)
{
    int rc = 0;

    if (!checks || checks->is_stopped)
        return 0;
    for (uint32_t i = 0; i < routing->view_count; i++) {
        if (has_checks(group_view_upstream(routing->views[i])) && want(checks, routing->views[i]) < 0)
            rc = -ENOMEM;
    }
    close_unwanted(checks);
    return rc;
}

void checks_stop(struct checks *checks)
{
    if (!checks)
        return;
    checks->is_stopped = true;
    for (struct list *node = checks->groups.next; node != &checks->groups; node = node->next)
        stop_group(CONTAINER_OF(node, struct checked_group, link));
}

void checks_close(struct checks *checks)
{
    struct list *next;

    if (!checks)
        return;
    for (struct list *node = checks->groups.next; node != &checks->groups; node = next) {
        next = node->next;
        close_group(CONTAINER_OF(node, struct checked_group, link));
    }
    free(checks);
}
