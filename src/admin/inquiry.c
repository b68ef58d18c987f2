/* See inquiry.h. */
#include "admin/inquiry.h"

#include <errno.h>

#include "admin/control.h"
#include "admin/control_words.h"
#include "admin/service.h"
#include "base/clock.h"
#include "base/limits.h"
#include "core/engine.h"
#include "core/reactor_inbox.h"

/* Those that wait for this reactor, or are about to be freed. */
static uint32_t count_before(const struct service *service, uint32_t reactor)
{
    uint32_t count = 0;

    for (const struct list *node = service->inquiries.next; node != &service->inquiries; node = node->next)
        count += CONTAINER_OF(node, struct inquiry, link)->reactor == reactor;
    return count;
}

static void refuse(struct inquiry *inquiry, uint32_t reactor)
{
    control_fail(inquiry->request,
                 "reactor %u does not answer, and %d requests wait for it already: this was not run, and will not be",
                 reactor, INQUIRIES_MAX);
    inquiry->request = NULL;
    inquiry->on_lost(inquiry);
}

void inquiry_send(struct service *service, struct inquiry *inquiry, uint32_t reactor)
{
    if (count_before(service, reactor) >= INQUIRIES_MAX) {
        refuse(inquiry, reactor);
        return;
    }
    inquiry->reactor = reactor;
    inquiry->until_ms = clock_now_ms() + INQUIRY_MS_MAX;
    list_init(&inquiry->link);
    list_add_tail(&service->inquiries, &inquiry->link);
    reactor_send_call(&service->engine.reactors[reactor], &inquiry->call);
}

static void give_up(struct inquiry *inquiry)
{
    if (reactor_cancel_call(&inquiry->call))
        control_fail(
            inquiry->request,
            "the reactor does not answer: a handler has not parked for %d s; this was not run, and will not be",
            INQUIRY_MS_MAX / 1000);
    else
        control_fail(inquiry->request,
                     "the reactor has begun with this, but not ended within %d s: it may still take effect",
                     INQUIRY_MS_MAX / 1000);
    inquiry->request = NULL;
}

static bool is_done(struct service *service, struct inquiry *inquiry)
{
    struct reactor *reactor = &service->engine.reactors[inquiry->reactor];

    if (!atomic_load(&inquiry->call.is_done) && atomic_load(&reactor->has_ended))
        reactor_inbox_drop(reactor);
    return atomic_load(&inquiry->call.is_done);
}

static bool is_over(const struct inquiry *inquiry, uint64_t now_ms)
{
    return inquiry->request && (now_ms >= inquiry->until_ms || !control_is_awaited(inquiry->request));
}

static void look_at(struct service *service, struct inquiry *inquiry, uint64_t now_ms)
{
    if (is_done(service, inquiry)) {
        list_del(&inquiry->link);
        inquiry->on_answer(inquiry);
    } else if (is_over(inquiry, now_ms)) {
        give_up(inquiry);
    }
}

/* When one of them is to be looked at again; one that was sent just now may have no reactor that would say so. */
static uint64_t next_deadline(const struct service *service)
{
    uint64_t next_ms = UINT64_MAX;

    for (const struct list *node = service->inquiries.next; node != &service->inquiries; node = node->next) {
        const struct inquiry *inquiry = CONTAINER_OF(node, struct inquiry, link);

        if (is_over(inquiry, 0) || atomic_load(&service->engine.reactors[inquiry->reactor].has_ended))
            return 0;
        if (inquiry->request && inquiry->until_ms < next_ms)
            next_ms = inquiry->until_ms;
    }
    return next_ms;
}

int inquiry_look(struct service *service, uint64_t now_ms)
{
    uint64_t next_ms;
    struct list *next;

    for (struct list *node = service->inquiries.next; node != &service->inquiries; node = next) {
        next = node->next;
        look_at(service, CONTAINER_OF(node, struct inquiry, link), now_ms);
    }
    next_ms = next_deadline(service);
    if (next_ms == UINT64_MAX)
        return -1;
    return next_ms > now_ms ? (int)(next_ms - now_ms) : 0;
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
    uint64_t number;

    if (control_word_is_number(word, service->engine.reactor_count - 1, &number))
        return (int)number;
    control_fail(request, "expected a reactor from 0 to %u, got \"%s\"", service->engine.reactor_count - 1, word);
    return -EINVAL;
}
