/* Both ends of connections through a relay, the client's and the server's: every pair sends its own bytes both ways and
 * compares each byte that arrives with what the other end sent. Amounts, lengths of writes, who waits for whose end of
 * stream, and who reads slowly, follow from the seed and the pair's number, which are a client's first bytes. A wrong
 * byte, a missing or early end of stream, a reset or a standstill ends the run with exit code 1.
 *
 * pairs LISTEN_PORT PORT PAIRS CONCURRENCY BYTES_MAX SEED [STALL_SECONDS]: all on 127.0.0.1. Servers are accepted at
 * LISTEN_PORT, which is where the relay at PORT leads. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    HEAD_BYTES = 8, /* the number of the pair */
    BUFFER_BYTES = 64 * 1024,
    SLOW_BYTES = 4096, /* that a slow end reads at a time, */
    SLOW_MS = 1,       /* and how long it rests then */
    /* What may wait at a slow end. With less than a window of 64 KiB, which needs no scaling, Linux may offer what its peer finds too
     * little to send at once, and then each few bytes wait for the persist timer of 200 ms. */
    SLOW_RECEIVE_BUFFER = 128 * 1024,
    WRITES_MAX = 3000, /* of one end, about: short writes make for short streams */
    EVENTS_MAX = 256,
};

enum side { CLIENT, SERVER, SIDES };

/* Who sends at all (but its head) only after the other's end of stream. */
enum order { AT_ONCE, CLIENT_LAST, SERVER_LAST, ORDERS };

struct pair;

struct end {
    struct end *next;  /* of run.ends */
    struct pair *pair; /* NULL: a server's whose head has not arrived */
    enum side side;
    int fd; /* -1: done */
    uint32_t interest;
    bool has_sent_end, has_got_end;
    uint64_t sent, received;
    uint64_t rests_until_ms;
    uint64_t head;
};

struct pair {
    uint64_t number;
    uint64_t bytes[SIDES]; /* that each sends in all */
    uint32_t write_max[SIDES];
    bool is_slow[SIDES];
    enum order order;
    uint64_t random;
    struct end *ends[SIDES];
};

static struct {
    struct sockaddr_in listen, relay;
    uint64_t count, concurrency, bytes_max, seed, stall_ms;
    int listener, epoll;
    uint64_t begun, done, bytes[SIDES], last_progress_ms;
    struct pair *pairs;
    struct end *ends; /* all there ever were */
} run;

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void end_print(const struct end *end)
{
    fprintf(stderr, "pairs: %s: sent %" PRIu64 "%s, received %" PRIu64 "%s\n",
            end->side == CLIENT ? "client" : "server", end->sent, end->has_sent_end ? " and its end" : "",
            end->received, end->has_got_end ? " and the end" : "");
}

static void pair_print(const struct pair *pair)
{
    fprintf(stderr, "pairs: pair %" PRIu64 ", order %d, client sends %" PRIu64 "%s, server sends %" PRIu64 "%s\n",
            pair->number, (int)pair->order, pair->bytes[CLIENT], pair->is_slow[CLIENT] ? " (slow)" : "",
            pair->bytes[SERVER], pair->is_slow[SERVER] ? " (slow)" : "");
    for (enum side side = CLIENT; side < SIDES; side++) {
        if (pair->ends[side])
            end_print(pair->ends[side]);
    }
}

static _Noreturn void die(const struct end *end, const char *what)
{
    fprintf(stderr, "pairs: %s (errno: %s), %" PRIu64 " of %" PRIu64 " pairs done\n", what, strerror(errno), run.done,
            run.count);
    if (end) {
        end_print(end);
        if (end->pair)
            pair_print(end->pair);
    }
    exit(1);
}

static bool end_is_done(const struct end *end)
{
    return end && end->fd < 0;
}

static bool pair_is_done(const struct pair *pair)
{
    return end_is_done(pair->ends[CLIENT]) && end_is_done(pair->ends[SERVER]);
}

static _Noreturn void die_standing(void)
{
    for (uint64_t i = 0; i < run.begun; i++) {
        if (!pair_is_done(&run.pairs[i]))
            pair_print(&run.pairs[i]);
    }
    die(NULL, "standstill");
}

/* ---- what is sent ---- */

static uint64_t mix(uint64_t x) /* splitmix64 */
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t pick(uint64_t *state, uint64_t below)
{
    *state = mix(*state);
    return (*state >> 16) % below;
}

/* The bytes of what one side sends, from an offset on. */
static void fill(uint8_t *out, size_t len, const struct pair *pair, enum side side, uint64_t offset)
{
    for (size_t i = 0; i < len;) {
        uint64_t index = (offset + i) / 8, word = mix(run.seed ^ (pair->number << 24) ^ ((uint64_t)side << 63)) + index;
        size_t skip = (offset + i) % 8, n = 8 - skip < len - i ? 8 - skip : len - i;
        word = side == CLIENT && index == 0 ? pair->number : mix(word);
        memcpy(out + i, (const uint8_t *)&word + skip, n);
        i += n;
    }
}

static void pair_compose(struct pair *pair, uint64_t number)
{
    static const uint32_t write_max[] = {3, 600, 9000, BUFFER_BYTES};
    pair->number = number;
    pair->random = mix(run.seed ^ (number << 20));
    pair->order = (enum order)pick(&pair->random, ORDERS);
    for (enum side side = CLIENT; side < SIDES; side++) {
        pair->write_max[side] = write_max[pick(&pair->random, sizeof write_max / sizeof *write_max)];
        pair->is_slow[side] = pick(&pair->random, 5) == 0;
        uint64_t most = (uint64_t)pair->write_max[side] / 2 * WRITES_MAX;
        uint64_t bytes = pick(&pair->random, 8) == 0 ? 0 : pick(&pair->random, run.bytes_max);
        pair->bytes[side] = (bytes < most ? bytes : most) + (side == CLIENT ? HEAD_BYTES : 0);
    }
}

/* ---- one end ---- */

static bool end_may_send(const struct end *end)
{
    if (!end->pair || end->has_sent_end)
        return false;
    bool is_last = end->pair->order == (end->side == CLIENT ? CLIENT_LAST : SERVER_LAST);
    return !is_last || end->has_got_end || (end->side == CLIENT && end->sent < HEAD_BYTES);
}

static void end_watch(struct end *end)
{
    uint32_t wanted = (end->has_got_end || end->rests_until_ms ? 0u : (uint32_t)EPOLLIN) |
                      (end_may_send(end) ? (uint32_t)EPOLLOUT : 0u);
    struct epoll_event event = {.events = wanted, .data.ptr = end};
    if (wanted != end->interest && epoll_ctl(run.epoll, EPOLL_CTL_MOD, end->fd, &event) < 0)
        die(end, "epoll_ctl");
    end->interest = wanted;
}

static struct end *end_new(int fd, enum side side)
{
    struct end *end = calloc(1, sizeof *end);
    if (!end)
        die(NULL, "calloc");
    end->fd = fd;
    end->side = side;
    end->interest = EPOLLIN;
    end->next = run.ends;
    run.ends = end;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = end};
    if (epoll_ctl(run.epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        die(end, "epoll_ctl");
    return end;
}

static void end_send(struct end *end)
{
    static uint8_t bytes[BUFFER_BYTES];
    struct pair *pair = end->pair;
    uint64_t left = pair->bytes[end->side] - end->sent, len = 1 + pick(&pair->random, pair->write_max[end->side]);
    if (pair->order == CLIENT_LAST && end->side == CLIENT && end->sent < HEAD_BYTES)
        left = HEAD_BYTES - end->sent;
    len = len < left ? len : left;
    fill(bytes, len, pair, end->side, end->sent);
    ssize_t n = send(end->fd, bytes, len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN)
        die(end, "send");
    end->sent += n > 0 ? (uint64_t)n : 0;
    if (end->sent < pair->bytes[end->side])
        return;
    if (shutdown(end->fd, SHUT_WR) < 0)
        die(end, "shutdown");
    end->has_sent_end = true;
}

/* The first bytes of a client say which pair the server's end belongs to. */
static void end_take_head(struct end *end)
{
    ssize_t n = recv(end->fd, (uint8_t *)&end->head + end->received, HEAD_BYTES - end->received, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        die(end, "a connection ended before its first bytes");
    end->received += (uint64_t)n;
    if (end->received < HEAD_BYTES)
        return;
    if (end->head >= run.begun || run.pairs[end->head].ends[SERVER])
        die(end, "the first bytes are wrong");
    end->pair = &run.pairs[end->head];
    end->pair->ends[SERVER] = end;
}

static void end_check(struct end *end, const uint8_t *bytes, size_t len)
{
    static uint8_t wanted[BUFFER_BYTES];
    enum side from = end->side == CLIENT ? SERVER : CLIENT;
    if (end->received + len > end->pair->bytes[from])
        die(end, "more bytes than were sent");
    fill(wanted, len, end->pair, from, end->received);
    if (memcmp(bytes, wanted, len) != 0)
        die(end, "foreign or wrong byte");
    end->received += len;
    run.bytes[from] += len;
}

static void end_receive(struct end *end)
{
    static uint8_t bytes[BUFFER_BYTES];
    bool is_slow = end->pair->is_slow[end->side];
    ssize_t n = recv(end->fd, bytes, is_slow ? SLOW_BYTES : BUFFER_BYTES, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 0)
        die(end, "receive");
    end->rests_until_ms = is_slow && n > 0 ? now_ms() + SLOW_MS : 0;
    if (n > 0) {
        end_check(end, bytes, (size_t)n);
        return;
    }
    if (end->received < end->pair->bytes[end->side == CLIENT ? SERVER : CLIENT])
        die(end, "early end of stream");
    end->has_got_end = true;
}

static void end_finish(struct end *end)
{
    close(end->fd);
    end->fd = -1;
    if (pair_is_done(end->pair))
        run.done++;
}

static void end_on_event(struct end *end, uint32_t events)
{
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP) && !end->rests_until_ms && !end->has_got_end) {
        if (end->pair)
            end_receive(end);
        else
            end_take_head(end);
    }
    if (events & EPOLLOUT && end_may_send(end))
        end_send(end);
    if (end->has_sent_end && end->has_got_end)
        end_finish(end);
    else
        end_watch(end);
}

/* ---- all of them ---- */

static void pair_begin(struct pair *pair, uint64_t number)
{
    pair_compose(pair, number);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), small = SLOW_RECEIVE_BUFFER;
    if (fd < 0)
        die(NULL, "socket");
    if (pair->is_slow[CLIENT])
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (connect(fd, (struct sockaddr *)&run.relay, sizeof run.relay) < 0 && errno != EINPROGRESS)
        die(NULL, "connect");
    pair->ends[CLIENT] = end_new(fd, CLIENT);
    pair->ends[CLIENT]->pair = pair;
    end_watch(pair->ends[CLIENT]);
}

static void accept_all(void)
{
    int fd;
    while ((fd = accept4(run.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        end_new(fd, SERVER);
    if (errno != EAGAIN && errno != ECONNABORTED)
        die(NULL, "accept");
}

/* Ends that have rested enough read again. True when some still rest. */
static bool wake_rested(uint64_t now)
{
    bool some_rest = false;
    for (struct end *end = run.ends; end; end = end->next) {
        if (end->fd < 0 || !end->rests_until_ms)
            continue;
        if (end->rests_until_ms <= now) {
            end->rests_until_ms = 0;
            end_watch(end);
        }
        some_rest = some_rest || end->rests_until_ms;
    }
    return some_rest;
}

static void turn(void)
{
    struct epoll_event events[EVENTS_MAX];
    for (; run.begun < run.count && run.begun - run.done < run.concurrency; run.begun++)
        pair_begin(&run.pairs[run.begun], run.begun);
    uint64_t now = now_ms();
    bool some_rest = wake_rested(now);
    int n = epoll_wait(run.epoll, events, EVENTS_MAX, some_rest ? SLOW_MS : (int)run.stall_ms);
    if (n < 0 && errno != EINTR)
        die(NULL, "epoll_wait");
    if (n > 0)
        run.last_progress_ms = now;
    else if (now_ms() - run.last_progress_ms >= run.stall_ms)
        die_standing();
    for (int i = 0; i < n; i++) {
        struct end *end = events[i].data.ptr;
        if (!end)
            accept_all();
        else if (end->fd >= 0)
            end_on_event(end, events[i].events);
    }
}

static void listen_for_servers(void)
{
    int on = 1;
    run.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(run.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(run.listener, (struct sockaddr *)&run.listen, sizeof run.listen) < 0 || listen(run.listener, 4096) < 0)
        die(NULL, "listen");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(run.epoll, EPOLL_CTL_ADD, run.listener, &event) < 0)
        die(NULL, "epoll_ctl");
}

static struct sockaddr_in loopback(const char *port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return addr;
}

static void raise_file_limit(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

int main(int argc, char **argv)
{
    if (argc < 7) {
        fprintf(stderr, "usage: pairs LISTEN_PORT PORT PAIRS CONCURRENCY BYTES_MAX SEED [STALL_SECONDS]\n");
        return 2;
    }
    run.listen = loopback(argv[1]);
    run.relay = loopback(argv[2]);
    run.count = strtoul(argv[3], NULL, 10);
    run.concurrency = strtoul(argv[4], NULL, 10);
    run.bytes_max = strtoul(argv[5], NULL, 10);
    run.seed = strtoul(argv[6], NULL, 10);
    run.stall_ms = 1000 * (argc > 7 ? strtoul(argv[7], NULL, 10) : 10);
    raise_file_limit();
    run.pairs = calloc(run.count, sizeof *run.pairs);
    run.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!run.pairs || run.epoll < 0 || run.bytes_max == 0)
        die(NULL, "start");
    listen_for_servers();
    run.last_progress_ms = now_ms();
    while (run.done < run.count)
        turn();
    printf("pairs: %" PRIu64 " pairs, %" PRIu64 " bytes up and %" PRIu64 " down compared\n", run.count,
           run.bytes[CLIENT], run.bytes[SERVER]);
    return 0;
}
