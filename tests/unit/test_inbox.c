/* The inbox on one thread: order, the sleeping protocol, and which bell is rung. The threads are in
 * test_inbox_threads.c. */
#include "core/inbox.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_ring.h"
#include "uring/op.h"

enum { INBOX_ID = 7, TARGET_FD = 55, MESSAGES = 5 };

struct fixture {
    struct inbox inbox;
    struct ring *ring; /* the sender's */
    struct inbox_message messages[MESSAGES];
};

static int setup(void **state)
{
    const struct ring_options options = {.sq_entries = 8, .cq_entries = 16};
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_int_equal(inbox_open(&f->inbox, INBOX_ID), 0);
    assert_int_equal(ring_open(&f->ring, &options), 0);
    for (uint32_t i = 0; i < MESSAGES; i++)
        f->messages[i].kind = i;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    inbox_close(&f->inbox);
    ring_close(f->ring);
    free(f);
    return 0;
}

/* Whether the eventfd was written to; makes it quiet again. */
static bool eventfd_rang(struct fixture *f)
{
    struct pollfd wait = {.fd = f->inbox.eventfd, .events = POLLIN};
    uint64_t value;

    if (poll(&wait, 1, 0) == 0)
        return false;
    assert_int_equal(read(f->inbox.eventfd, &value, sizeof(value)), sizeof(value));
    return true;
}

static void messages_come_in_the_order_they_were_sent(void **state)
{
    struct fixture *f = *state;

    assert_null(inbox_take(&f->inbox));
    for (uint32_t i = 0; i < MESSAGES; i++)
        inbox_send(&f->inbox, &f->messages[i], NULL);
    const struct inbox_message *message = inbox_take(&f->inbox);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        assert_ptr_equal(message, &f->messages[i]);
        message = message->next;
    }
    assert_null(message);
    assert_null(inbox_take(&f->inbox));
}

static void an_awake_receiver_is_not_rung(void **state)
{
    struct fixture *f = *state;

    inbox_send(&f->inbox, &f->messages[0], NULL);
    inbox_send(&f->inbox, &f->messages[1], f->ring);
    assert_false(eventfd_rang(f));
    assert_int_equal(fake_ring_queued(f->ring), 0);
    assert_non_null(inbox_take(&f->inbox));
}

static void a_sleeping_receiver_is_rung_once(void **state)
{
    struct fixture *f = *state;

    assert_true(inbox_prepare_sleep(&f->inbox));
    assert_true(inbox_push(&f->inbox, &f->messages[0]));
    assert_false(inbox_push(&f->inbox, &f->messages[1]));
    inbox_awake(&f->inbox);
    assert_false(inbox_push(&f->inbox, &f->messages[2]));
    assert_non_null(inbox_take(&f->inbox));
}

static void nobody_falls_asleep_over_a_message(void **state)
{
    struct fixture *f = *state;

    inbox_send(&f->inbox, &f->messages[0], NULL);
    assert_false(inbox_prepare_sleep(&f->inbox));
    assert_false(inbox_push(&f->inbox, &f->messages[1])); /* it is awake again */
    assert_non_null(inbox_take(&f->inbox));
    assert_true(inbox_prepare_sleep(&f->inbox));
}

static void a_sender_without_a_ring_writes_the_eventfd(void **state)
{
    struct fixture *f = *state;

    inbox_set_doorbell(&f->inbox, TARGET_FD);
    assert_true(inbox_prepare_sleep(&f->inbox));
    inbox_send(&f->inbox, &f->messages[0], NULL);
    assert_true(eventfd_rang(f));
    assert_non_null(inbox_take(&f->inbox));
}

static void a_sender_with_a_ring_rings_the_doorbell(void **state)
{
    struct fixture *f = *state;

    inbox_set_doorbell(&f->inbox, TARGET_FD);
    assert_true(inbox_prepare_sleep(&f->inbox));
    inbox_send(&f->inbox, &f->messages[0], f->ring);
    assert_false(eventfd_rang(f));
    const struct fake_sqe *bell = fake_ring_find(f->ring, FAKE_DOORBELL, TARGET_FD);
    assert_non_null(bell);
    assert_int_equal(op_kind(bell->user_data), OP_RUNG);
    assert_int_equal(op_slot(bell->user_data), INBOX_ID);
    assert_int_equal(op_kind(bell->target_user_data), OP_DOORBELL);
    assert_non_null(inbox_take(&f->inbox));
}

static void without_a_doorbell_everybody_writes_the_eventfd(void **state)
{
    struct fixture *f = *state;

    assert_true(inbox_prepare_sleep(&f->inbox));
    inbox_send(&f->inbox, &f->messages[0], f->ring);
    assert_true(eventfd_rang(f));
    assert_int_equal(fake_ring_queued(f->ring), 0);
    assert_non_null(inbox_take(&f->inbox));
}

static void the_eventfd_is_read_through_the_receivers_ring(void **state)
{
    struct fixture *f = *state;

    inbox_arm_eventfd(&f->inbox, f->ring);
    const struct fake_sqe *armed = fake_ring_find(f->ring, FAKE_EVENTFD_READ, f->inbox.eventfd);
    assert_non_null(armed);
    assert_int_equal(op_kind(armed->user_data), OP_EVENTFD);
    assert_ptr_equal(armed->value, &f->inbox.eventfd_value);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(messages_come_in_the_order_they_were_sent),
        TEST(an_awake_receiver_is_not_rung),
        TEST(a_sleeping_receiver_is_rung_once),
        TEST(nobody_falls_asleep_over_a_message),
        TEST(a_sender_without_a_ring_writes_the_eventfd),
        TEST(a_sender_with_a_ring_rings_the_doorbell),
        TEST(without_a_doorbell_everybody_writes_the_eventfd),
        TEST(the_eventfd_is_read_through_the_receivers_ring),
    };

    return cmocka_run_group_tests_name("inbox", tests, NULL, NULL);
}
