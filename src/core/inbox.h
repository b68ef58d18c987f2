/* Messages into one thread from any other: a lock-free list, and the protocol by which a sender wakes the
 * receiver, but only when it may be asleep. What a message is and who frees it is agreed between sender and
 * receiver by its kind.
 *
 * The receiver, once a turn:
 *
 *     uint64_t timeout_ns = inbox_prepare_sleep(inbox) ? until_next_timer : RING_NO_WAIT;
 *     ring_submit_and_wait(ring, timeout_ns);
 *     inbox_awake(inbox);
 *     for (message = inbox_take(inbox); message; message = next) { next = message->next; ... }
 *
 * It is woken by a completion of OP_DOORBELL (from a thread with a ring) or OP_EVENTFD (from any other;
 * re-arm it with inbox_arm_eventfd()). A thread without a ring polls inbox->eventfd. Stray wake-ups are
 * possible, lost ones are not. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"

struct ring;

/* Embedded in what is sent. Owned by the inbox from inbox_send() until inbox_take() gives it to the receiver. */
struct inbox_message {
    struct inbox_message *next;
    uint32_t kind; /* the users' enum */
};

/* The paddings keep what senders write off the lines of what the receiver writes. Not _Alignas: the struct
 * stands inside larger ones that come from malloc. */
struct inbox {
    uint8_t padding_before[CACHE_LINE_BYTES];
    _Atomic(struct inbox_message *) newest; /* written by senders: a stack, newest first */
    uint8_t padding_between[CACHE_LINE_BYTES];
    atomic_bool is_sleeping; /* set by the receiver before it sleeps, cleared by the one sender who then wakes it */
    atomic_int doorbell_fd;  /* borrowed: the receiver's ring; -1: wake by eventfd only */
    uint32_t id;             /* which inbox this is: the slot in the user_data of a doorbell's own completion */
    int eventfd;             /* owned */
    uint64_t eventfd_value;  /* lent to the kernel while the read is armed */
    uint8_t padding_after[CACHE_LINE_BYTES];
};

/* Opens an inbox; any thread. Nothing is asleep and no doorbell is set. 0 or a negative errno. */
MUST_CHECK int inbox_open(struct inbox *inbox, uint32_t id);
/* Closes it; asserts that it is empty. When no sender is left. */
void inbox_close(struct inbox *inbox);
/* From now on threads with a ring wake the receiver by MSG_RING to its ring (ring_fd() of it; only if the
 * probe found the doorbell to work); -1: by eventfd again. Receiver only. */
void inbox_set_doorbell(struct inbox *inbox, int ring_fd);
/* Queues the read of the eventfd on the receiver's ring as OP_EVENTFD (slot: id). Once at start and after
 * each completion. */
void inbox_arm_eventfd(struct inbox *inbox, struct ring *ring);

/* Sends a message and wakes the receiver if it may be asleep: through own_ring (a queued SQE, which leaves
 * with the sender's next submit), or, when own_ring is NULL or no doorbell is set, by one write to the
 * eventfd. A doorbell that fails completes on own_ring as OP_RUNG with the receiver's id as slot and a
 * negative result: call inbox_ring_eventfd() then. */
void inbox_send(struct inbox *inbox, struct inbox_message *message, struct ring *own_ring);
/* The sending part alone: true when the caller must wake the receiver (nobody else will). */
MUST_CHECK bool inbox_push(struct inbox *inbox, struct inbox_message *message);
/* Wakes the receiver through its eventfd, whether it sleeps or not; any thread. */
void inbox_ring_eventfd(struct inbox *inbox);

/* Receiver: all messages, linked by next, those of one sender in the order they were sent; NULL when there
 * are none. */
MUST_CHECK struct inbox_message *inbox_take(struct inbox *inbox);
/* Receiver, last thing before it may sleep: true when it may (from now on senders wake it), false when
 * messages wait. */
MUST_CHECK bool inbox_prepare_sleep(struct inbox *inbox);
/* Receiver, after it slept: senders need not wake it any more. */
void inbox_awake(struct inbox *inbox);
