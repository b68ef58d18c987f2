/* Questions of commands to reactors: a call that a reactor answers between two completions, and what becomes of the request
 * meanwhile. One that is not answered in time, as a handler holds the reactor, fails, and so does one whose client has gone: it
 * is cancelled, unless the reactor is at it already, and its memory waits for the reactor. A reactor has so many at most.
 * Control thread, but for what the call runs. */
#pragma once

#include <stdint.h>

#include "base/list.h"
#include "core/reactor.h"

struct control_request;
struct service;

/* First in its owner's struct, which is of malloc(3). */
struct inquiry {
    struct reactor_call call;
    struct list link;                /* service->inquiries while it is asked */
    struct control_request *request; /* NULL: it was failed already */
    uint32_t reactor;
    uint64_t until_ms;
    /* The reactor has answered, or call.is_lost: it had ended, while others may go on. The owner answers the request, unless
     * that is NULL, and frees itself or asks again. */
    void (*on_answer)(struct inquiry *inquiry);
    /* No reactor answers any more, or one has too many to answer: the owner frees itself; the request is failed by others. */
    void (*on_lost)(struct inquiry *inquiry);
};

/* Asks; call.run, request, on_answer and on_lost are set. When INQUIRIES_MAX wait for that reactor, it fails the request and
 * calls on_lost: the inquiry may be freed when this returns. */
void inquiry_send(struct service *service, struct inquiry *inquiry, uint32_t reactor);
/* Looks for answers, whenever the control thread was woken, and for what is late. Milliseconds until it wants to be called again, -1:
 * no time is set. */
int inquiry_look(struct service *service, uint64_t now_ms);
/* After the reactors have ended. */
void inquiry_lose_all(struct service *service);
/* The reactor that a request names, or a negative errno after failing the request. */
int inquiry_reactor(struct control_request *request, const char *word);
