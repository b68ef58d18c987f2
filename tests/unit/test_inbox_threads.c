/* Inboxes between threads with real rings: nothing is lost, nothing overtakes, and nobody sleeps over a
 * message. Run it under TSan too (make tsan). The receivers sleep without a time limit, so that a lost
 * wake-up shows as a time-out of the turn. */
#include "core/inbox.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/clock.h"
#include "uring/op.h"
#include "uring/ring.h"

enum { ROUNDS = 20000, SENDERS = 3, SENT_EACH = 20000, COMPLETIONS_MAX = 16 };

/* A wait that takes this long was a lost wake-up. */
#define LOST_NS (5 * NS_PER_S)

struct ball {
    struct inbox_message message;
    uint32_t sender;
    uint32_t number;
};

/* A thread with a ring and an inbox, as a reactor is. */
struct player {
    struct inbox inbox;
    struct ring *ring;
    pthread_t thread;
    struct player *other;
    bool has_doorbell;
    bool begins;
    pthread_barrier_t *start;
    uint32_t received;
};

static void player_open(struct player *player)
{
    const struct ring_options options = {.sq_entries = 8, .cq_entries = 64};

    assert(ring_open(&player->ring, &options) == 0);
    if (player->has_doorbell)
        inbox_set_doorbell(&player->inbox, ring_fd(player->ring));
    inbox_arm_eventfd(&player->inbox, player->ring);
}

/* One turn: sleeps until there is something, returns the messages. */
static struct inbox_message *player_turn(struct player *player)
{
    struct completion completions[COMPLETIONS_MAX];
    bool may_sleep = inbox_prepare_sleep(&player->inbox);
    uint64_t start_ns = clock_now_ns();

    assert(ring_submit_and_wait(player->ring, may_sleep ? LOST_NS : RING_NO_WAIT) == 0);
    assert(clock_now_ns() - start_ns < LOST_NS);
    inbox_awake(&player->inbox);
    uint32_t count = ring_reap(player->ring, completions, COMPLETIONS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        if (op_kind(completions[i].user_data) == OP_EVENTFD)
            inbox_arm_eventfd(&player->inbox, player->ring);
        else
            assert(op_kind(completions[i].user_data) == OP_DOORBELL);
    }
    return inbox_take(&player->inbox);
}

/* The ball goes back and forth; whoever has none sleeps. */
static void *play(void *arg)
{
    struct player *player = arg;
    struct ball ball = {.number = 0};

    player_open(player);
    pthread_barrier_wait(player->start);
    if (player->begins)
        inbox_send(&player->other->inbox, &ball.message, player->ring);
    while (player->received < ROUNDS) {
        struct inbox_message *message = player_turn(player);

        if (!message)
            continue;
        assert(!message->next);
        player->received++;
        if (player->received < ROUNDS || !player->begins)
            inbox_send(&player->other->inbox, message, player->ring);
    }
    assert(ring_submit(player->ring) == 0); /* the last doorbell */
    pthread_barrier_wait(player->start);    /* the ball is on the first player's stack, and rings are rung by number */
    ring_close(player->ring);
    return NULL;
}

static void ping_pong(bool has_doorbell)
{
    static struct player players[2];
    pthread_barrier_t start;

    assert_int_equal(pthread_barrier_init(&start, NULL, 2), 0);
    for (uint32_t i = 0; i < 2; i++) {
        players[i].has_doorbell = has_doorbell;
        players[i].begins = i == 0;
        players[i].other = &players[1 - i];
        players[i].start = &start;
        players[i].received = 0;
        assert_int_equal(inbox_open(&players[i].inbox, i), 0);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&players[i].thread, NULL, play, &players[i]), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(players[i].thread, NULL), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(players[i].received, ROUNDS);
        inbox_close(&players[i].inbox);
    }
    pthread_barrier_destroy(&start);
}

static void ping_pong_by_doorbell(void **state)
{
    (void)state;
    ping_pong(true);
}

static void ping_pong_by_eventfd(void **state)
{
    (void)state;
    ping_pong(false);
}

struct sender {
    pthread_t thread;
    struct inbox *inbox;
    uint32_t index;
    struct ball *balls;
};

static void *send_all(void *arg)
{
    struct sender *sender = arg;

    for (uint32_t i = 0; i < SENT_EACH; i++) {
        sender->balls[i].sender = sender->index;
        sender->balls[i].number = i;
        inbox_send(sender->inbox, &sender->balls[i].message, NULL);
        if (i % 64 == 0) /* sometimes let the receiver fall asleep */
            sched_yield();
    }
    return NULL;
}

static void many_senders_keep_their_order(void **state)
{
    static struct player receiver;
    struct sender senders[SENDERS];
    uint32_t next[SENDERS] = {0};
    uint32_t total = 0;

    (void)state;
    assert_int_equal(inbox_open(&receiver.inbox, 0), 0);
    player_open(&receiver);
    for (uint32_t i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.inbox = &receiver.inbox, .index = i};
        senders[i].balls = calloc(SENT_EACH, sizeof(struct ball));
        assert_non_null(senders[i].balls);
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_all, &senders[i]), 0);
    }
    while (total < SENDERS * SENT_EACH) {
        for (struct inbox_message *message = player_turn(&receiver); message; message = message->next) {
            const struct ball *ball = CONTAINER_OF(message, struct ball, message);

            assert_int_equal(ball->number, next[ball->sender]);
            next[ball->sender]++;
            total++;
        }
    }
    for (uint32_t i = 0; i < SENDERS; i++) {
        assert_int_equal(pthread_join(senders[i].thread, NULL), 0);
        free(senders[i].balls);
    }
    ring_close(receiver.ring);
    inbox_close(&receiver.inbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ping_pong_by_doorbell),
        cmocka_unit_test(ping_pong_by_eventfd),
        cmocka_unit_test(many_senders_keep_their_order),
    };

    return cmocka_run_group_tests_name("inbox_threads", tests, NULL, NULL);
}
