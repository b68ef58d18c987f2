/* Start-up self-tests on throw-away rings. Trying beats asking: several of these features exist in kernels
 * in which they do not work as documented. What to tell the operator when nothing works is in
 * probe_explain.c. */
#include "uring/probe.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "uring/bufring.h"
#include "uring/ring.h"

enum {
    GROUP = 0,
    BUFFER_BYTES = 4096,
    BUFFERS = 8,
    TURNS_MAX = 8,       /* waits for one completion */
    SLEEPER_HEAD_MS = 2, /* how long the doorbell's receiver gets to fall asleep */
    USER_RECV = 100,     /* user_data of the receive on socket pair 0; the next one's is one more */
    USER_DOORBELL = 1,
};

/* No self-test waits this long where the feature works. */
#define PATIENCE_NS (NS_PER_S / 2)

static const struct ring_options small_ring = {.sq_entries = 8, .cq_entries = 32, .sq_cpu = -1};

/* Two socket pairs that receive into one buffer ring. */
struct bench {
    struct ring *ring;
    struct bufring *bufs;
    int pairs[2][2]; /* -1: not open */
};

/* The thread whose sleep the doorbell must end. */
struct sleeper {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int ring_fd; /* 0 until the ring is open, then its fd or a negative errno */
    bool was_rung;
};

static int probe_ring(struct probe *probe);
static int bench_open(struct bench *bench, bool incremental);
static void bench_close(struct bench *bench);
static int test_receive(bool incremental);
static int receive_text(struct bench *bench, int pair, const char *text, struct buf_piece *piece);
static int receive_end(struct bench *bench, int pair);
static int next_completion(struct bench *bench, struct completion *completion);
static int test_incremental_offsets(struct bench *bench);
static bool test_doorbell(void);
static void *sleeper_main(void *arg);
static int sleeper_ring_fd(struct sleeper *sleeper);

int probe_run(struct probe *probe)
{
    int rc;

    *probe = (struct probe){0};
    rc = probe_ring(probe);
    if (rc < 0)
        return rc;
    rc = test_receive(false);
    if (rc < 0) /* a ring but no multishot receive: older than 6.0 */
        return rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM ? rc : -EOPNOTSUPP;
    probe->incremental = test_receive(true) == 0;
    probe->doorbell = test_doorbell();
    return 0;
}

static int probe_ring(struct probe *probe)
{
    struct ring *ring;
    int rc = ring_open(&ring, &small_ring);

    if (rc < 0)
        return rc;
    probe->defer_taskrun = ring_is_deferred(ring);
    probe->registered_ring = ring_is_registered(ring);
    ring_close(ring);
    return 0;
}

/* Closes what was opened if it fails. */
static int bench_open(struct bench *bench, bool incremental)
{
    const struct bufring_options options = {.buffer_bytes = BUFFER_BYTES,
                                            .entries = BUFFERS,
                                            .incremental = incremental};
    int rc;

    *bench = (struct bench){.pairs = {{-1, -1}, {-1, -1}}};
    rc = ring_open(&bench->ring, &small_ring);
    if (rc < 0)
        return rc;
    rc = bufring_open(&bench->bufs, bench->ring, GROUP, &options);
    for (int i = 0; i < 2 && rc == 0; i++) {
        rc = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, bench->pairs[i]) == 0 ? 0 : -errno;
        if (rc == 0)
            ring_add_recv(bench->ring, USER_RECV + (uint64_t)i, bench->pairs[i][0], GROUP);
    }
    if (rc < 0)
        bench_close(bench);
    return rc;
}

/* The receives end with the ring. */
static void bench_close(struct bench *bench)
{
    if (bench->bufs)
        bufring_close(bench->bufs);
    ring_close(bench->ring);
    for (int i = 0; i < 2; i++) {
        for (int side = 0; side < 2 && bench->pairs[i][side] >= 0; side++)
            close(bench->pairs[i][side]);
    }
}

/* Multishot receive: goes on after data, ends with one completion of 0 at the end of stream; incremental buffers must
 * stay where we believe they are through all of it. 0 or a negative errno. */
static int test_receive(bool incremental)
{
    struct bench bench;
    struct buf_piece piece;
    int rc = bench_open(&bench, incremental);

    if (rc < 0)
        return rc;
    for (int i = 0; i < 3 && rc == 0; i++) {
        rc = receive_text(&bench, 0, "to be taken at once", &piece);
        if (rc == 0)
            bufring_release(bench.bufs, piece.bid);
    }
    if (rc == 0 && incremental)
        rc = test_incremental_offsets(&bench);
    if (rc == 0)
        rc = receive_end(&bench, 0);
    /* Kernels that forget BUF_MORE at an end of stream (liburing issue 1545) go wrong here. */
    if (rc == 0)
        rc = receive_text(&bench, 1, "after the other's end", &piece);
    if (rc == 0)
        bufring_release(bench.bufs, piece.bid);
    bench_close(&bench);
    return rc;
}

/* Sends text into a pair and checks that it arrives in one buffer, at the place we count on. */
static int receive_text(struct bench *bench, int pair, const char *text, struct buf_piece *piece)
{
    struct completion completion;
    size_t len = strlen(text);
    int rc;

    if (send(bench->pairs[pair][1], text, len, MSG_NOSIGNAL) != (ssize_t)len)
        return -EIO;
    rc = next_completion(bench, &completion);
    if (rc < 0)
        return rc;
    if (completion.result < 0)
        return completion.result;
    if (!(completion.flags & COMPLETION_BUFFER) || !bufring_take(bench->bufs, &completion, piece))
        return -EIO;
    if (completion.user_data == USER_RECV + (uint64_t)pair && (completion.flags & COMPLETION_MORE) &&
        piece->len == len && memcmp(piece->data, text, len) == 0)
        return 0;
    bufring_release(bench->bufs, piece->bid);
    return -EIO;
}

static int receive_end(struct bench *bench, int pair)
{
    struct completion completion;
    struct buf_piece piece;
    int rc;

    if (shutdown(bench->pairs[pair][1], SHUT_WR) < 0)
        return -errno;
    rc = next_completion(bench, &completion);
    if (rc < 0)
        return rc;
    if (completion.flags & COMPLETION_BUFFER && bufring_take(bench->bufs, &completion, &piece))
        bufring_release(bench->bufs, piece.bid);
    return completion.result == 0 && !(completion.flags & COMPLETION_MORE) ? 0 : -EIO;
}

/* One completion, waited for. -ETIME: there was none. */
static int next_completion(struct bench *bench, struct completion *completion)
{
    bufring_publish(bench->bufs);
    for (int turn = 0; turn < TURNS_MAX; turn++) {
        int rc = ring_submit_and_wait(bench->ring, PATIENCE_NS);

        if (rc < 0)
            return rc;
        if (ring_reap(bench->ring, completion, 1) == 1)
            return 0;
    }
    return -ETIME;
}

/* Receives of two sockets must share one buffer, one behind the other, and leave what came before as it was. */
static int test_incremental_offsets(struct bench *bench)
{
    struct buf_piece first;
    struct buf_piece second;
    int rc = receive_text(bench, 0, "first", &first);

    if (rc < 0)
        return rc;
    rc = receive_text(bench, 1, "second", &second);
    if (rc == 0) {
        if (second.bid != first.bid || second.data != first.data + first.len || memcmp(first.data, "first", 5) != 0)
            rc = -EIO;
        bufring_release(bench->bufs, second.bid);
    }
    bufring_release(bench->bufs, first.bid);
    return rc;
}

/* A thread sleeps in its ring; does a MSG_RING from ours wake it? */
static bool test_doorbell(void)
{
    struct sleeper sleeper = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    const struct timespec head = {.tv_nsec = SLEEPER_HEAD_MS * (long)NS_PER_MS};
    struct ring *ring;
    int target_fd;

    if (ring_open(&ring, &small_ring) < 0)
        return false;
    if (pthread_create(&sleeper.thread, NULL, sleeper_main, &sleeper) != 0) {
        ring_close(ring);
        return false;
    }
    target_fd = sleeper_ring_fd(&sleeper);
    if (target_fd > 0) {
        nanosleep(&head, NULL);
        ring_add_doorbell(ring, USER_DOORBELL, target_fd, USER_DOORBELL);
        if (ring_submit(ring) < 0)
            target_fd = -1;
    }
    pthread_join(sleeper.thread, NULL);
    ring_close(ring);
    return target_fd > 0 && sleeper.was_rung;
}

static void *sleeper_main(void *arg)
{
    struct sleeper *sleeper = arg;
    struct completion completion;
    struct ring *ring = NULL;
    int rc = ring_open(&ring, &small_ring);

    pthread_mutex_lock(&sleeper->lock);
    sleeper->ring_fd = rc == 0 ? ring_fd(ring) : rc;
    pthread_cond_signal(&sleeper->changed);
    pthread_mutex_unlock(&sleeper->lock);
    if (rc < 0)
        return NULL;
    sleeper->was_rung = ring_submit_and_wait(ring, PATIENCE_NS) == 0 && ring_reap(ring, &completion, 1) == 1 &&
                        completion.user_data == USER_DOORBELL && completion.result == 0;
    ring_close(ring);
    return NULL;
}

/* Waits for the thread's ring. */
static int sleeper_ring_fd(struct sleeper *sleeper)
{
    int fd;

    pthread_mutex_lock(&sleeper->lock);
    while (sleeper->ring_fd == 0)
        pthread_cond_wait(&sleeper->changed, &sleeper->lock);
    fd = sleeper->ring_fd;
    pthread_mutex_unlock(&sleeper->lock);
    return fd;
}
