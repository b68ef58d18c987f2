/* See name_server.h. */
#include "name_server.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fake_ring.h"
#include "proto/wire.h"
#include "proxy/proxy.h"

enum {
    PATIENCE_S = 5, /* for what must come */
    STEP_MS = 5,
    TRIES_MAX = 20,
    HEADER_BYTES = 12,
};

/* ---- the fixture ---- */

void ns_on_done(struct resolve *resolve, const struct resolution *resolution)
{
    struct ns_asker *asker = CONTAINER_OF(resolve, struct ns_asker, resolve);
    const char *then = asker->then;

    asker->calls++;
    asker->answer = *resolution;
    asker->then = NULL;
    if (then)
        assert_int_equal(resolver_start(asker->test->resolver, resolve, RESOLVE_HOST, then, NS_PORT), 0);
}

void ns_be_patient(int fd)
{
    const struct timeval patience = {.tv_sec = PATIENCE_S};

    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
}

/* The same port for both; that of the one may be taken for the other. */
static bool try_open_server(struct ns_fixture *t)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);

    t->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    t->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(t->tcp, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(t->tcp, 4), 0);
    assert_int_equal(getsockname(t->tcp, (struct sockaddr *)&addr, &len), 0);
    snprintf(t->servers, sizeof(t->servers), "127.0.0.1:%u", ntohs(addr.sin_port));
    if (bind(t->udp, (struct sockaddr *)&addr, sizeof(addr)) == 0)
        return true;
    close(t->tcp);
    close(t->udp);
    return false;
}

int ns_setup_with(void **state, const struct fixture_options *options)
{
    struct ns_fixture *t = calloc(1, sizeof(*t));

    assert_non_null(t);
    for (int tries = 0; !try_open_server(t); tries++)
        assert_true(tries < TRIES_MAX);
    ns_be_patient(t->tcp);
    t->f = fixture_new(options);
    t->f->config.resolver.servers = t->servers;
    t->resolver = t->f->reactor.proxy->resolver;
    t->asker.resolve.on_done = ns_on_done;
    t->asker.test = t;
    *state = t;
    return 0;
}

int ns_setup(void **state)
{
    return ns_setup_with(state, &(struct fixture_options){0});
}

int ns_teardown(void **state)
{
    struct ns_fixture *t = *state;

    fixture_free(t->f);
    close(t->udp);
    close(t->tcp);
    free(t);
    return 0;
}

void ns_start(struct ns_fixture *t, enum resolve_kind kind, const char *name)
{
    assert_int_equal(resolver_start(t->resolver, &t->asker.resolve, kind, name, NS_PORT), 0);
    assert_int_equal(t->asker.calls, 0);
}

/* ---- the kernel: polls ---- */

static void drop_poll(struct ns_fixture *t, uint64_t user_data)
{
    for (uint32_t i = 0; i < t->poll_count; i++) {
        if (t->polls[i].user_data == user_data) {
            t->polls[i] = t->polls[--t->poll_count];
            return;
        }
    }
}

/* What was armed and cancelled since the last call. */
static void take_operations(struct ns_fixture *t)
{
    for (; t->seen < fake_ring_queued(t->f->ring); t->seen++) {
        const struct fake_sqe *sqe = fake_ring_sqe(t->f->ring, t->seen);

        if (sqe->kind == FAKE_CANCEL)
            drop_poll(t, sqe->target_user_data);
        if (sqe->kind != FAKE_POLL)
            continue;
        assert_true(t->poll_count < NS_POLLS_MAX);
        t->polls[t->poll_count++] = *sqe;
    }
}

uint32_t ns_polls(struct ns_fixture *t)
{
    take_operations(t);
    return t->poll_count;
}

void ns_step(struct ns_fixture *t)
{
    struct pollfd fds[NS_POLLS_MAX];
    uint64_t ops[NS_POLLS_MAX];
    uint32_t count;

    take_operations(t);
    count = t->poll_count;
    for (uint32_t i = 0; i < count; i++) {
        fds[i] = (struct pollfd){.fd = t->polls[i].fd, .events = (short)t->polls[i].events};
        ops[i] = t->polls[i].user_data;
    }
    assert_true(poll(fds, count, STEP_MS) >= 0);
    for (uint32_t i = 0; i < count; i++) {
        if (!fds[i].revents)
            continue;
        fake_ring_complete(t->f->ring, ops[i], fds[i].revents, 0);
        drop_poll(t, ops[i]);
    }
    fixture_advance(t->f, STEP_MS);
}

void ns_wait(struct ns_fixture *t, uint32_t calls)
{
    uint64_t give_up_ns = clock_now_ns() + PATIENCE_S * NS_PER_S;

    while (t->asker.calls < calls) {
        assert_true(clock_now_ns() < give_up_ns);
        ns_step(t);
    }
    assert_int_equal(t->asker.calls, calls);
}

/* ---- the name server ---- */

void ns_read_question(struct ns_exchange *exchange)
{
    const uint8_t *at = exchange->bytes + HEADER_BYTES;
    size_t used = 0;

    assert_true(exchange->len > HEADER_BYTES && wire_read_u16(exchange->bytes + 4) == 1);
    while (*at) {
        if (used > 0)
            exchange->name[used++] = '.';
        memcpy(exchange->name + used, at + 1, *at);
        used += *at;
        at += *at + 1;
    }
    exchange->name[used] = '\0';
    exchange->type = wire_read_u16(at + 1);
    exchange->len = (size_t)(at + 5 - exchange->bytes);
}

bool ns_is_asked(const struct ns_fixture *t)
{
    char byte;

    return recv(t->udp, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 1;
}

static void receive(struct ns_fixture *t, struct ns_exchange *exchange)
{
    socklen_t from_len = sizeof(exchange->from);
    uint64_t give_up_ns = clock_now_ns() + PATIENCE_S * NS_PER_S;
    ssize_t got;

    while (!ns_is_asked(t)) {
        assert_true(clock_now_ns() < give_up_ns);
        ns_step(t);
    }
    got = recvfrom(t->udp, exchange->bytes, NS_MESSAGE_MAX, 0, (struct sockaddr *)&exchange->from, &from_len);

    assert_true(got > 0);
    exchange->len = (size_t)got;
    ns_read_question(exchange);
}

void ns_expect(struct ns_fixture *t, struct ns_exchange *exchange, const char *name)
{
    receive(t, exchange);
    assert_string_equal(exchange->name, name);
    wire_write_u16(exchange->bytes + 2, 0x8180);
    memset(exchange->bytes + 6, 0, 6);
}

void ns_add_bytes(struct ns_exchange *exchange, const void *bytes, size_t len)
{
    assert_true(len <= NS_MESSAGE_MAX - exchange->len);
    memcpy(exchange->bytes + exchange->len, bytes, len);
    exchange->len += len;
}

static void add_u16(struct ns_exchange *exchange, uint16_t value)
{
    uint8_t bytes[2];

    wire_write_u16(bytes, value);
    ns_add_bytes(exchange, bytes, sizeof(bytes));
}

void ns_add_record(struct ns_exchange *exchange, uint16_t type, uint32_t ttl_s, const void *data, size_t len)
{
    ns_add_bytes(exchange, "\xc0\x0c", 2);
    add_u16(exchange, type);
    add_u16(exchange, 1);
    add_u16(exchange, (uint16_t)(ttl_s >> 16));
    add_u16(exchange, (uint16_t)ttl_s);
    add_u16(exchange, (uint16_t)len);
    ns_add_bytes(exchange, data, len);
    wire_write_u16(exchange->bytes + 6, (uint16_t)(wire_read_u16(exchange->bytes + 6) + 1));
}

void ns_add_addr(struct ns_exchange *exchange, uint32_t ttl_s, const char *text)
{
    struct addr addr;

    assert_int_equal(addr_parse_ip(&addr, text, 0), 0);
    if (addr.sa.sa_family == AF_INET && exchange->type == NS_TYPE_A)
        ns_add_record(exchange, NS_TYPE_A, ttl_s, &addr.in4.sin_addr, 4);
    if (addr.sa.sa_family == AF_INET6 && exchange->type == NS_TYPE_AAAA)
        ns_add_record(exchange, NS_TYPE_AAAA, ttl_s, &addr.in6.sin6_addr, 16);
}

void ns_add_srv(struct ns_exchange *exchange, uint16_t priority, const char *target)
{
    uint8_t data[300] = {0};
    size_t len = 6;

    wire_write_u16(data, priority);
    wire_write_u16(data + 2, 7);
    wire_write_u16(data + 4, (uint16_t)(1000 + priority));
    while (*target) {
        size_t label = strcspn(target, ".");

        data[len] = (uint8_t)label;
        memcpy(data + len + 1, target, label);
        len += label + 1;
        target += label + (target[label] == '.');
    }
    ns_add_record(exchange, NS_TYPE_SRV, NS_TTL_S, data, len + 1);
}

void ns_send(struct ns_fixture *t, const struct ns_exchange *exchange)
{
    ssize_t sent = sendto(t->udp, exchange->bytes, exchange->len, 0, (const struct sockaddr *)&exchange->from,
                          sizeof(exchange->from));

    assert_int_equal(sent, exchange->len);
}

void ns_answer_code(struct ns_fixture *t, const char *name, uint8_t code)
{
    struct ns_exchange exchange;

    ns_expect(t, &exchange, name);
    exchange.bytes[3] = (uint8_t)(0x80 | code);
    ns_send(t, &exchange);
}

void ns_answer_host(struct ns_fixture *t, const char *name, const char *v4, const char *v6)
{
    for (int i = 0; i < 2; i++) {
        struct ns_exchange exchange;

        ns_expect(t, &exchange, name);
        if (v4)
            ns_add_addr(&exchange, NS_TTL_S, v4);
        if (v6)
            ns_add_addr(&exchange, NS_TTL_S, v6);
        ns_send(t, &exchange);
    }
}

void ns_answer_services(struct ns_fixture *t, uint16_t first, const char *first_target, uint16_t second,
                        const char *second_target)
{
    struct ns_exchange exchange;

    ns_expect(t, &exchange, "_db._tcp.test");
    assert_int_equal(exchange.type, NS_TYPE_SRV);
    ns_add_srv(&exchange, first, first_target);
    if (second_target)
        ns_add_srv(&exchange, second, second_target);
    ns_send(t, &exchange);
}

void ns_assert_item(const struct ns_fixture *t, uint32_t index, const char *text)
{
    char out[ADDR_TEXT_MAX];

    assert_true(index < t->asker.answer.count);
    assert_string_equal(addr_format(&t->asker.answer.items[index].addr, out), text);
}

void ns_assert_problem(const struct ns_fixture *t, const char *problem)
{
    assert_non_null(t->asker.answer.problem);
    assert_string_equal(t->asker.answer.problem, problem);
    assert_int_equal(t->asker.answer.count, 0);
    assert_int_equal(t->asker.answer.ttl_ms, RESOLVE_TTL_FAILED_MS);
}
