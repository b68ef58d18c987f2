/* Counts which server a proxy chooses for each of many connections. It is all the servers and all the clients: a server
 * says its number, one byte, on every connection; a client reads it and leaves by a reset, so that no port is kept.
 *
 * spread SERVERS: listens and prints the servers' ports on one line; then, for each line "PORT COUNT FIRST" on stdin, makes COUNT
 * connections to the proxy at PORT, number i of them from the address 127.x.y.z that stands for FIRST + i (so that each
 * is a client of its own), and prints the answers as one line of digits, in that order. "close N" stops server N from
 * listening. Everything is on loopback; an error or a standstill ends it with exit code 1. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SERVERS_MAX = 9, CONCURRENCY = 128, EVENTS_MAX = 256, STALL_MS = 20000, BACKLOG = 4096 };

/* What an epoll event is about, in the upper half of its data; the lower half is a descriptor or a number. */
enum kind { LISTENER = 1, SERVED, CLIENT };

static struct {
    int epoll;
    int listeners[SERVERS_MAX];
    uint32_t server_count;
    uint16_t proxy_port;
    uint32_t first, count, begun, done;
    char *answers;
    int *fds; /* of the clients, by number */
} run;

static void die(const char *what)
{
    fprintf(stderr, "spread: %s: %s (%u of %u done)\n", what, strerror(errno), run.done, run.count);
    exit(1);
}

static void watch(int fd, enum kind kind, uint32_t number, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)kind << 32 | number};

    if (epoll_ctl(run.epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
}

static int stream_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        die("socket");
    return fd;
}

static void open_listener(uint32_t index)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = stream_socket();

    if (bind(fd, (struct sockaddr *)&addr, len) < 0 || listen(fd, BACKLOG) < 0)
        die("listen");
    if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
        die("getsockname");
    run.listeners[index] = fd;
    watch(fd, LISTENER, index, EPOLLIN);
    printf("%u%s", ntohs(addr.sin_port), index + 1 < run.server_count ? " " : "\n");
}

static void accept_all(uint32_t index)
{
    char number = (char)('0' + index);
    int fd;

    while ((fd = accept4(run.listeners[index], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (send(fd, &number, 1, MSG_NOSIGNAL) < 0) { /* reset already */
            close(fd);
            continue;
        }
        watch(fd, SERVED, (uint32_t)fd, EPOLLIN | EPOLLRDHUP);
    }
}

static void close_by_reset(int fd)
{
    struct linger reset = {.l_onoff = 1};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(fd);
}

static void begin_client(void)
{
    uint32_t number = run.begun++;
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(run.proxy_port)};
    int on = 1;
    int fd = stream_socket();

    /* The port is chosen when connecting, so that all of them may be used for every address. */
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    from.sin_addr.s_addr = htonl(0x7f010000u + run.first + number);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0)
        die("bind");
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
        die("connect");
    run.fds[number] = fd;
    watch(fd, CLIENT, number, EPOLLIN);
}

static void end_client(uint32_t number)
{
    ssize_t got = recv(run.fds[number], &run.answers[number], 1, 0);

    if (got <= 0)
        die(got == 0 ? "end of stream before the answer" : "recv");
    close_by_reset(run.fds[number]);
    run.done++;
}

static void on_event(uint64_t data)
{
    uint32_t number = (uint32_t)data;

    switch ((enum kind)(data >> 32)) {
    case LISTENER: accept_all(number); break;
    case SERVED: close((int)number); break;
    case CLIENT: end_client(number); break;
    }
}

static void turn(void)
{
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(run.epoll, events, EVENTS_MAX, STALL_MS);

    if (count <= 0) {
        errno = count < 0 ? errno : ETIMEDOUT;
        die("epoll_wait");
    }
    for (int i = 0; i < count; i++)
        on_event(events[i].data.u64);
}

static void run_clients(void)
{
    run.begun = run.done = 0;
    run.answers = calloc(run.count + 1, 1);
    run.fds = calloc(run.count, sizeof(*run.fds));
    if (!run.answers || !run.fds)
        die("calloc");
    while (run.done < run.count) {
        while (run.begun < run.count && run.begun - run.done < CONCURRENCY)
            begin_client();
        turn();
    }
    puts(run.answers);
    fflush(stdout);
    free(run.answers);
    free(run.fds);
}

int main(int argc, char **argv)
{
    char line[256];
    uint32_t port, number;

    run.server_count = argc == 2 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0;
    if (run.server_count < 1 || run.server_count > SERVERS_MAX) {
        fprintf(stderr, "usage: spread SERVERS (1 to %d)\n", SERVERS_MAX);
        return 2;
    }
    run.epoll = epoll_create1(EPOLL_CLOEXEC);
    for (uint32_t i = 0; i < run.server_count; i++)
        open_listener(i);
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin)) {
        if (sscanf(line, "close %u", &number) == 1 && number < run.server_count) {
            close(run.listeners[number]);
            puts("closed");
            fflush(stdout);
        } else if (sscanf(line, "%u %u %u", &port, &run.count, &run.first) == 3) {
            run.proxy_port = (uint16_t)port;
            run_clients();
        }
    }
    return 0;
}
