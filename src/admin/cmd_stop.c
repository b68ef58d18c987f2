/* See cmd_stop.h. */
#include "admin/cmd_stop.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "admin/control.h"
#include "admin/service.h"
#include "base/clock.h"

enum { REASON_BYTES = 256 };

static void tell(struct control_request *request, uint32_t open)
{
    control_progress(request, "%u connection%s left", open, open == 1 ? "" : "s");
}

void cmd_stop(struct control_request *request, const struct control_words *words)
{
    struct service *service = control_context(request);
    struct stop_waits *stops = &service->stops;
    bool is_now = words->count == 2 && strcmp(words->word[1], "now") == 0;

    if (words->count != 1 && !is_now) {
        control_misused(request);
        return;
    }
    if (is_now)
        service_stop(service, "stop now");
    else
        service_drain(service, "stop");
    if (stops->count == STOP_WAITS_MAX) {
        control_fail(request, "the server ends, but %d others wait for that already", STOP_WAITS_MAX);
        return;
    }
    stops->requests[stops->count++] = request;
    stops->told = engine_open_connections(&service->engine);
    stops->told_ms = clock_now_ms();
    tell(request, stops->told);
}

int stop_look(struct service *service, uint64_t now_ms)
{
    struct stop_waits *stops = &service->stops;
    uint32_t open;

    if (stops->count == 0)
        return -1;
    if (now_ms < stops->told_ms + CONTROL_PROGRESS_MS)
        return (int)(stops->told_ms + CONTROL_PROGRESS_MS - now_ms);
    open = engine_open_connections(&service->engine);
    for (uint32_t i = 0; i < stops->count && open != stops->told; i++)
        tell(stops->requests[i], open);
    stops->told = open;
    stops->told_ms = now_ms;
    return CONTROL_PROGRESS_MS;
}

void stop_done(struct service *service)
{
    struct stop_waits *stops = &service->stops;

    while (stops->count > 0)
        control_ok(stops->requests[--stops->count], NULL);
}

void stop_fail(struct service *service, const char *format, ...)
{
    struct stop_waits *stops = &service->stops;
    char reason[REASON_BYTES];
    va_list args;

    va_start(args, format);
    vsnprintf(reason, sizeof(reason), format, args);
    va_end(args);
    while (stops->count > 0)
        control_fail(stops->requests[--stops->count], "%s", reason);
}
