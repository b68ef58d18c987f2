/* Looking names up on a real ring: a whole reactor that sleeps until c-ares' sockets or time-outs wake it. What names turn
 * out to be is tested in test_resolver.c. */
#include "proxy/resolver.h"

#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/config.h"
#include "core/engine.h"
#include "core/part.h"
#include "core/reactor.h"
#include "proxy/proxy.h"
#include "versions.h"

enum { TIMEOUT_MS = 50, TURNS_MAX = 1000, MESSAGE_MAX = 1500 };
#define PATIENCE_NS (5 * NS_PER_S)

struct fixture {
    struct config config;
    struct engine engine;
    struct reactor reactor;
    struct version *version;
    int server; /* a name server's UDP socket */
    char servers[64];
    struct resolve resolve;
    uint32_t calls;
    uint32_t count; /* addresses of the last answer */
};

static int open_app(struct reactor *reactor)
{
    reactor->app_data = reactor;
    return proxy_open(reactor);
}

static bool turn_app(struct reactor *reactor)
{
    (void)reactor;
    return false;
}

static void close_app(struct reactor *reactor)
{
    proxy_close(reactor);
    reactor->app_data = NULL;
}

static int succeed(struct version_part *part)
{
    (void)part;
    return 0;
}

static void on_switch(struct version_part *part, struct version_part *previous)
{
    (void)part;
    (void)previous;
}

static void ignore_part(struct version_part *part)
{
    (void)part;
}

static const struct reactor_app app = {
    .open = open_app,
    .load = succeed,
    .begin = succeed,
    .starting = succeed,
    .on_switch = on_switch,
    .finish = ignore_part,
    .turn = turn_app,
    .close = close_app,
};

static void on_done(struct resolve *resolve, const struct resolution *resolution)
{
    struct fixture *f = CONTAINER_OF(resolve, struct fixture, resolve);

    f->calls++;
    f->count = resolution->count;
}

static void open_server(struct fixture *f)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);

    f->server = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->server, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(getsockname(f->server, (struct sockaddr *)&addr, &len), 0);
    snprintf(f->servers, sizeof(f->servers), "127.0.0.1:%u", ntohs(addr.sin_port));
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    open_server(f);
    assert_int_equal(log_open("/dev/null", LOG_INFO, LOG_TEXT), 0);
    f->config = (struct config){
        .reactors = 1,
        .resolver = {.servers = f->servers, .timeout_ms = TIMEOUT_MS, .attempts = 1},
        .reactor = {.ring_entries = 64,
                    .recv_buffer_size = 4096,
                    .buffer_ring_entries = 8,
                    .incremental = FEATURE_OFF,
                    .batch_cqes = 64,
                    .max_connections = 16},
    };
    f->engine = (struct engine){.config = &f->config,
                                .app = &app,
                                .reactors = &f->reactor,
                                .reactor_count = 1,
                                .control_eventfd = -1};
    f->reactor.engine = &f->engine;
    f->reactor.app = &app;
    f->resolve.on_done = on_done;
    assert_int_equal(inbox_open(&f->reactor.inbox, 0), 0);
    f->version = version_by_hand(&f->engine, &f->config, NULL);
    f->engine.version = f->version;
    assert_int_equal(reactor_open(&f->reactor), 0);
    part_make_current(&f->version->parts[0]);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    reactor_close(&f->reactor);
    version_by_hand_free(f->version);
    inbox_close(&f->reactor.inbox);
    log_close();
    close(f->server);
    free(f);
    return 0;
}

static void start(struct fixture *f)
{
    struct resolver *resolver = f->reactor.proxy->resolver;

    assert_int_equal(resolver_start(resolver, &f->resolve, RESOLVE_HOST, "db.test.", 80), 0);
}

/* Turns, asleep for as long as nothing happens, until the question is answered. */
static void wait_for_answer(struct fixture *f)
{
    for (int turns = 0; f->calls == 0; turns++) {
        assert_true(turns < TURNS_MAX);
        assert_int_equal(reactor_turn(&f->reactor, PATIENCE_NS), 0);
    }
}

/* The first record is for the question about IPv4; that about IPv6 is given none. */
static void answer_one(struct fixture *f)
{
    static const uint8_t record[] = "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\x09";
    struct pollfd wait = {.fd = f->server, .events = POLLIN};
    struct sockaddr_in from;
    socklen_t from_len = sizeof(from);
    uint8_t message[MESSAGE_MAX];
    size_t len = 12 + sizeof("\2db\4test") + 4; /* without the OPT record */
    bool is_v4;

    assert_int_equal(poll(&wait, 1, PATIENCE_NS / NS_PER_MS), 1);
    assert_true(recvfrom(f->server, message, sizeof(message), 0, (struct sockaddr *)&from, &from_len) >= (ssize_t)len);
    is_v4 = message[len - 3] == 1;
    memcpy(message + 2, "\x81\x80\0\1\0\0\0\0\0\0", 10);
    message[7] = is_v4;
    if (is_v4)
        memcpy(message + len, record, sizeof(record) - 1);
    len += is_v4 ? sizeof(record) - 1 : 0;
    assert_int_equal(sendto(f->server, message, len, 0, (const struct sockaddr *)&from, from_len), len);
}

static void an_answer_wakes_the_reactor(void **state)
{
    struct fixture *f = *state;

    start(f);
    assert_int_equal(reactor_turn(&f->reactor, RING_NO_WAIT), 0); /* the polls are armed before there is an answer */
    answer_one(f);
    answer_one(f);
    wait_for_answer(f);
    assert_int_equal(f->count, 1);
}

static void a_time_out_wakes_the_reactor(void **state)
{
    struct fixture *f = *state;
    uint64_t before_ns = clock_now_ns();

    start(f);
    wait_for_answer(f);
    assert_int_equal(f->count, 0);
    assert_true(clock_now_ns() - before_ns >= TIMEOUT_MS * NS_PER_MS);
}

/* What is left after a question are completions of cancelled polls; then nothing wakes it. */
static void afterwards_the_reactor_sleeps(void **state)
{
    struct fixture *f = *state;
    uint64_t before_ns;

    start(f);
    answer_one(f);
    answer_one(f);
    wait_for_answer(f);
    for (int i = 0; i < 4; i++)
        assert_int_equal(reactor_turn(&f->reactor, RING_NO_WAIT), 0);
    before_ns = clock_now_ns();
    assert_int_equal(reactor_turn(&f->reactor, 4 * TIMEOUT_MS * NS_PER_MS), 0);
    assert_true(clock_now_ns() - before_ns >= 4 * TIMEOUT_MS * NS_PER_MS);
}

static void a_reactor_ends_with_a_question_under_way(void **state)
{
    struct fixture *f = *state;

    start(f);
    assert_int_equal(reactor_turn(&f->reactor, RING_NO_WAIT), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_answer_wakes_the_reactor),
        TEST(a_time_out_wakes_the_reactor),
        TEST(afterwards_the_reactor_sleeps),
        TEST(a_reactor_ends_with_a_question_under_way),
    };

    return cmocka_run_group_tests_name("resolver_kernel", tests, NULL, NULL);
}
