/* The server behind a relay of big streams: for each --take bytes that it was sent, it sends --give. It costs little, so
 * that the relay is what a measurement waits for: bytes that come are counted and not copied (MSG_TRUNC), bytes that go
 * are always the same, which stay in the cache. One thread for each connection.
 *
 * Prints `port=N` when ready, ends on any signal. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench_options.h"

enum { BACKLOG = 1024, RECV_BYTES_MAX = 1024 * 1024, SEND_BYTES_MAX = 128 * 1024 };

struct options {
    uint64_t take;
    uint64_t give;
    uint32_t port;
    uint32_t cpu;
};

static struct options options;

static bool take(int fd, uint64_t bytes)
{
    while (bytes > 0) {
        ssize_t received = recv(fd, NULL, bytes < RECV_BYTES_MAX ? bytes : RECV_BYTES_MAX, MSG_TRUNC);
        if (received <= 0)
            return false;
        bytes -= (uint64_t)received;
    }
    return true;
}

static bool give(int fd, uint64_t bytes)
{
    static const uint8_t block[SEND_BYTES_MAX];
    while (bytes > 0) {
        ssize_t sent = send(fd, block, bytes < SEND_BYTES_MAX ? bytes : SEND_BYTES_MAX, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        bytes -= (uint64_t)sent;
    }
    return true;
}

static void *serve(void *argument)
{
    int fd = (int)(intptr_t)argument;
    while (take(fd, options.take) && give(fd, options.give))
        continue;
    close(fd);
    return NULL;
}

static int listen_open(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    socklen_t len = sizeof(addr);
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 || /* accepted sockets inherit it */
        bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &len) != 0)
        bench_die("listening on port %u: %s", options.port, strerror(errno));
    printf("port=%u\n", ntohs(addr.sin_port));
    fflush(stdout);
    return fd;
}

static void parse_options(int argc, char **argv)
{
    options = (struct options){.take = 1, .give = 1, .cpu = BENCH_ANY_CPU};
    const struct bench_option table[] = {
        {"port", BENCH_U32, &options.port, 0, UINT16_MAX, "of 127.0.0.1; 0 (default) takes a free one"},
        {"take", BENCH_U64, &options.take, 1, UINT64_MAX, "bytes of a request (1)"},
        {"give", BENCH_U64, &options.give, 1, UINT64_MAX, "bytes of its answer (1)"},
        {"cpu", BENCH_U32, &options.cpu, 0, BENCH_CPU_MAX, "run on this CPU only"},
    };
    bench_parse_options(argc, argv, "bulk: takes so many bytes, gives so many bytes, again and again.", table,
                        sizeof(table) / sizeof(table[0]));
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    bench_pin(options.cpu);
    int listen_fd = listen_open();
    for (;;) {
        pthread_t thread;
        int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            bench_die("accept: %s", strerror(errno));
        if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) != 0)
            bench_die("a thread for a connection: %s", strerror(errno));
        pthread_detach(thread);
    }
}
