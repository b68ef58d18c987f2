/* See reactor_inbox.h. */
#include "core/reactor_inbox.h"

#include <unistd.h>

#include "base/log.h"
#include "core/acceptor.h"
#include "core/conn.h"
#include "core/engine.h"
#include "core/listen_socket.h"
#include "core/part.h"
#include "core/reactor.h"

void reactor_refuse(const struct reactor *reactor, struct listen_socket *socket, int fd)
{
    log_warn("reactor %u: a connection to %s was refused, for want of memory or as nobody listens there any more",
             reactor->index, socket->where);
    close(fd);
    atomic_fetch_sub(&socket->open, 1);
}

static void on_accepted(struct reactor *reactor, struct accept_batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        struct listen_socket *socket = batch->items[i].socket;

        if (reactor_adopt(reactor, socket, batch->items[i].fd))
            continue;
        reactor_refuse(reactor, socket, batch->items[i].fd);
        reactor_on_slot_free(reactor);
    }
    acceptor_return_batch(reactor->engine->acceptor, batch);
}

static void begin_drain(struct reactor *reactor)
{
    if (reactor->state != REACTOR_RUNNING)
        return;
    reactor->state = REACTOR_DRAINING;
    part_stop_starting(reactor);
    accept_stop(&reactor->accept, ACCEPT_SERVE_REST);
    reactor->app->drain(reactor);
}

void reactor_stop(struct reactor *reactor)
{
    reactor->state = REACTOR_STOPPING;
    part_stop_starting(reactor);
    accept_stop(&reactor->accept, ACCEPT_DROP_REST);
    reactor->app->abandon(reactor);
    for (struct list *node = reactor->live.next; node != &reactor->live; node = node->next)
        conn_kill(CONTAINER_OF(node, struct conn, link), CLOSE_SHUTDOWN);
}

void reactor_send_call(struct reactor *reactor, struct reactor_call *call)
{
    call->message.kind = REACTOR_CALL;
    call->is_lost = false;
    atomic_store(&call->state, CALL_PENDING);
    atomic_store(&call->is_done, false);
    inbox_send(&reactor->inbox, &call->message, NULL);
}

/* Relaxed: it decides, and hands nothing over. What the call is made of came with the inbox, and goes back with is_done. */
static bool leave_pending(struct reactor_call *call, enum reactor_call_state state)
{
    unsigned pending = CALL_PENDING;

    return atomic_compare_exchange_strong_explicit(&call->state, &pending, state, memory_order_relaxed,
                                                   memory_order_relaxed);
}

bool reactor_cancel_call(struct reactor_call *call)
{
    return leave_pending(call, CALL_CANCELLED);
}

static void answer_call(struct reactor *reactor, struct reactor_call *call)
{
    if (leave_pending(call, CALL_RUNNING))
        call->run(call, reactor);
    atomic_store(&call->is_done, true); /* it is not ours any more */
    engine_wake_control(reactor->engine);
}

static void on_message(struct reactor *reactor, struct inbox_message *message)
{
    if (message->kind >= REACTOR_APP) {
        reactor->app->on_message(reactor, message);
        return;
    }
    switch ((enum reactor_message)message->kind) {
    case REACTOR_ACCEPTED: on_accepted(reactor, (struct accept_batch *)message); break;
    case REACTOR_RESUME_ACCEPT:
        atomic_store(&reactor->resume_sent, false);
        accept_resume(&reactor->accept);
        break;
    case REACTOR_DRAIN: begin_drain(reactor); break;
    case REACTOR_STOP: reactor_stop(reactor); break;
    case REACTOR_CALL: answer_call(reactor, CONTAINER_OF(message, struct reactor_call, message)); break;
    case REACTOR_PART_BEGIN:
    case REACTOR_PART_SWITCH:
    case REACTOR_PART_DROP: part_on_message(message); break;
    case REACTOR_APP: break; /* not here */
    }
}

void reactor_inbox_drain(struct reactor *reactor)
{
    struct inbox_message *next;

    for (struct inbox_message *message = inbox_take(&reactor->inbox); message; message = next) {
        next = message->next;
        on_message(reactor, message);
    }
}

/* There are none in an orderly end. */
static void refuse_accepted(struct reactor *reactor, struct accept_batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++)
        close(batch->items[i].fd);
    acceptor_return_batch(reactor->engine->acceptor, batch);
}

static void lose_call(struct reactor_call *call)
{
    call->is_lost = true;
    atomic_store(&call->is_done, true);
}

void reactor_inbox_drop(struct reactor *reactor)
{
    struct inbox_message *next;

    for (struct inbox_message *message = inbox_take(&reactor->inbox); message; message = next) {
        next = message->next;
        if (message->kind == REACTOR_ACCEPTED)
            refuse_accepted(reactor, (struct accept_batch *)message);
        else if (message->kind == REACTOR_CALL)
            lose_call(CONTAINER_OF(message, struct reactor_call, message));
    }
}
