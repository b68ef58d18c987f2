/* See inquiry.h. */
#include "admin/inquiry.h"

#include <errno.h>
#include <stdlib.h>

#include "admin/control.h"
#include "admin/service.h"
#include "base/clock.h"
#include "base/limits.h"
#include "core/engine.h"

void inquiry_send(struct service *service, struct inquiry *inquiry, uint32_t reactor)
{
    inquiry->until_ms = clock_now_ms() + INQUIRY_MS_MAX;
    list_init(&inquiry->link);
    list_add_tail(&service->inquiries, &inquiry->link);
    reactor_send_call(&service->engine.reactors[reactor], &inquiry->call);
}

static void give_up(struct inquiry *inquiry)
{
    control_fail(inquiry->request, "the reactor does not answer: a handler has not parked for %d s",
                 INQUIRY_MS_MAX / 1000);
    inquiry->request = NULL;
}

int inquiry_look(struct service *service, uint64_t now_ms)
{
    uint64_t next_ms = UINT64_MAX;
    struct list *next;

    for (struct list *node = service->inquiries.next; node != &service->inquiries; node = next) {
        struct inquiry *inquiry = CONTAINER_OF(node, struct inquiry, link);

        next = node->next;
        if (atomic_load(&inquiry->call.is_done)) {
            list_del(&inquiry->link);
            inquiry->on_answer(inquiry);
        } else if (inquiry->request && now_ms >= inquiry->until_ms) {
            give_up(inquiry);
        } else if (inquiry->request && inquiry->until_ms < next_ms) {
            next_ms = inquiry->until_ms;
        }
    }
    return next_ms == UINT64_MAX ? -1 : (int)(next_ms - now_ms);
}

void inquiry_lose_all(struct service *service)
{
    struct list *node;

    while ((node = list_pop(&service->inquiries))) {
        struct inquiry *inquiry = CONTAINER_OF(node, struct inquiry, link);

        inquiry->on_lost(inquiry);
    }
}

int inquiry_reactor(struct control_request *request, const char *word)
{
    const struct service *service = control_context(request);
    char *end;
    long number = strtol(word, &end, 10);

    if (end != word && *end == '\0' && number >= 0 && (uint32_t)number < service->engine.reactor_count)
        return (int)number;
    control_fail(request, "expected a reactor from 0 to %u, got \"%s\"", service->engine.reactor_count - 1, word);
    return -EINVAL;
}
