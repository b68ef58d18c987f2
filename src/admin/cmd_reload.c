/* See cmd_reload.h. */
#include "admin/cmd_reload.h"

#include <jansson.h>
#include <stdlib.h>

#include "admin/control.h"
#include "admin/reload.h"
#include "admin/service.h"

struct reloading {
    struct reload_waiter waiter;
    struct control_request *request;
};

static void on_done(struct reload_waiter *waiter, uint32_t version, const char *problem)
{
    struct reloading *reloading = CONTAINER_OF(waiter, struct reloading, waiter);

    if (problem && version > 0)
        control_progress(reloading->request, "version %u is current, but %s", version, problem);
    if (problem && version == 0)
        control_fail(reloading->request, "%s", problem);
    else
        control_ok(reloading->request, json_pack("{s:i}", "version", (int)version));
    free(reloading);
}

static void begin(struct control_request *request, const struct control_words *words, enum reload_kind kind)
{
    struct service *service = control_context(request);
    struct reloading *reloading;

    if (words->count != 1) {
        control_misused(request);
        return;
    }
    reloading = calloc(1, sizeof(*reloading));
    if (!reloading) {
        control_fail(request, "no memory");
        return;
    }
    *reloading = (struct reloading){.waiter = {.kind = kind, .on_done = on_done}, .request = request};
    control_progress(request, service->handover.fd >= 0 ? "an upgrade is under way: after that" : "loading");
    reload_begin(&service->reload, &reloading->waiter);
}

void cmd_reload(struct control_request *request, const struct control_words *words)
{
    begin(request, words, RELOAD_SWITCH);
}

void cmd_check(struct control_request *request, const struct control_words *words)
{
    begin(request, words, RELOAD_CHECK);
}
