/* A closed-loop TCP load generator: each of N connections sends a batch of messages in one write, waits for all of the
 * replies, sends the next. One thread on io_uring with one system call a turn, so that it costs less than the server it
 * loads. Echo is what it expects unless --send-file and --expect-bytes describe another exchange.
 *
 * In order: every connection is opened and makes one exchange (which is not counted), a few at a time; the measured
 * run; one line of results. With --gate it prints `ready` when all are open, makes one run for each line on stdin,
 * over the same connections, and ends with stdin. With --new-connections each batch has its own connection instead.
 *
 * A latency is from the turn that queued the batch to the turn that saw its last byte, both on this side. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bench_options.h"
#include "bench_ring.h"
#include "histogram.h"

enum load_op { OP_RECV = 1, OP_SEND, OP_TICK, OP_CLOSE };
enum { OPEN_WINDOW = 64, TICK_MS = 100, RECV_BUFFERS = 1024, RECV_BUFFER_BYTES = 16 * 1024, STAMP_BYTES = 4 };
enum { ERRORS_SHOWN = 5 };

struct options {
    const char *host;
    const char *send_file;
    const char *expect_file;
    uint32_t port;
    uint32_t connections;
    uint32_t size;
    uint32_t depth;
    uint32_t sources;
    uint32_t stall_s;
    uint64_t expect_bytes;
    uint64_t requests;
    uint64_t seconds;
    uint32_t cpu;
    bool verify;
    bool any_zero;
    bool discard;
    bool gate;
    bool new_connections;
};

struct client {
    uint8_t *batch;    /* verify only: what is sent, and compared with; else the shared batch is */
    uint64_t received; /* of the replies to the present batch */
    uint64_t started_ns;
    uint32_t generation;
    int fd;
    bool busy;       /* a batch is out */
    bool send_armed; /* verify only: its bytes are still lent to the kernel */
    bool starved;
};

struct load {
    struct io_uring ring;
    struct bench_bufs bufs;
    struct options options;
    struct sockaddr_in address;
    struct client *clients;
    uint8_t *batch;    /* depth messages, shared by all clients */
    uint8_t *expected; /* the replies to them; NULL: not compared */
    uint64_t batch_bytes;
    uint64_t reply_bytes; /* to a whole batch */
    struct histogram latency;
    struct __kernel_timespec tick;
    uint64_t now_ns;   /* of this turn */
    uint64_t until_ns; /* with --seconds */
    uint64_t last_progress_ns;
    uint64_t started; /* messages */
    uint64_t finished;
    uint64_t target; /* messages to start in this phase */
    uint64_t errors;
    uint32_t in_flight; /* clients that are busy */
    uint32_t opened;
    uint32_t stamp; /* verify: numbers the batches */
    bool running;   /* the measured phase */
    bool any_starved;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t pack(enum load_op op, uint32_t index, uint32_t generation)
{
    return (uint64_t)op << 56 | (uint64_t)(generation & 0xffffff) << 32 | index;
}

static void count_error(struct load *load, const char *what, const char *detail)
{
    if (load->errors++ < ERRORS_SHOWN)
        fprintf(stderr, "load: %s: %s\n", what, detail);
}

/* --- one connection --- */

static void arm_recv(struct load *load, uint32_t index)
{
    struct client *client = &load->clients[index];
    struct io_uring_sqe *sqe = bench_sqe(&load->ring);
    int flags = load->options.discard ? MSG_TRUNC : 0; /* TCP counts the bytes and does not copy them */
    /* A multishot holds the file, so that close(2) would send no FIN: short connections receive once at a time. */
    if (load->options.new_connections)
        io_uring_prep_recv(sqe, client->fd, NULL, 0, flags);
    else
        io_uring_prep_recv_multishot(sqe, client->fd, NULL, 0, flags);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BENCH_GROUP;
    sqe->user_data = pack(OP_RECV, index, client->generation);
}

/* The message's number goes into the first bytes of each, so that a reply to an earlier one is noticed. */
static void stamp_batch(struct load *load, struct client *client)
{
    uint32_t stamp = ++load->stamp;
    if (load->options.size < STAMP_BYTES || load->options.send_file != NULL)
        return;
    for (uint32_t i = 0; i < load->options.depth; i++)
        memcpy(client->batch + (size_t)i * load->options.size, &stamp, STAMP_BYTES);
}

static void send_batch(struct load *load, uint32_t index)
{
    struct client *client = &load->clients[index];
    const uint8_t *bytes = load->batch;
    struct io_uring_sqe *sqe = bench_sqe(&load->ring);
    if (client->batch != NULL) {
        stamp_batch(load, client);
        bytes = client->batch;
    }
    io_uring_prep_send(sqe, client->fd, bytes, load->batch_bytes, MSG_WAITALL | MSG_NOSIGNAL);
    sqe->user_data = pack(OP_SEND, index, client->generation);
    if (client->batch == NULL)
        sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    else
        client->send_armed = true;
    client->received = 0;
    client->busy = true;
    client->started_ns = load->now_ns;
    load->in_flight++;
    load->started += load->options.depth;
}

/* Connecting blocks: on loopback the handshake is done when connect(2) returns, the server's accept is not needed. */
static bool client_connect(struct load *load, uint32_t index)
{
    struct client *client = &load->clients[index];
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        bench_die("socket: %s", strerror(errno));
    if (load->options.sources > 1) {
        struct sockaddr_in from = {.sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + index % load->options.sources)};
        if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) != 0 ||
            bind(fd, (struct sockaddr *)&from, sizeof(from)) != 0)
            bench_die("binding a source address: %s", strerror(errno));
    }
    if (connect(fd, (struct sockaddr *)&load->address, sizeof(load->address)) != 0) {
        count_error(load, "connect", strerror(errno));
        close(fd);
        return false;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    client->fd = fd;
    client->generation++;
    client->starved = false;
    arm_recv(load, index);
    return true;
}

/* Ends a connection that failed, or a short one that is done; completions still to come are dropped by generation. */
static void client_drop(struct load *load, uint32_t index)
{
    struct client *client = &load->clients[index];
    if (client->busy)
        load->in_flight--;
    client->busy = false;
    client->send_armed = false;
    client->generation++;
    if (!load->options.new_connections)
        shutdown(client->fd, SHUT_RDWR); /* ends the multishot, which the close would leave armed */
    close(client->fd);
    client->fd = -1;
}

static bool may_start(const struct load *load)
{
    if (load->running && load->until_ns != 0 && load->now_ns >= load->until_ns)
        return false;
    return load->started < load->target;
}

static void client_start(struct load *load, uint32_t index)
{
    struct client *client = &load->clients[index];
    if (!may_start(load))
        return;
    if (load->options.new_connections) {
        load->now_ns = now_ns(); /* connecting takes time, and a turn makes many of them */
        uint64_t started_ns = load->now_ns;
        if (!client_connect(load, index)) {
            load->started += load->options.depth;
            return;
        }
        send_batch(load, index);
        client->started_ns = started_ns;
    } else if (client->fd >= 0) {
        send_batch(load, index);
    }
}

/* The whole reply is here: on to the next batch. */
static void client_finish(struct load *load, uint32_t index)
{
    struct client *client = &load->clients[index];
    client->busy = false;
    load->in_flight--;
    load->finished += load->options.depth;
    load->last_progress_ns = load->now_ns;
    if (load->running)
        histogram_add(&load->latency, load->now_ns - client->started_ns);
    if (load->options.new_connections)
        client_drop(load, index);
    if (load->running)
        client_start(load, index);
}

static void client_fail(struct load *load, uint32_t index, const char *what, const char *detail)
{
    count_error(load, what, detail);
    client_drop(load, index);
    if (load->running && load->options.new_connections)
        client_start(load, index);
}

/* --- completions --- */

/* As memcmp() == 0, but where a zero byte is expected any will do. */
static bool is_alike(const uint8_t *expected, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (expected[i] != data[i] && expected[i] != 0)
            return false;
    }
    return true;
}

static bool piece_is_right(const struct load *load, const struct client *client, const struct bench_piece *piece)
{
    const uint8_t *expected = client->batch != NULL && load->expected == NULL ? client->batch : load->expected;
    if (!load->options.verify)
        return true;
    if (load->options.any_zero)
        return is_alike(expected + client->received, piece->data, piece->len);
    return memcmp(expected + client->received, piece->data, piece->len) == 0;
}

/* Returns false when the connection was given up. */
static bool take_piece(struct load *load, uint32_t index, const struct bench_piece *piece)
{
    struct client *client = &load->clients[index];
    if (!client->busy || client->received + piece->len > load->reply_bytes) {
        client_fail(load, index, "reply", "more bytes than expected");
        return false;
    }
    if (!piece_is_right(load, client, piece)) {
        client_fail(load, index, "reply", "content differs");
        return false;
    }
    client->received += piece->len;
    return true;
}

static bool reply_is_complete(const struct load *load, const struct client *client)
{
    return client->busy && !client->send_armed && client->received == load->reply_bytes;
}

static void on_recv(struct load *load, uint32_t index, const struct io_uring_cqe *cqe)
{
    struct client *client = &load->clients[index];
    struct bench_piece piece;
    if (bench_bufs_take(&load->bufs, cqe, &piece)) {
        bool kept = take_piece(load, index, &piece);
        bench_bufs_release(&load->bufs, piece.bid);
        if (!kept)
            return;
    } else if (cqe->res != -ENOBUFS) {
        client_fail(load, index, "receive", cqe->res == 0 ? "the server closed" : strerror(-cqe->res));
        return;
    }
    bool complete = reply_is_complete(load, client);
    if (cqe->res == -ENOBUFS) {
        client->starved = true;
        load->any_starved = true;
    } else if (!(cqe->flags & IORING_CQE_F_MORE) && !(complete && load->options.new_connections)) {
        arm_recv(load, index);
    }
    if (complete)
        client_finish(load, index);
}

static void on_send(struct load *load, uint32_t index, const struct io_uring_cqe *cqe)
{
    struct client *client = &load->clients[index];
    client->send_armed = false;
    if (cqe->res < 0 || (uint64_t)cqe->res != load->batch_bytes)
        client_fail(load, index, "send", cqe->res < 0 ? strerror(-cqe->res) : "cut short");
    else if (reply_is_complete(load, client))
        client_finish(load, index);
}

static void arm_tick(struct load *load)
{
    struct io_uring_sqe *sqe = bench_sqe(&load->ring);
    load->tick = (struct __kernel_timespec){.tv_nsec = TICK_MS * 1000000L};
    io_uring_prep_timeout(sqe, &load->tick, 0, 0);
    sqe->user_data = pack(OP_TICK, 0, 0);
}

static void on_tick(struct load *load)
{
    arm_tick(load);
    if (load->in_flight > 0 && load->now_ns - load->last_progress_ns > load->options.stall_s * 1000000000ull)
        bench_die("load: no reply for %u s, %u connections waiting", load->options.stall_s, load->in_flight);
}

static void on_completion(struct load *load, const struct io_uring_cqe *cqe)
{
    uint32_t index = (uint32_t)cqe->user_data;
    uint32_t generation = (uint32_t)(cqe->user_data >> 32) & 0xffffff;
    enum load_op op = (enum load_op)(cqe->user_data >> 56);
    if (op == OP_TICK)
        on_tick(load);
    if (op != OP_RECV && op != OP_SEND)
        return;
    if ((load->clients[index].generation & 0xffffff) == generation) {
        if (op == OP_RECV)
            on_recv(load, index, cqe);
        else
            on_send(load, index, cqe);
        return;
    }
    struct bench_piece piece; /* of a connection that is gone: its buffer still counts */
    if (bench_bufs_take(&load->bufs, cqe, &piece))
        bench_bufs_release(&load->bufs, piece.bid);
}

static void rearm_starved(struct load *load)
{
    load->any_starved = false;
    for (uint32_t i = 0; i < load->options.connections; i++) {
        if (!load->clients[i].starved)
            continue;
        load->clients[i].starved = false;
        if (load->clients[i].fd >= 0)
            arm_recv(load, i);
    }
}

static void turn(struct load *load)
{
    struct io_uring_cqe *cqe;
    unsigned head;
    unsigned count = 0;
    bench_submit_and_wait(&load->ring);
    load->now_ns = now_ns();
    io_uring_for_each_cqe(&load->ring, head, cqe)
    {
        on_completion(load, cqe);
        count++;
    }
    io_uring_cq_advance(&load->ring, count);
    if (bench_bufs_publish(&load->bufs) > 0 && load->any_starved)
        rearm_starved(load);
}

/* --- phases --- */

/* Opens every connection and has each make one exchange, at most OPEN_WINDOW at a time. */
static void open_all(struct load *load)
{
    uint32_t connections = load->options.connections;
    load->target = UINT64_MAX;
    load->now_ns = load->last_progress_ns = now_ns();
    while (load->opened < connections || load->in_flight > 0) {
        while (load->opened < connections && load->in_flight < OPEN_WINDOW) {
            uint32_t index = load->opened++;
            if (client_connect(load, index))
                send_batch(load, index);
        }
        if (load->in_flight > 0)
            turn(load);
    }
}

static void run(struct load *load)
{
    load->running = true;
    load->started = 0;
    load->finished = 0;
    load->latency = (struct histogram){.max = 0};
    load->now_ns = load->last_progress_ns = now_ns();
    load->target = load->options.requests > 0 ? load->options.requests : UINT64_MAX;
    if (load->options.seconds > 0)
        load->until_ns = load->now_ns + load->options.seconds * 1000000000ull;
    for (uint32_t i = 0; i < load->options.connections; i++)
        client_start(load, i);
    while (load->in_flight > 0)
        turn(load);
}

static void print_results(const struct load *load, uint64_t elapsed_ns)
{
    double seconds = (double)elapsed_ns / 1e9;
    printf("requests=%llu seconds=%.6f requests_per_s=%.0f p50_us=%.1f p99_us=%.1f max_us=%.1f errors=%llu\n",
           (unsigned long long)load->finished, seconds, (double)load->finished / seconds,
           (double)histogram_quantile(&load->latency, 500) / 1e3, (double)histogram_quantile(&load->latency, 990) / 1e3,
           (double)load->latency.max / 1e3, (unsigned long long)load->errors);
    fflush(stdout);
}

/* One measured run; true when it had no error. */
static bool run_and_print(struct load *load)
{
    uint64_t start_ns = now_ns();
    run(load);
    print_results(load, now_ns() - start_ns);
    bool all_well = load->errors == 0; /* those of the opening included, in the first run */
    load->errors = 0;
    return all_well;
}

/* One run for each line on stdin. */
static bool run_gated(struct load *load)
{
    char line[64];
    bool all_well = true;
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin) != NULL)
        all_well = run_and_print(load) && all_well;
    return all_well;
}

/* --- start --- */

/* The bytes of a file, count times over. */
static uint8_t *read_repeated(const char *path, uint32_t count, uint64_t *bytes)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0 || info.st_size == 0)
        bench_die("%s: %s", path, fd < 0 ? strerror(errno) : "empty");
    size_t size = (size_t)info.st_size;
    uint8_t *memory = bench_map(size * count);
    if (read(fd, memory, size) != (ssize_t)size)
        bench_die("%s: cannot be read whole", path);
    close(fd);
    for (uint32_t i = 1; i < count; i++)
        memcpy(memory + i * size, memory, size);
    *bytes = size * count;
    return memory;
}

static void fill_pattern(uint8_t *bytes, uint64_t count, uint64_t seed)
{
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
    for (uint64_t i = 0; i < count; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes[i] = (uint8_t)(state >> 32);
    }
}

static void prepare_batch(struct load *load)
{
    const struct options *options = &load->options;
    if (options->send_file != NULL) {
        load->batch = read_repeated(options->send_file, options->depth, &load->batch_bytes);
    } else {
        load->batch_bytes = (uint64_t)options->size * options->depth;
        load->batch = bench_map(load->batch_bytes);
        fill_pattern(load->batch, load->batch_bytes, 1);
    }
    load->reply_bytes = options->expect_bytes > 0 ? options->expect_bytes * options->depth : load->batch_bytes;
    if (options->expect_file != NULL)
        load->expected = read_repeated(options->expect_file, options->depth, &load->reply_bytes);
    else if (options->verify && options->send_file != NULL && load->reply_bytes == load->batch_bytes)
        load->expected = load->batch;
    else if (options->verify && load->reply_bytes != load->batch_bytes)
        bench_die("--verify: without --expect-file the reply has to be an echo");
}

static void prepare_clients(struct load *load)
{
    load->clients = bench_map(load->options.connections * sizeof(*load->clients));
    for (uint32_t i = 0; i < load->options.connections; i++) {
        struct client *client = &load->clients[i];
        client->fd = -1;
        if (!load->options.verify || load->expected != NULL)
            continue;
        client->batch = bench_map(load->batch_bytes);
        fill_pattern(client->batch, load->batch_bytes, i + 2);
    }
}

static void parse_options(struct options *options, int argc, char **argv)
{
    *options = (struct options){.host = "127.0.0.1",
                                .connections = 64,
                                .size = 64,
                                .depth = 1,
                                .sources = 1,
                                .stall_s = 10,
                                .cpu = BENCH_ANY_CPU};
    const struct bench_option table[] = {
        {"host", BENCH_TEXT, &options->host, 0, 0, "IPv4 address of the server (127.0.0.1)"},
        {"port", BENCH_U32, &options->port, 1, UINT16_MAX, "its port"},
        {"connections", BENCH_U32, &options->connections, 1, 1 << 20, "how many (64)"},
        {"size", BENCH_U32, &options->size, 1, 1 << 28, "bytes of a message (64)"},
        {"pipeline", BENCH_U32, &options->depth, 1, 1 << 16, "messages in one write; the next when all are answered"},
        {"requests", BENCH_U64, &options->requests, 1, UINT64_MAX / 2, "messages in all (100000, unless --seconds)"},
        {"seconds", BENCH_U64, &options->seconds, 1, 3600, "begin nothing new after this time"},
        {"new-connections", BENCH_FLAG, &options->new_connections, 0, 0, "each write has its own connection"},
        {"verify", BENCH_FLAG, &options->verify, 0, 0, "compare what comes back"},
        {"discard", BENCH_FLAG, &options->discard, 0, 0, "do not even read what comes back: for large replies"},
        {"send-file", BENCH_TEXT, &options->send_file, 0, 0, "a message is the content of this file"},
        {"expect-bytes", BENCH_U64, &options->expect_bytes, 1, 1u << 31, "size of one reply, when it is no echo"},
        {"expect-file", BENCH_TEXT, &options->expect_file, 0, 0, "content of one reply, when it is no echo"},
        {"any-zero", BENCH_FLAG, &options->any_zero, 0, 0, "zero bytes of --expect-file stand for any"},
        {"sources", BENCH_U32, &options->sources, 1, 250, "connect from so many loopback addresses (1)"},
        {"gate", BENCH_FLAG, &options->gate, 0, 0, "print `ready`; a run for each line on stdin"},
        {"stall", BENCH_U32, &options->stall_s, 1, 3600, "give up after so many seconds without a reply (10)"},
        {"cpu", BENCH_U32, &options->cpu, 0, BENCH_CPU_MAX, "run on this CPU only"},
    };
    bench_parse_options(argc, argv,
                        "load: a closed-loop TCP load generator. Prints requests, seconds, requests_per_s, p50_us,\n"
                        "p99_us, max_us and errors; exit status 1 when there were errors.",
                        table, sizeof(table) / sizeof(table[0]));
    if (options->discard && options->verify)
        bench_die("--discard and --verify: what is not read cannot be compared");
    if (options->port == 0)
        bench_die("--port is missing (--help lists the options)");
    if (options->requests == 0 && options->seconds == 0)
        options->requests = 100000;
}

int main(int argc, char **argv)
{
    static struct load load;
    parse_options(&load.options, argc, argv);
    load.address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)load.options.port)};
    if (inet_pton(AF_INET, load.options.host, &load.address.sin_addr) != 1)
        bench_die("--host: expected an IPv4 address, got \"%s\"", load.options.host);
    bench_pin(load.options.cpu);
    if (bench_raise_nofile() < load.options.connections + 16)
        bench_die("--connections %u: more than the limit of open files", load.options.connections);
    prepare_batch(&load);
    prepare_clients(&load);
    bench_ring_open(&load.ring);
    bench_bufs_open(&load.bufs, &load.ring, RECV_BUFFERS, RECV_BUFFER_BYTES, false);
    arm_tick(&load);
    if (!load.options.new_connections)
        open_all(&load);
    bool all_well = load.options.gate ? run_gated(&load) : run_and_print(&load);
    return all_well ? 0 : 1;
}
