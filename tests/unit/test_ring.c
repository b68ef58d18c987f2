/* The ring on the real kernel, with socket pairs: what each operation completes with, and how waiting ends. */
#include "uring/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/macros.h"
#include "uring/bufring.h"

enum { COMPLETIONS_MAX = 64, SQ_ENTRIES = 8, CQ_ENTRIES = 32, GROUP = 3 };
#define PATIENCE_NS (5 * NS_PER_S) /* for what must come; nothing waits this long when all is well */

struct fixture {
    struct ring *ring;
    struct bufring *bufs;
    int pair[2];
    struct completion completions[COMPLETIONS_MAX];
    uint32_t count;
};

static int setup_with(void **state, bool sqpoll)
{
    const struct ring_options options = {.sq_entries = SQ_ENTRIES,
                                         .cq_entries = CQ_ENTRIES,
                                         .sqpoll = sqpoll,
                                         .sq_cpu = -1,
                                         .sq_idle_ms = 1};
    const struct bufring_options buffers = {.buffer_bytes = 4096, .entries = 8};
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_int_equal(ring_open(&f->ring, &options), 0);
    assert_int_equal(bufring_open(&f->bufs, f->ring, GROUP, &buffers), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->pair), 0);
    *state = f;
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, false);
}

static int setup_sqpoll(void **state)
{
    return setup_with(state, true);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    bufring_close(f->bufs);
    ring_close(f->ring);
    close(f->pair[0]);
    close(f->pair[1]);
    free(f);
    return 0;
}

/* Turns until at least count completions are there. */
static void turn_until(struct fixture *f, uint32_t count)
{
    f->count = ring_reap(f->ring, f->completions, COMPLETIONS_MAX);
    while (f->count < count) {
        uint32_t before = f->count;

        assert_int_equal(ring_submit_and_wait(f->ring, PATIENCE_NS), 0);
        f->count += ring_reap(f->ring, f->completions + f->count, COMPLETIONS_MAX - f->count);
        assert_true(f->count > before);
    }
}

static const struct completion *completion_of(const struct fixture *f, uint64_t user_data)
{
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->completions[i].user_data == user_data)
            return &f->completions[i];
    }
    fail_msg("no completion of %llu", (unsigned long long)user_data);
    return NULL;
}

static void no_wait_returns_at_once_with_nothing(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ring_submit_and_wait(f->ring, RING_NO_WAIT), 0);
    assert_int_equal(ring_reap(f->ring, f->completions, COMPLETIONS_MAX), 0);
}

static void a_wait_ends_at_its_time_out(void **state)
{
    struct fixture *f = *state;
    uint64_t start_ns = clock_now_ns();

    assert_int_equal(ring_submit_and_wait(f->ring, 20 * NS_PER_MS), 0);
    assert_true(clock_now_ns() - start_ns >= 20 * NS_PER_MS);
    assert_int_equal(ring_reap(f->ring, f->completions, COMPLETIONS_MAX), 0);
}

static void on_alarm(int signal_number)
{
    (void)signal_number;
}

static void a_signal_ends_a_wait_without_error(void **state)
{
    struct fixture *f = *state;
    const struct sigaction action = {.sa_handler = on_alarm};
    /* Repeated, as the first one may come before we sleep. */
    const struct itimerval every_10_ms = {.it_value.tv_usec = 10000, .it_interval.tv_usec = 10000};
    const struct itimerval never = {0};
    struct sigaction previous;

    assert_int_equal(sigaction(SIGALRM, &action, &previous), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &every_10_ms, NULL), 0);
    assert_int_equal(ring_submit_and_wait(f->ring, RING_WAIT_FOREVER), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &previous, NULL), 0);
}

static void send_and_multishot_receive(void **state)
{
    struct fixture *f = *state;
    struct buf_piece piece;

    ring_add_recv(f->ring, 1, f->pair[1], GROUP);
    ring_add_send(f->ring, 2, f->pair[0], "hello", 5, RING_SEND_ALL);
    turn_until(f, 2);
    assert_int_equal(completion_of(f, 2)->result, 5);
    const struct completion *received = completion_of(f, 1);
    assert_int_equal(received->result, 5);
    assert_true(received->flags & COMPLETION_MORE);
    assert_true(bufring_take(f->bufs, received, &piece));
    assert_memory_equal(piece.data, "hello", 5);
    bufring_release(f->bufs, piece.bid);

    shutdown(f->pair[0], SHUT_WR);
    turn_until(f, 1);
    assert_int_equal(completion_of(f, 1)->result, 0);
    assert_false(completion_of(f, 1)->flags & COMPLETION_MORE);
}

static void a_send_may_not_wait(void **state)
{
    struct fixture *f = *state;
    static uint8_t bytes[4 * 1024 * 1024];

    ring_add_send(f->ring, 1, f->pair[0], bytes, sizeof(bytes), RING_SEND_NOW);
    turn_until(f, 1);
    assert_true(completion_of(f, 1)->result > 0);
    assert_true((size_t)completion_of(f, 1)->result < sizeof(bytes));
    ring_add_send(f->ring, 2, f->pair[0], bytes, sizeof(bytes), RING_SEND_NOW);
    turn_until(f, 1);
    assert_int_equal(completion_of(f, 2)->result, -EAGAIN);
}

static void the_msghdr_may_be_reused_after_submit(void **state)
{
    struct fixture *f = *state;
    char got[16] = {0};

    for (int round = 0; round < 20; round++) {
        char text[] = "abcde";
        struct iovec pieces[2] = {{text, 2}, {text + 2, 3}};
        struct msghdr msg = {.msg_iov = pieces, .msg_iovlen = 2};

        ring_add_sendmsg(f->ring, 1, f->pair[0], &msg, RING_SEND_ALL);
        assert_int_equal(ring_submit(f->ring), 0);
        memset(&msg, 0xff, sizeof(msg));
        memset(pieces, 0xff, sizeof(pieces));
        turn_until(f, 1);
        assert_int_equal(completion_of(f, 1)->result, 5);
        assert_int_equal(read(f->pair[1], got, sizeof(got)), 5);
        assert_string_equal(got, "abcde");
    }
}

static void cancel_ends_the_receive(void **state)
{
    struct fixture *f = *state;

    ring_add_recv(f->ring, 1, f->pair[1], GROUP);
    assert_int_equal(ring_submit(f->ring), 0);
    ring_add_cancel(f->ring, 2, 1);
    turn_until(f, 2);
    assert_int_equal(completion_of(f, 1)->result, -ECANCELED);
    assert_int_equal(completion_of(f, 2)->result, 0);
    ring_add_cancel(f->ring, 3, 1);
    turn_until(f, 1);
    assert_int_equal(completion_of(f, 3)->result, -ENOENT);
}

static void a_poll_tells_once_what_is_there(void **state)
{
    struct fixture *f = *state;

    ring_add_poll(f->ring, 12, f->pair[1], POLLIN);
    ring_add_poll(f->ring, 13, f->pair[1], POLLOUT);
    turn_until(f, 1); /* it can be written to */
    assert_int_equal(completion_of(f, 13)->result, POLLOUT);
    assert_int_equal(f->count, 1);
    assert_int_equal(send(f->pair[0], "x", 1, 0), 1);
    turn_until(f, 1);
    assert_int_equal(completion_of(f, 12)->result, POLLIN);
    assert_int_equal(completion_of(f, 12)->flags & COMPLETION_MORE, 0);
}

static void a_poll_outlives_its_descriptor_until_it_is_cancelled(void **state)
{
    struct fixture *f = *state;
    int fd = dup(f->pair[1]);

    ring_add_poll(f->ring, 14, fd, POLLIN);
    assert_int_equal(ring_submit_and_wait(f->ring, RING_NO_WAIT), 0);
    close(fd);
    assert_int_equal(ring_submit_and_wait(f->ring, RING_NO_WAIT), 0);
    assert_int_equal(ring_reap(f->ring, f->completions, COMPLETIONS_MAX), 0);
    ring_add_cancel(f->ring, 15, 14);
    turn_until(f, 2);
    assert_int_equal(completion_of(f, 14)->result, -ECANCELED);
    assert_int_equal(completion_of(f, 15)->result, 0);
}

static void more_than_the_queue_holds_is_submitted_on_the_way(void **state)
{
    struct fixture *f = *state;
    char got[4 * SQ_ENTRIES];

    for (uint64_t i = 0; i < 3 * SQ_ENTRIES; i++)
        ring_add_send(f->ring, 100 + i, f->pair[0], "x", 1, RING_SEND_ALL);
    turn_until(f, 3 * SQ_ENTRIES);
    for (uint64_t i = 0; i < 3 * SQ_ENTRIES; i++)
        assert_int_equal(completion_of(f, 100 + i)->result, 1);
    assert_int_equal(read(f->pair[1], got, sizeof(got)), 3 * SQ_ENTRIES);
}

static void an_overflowed_completion_queue_loses_nothing(void **state)
{
    struct fixture *f = *state;
    uint32_t total = 0;
    uint32_t sent = 0;

    assert_false(ring_take_overflow(f->ring));
    while (sent < 3 * CQ_ENTRIES) {
        ring_add_send(f->ring, 1000 + sent, f->pair[0], "x", 1, RING_SEND_ALL);
        sent++;
    }
    for (int turn = 0; turn < 100 && total < sent; turn++) {
        assert_int_equal(ring_submit_and_wait(f->ring, RING_NO_WAIT), 0);
        f->count = ring_reap(f->ring, f->completions, 7);
        for (uint32_t i = 0; i < f->count; i++)
            assert_int_equal(f->completions[i].user_data, 1000 + total + i);
        total += f->count;
    }
    assert_int_equal(total, sent);
    assert_true(ring_take_overflow(f->ring));
    assert_false(ring_take_overflow(f->ring));
}

/* A listening socket, and its address. */
static int listen_somewhere(struct sockaddr_in *addr, socklen_t *len)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    *addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    *len = sizeof(*addr);
    assert_int_equal(bind(fd, (struct sockaddr *)addr, *len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)addr, len), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

/* The address may be reused after the submission, also with a kernel thread that reads it in its own time. */
static void a_unix_connect_never_waits(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "\0zerg-unit-ring"};
    struct sockaddr_un missing = {.sun_family = AF_UNIX, .sun_path = "/nonexistent/zerg.sock"};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fds[3];

    assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(listener, 0), 0); /* one may wait */
    for (int i = 0; i < 3; i++) {
        struct sockaddr_un *to = i == 2 ? &missing : &addr;

        fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ring_add_connect(f->ring, (uint64_t)i + 1, fds[i], (struct sockaddr *)to, sizeof(*to));
    }
    turn_until(f, 3);
    assert_int_equal(completion_of(f, 1)->result, 0);
    assert_int_equal(completion_of(f, 2)->result, -EAGAIN);
    assert_int_equal(completion_of(f, 3)->result, -ENOENT);
    assert_int_equal(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    close(listener);
}

static void connect_connects_or_is_refused(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in addr;
    socklen_t len;
    int listen_fd = listen_somewhere(&addr, &len);
    int fds[2];

    for (int i = 0; i < 2; i++) {
        struct sockaddr_in copy = addr;

        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ring_add_connect(f->ring, (uint64_t)i, fds[i], (struct sockaddr *)&copy, len);
        assert_int_equal(ring_submit(f->ring), 0);
        memset(&copy, 0xff, sizeof(copy));
        turn_until(f, 1);
        assert_int_equal(completion_of(f, (uint64_t)i)->result, i == 0 ? 0 : -ECONNREFUSED);
        if (i == 0)
            close(listen_fd);
    }
    close(fds[0]);
    close(fds[1]);
}

static void close_closes(void **state)
{
    struct fixture *f = *state;
    char byte;
    int fd = f->pair[0];

    f->pair[0] = dup(f->pair[1]);
    ring_add_close(f->ring, 1, fd);
    turn_until(f, 1);
    assert_int_equal(completion_of(f, 1)->result, 0);
    assert_int_equal(read(f->pair[1], &byte, 1), 0);
}

static void eventfd_read_waits_for_the_write(void **state)
{
    struct fixture *f = *state;
    uint64_t value = 0;
    uint64_t three = 3;
    int fd = eventfd(0, EFD_CLOEXEC);

    ring_add_eventfd_read(f->ring, 1, fd, &value);
    assert_int_equal(ring_submit_and_wait(f->ring, NS_PER_MS), 0);
    assert_int_equal(ring_reap(f->ring, f->completions, COMPLETIONS_MAX), 0);
    assert_int_equal(write(fd, &three, sizeof(three)), sizeof(three));
    turn_until(f, 1);
    assert_int_equal(completion_of(f, 1)->result, 8);
    assert_int_equal(value, 3);
    close(fd);
}

static void a_doorbell_rings_there_and_is_silent_here(void **state)
{
    struct fixture *f = *state;
    const struct ring_options options = {.sq_entries = 4, .cq_entries = 8};
    struct ring *target;
    struct completion completion;

    assert_int_equal(ring_open(&target, &options), 0);
    ring_add_doorbell(f->ring, 1, ring_fd(target), 77);
    assert_int_equal(ring_submit(f->ring), 0);
    assert_int_equal(ring_submit_and_wait(target, PATIENCE_NS), 0);
    assert_int_equal(ring_reap(target, &completion, 1), 1);
    assert_int_equal(completion.user_data, 77);
    assert_int_equal(completion.result, 0);
    assert_int_equal(ring_submit_and_wait(f->ring, RING_NO_WAIT), 0);
    assert_int_equal(ring_reap(f->ring, f->completions, COMPLETIONS_MAX), 0);
    ring_close(target);
}

static void a_doorbell_that_fails_says_so(void **state)
{
    struct fixture *f = *state;

    ring_add_doorbell(f->ring, 1, f->pair[0], 77); /* not a ring */
    turn_until(f, 1);
    assert_true(completion_of(f, 1)->result < 0);
}

static int listen_abstract(struct sockaddr_un *addr, socklen_t *len)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    *len = sizeof(sa_family_t); /* the kernel picks an abstract name */
    assert_int_equal(bind(fd, (struct sockaddr *)addr, *len), 0);
    *len = sizeof(*addr);
    assert_int_equal(getsockname(fd, (struct sockaddr *)addr, len), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

static void accept_goes_on_until_it_is_cancelled(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un addr;
    socklen_t len;
    int listener = listen_abstract(&addr, &len);

    ring_add_accept(f->ring, 1, listener);
    for (int i = 0; i < 3; i++) {
        int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_int_equal(ring_submit(f->ring), 0);
        assert_int_equal(connect(client, (struct sockaddr *)&addr, len), 0);
        turn_until(f, 1);
        assert_true(completion_of(f, 1)->result >= 0);
        assert_true(completion_of(f, 1)->flags & COMPLETION_MORE);
        close(completion_of(f, 1)->result);
        close(client);
    }
    ring_add_cancel(f->ring, 2, 1);
    turn_until(f, 2);
    assert_int_equal(completion_of(f, 1)->result, -ECANCELED);
    assert_false(completion_of(f, 1)->flags & COMPLETION_MORE);
    close(listener);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_SQPOLL(name)                                   \
    {                                                       \
        "sqpoll_" #name, name, setup_sqpoll, teardown, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_wait_returns_at_once_with_nothing),
        TEST(a_wait_ends_at_its_time_out),
        TEST(a_signal_ends_a_wait_without_error),
        TEST(send_and_multishot_receive),
        TEST(a_send_may_not_wait),
        TEST(the_msghdr_may_be_reused_after_submit),
        TEST(cancel_ends_the_receive),
        TEST(a_poll_tells_once_what_is_there),
        TEST(a_poll_outlives_its_descriptor_until_it_is_cancelled),
        TEST(more_than_the_queue_holds_is_submitted_on_the_way),
        TEST(an_overflowed_completion_queue_loses_nothing),
        TEST(connect_connects_or_is_refused),
        TEST(a_unix_connect_never_waits),
        TEST(close_closes),
        TEST(eventfd_read_waits_for_the_write),
        TEST(a_doorbell_rings_there_and_is_silent_here),
        TEST(a_doorbell_that_fails_says_so),
        TEST(accept_goes_on_until_it_is_cancelled),
        TEST_SQPOLL(a_wait_ends_at_its_time_out),
        TEST_SQPOLL(send_and_multishot_receive),
        TEST_SQPOLL(the_msghdr_may_be_reused_after_submit),
        TEST_SQPOLL(connect_connects_or_is_refused),
        TEST_SQPOLL(more_than_the_queue_holds_is_submitted_on_the_way),
        TEST_SQPOLL(cancel_ends_the_receive),
    };

    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
