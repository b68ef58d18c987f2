/* Many connections to an echo service, all open at once: opens them (a bounded number at a time, so that no
 * backlog overflows), sends one tagged message on each and verifies its echo, says `holding N` on stdout and waits
 * for a line (or the end) of stdin, verifies every connection once more, closes them. Exit code 1 on any wrong
 * byte, refusal or standstill.
 *
 * many HOST PORT COUNT [STALL_SECONDS]: HOST is an IPv4 address; on loopback several source addresses are used. */
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
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

enum {
    MESSAGE_BYTES = 32,
    OPENING_MAX = 256, /* connections on their way at a time */
    SOURCE_ADDRESSES = 8,
    EVENTS_MAX = 512,
};

struct client {
    int fd;
    uint32_t number;
    uint32_t received; /* bytes of the present round's echo */
    bool asked;
};

static struct {
    struct sockaddr_in server;
    uint32_t count;
    int stall_ms;
    int epoll;
    struct client *clients;
} many;

static _Noreturn void die(const struct client *client, const char *what)
{
    fprintf(stderr, "many: %s (errno: %s)\n", what, strerror(errno));
    if (client)
        fprintf(stderr, "many: connection %u, %u bytes received\n", client->number, client->received);
    exit(1);
}

static void message_write(char out[MESSAGE_BYTES + 1], const struct client *client, int round)
{
    snprintf(out, MESSAGE_BYTES + 1, "connection %09u round %04d", client->number, round);
    out[MESSAGE_BYTES - 1] = '\n';
}

static void client_open(struct client *client, uint32_t number)
{
    int on = 1;
    struct sockaddr_in source = {.sin_family = AF_INET};
    client->number = number;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        die(client, "socket");
    if (ntohl(many.server.sin_addr.s_addr) >> 24 == 127) {
        source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + number % SOURCE_ADDRESSES);
        setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(client->fd, (struct sockaddr *)&source, sizeof source) < 0)
            die(client, "bind");
    }
    if (connect(client->fd, (struct sockaddr *)&many.server, sizeof many.server) < 0 && errno != EINPROGRESS)
        die(client, "connect");
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = client};
    if (epoll_ctl(many.epoll, EPOLL_CTL_ADD, client->fd, &event) < 0)
        die(client, "epoll_ctl");
}

static void client_ask(struct client *client, int round)
{
    char message[MESSAGE_BYTES + 1] = {0};
    message_write(message, client, round);
    if (send(client->fd, message, MESSAGE_BYTES, MSG_NOSIGNAL) != MESSAGE_BYTES)
        die(client, "send");
    client->asked = true;
    client->received = 0;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    if (epoll_ctl(many.epoll, EPOLL_CTL_MOD, client->fd, &event) < 0)
        die(client, "epoll_ctl");
}

/* True when the round's echo is complete. */
static bool client_take(struct client *client, int round)
{
    char message[MESSAGE_BYTES + 1] = {0}, bytes[MESSAGE_BYTES];
    message_write(message, client, round);
    ssize_t n = recv(client->fd, bytes, sizeof bytes, 0);
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0)
        die(client, "the server ended the connection");
    if (client->received + (uint32_t)n > MESSAGE_BYTES || memcmp(bytes, message + client->received, (size_t)n) != 0)
        die(client, "foreign or wrong byte");
    client->received += (uint32_t)n;
    return client->received == MESSAGE_BYTES;
}

/* One event of a round; true when the connection's part in the round is done. */
static bool client_on_event(struct client *client, uint32_t events, int round)
{
    if (!client->asked) {
        int error = 0;
        socklen_t len = sizeof error;
        getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        errno = error;
        if (error)
            die(client, "connect");
        client_ask(client, round);
        return false;
    }
    return events & (EPOLLIN | EPOLLERR | EPOLLHUP) && client_take(client, round);
}

/* Round 0 opens the connections as it goes; later ones ask on those that are open. */
static void round_run(int round)
{
    struct epoll_event events[EVENTS_MAX];
    uint32_t begun = 0, done = 0;
    while (done < many.count) {
        for (; begun < many.count && begun - done < OPENING_MAX; begun++) {
            if (round == 0)
                client_open(&many.clients[begun], begun);
            else
                client_ask(&many.clients[begun], round);
        }
        int n = epoll_wait(many.epoll, events, EVENTS_MAX, many.stall_ms);
        if (n == 0)
            die(NULL, "standstill: nothing happened on any connection");
        if (n < 0 && errno != EINTR)
            die(NULL, "epoll_wait");
        for (int i = 0; i < n; i++)
            done += client_on_event(events[i].data.ptr, events[i].events, round);
    }
}

int main(int argc, char **argv)
{
    if (argc < 4 || inet_pton(AF_INET, argv[1], &many.server.sin_addr) != 1) {
        fprintf(stderr, "usage: many IPV4 PORT COUNT [STALL_SECONDS]\n");
        return 2;
    }
    many.server.sin_family = AF_INET;
    many.server.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
    many.count = (uint32_t)strtoul(argv[3], NULL, 10);
    many.stall_ms = 1000 * (argc > 4 ? (int)strtoul(argv[4], NULL, 10) : 10);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    many.clients = calloc(many.count, sizeof *many.clients);
    many.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!many.clients || many.epoll < 0)
        die(NULL, "start");
    round_run(0);
    printf("holding %u\n", many.count);
    fflush(stdout);
    getchar();
    round_run(1);
    for (uint32_t i = 0; i < many.count; i++)
        close(many.clients[i].fd);
    printf("many: %u connections at once, two rounds verified\n", many.count);
    free(many.clients);
    return 0;
}
