/* See health_report.h. */
#include "proxy/health_report.h"

#include "base/log.h"
#include "core/reactor.h"
#include "proxy/balance.h"
#include "proxy/group.h"
#include "proxy/group_view.h"
#include "proxy/server.h"
#include "proxy/upstream.h"

void health_report(const struct group_view *view, const struct upstream *upstream, const struct pick *pick,
                   enum attempt_result result)
{
    struct reactor *reactor = view->reactor;
    uint32_t max_fails = upstream->health.max_fails;

    switch (health_on_attempt(upstream, pick, result, reactor->now_ms)) {
    case HEALTH_EJECTED:
        log_warn("upstream %s: server %s is not used for %.1f s: it failed %u time%s", upstream->name,
                 pick->server->name, (double)upstream->health.fail_timeout_ms / 1000, max_fails,
                 max_fails == 1 ? "" : "s");
        waitline_call_all(&view->group->waitline, reactor->ring); /* to know when it may be tried */
        break;
    case HEALTH_RETURNED:
        log_info("upstream %s: server %s works again", upstream->name, pick->server->name);
        waitline_call_all(&view->group->waitline, reactor->ring); /* it has room for many */
        break;
    default: break;
    }
}
