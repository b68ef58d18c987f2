/* The inbox. Two orderings carry it. A message's content is released by the exchange that puts it on the
 * stack and acquired by the one that takes the stack. And the sleeping flag and the stack are a pair of the
 * store-then-load kind: the receiver stores is_sleeping and then looks at the stack, a sender stores to the
 * stack and then looks at is_sleeping; with all four sequentially consistent at least one of them sees the
 * other, so that no message is slept over. */
#include "core/inbox.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "uring/op.h"
#include "uring/ring.h"

int inbox_open(struct inbox *inbox, uint32_t id)
{
    /* Blocking on purpose: io_uring answers a read of an empty non-blocking eventfd with -EAGAIN instead of
     * waiting. */
    int fd = eventfd(0, EFD_CLOEXEC);

    if (fd < 0)
        return -errno;
    atomic_init(&inbox->newest, NULL);
    atomic_init(&inbox->is_sleeping, false);
    atomic_init(&inbox->doorbell_fd, -1);
    inbox->id = id;
    inbox->eventfd = fd;
    inbox->eventfd_value = 0;
    return 0;
}

void inbox_close(struct inbox *inbox)
{
    assert(!atomic_load(&inbox->newest));
    if (inbox->eventfd >= 0)
        close(inbox->eventfd);
    inbox->eventfd = -1;
}

void inbox_set_doorbell(struct inbox *inbox, int ring_fd)
{
    atomic_store_explicit(&inbox->doorbell_fd, ring_fd, memory_order_release);
}

void inbox_arm_eventfd(struct inbox *inbox, struct ring *ring)
{
    ring_add_eventfd_read(ring, op_pack(OP_EVENTFD, inbox->id, 0), inbox->eventfd, &inbox->eventfd_value);
}

void inbox_send(struct inbox *inbox, struct inbox_message *message, struct ring *own_ring)
{
    if (!inbox_push(inbox, message))
        return;
    int doorbell_fd = own_ring ? atomic_load_explicit(&inbox->doorbell_fd, memory_order_acquire) : -1;
    if (doorbell_fd < 0) {
        inbox_ring_eventfd(inbox);
        return;
    }
    ring_add_doorbell(own_ring, op_pack(OP_RUNG, inbox->id, 0), doorbell_fd, op_pack(OP_DOORBELL, inbox->id, 0));
}

bool inbox_push(struct inbox *inbox, struct inbox_message *message)
{
    struct inbox_message *newest = atomic_load_explicit(&inbox->newest, memory_order_relaxed);

    do
        message->next = newest;
    while (!atomic_compare_exchange_weak(&inbox->newest, &newest, message));

    /* Looking first keeps the line shared while the receiver is awake, which is the busy case. */
    return atomic_load(&inbox->is_sleeping) && atomic_exchange(&inbox->is_sleeping, false);
}

void inbox_ring_eventfd(struct inbox *inbox)
{
    uint64_t one = 1;
    ssize_t written;

    do
        written = write(inbox->eventfd, &one, sizeof(one));
    while (written < 0 && errno == EINTR);
    assert(written == sizeof(one));
}

struct inbox_message *inbox_take(struct inbox *inbox)
{
    struct inbox_message *newest;
    struct inbox_message *oldest = NULL;

    if (!atomic_load_explicit(&inbox->newest, memory_order_relaxed))
        return NULL; /* mostly; what comes a moment later is seen before sleeping */
    newest = atomic_exchange_explicit(&inbox->newest, NULL, memory_order_acquire);
    while (newest) {
        struct inbox_message *next = newest->next;

        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

bool inbox_prepare_sleep(struct inbox *inbox)
{
    atomic_store(&inbox->is_sleeping, true);
    if (LIKELY(!atomic_load(&inbox->newest)))
        return true;
    inbox_awake(inbox);
    return false;
}

void inbox_awake(struct inbox *inbox)
{
    atomic_store_explicit(&inbox->is_sleeping, false, memory_order_relaxed);
}
