/* See host.h. */
#include "script/host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "core/conn.h"
#include "core/version.h"
#include "http/http_conn.h"
#include "proxy/http_forward.h"
#include "proxy/proxy.h"
#include "proxy/proxy_accept.h"
#include "proxy/relay.h"
#include "proxy/shared.h"
#include "script/config.h"
#include "script/eval_limit.h"
#include "script/http_task.h"
#include "script/http_watch.h"
#include "script/migrate.h"
#include "script/retired.h"
#include "script/runtime.h"
#include "script/script_conn.h"

struct host *host_of(const struct reactor *reactor)
{
    return reactor->app_data;
}

static int open_host(struct reactor *reactor)
{
    struct host *host = calloc(1, sizeof(*host));

    if (!host)
        return -ENOMEM;
    host->reactor = reactor;
    reactor->app_data = host;
    list_init(&host->runtimes);
    list_init(&host->retired);
    stall_init(&host->stall);
    http_server_init(&host->http, reactor, &http_task_handler, &http_forward_handler);
    host->http.on_news = http_watch_on_news;
    return proxy_open(reactor);
}

static void close_host(struct reactor *reactor)
{
    struct host *host = host_of(reactor);

    retired_free_all(host);
    proxy_close(reactor);
    http_server_deinit(&host->http);
}

static void free_host(struct reactor *reactor)
{
    struct host *host = host_of(reactor);

    stall_deinit(&host->stall);
    free(host);
    reactor->app_data = NULL;
}

/* ---- turning ---- */

static void abandon(struct reactor *reactor)
{
    struct host *host = host_of(reactor);

    for (struct list *node = host->runtimes.next; node != &host->runtimes; node = node->next)
        runtime_abandon(CONTAINER_OF(node, struct runtime, link));
}

/* Whether an accepted connection is there, or the handler or an on_close callback of one. */
static bool serves_clients(const struct reactor *reactor)
{
    for (const struct list *node = reactor->parts.next; node != &reactor->parts; node = node->next) {
        if (atomic_load(&CONTAINER_OF(node, struct version_part, link)->connections) > 0)
            return true;
    }
    return false;
}

/* Nobody is there any more for whom it would be drained: what scripts still do for themselves does not hold the reactor up. */
static bool is_drained(const struct reactor *reactor)
{
    const struct runtime *runtime = reactor->current ? reactor->current->app_data : NULL;

    return reactor->state == REACTOR_DRAINING && !(runtime && runtime->hook_task) && !serves_clients(reactor);
}

static bool turn(struct reactor *reactor)
{
    struct host *host = host_of(reactor);
    bool has_more = false;

    for (struct list *node = host->runtimes.next; node != &host->runtimes; node = node->next)
        has_more |= runtime_turn(CONTAINER_OF(node, struct runtime, link));
    for (struct list *node = host->runtimes.next; node != &host->runtimes; node = node->next)
        migrate_ready(CONTAINER_OF(node, struct runtime, link));
    if (UNLIKELY(is_drained(reactor)))
        abandon(reactor);
    return retired_turn(host) || has_more;
}

static void drain(struct reactor *reactor)
{
    proxy_drain(reactor);
    http_server_drain(reactor);
}

char *host_eval(struct reactor *reactor, const char *code)
{
    struct runtime *runtime = reactor->current ? reactor->current->app_data : NULL;
    char *result = NULL;
    int rc;

    if (!runtime)
        return NULL;
    heap_hold(runtime->L);
    lua_pushstring(runtime->L, code);
    heap_release(runtime->L);
    rc = runtime_call(runtime, "eval", 1);
    eval_limit_end(runtime); /* if an error came past repl.lua */
    if (rc == 0)
        result = strdup(lua_tostring(runtime->L, -1));
    else
        log_error("eval: %s", lua_tostring(runtime->L, -1));
    lua_pop(runtime->L, 1);
    return result;
}

/* ---- versions ---- */

static int begin_part(struct version_part *part)
{
    int rc = proxy_begin_part(part);

    return rc < 0 ? rc : runtime_begin(part);
}

static void on_switch(struct version_part *part, struct version_part *previous)
{
    proxy_switch_part(part);
    if (previous)
        migrate_supersede(previous->app_data);
}

const struct reactor_app host_app = {
    .conn_handler = &script_conn_handler,
    .forward_handler = &relay_handler,
    .http_handler = &http_conn_handler,
    .proxy_accept_handler = &proxy_accept_handler,
    .open_shared = proxy_shared_open,
    .close_shared = proxy_shared_close,
    .free_config = config_free,
    .open = open_host,
    .load = runtime_load,
    .open_version = proxy_open_version,
    .apply_version = proxy_apply_version,
    .close_version = proxy_close_version,
    .begin = begin_part,
    .starting = runtime_starting,
    .on_switch = on_switch,
    .unload = runtime_unload,
    .finish = proxy_finish_part,
    .turn = turn,
    .on_message = proxy_on_message,
    .drain = drain,
    .abandon = abandon,
    .close = close_host,
    .free = free_host,
};
