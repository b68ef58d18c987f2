/* Many short connections to an echo service, each with a behaviour that its number and the seed decide: whole
 * exchanges, RST in the middle, data followed by FIN unread, half-close, a cut message, nothing at all. Every byte
 * that comes back is compared with what this very connection sent, whose records carry its number: a foreign or
 * wrong byte, a missing byte where the whole echo is due, a refusal or a standstill ends the run with exit code 1.
 *
 * storm HOST PORT TOTAL CONCURRENCY SEED [STALL_SECONDS]: HOST is an IPv4 address; on loopback many source
 * addresses are used. */
#include <arpa/inet.h>
#include <errno.h>
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

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

enum {
    STREAM_BYTES_MAX = 4096,
    RECORD_HEAD_BYTES = 16,
    RECORD_MAGIC = 0x5a455247,
    SOURCE_ADDRESSES = 32, /* 127.0.0.2 and up: one address has too few ports for 100,000 connections in a row */
    EVENTS_MAX = 512,
    CONCURRENCY_MAX = 4096,
};

enum behaviour {
    ECHO_ALL,      /* send all, read all back, close */
    HALF_CLOSE,    /* send all, shutdown(WR), read all and then the end of stream */
    RESET_MIDWAY,  /* RST after some bytes came back */
    FIN_WITH_DATA, /* send and close without reading */
    CUT_RECORD,    /* part of a record, then close */
    CLOSE_AT_ONCE,
    RESET_AT_ONCE,
    BEHAVIOUR_COUNT,
};

struct record_head {
    uint32_t magic;
    uint32_t number; /* of the connection */
    uint32_t sequence;
    uint32_t bytes;
};

struct client {
    int fd;
    uint32_t number;
    enum behaviour behaviour;
    bool connected;
    uint32_t stream_bytes; /* what it sends in all */
    uint32_t sent;
    uint32_t received;
    uint32_t leave_at; /* RESET_MIDWAY: bytes received */
    uint8_t stream[STREAM_BYTES_MAX];
};

static struct {
    struct sockaddr_in server;
    uint32_t total, concurrency, stall_seconds;
    uint64_t seed;
    int epoll;
    uint32_t started, ended, bytes_checked;
    uint32_t by_behaviour[BEHAVIOUR_COUNT];
    struct client *clients;
} storm;

static _Noreturn void die(const struct client *client, const char *what)
{
    fprintf(stderr, "storm: %s (errno: %s)\n", what, strerror(errno));
    if (client)
        fprintf(stderr, "storm: connection %u, behaviour %d, %u bytes in all, %u sent, %u received\n", client->number,
                (int)client->behaviour, client->stream_bytes, client->sent, client->received);
    exit(1);
}

static uint64_t mix(uint64_t x) /* splitmix64 */
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint32_t pick(uint64_t *state, uint32_t below)
{
    *state = mix(*state);
    return (uint32_t)((*state >> 32) % below);
}

/* Records of random sizes, each with its connection's number, as many as fit the chosen length. */
static void client_compose(struct client *client)
{
    uint64_t state = mix(storm.seed ^ ((uint64_t)client->number << 20));
    client->behaviour = (enum behaviour)pick(&state, BEHAVIOUR_COUNT);
    uint32_t wanted = pick(&state, 4) == 0 ? 1 + pick(&state, STREAM_BYTES_MAX) : 1 + pick(&state, 400);
    uint32_t at = 0;
    for (uint32_t sequence = 0; at < wanted && at + RECORD_HEAD_BYTES < STREAM_BYTES_MAX; sequence++) {
        uint32_t body = pick(&state, 300);
        if (at + RECORD_HEAD_BYTES + body > STREAM_BYTES_MAX)
            body = STREAM_BYTES_MAX - at - RECORD_HEAD_BYTES;
        struct record_head head = {RECORD_MAGIC, client->number, sequence, body};
        memcpy(client->stream + at, &head, sizeof head);
        memset(client->stream + at + RECORD_HEAD_BYTES, (int)(mix(client->number + sequence) & 0xff), body);
        at += RECORD_HEAD_BYTES + body;
    }
    client->stream_bytes = client->behaviour == CUT_RECORD ? 1 + pick(&state, RECORD_HEAD_BYTES) : at;
    if (client->behaviour >= CLOSE_AT_ONCE)
        client->stream_bytes = 0;
    client->leave_at = 1 + pick(&state, at);
}

static void client_bind(const struct client *client, bool loopback)
{
    if (!loopback)
        return;
    int on = 1;
    struct sockaddr_in source = {.sin_family = AF_INET};
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + client->number % SOURCE_ADDRESSES);
    if (setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) < 0 ||
        bind(client->fd, (struct sockaddr *)&source, sizeof source) < 0)
        die(client, "bind");
}

static void client_start(struct client *client)
{
    client->number = storm.started++;
    client->sent = client->received = 0;
    client->connected = false;
    client_compose(client);
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        die(client, "socket");
    client_bind(client, ntohl(storm.server.sin_addr.s_addr) >> 24 == 127);
    if (connect(client->fd, (struct sockaddr *)&storm.server, sizeof storm.server) < 0 && errno != EINPROGRESS)
        die(client, "connect");
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = client};
    if (epoll_ctl(storm.epoll, EPOLL_CTL_ADD, client->fd, &event) < 0)
        die(client, "epoll_ctl");
}

enum leave { LEAVE_FIN, LEAVE_RST };

static void client_end(struct client *client, enum leave how)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    if (how == LEAVE_RST)
        setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(client->fd);
    client->fd = -1;
    storm.ended++;
    storm.by_behaviour[client->behaviour]++;
    if (storm.started < storm.total)
        client_start(client);
}

static void client_wait_for(struct client *client, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = client};
    if (epoll_ctl(storm.epoll, EPOLL_CTL_MOD, client->fd, &event) < 0)
        die(client, "epoll_ctl");
}

/* All is sent: what comes next by behaviour. Returns false when the connection is over. */
static bool client_sent_all(struct client *client)
{
    switch (client->behaviour) {
    case FIN_WITH_DATA:
    case CUT_RECORD:
    case CLOSE_AT_ONCE: client_end(client, LEAVE_FIN); return false;
    case RESET_AT_ONCE: client_end(client, LEAVE_RST); return false;
    case HALF_CLOSE:
        if (shutdown(client->fd, SHUT_WR) < 0)
            die(client, "shutdown");
        break;
    default: break;
    }
    client_wait_for(client, EPOLLIN);
    return true;
}

static bool client_write(struct client *client)
{
    while (client->sent < client->stream_bytes) {
        uint64_t state = storm.seed + client->number + client->sent;
        uint32_t piece = 1 + pick(&state, client->stream_bytes - client->sent);
        ssize_t n = send(client->fd, client->stream + client->sent, piece, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n < 0)
            die(client, "the server broke the connection while we were sending");
        client->sent += (uint32_t)n;
        if (piece % 2) /* the rest with the next turn, so that records arrive torn */
            return client->sent < client->stream_bytes || client_sent_all(client);
    }
    return client_sent_all(client);
}

static void client_check(const struct client *client, const uint8_t *bytes, uint32_t n)
{
    if (client->received + n > client->sent)
        die(client, "more came back than was sent");
    if (memcmp(client->stream + client->received, bytes, n) == 0)
        return;
    uint32_t at = 0;
    while (bytes[at] == client->stream[client->received + at])
        at++;
    struct record_head head = {0};
    if (n - at >= sizeof head)
        memcpy(&head, bytes + at, sizeof head);
    fprintf(stderr, "storm: connection %u got a wrong byte at %u (as a record: magic %x, connection %u, sequence %u)\n",
            client->number, client->received + at, head.magic, head.number, head.sequence);
    die(client, "foreign or wrong byte");
}

static bool client_read(struct client *client)
{
    uint8_t bytes[STREAM_BYTES_MAX];
    ssize_t n = recv(client->fd, bytes, sizeof bytes, 0);
    if (n < 0 && errno == EAGAIN)
        return true;
    if (n < 0)
        die(client, "the server broke the connection");
    if (n == 0) {
        if (client->behaviour != HALF_CLOSE || client->received < client->stream_bytes)
            die(client, "the server closed too early");
        client_end(client, LEAVE_FIN);
        return false;
    }
    client_check(client, bytes, (uint32_t)n);
    client->received += (uint32_t)n;
    storm.bytes_checked += (uint32_t)n;
    if (client->behaviour == RESET_MIDWAY && client->received >= client->leave_at) {
        client_end(client, LEAVE_RST);
        return false;
    }
    if (client->behaviour == ECHO_ALL && client->received == client->stream_bytes) {
        client_end(client, LEAVE_FIN);
        return false;
    }
    return true;
}

static void client_on_event(struct client *client, uint32_t events)
{
    if (!client->connected) {
        int error = 0;
        socklen_t len = sizeof error;
        getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        errno = error;
        if (error)
            die(client, "connect");
        client->connected = true;
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !client_read(client))
        return;
    if (events & EPOLLOUT)
        client_write(client);
}

static void storm_run(void)
{
    struct epoll_event events[EVENTS_MAX];
    for (uint32_t i = 0; i < storm.concurrency && storm.started < storm.total; i++)
        client_start(&storm.clients[i]);
    while (storm.ended < storm.total) {
        int n = epoll_wait(storm.epoll, events, EVENTS_MAX, (int)storm.stall_seconds * 1000);
        if (n < 0 && errno != EINTR)
            die(NULL, "epoll_wait");
        if (n == 0) {
            for (uint32_t i = 0; i < storm.concurrency; i++)
                if (storm.clients[i].fd >= 0)
                    die(&storm.clients[i], "standstill: nothing happened on any connection");
        }
        for (int i = 0; i < n; i++)
            client_on_event(events[i].data.ptr, events[i].events);
    }
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc < 6 || inet_pton(AF_INET, argv[1], &storm.server.sin_addr) != 1) {
        fprintf(stderr, "usage: storm IPV4 PORT TOTAL CONCURRENCY SEED [STALL_SECONDS]\n");
        return 2;
    }
    storm.server.sin_family = AF_INET;
    storm.server.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
    storm.total = (uint32_t)strtoul(argv[3], NULL, 10);
    storm.concurrency = (uint32_t)strtoul(argv[4], NULL, 10);
    storm.seed = strtoull(argv[5], NULL, 10);
    storm.stall_seconds = argc > 6 ? (uint32_t)strtoul(argv[6], NULL, 10) : 10;
    if (storm.concurrency == 0 || storm.concurrency > CONCURRENCY_MAX) {
        fprintf(stderr, "storm: CONCURRENCY is 1 to %d\n", CONCURRENCY_MAX);
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    storm.clients = calloc(storm.concurrency, sizeof *storm.clients);
    storm.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!storm.clients || storm.epoll < 0)
        die(NULL, "start");
    for (uint32_t i = 0; i < storm.concurrency; i++)
        storm.clients[i].fd = -1;
    double begin = seconds_now();
    storm_run();
    printf("storm: %u connections in %.1f s, %u bytes checked, by behaviour", storm.ended, seconds_now() - begin,
           storm.bytes_checked);
    for (int i = 0; i < BEHAVIOUR_COUNT; i++)
        printf(" %u", storm.by_behaviour[i]);
    printf("\n");
    free(storm.clients);
    return 0;
}
