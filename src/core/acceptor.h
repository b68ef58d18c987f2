/* The acceptor thread: one ring, multishot accept on every listener, sockets handed to the reactors in turn, as many in
 * one message as one turn brought. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "core/accept.h"
#include "core/inbox.h"
#include "core/timer.h"
#include "uring/ring.h"

struct accept_batch;
struct engine;

enum acceptor_message {
    ACCEPTOR_RESUME,
    ACCEPTOR_STOP,
    ACCEPTOR_RESERVE, /* struct version: make room for its listeners, */
    ACCEPTOR_FOLLOW,  /* and accept where it listens */
};

struct acceptor {
    struct engine *engine; /* borrowed */
    pthread_t thread;
    bool is_started;   /* the thread was made and not joined yet: the control thread's */
    struct ring *ring; /* owned */
    struct timer_wheel timers;
    struct accept_group accept;
    struct accept_batch **batches; /* being filled, one per reactor or NULL */
    uint32_t next_reactor;
    struct inbox inbox;
    struct inbox_message resume; /* sent by engine_on_room(); resume_sent guards it */
    struct inbox_message stop;
    atomic_bool resume_sent;
    _Atomic(struct accept_batch *) returned; /* batches the reactors are done with; taken all at once */
    struct accept_batch *free;
};

MUST_CHECK int acceptor_start(struct acceptor *acceptor, struct engine *engine);
/* Tells the thread to stop and waits for it: no socket is on its way to a reactor after that but in the inboxes. */
void acceptor_stop(struct acceptor *acceptor);
/* Frees the struct; after acceptor_stop(), and when no reactor has a batch any more. */
void acceptor_free(struct acceptor *acceptor);
/* From a reactor: the batch's sockets are taken. */
void acceptor_return_batch(struct acceptor *acceptor, struct accept_batch *batch);
