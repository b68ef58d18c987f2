/* The floor: a bare C echo server on io_uring, what targets for scripted echo are ratios of. Multishot accept,
 * multishot receive into provided buffers (plain, or incremental with --incremental), one send per receive straight
 * from the receive buffer, no parsing, no script, one thread, one system call a turn.
 *
 * It is as fast as it can be without being wrong: at most one send is in flight per connection (several may overtake
 * one another), pieces received meanwhile wait in order; a receive that ran out of buffers is armed again when one has
 * come back; a connection is closed when its receive and its send are both done. It leaves out what a server for
 * strangers needs: a peer that sends for ever and never reads can hold all buffers.
 *
 * With --forward it is the floor of relays instead: each connection has another one to that port of the same address, and
 * what one receives the other sends, in the same way. A slow reader stops a relay when the buffers, which all share, are out.
 *
 * Prints `port=N` when ready, ends on TERM or INT with one line of counters on stderr. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench_options.h"
#include "bench_ring.h"

enum floor_op { OP_ACCEPT = 1, OP_RECV, OP_SEND, OP_CLOSE, OP_SIGNAL };
enum { NONE = UINT32_MAX, BACKLOG = 4096 };

struct options {
    const char *address;
    uint32_t port;
    uint32_t forward;
    uint32_t buffers;
    uint32_t buffer_bytes;
    uint32_t extra_ns; /* burnt for each receive: a known slowness, to test the measuring with */
    uint32_t cpu;
    bool incremental;
};

/* A piece that waits for the send before it. */
struct waiting {
    struct bench_piece piece;
    uint32_t next;
};

/* One connection, found by its descriptor. */
struct conn {
    struct bench_piece sending; /* lent to the kernel while send_armed */
    uint32_t other;             /* who sends what is received here: itself, or the other side of a relay */
    uint32_t first_waiting;
    uint32_t last_waiting;
    uint32_t next_starved;
    uint32_t generation;
    bool open;
    bool recv_armed;
    bool send_armed;
    bool starved;  /* on the list of receives that wait for buffers */
    bool finished; /* nothing more will be received */
    bool broken;   /* nothing more can be sent */
    bool cut;      /* relay: everything was sent, and then the end of stream */
};

struct floor {
    struct io_uring ring;
    struct bench_bufs bufs;
    struct conn *conns; /* by descriptor */
    uint32_t conn_max;
    struct waiting *waiting; /* pool of waiting pieces; grows */
    uint32_t waiting_count;
    uint32_t waiting_free;
    uint32_t first_starved;
    uint32_t last_starved;
    uint32_t extra_ns;
    struct sockaddr_in backend; /* relay: sin_port is not 0 */
    int listen_fd;
    int signal_fd;
    bool accept_paused; /* out of descriptors: until a connection ends */
    bool stopping;
    uint64_t turns;
    uint64_t received;
    uint64_t accepted;
    uint64_t starvations;
};

static uint64_t pack(enum floor_op op, uint32_t fd, uint32_t generation)
{
    return (uint64_t)op << 56 | (uint64_t)(generation & 0xffffff) << 32 | fd;
}

static void arm_accept(struct floor *floor)
{
    struct io_uring_sqe *sqe = bench_sqe(&floor->ring);
    io_uring_prep_multishot_accept(sqe, floor->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    sqe->user_data = pack(OP_ACCEPT, 0, 0);
}

static void arm_recv(struct floor *floor, uint32_t fd)
{
    struct conn *conn = &floor->conns[fd];
    struct io_uring_sqe *sqe = bench_sqe(&floor->ring);
    io_uring_prep_recv_multishot(sqe, (int)fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BENCH_GROUP;
    sqe->user_data = pack(OP_RECV, fd, conn->generation);
    conn->recv_armed = true;
}

static void arm_send(struct floor *floor, uint32_t fd, const struct bench_piece *piece)
{
    struct conn *conn = &floor->conns[fd];
    struct io_uring_sqe *sqe = bench_sqe(&floor->ring);
    io_uring_prep_send(sqe, (int)fd, piece->data, piece->len, MSG_WAITALL | MSG_NOSIGNAL);
    sqe->user_data = pack(OP_SEND, fd, conn->generation);
    conn->sending = *piece;
    conn->send_armed = true;
}

static void waiting_grow(struct floor *floor)
{
    uint32_t old = floor->waiting_count;
    uint32_t count = old == 0 ? 1024 : old * 2;
    floor->waiting = reallocarray(floor->waiting, count, sizeof(*floor->waiting));
    if (floor->waiting == NULL)
        bench_die("out of memory");
    for (uint32_t i = old; i < count; i++)
        floor->waiting[i].next = i + 1 < count ? i + 1 : NONE;
    floor->waiting_free = old;
    floor->waiting_count = count;
}

static void waiting_push(struct floor *floor, struct conn *conn, const struct bench_piece *piece)
{
    if (floor->waiting_free == NONE)
        waiting_grow(floor);
    uint32_t index = floor->waiting_free;
    floor->waiting_free = floor->waiting[index].next;
    floor->waiting[index] = (struct waiting){*piece, NONE};
    if (conn->first_waiting == NONE)
        conn->first_waiting = index;
    else
        floor->waiting[conn->last_waiting].next = index;
    conn->last_waiting = index;
}

static bool waiting_pop(struct floor *floor, struct conn *conn, struct bench_piece *piece)
{
    uint32_t index = conn->first_waiting;
    if (index == NONE)
        return false;
    *piece = floor->waiting[index].piece;
    conn->first_waiting = floor->waiting[index].next;
    floor->waiting[index].next = floor->waiting_free;
    floor->waiting_free = index;
    return true;
}

static void conn_open(struct floor *floor, uint32_t fd, uint32_t other)
{
    struct conn *conn = &floor->conns[fd];
    uint32_t generation = conn->generation + 1;
    *conn = (struct conn){.open = true,
                          .generation = generation,
                          .other = other,
                          .first_waiting = NONE,
                          .last_waiting = NONE,
                          .next_starved = NONE};
    arm_recv(floor, fd);
}

/* The close is an SQE, so the descriptor is not used again before this turn is submitted. */
static void conn_close(struct floor *floor, uint32_t fd)
{
    struct io_uring_sqe *sqe = bench_sqe(&floor->ring);
    io_uring_prep_close(sqe, (int)fd);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = pack(OP_CLOSE, fd, 0);
    floor->conns[fd].open = false;
    if (floor->accept_paused) {
        floor->accept_paused = false;
        arm_accept(floor);
    }
}

static bool conn_is_done(const struct conn *conn)
{
    return conn->finished && !conn->send_armed && !conn->recv_armed;
}

/* After every event: hands on the end of stream, closes the connection when both directions are done. */
static void conn_settle(struct floor *floor, uint32_t fd)
{
    const struct conn *conn = &floor->conns[fd];
    uint32_t other_fd = conn->other;
    struct conn *other = &floor->conns[other_fd];
    if (other != conn && conn->finished && !other->send_armed && !other->cut) {
        shutdown((int)other_fd, SHUT_WR);
        other->cut = true;
    }
    if (!conn_is_done(conn) || !conn_is_done(other))
        return;
    conn_close(floor, fd);
    if (other != conn)
        conn_close(floor, other_fd);
}

/* The peer takes no more: what waits is dropped, and the receive, if any, is made to end. */
static void conn_break(struct floor *floor, uint32_t fd)
{
    struct conn *conn = &floor->conns[fd];
    struct bench_piece piece;
    while (waiting_pop(floor, conn, &piece))
        bench_bufs_release(&floor->bufs, piece.bid);
    if (!conn->broken && conn->recv_armed)
        shutdown((int)fd, SHUT_RDWR);
    conn->broken = true;
    conn->finished = true;
}

static void conn_starve(struct floor *floor, uint32_t fd)
{
    struct conn *conn = &floor->conns[fd];
    conn->starved = true;
    conn->next_starved = NONE;
    if (floor->first_starved == NONE)
        floor->first_starved = fd;
    else
        floor->conns[floor->last_starved].next_starved = fd;
    floor->last_starved = fd;
    floor->starvations++;
}

/* Only after buffers were published: armed on an empty ring, a receive would fail again at once. */
static void rearm_starved(struct floor *floor)
{
    uint32_t fd = floor->first_starved;
    floor->first_starved = NONE;
    while (fd != NONE) {
        struct conn *conn = &floor->conns[fd];
        uint32_t next = conn->next_starved;
        conn->starved = false;
        if (conn->finished)
            conn_settle(floor, fd);
        else
            arm_recv(floor, fd);
        fd = next;
    }
}

static void burn(uint32_t ns)
{
    struct timespec start;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - start.tv_sec) * 1000000000L + now.tv_nsec - start.tv_nsec < (long)ns);
}

static void on_piece(struct floor *floor, uint32_t fd, const struct bench_piece *piece)
{
    uint32_t other_fd = floor->conns[fd].other;
    struct conn *other = &floor->conns[other_fd];
    floor->received++;
    if (floor->extra_ns > 0)
        burn(floor->extra_ns);
    if (other->broken)
        bench_bufs_release(&floor->bufs, piece->bid);
    else if (other->send_armed)
        waiting_push(floor, other, piece);
    else
        arm_send(floor, other_fd, piece);
}

static void on_recv(struct floor *floor, uint32_t fd, const struct io_uring_cqe *cqe)
{
    struct conn *conn = &floor->conns[fd];
    struct bench_piece piece;
    conn->recv_armed = cqe->flags & IORING_CQE_F_MORE;
    if (bench_bufs_take(&floor->bufs, cqe, &piece))
        on_piece(floor, fd, &piece);
    if (conn->recv_armed)
        return;
    if (cqe->res == -ENOBUFS && !conn->finished)
        conn_starve(floor, fd);
    else if (cqe->res > 0 && !conn->finished)
        arm_recv(floor, fd);
    else
        conn->finished = true;
    if (!conn->starved)
        conn_settle(floor, fd);
}

static void on_send(struct floor *floor, uint32_t fd, const struct io_uring_cqe *cqe)
{
    struct conn *conn = &floor->conns[fd];
    struct bench_piece piece = conn->sending;
    conn->send_armed = false;
    if (cqe->res > 0 && (uint32_t)cqe->res < piece.len) { /* rare: MSG_WAITALL leaves it to the kernel */
        piece.data += cqe->res;
        piece.len -= (uint32_t)cqe->res;
        arm_send(floor, fd, &piece);
        return;
    }
    bench_bufs_release(&floor->bufs, piece.bid);
    if (cqe->res < 0) {
        conn_break(floor, fd);
        conn_break(floor, conn->other);
    } else if (waiting_pop(floor, conn, &piece)) {
        arm_send(floor, fd, &piece);
    }
    if (!conn->starved)
        conn_settle(floor, conn->other);
}

/* Connecting blocks, which on loopback takes no time. */
static int connect_backend(const struct floor *floor)
{
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && (uint32_t)fd < floor->conn_max &&
        connect(fd, (const struct sockaddr *)&floor->backend, sizeof(floor->backend)) == 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

static void on_accepted(struct floor *floor, uint32_t fd)
{
    int backend = floor->backend.sin_port ? connect_backend(floor) : (int)fd;
    if (backend < 0) {
        close((int)fd);
        return;
    }
    conn_open(floor, fd, (uint32_t)backend);
    if (backend != (int)fd)
        conn_open(floor, (uint32_t)backend, fd);
    floor->accepted++;
}

static void on_accept(struct floor *floor, const struct io_uring_cqe *cqe)
{
    bool out_of_files = cqe->res == -EMFILE || cqe->res == -ENFILE;
    if (cqe->res >= 0 && (uint32_t)cqe->res < floor->conn_max)
        on_accepted(floor, (uint32_t)cqe->res);
    else if (cqe->res >= 0)
        close(cqe->res);
    if (cqe->flags & IORING_CQE_F_MORE)
        return;
    if (out_of_files)
        floor->accept_paused = true;
    else
        arm_accept(floor);
}

static void on_completion(struct floor *floor, const struct io_uring_cqe *cqe)
{
    uint32_t fd = (uint32_t)cqe->user_data;
    uint32_t generation = (uint32_t)(cqe->user_data >> 32) & 0xffffff;
    enum floor_op op = (enum floor_op)(cqe->user_data >> 56);
    if (op == OP_ACCEPT)
        on_accept(floor, cqe);
    else if (op == OP_SIGNAL)
        floor->stopping = true;
    if (op != OP_RECV && op != OP_SEND)
        return;
    const struct conn *conn = &floor->conns[fd];
    if (!conn->open || (conn->generation & 0xffffff) != generation)
        bench_die("a completion for a connection that is gone");
    if (op == OP_RECV)
        on_recv(floor, fd, cqe);
    else
        on_send(floor, fd, cqe);
}

static void turn(struct floor *floor)
{
    struct io_uring_cqe *cqe;
    unsigned head;
    unsigned count = 0;
    bench_submit_and_wait(&floor->ring);
    io_uring_for_each_cqe(&floor->ring, head, cqe)
    {
        on_completion(floor, cqe);
        count++;
    }
    io_uring_cq_advance(&floor->ring, count);
    if (bench_bufs_publish(&floor->bufs) > 0 && floor->first_starved != NONE)
        rearm_starved(floor);
    floor->turns++;
}

static void listen_open(struct floor *floor, const struct options *options)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options->port)};
    socklen_t len = sizeof(addr);
    int on = 1;
    if (inet_pton(AF_INET, options->address, &addr.sin_addr) != 1)
        bench_die("--address: expected an IPv4 address, got \"%s\"", options->address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 || /* accepted sockets inherit it */
        bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &len) != 0)
        bench_die("listening on %s:%u: %s", options->address, options->port, strerror(errno));
    floor->listen_fd = fd;
    floor->backend = addr;
    floor->backend.sin_port = htons((uint16_t)options->forward);
    printf("port=%u\n", ntohs(addr.sin_port));
    fflush(stdout);
}

/* Signals come as readiness of a descriptor, so that none can fall between a check and the wait. */
static void signals_open(struct floor *floor)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    floor->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    if (floor->signal_fd < 0)
        bench_die("signalfd: %s", strerror(errno));
    struct io_uring_sqe *sqe = bench_sqe(&floor->ring);
    io_uring_prep_poll_add(sqe, floor->signal_fd, POLLIN);
    sqe->user_data = pack(OP_SIGNAL, 0, 0);
}

/* The ring keeps every socket open until the kernel has taken it apart, which is some time after exit; a shutdown
 * takes effect at once: the port is free and the peers see the end. */
static void close_all(const struct floor *floor)
{
    shutdown(floor->listen_fd, SHUT_RDWR);
    for (uint32_t fd = 0; fd < floor->conn_max; fd++) {
        if (floor->conns[fd].open)
            shutdown((int)fd, SHUT_RDWR);
    }
}

static void parse_options(struct options *options, int argc, char **argv)
{
    *options = (struct options){.address = "127.0.0.1", .cpu = BENCH_ANY_CPU};
    const struct bench_option table[] = {
        {"address", BENCH_TEXT, &options->address, 0, 0, "IPv4 address to listen on (127.0.0.1)"},
        {"port", BENCH_U32, &options->port, 0, UINT16_MAX, "0 (default) takes a free one"},
        {"forward", BENCH_U32, &options->forward, 1, UINT16_MAX, "relay to this port instead of echoing"},
        {"incremental", BENCH_FLAG, &options->incremental, 0, 0, "incremental buffers (Linux 6.12)"},
        {"buffers", BENCH_U32, &options->buffers, 1, 32768, "a power of two (512, incremental 64)"},
        {"buffer-bytes", BENCH_U32, &options->buffer_bytes, 64, 1 << 24, "size of each (4096, incremental 262144)"},
        {"cpu", BENCH_U32, &options->cpu, 0, BENCH_CPU_MAX, "run on this CPU only"},
        {"extra-ns", BENCH_U32, &options->extra_ns, 0, 1000000000, "burn time for each receive, to test measuring"},
    };
    bench_parse_options(argc, argv, "floor: a bare io_uring echo server, or relay.", table,
                        sizeof(table) / sizeof(table[0]));
    if (options->buffers == 0)
        options->buffers = options->incremental ? 64 : 512;
    if (options->buffer_bytes == 0)
        options->buffer_bytes = options->incremental ? 256 * 1024 : 4096;
    if ((options->buffers & (options->buffers - 1)) != 0)
        bench_die("--buffers: expected a power of two, got %u", options->buffers);
}

int main(int argc, char **argv)
{
    static struct floor floor = {.waiting_free = NONE, .first_starved = NONE, .last_starved = NONE};
    struct options options;
    parse_options(&options, argc, argv);
    bench_pin(options.cpu);
    floor.extra_ns = options.extra_ns;
    floor.conn_max = bench_raise_nofile();
    floor.conns = bench_map(floor.conn_max * sizeof(*floor.conns));
    bench_ring_open(&floor.ring);
    bench_bufs_open(&floor.bufs, &floor.ring, options.buffers, options.buffer_bytes, options.incremental);
    signals_open(&floor);
    listen_open(&floor, &options);
    arm_accept(&floor);
    while (!floor.stopping)
        turn(&floor);
    close_all(&floor);
    fprintf(stderr, "floor: accepted=%llu received=%llu turns=%llu starvations=%llu\n",
            (unsigned long long)floor.accepted, (unsigned long long)floor.received, (unsigned long long)floor.turns,
            (unsigned long long)floor.starvations);
    return 0;
}
