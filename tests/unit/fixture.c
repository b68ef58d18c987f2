/* See fixture.h. */
#include "fixture.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/conn_table.h"
#include "core/connect.h"
#include "core/part.h"
#include "core/reactor_inbox.h"
#include "proxy/proxy.h"
#include "proxy/proxy_accept.h"
#include "proxy/relay.h"
#include "proxy/shared.h"
#include "script/host.h"
#include "uring/bufring.h"
#include "uring/op.h"
#include "versions.h"

enum { ENDLESS = 10000 };

/* ---- the recorder ---- */

static struct fixture *fixture_of(const struct conn *conn)
{
    return CONTAINER_OF(conn->reactor, struct fixture, reactor);
}

static void on_open(struct conn *conn)
{
    fixture_of(conn)->record.opened++;
}

static void on_input(struct conn *conn)
{
    struct fixture *f = fixture_of(conn);

    f->record.inputs++;
    if (!f->consumes)
        return;
    input_skip(&conn->in, conn->in.bytes);
    conn_on_consumed(conn);
}

static void on_output(struct conn *conn)
{
    fixture_of(conn)->record.outputs++;
}

static void on_read_timeout(struct conn *conn)
{
    fixture_of(conn)->record.read_timeouts++;
}

static void on_end(struct conn *conn)
{
    struct record *record = &fixture_of(conn)->record;

    record->ends++;
    record->end_reason = conn->reason;
}

static void prefetch(const struct conn *conn, enum prefetch_step step)
{
    (void)conn;
    (void)step;
}

static const struct conn_handler recording_handler = {
    .prefetch = prefetch,
    .on_open = on_open,
    .on_input = on_input,
    .on_output = on_output,
    .on_read_timeout = on_read_timeout,
    .on_end = on_end,
};

static int open_app(struct reactor *reactor)
{
    reactor->app_data = reactor;
    return proxy_open(reactor);
}

static bool turn_app(struct reactor *reactor)
{
    struct fixture *f = CONTAINER_OF(reactor, struct fixture, reactor);

    f->record.turns++;
    return f->has_more;
}

static int succeed(struct version_part *part)
{
    (void)part;
    return 0;
}

static void on_switch(struct version_part *part, struct version_part *previous)
{
    (void)previous;
    proxy_switch_part(part);
}

static void ignore_part(struct version_part *part)
{
    (void)part;
}

static void abandon_app(struct reactor *reactor)
{
    CONTAINER_OF(reactor, struct fixture, reactor)->record.abandons++;
}

static void close_app(struct reactor *reactor)
{
    proxy_close(reactor);
    reactor->app_data = NULL;
}

static const struct reactor_app recorder = {
    .conn_handler = &recording_handler,
    .forward_handler = &relay_handler,
    .proxy_accept_handler = &proxy_accept_handler,
    .open = open_app,
    .load = succeed,
    .begin = proxy_begin_part,
    .starting = succeed,
    .on_switch = on_switch,
    .unload = ignore_part,
    .finish = proxy_finish_part,
    .turn = turn_app,
    .abandon = abandon_app,
    .close = close_app,
    .open_shared = proxy_shared_open,
    .close_shared = proxy_shared_close,
    .on_message = proxy_on_message,
    .drain = proxy_drain,
};

/* ---- making one ---- */

static char *path_in(const struct fixture *f, const char *name)
{
    char *path;

    assert_true(asprintf(&path, "%s/%s", f->directory, name) > 0);
    return path;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void configure(struct fixture *f, const struct fixture_options *options)
{
    f->listener_config = (struct listener_config){
        .name = (char *)"test",
        .write_buffer_max = WRITE_BUFFER_BYTES,
        .timeouts = options->timeouts,
        .handler = (char *)"handler.lua",
    };
    assert_int_equal(addr_parse_unix(&f->listener_config.addr, "@zerg-unit-test"), 0);
    f->listener_config.forward = (char *)(uintptr_t)options->forward;
    if (options->http) {
        f->listener_config.protocol = PROTOCOL_HTTP;
        f->listener_config.http = *options->http;
        f->route = (struct http_route){
            .body_bytes = HTTP_BODY_BYTES,
            .path = (char *)"/",
            .handler = (char *)"handler.lua",
            .forward = (char *)(uintptr_t)options->forward,
        };
        f->listener_config.routes = &f->route;
        f->listener_config.route_count = 1;
        f->listener_config.forward = NULL;
    }
    f->config = (struct config){
        .directory = f->directory,
        .script = f->script_path,
        .lua_path = (char *)"",
        .reactors = 1,
        .accept = options->reuseport ? ACCEPT_REUSEPORT : ACCEPT_ACCEPTOR,
        .listeners = &f->listener_config,
        .listener_count = 1,
        .route_count = options->http ? 1 : 0,
        .upstreams = options->upstreams,
        .upstream_count = options->upstream_count,
        .log.level = LOG_DEBUG,
        .script_memory_max = options->script_memory_max ? options->script_memory_max : 64 << 20,
        .reactor =
            {
                .ring_entries = 64,
                .recv_buffer_size = options->buffer_bytes ? options->buffer_bytes : 1024,
                .buffer_ring_entries = options->buffers ? options->buffers : 8,
                .incremental = options->incremental ? FEATURE_ON : FEATURE_OFF,
                .batch_cqes = 64,
                .max_connections = options->max_connections ? options->max_connections : 16,
            },
    };
}

int fixture_try_new(struct fixture **out, const struct fixture_options *options)
{
    struct fixture *f = calloc(1, sizeof(*f));
    int rc;

    assert_non_null(f);
    *out = f;
    memcpy(f->directory, "/tmp/zerg-unit-XXXXXX", sizeof("/tmp/zerg-unit-XXXXXX"));
    assert_non_null(mkdtemp(f->directory));
    f->log_path = path_in(f, "log");
    assert_int_equal(log_open(f->log_path, LOG_DEBUG, LOG_TEXT), 0);
    if (options->script) {
        f->script_path = path_in(f, "handler.lua");
        write_file(f->script_path, options->script);
    }
    configure(f, options);
    f->engine = (struct engine){
        .config = &f->config,
        .app = options->script ? &host_app : &recorder,
        .reactors = &f->reactor,
        .reactor_count = 1,
        .control_eventfd = -1,
    };
    f->reactor.engine = &f->engine;
    f->reactor.app = f->engine.app;
    f->reactor.resume_accept.kind = REACTOR_RESUME_ACCEPT;
    f->reactor.order.kind = REACTOR_DRAIN;
    f->reactor.stop_order.kind = REACTOR_STOP;
    assert_int_equal(inbox_open(&f->reactor.inbox, 0), 0);
    assert_int_equal(f->engine.app->open_shared(&f->engine), 0);
    f->version = version_by_hand(&f->engine, &f->config, f->sockets);
    f->engine.version = f->version;
    rc = reactor_open(&f->reactor);
    f->ring = f->reactor.ring;
    if (rc == 0)
        rc = part_starting(&f->version->parts[0]);
    if (rc >= 0) /* a `start` hook may wait still */
        part_make_current(&f->version->parts[0]);
    return rc < 0 ? rc : 0;
}

struct fixture *fixture_new(const struct fixture_options *options)
{
    struct fixture *f;

    assert_int_equal(fixture_try_new(&f, options), 0);
    return f;
}

static void end_connections(struct fixture *f)
{
    struct list *live = &f->reactor.live;

    f->reactor.state = REACTOR_STOPPING;
    f->reactor.app->abandon(&f->reactor);
    for (struct list *node = live->next; node != live; node = node->next)
        conn_kill(CONTAINER_OF(node, struct conn, link), CLOSE_SHUTDOWN);
    fixture_pump(f);
    fixture_answer(f);
    assert_int_equal(f->reactor.conns.taken, 0);
}

static void remove_files(struct fixture *f)
{
    log_close();
    unlink(f->log_path);
    if (f->script_path)
        unlink(f->script_path);
    rmdir(f->directory);
    free(f->log_path);
    free(f->script_path);
}

static void free_newer(struct fixture *f, struct version *version)
{
    for (uint32_t i = 0; i < version->part_count; i++) { /* of one that was never begun */
        if (version->parts[i].app_data)
            f->engine.app->unload(&version->parts[i]);
    }
    if (version->shared)
        f->engine.app->close_version(version);
    version_by_hand_free(version);
}

void fixture_free(struct fixture *f)
{
    if (f->reactor.conns.blocks)
        end_connections(f);
    reactor_close(&f->reactor);
    if (f->engine.app->free && f->reactor.app_data)
        f->engine.app->free(&f->reactor);
    f->engine.app->close_shared(&f->engine);
    while (f->newer_count > 0)
        free_newer(f, f->newer[--f->newer_count]);
    version_by_hand_free(f->version);
    assert_int_equal(fake_ring_open_count(), 0);
    while (inbox_take(&f->reactor.inbox))
        continue;
    inbox_close(&f->reactor.inbox);
    for (uint32_t i = 0; i < f->peer_count; i++)
        close(f->peers[i]);
    remove_files(f);
    free(f);
}

int fixture_setup(void **state)
{
    *state = fixture_new(&(struct fixture_options){0});
    return 0;
}

int fixture_teardown(void **state)
{
    if (*state)
        fixture_free(*state);
    return 0;
}

/* ---- versions ---- */

struct version *fixture_add_version(struct fixture *f, struct config *config)
{
    struct version *version = version_by_hand(&f->engine, config, f->sockets);

    assert_true(f->newer_count < FIXTURE_VERSIONS_MAX);
    f->newer[f->newer_count++] = version;
    if (f->engine.app->open_version)
        assert_int_equal(f->engine.app->open_version(version), 0);
    assert_int_equal(f->engine.app->load(&version->parts[0]), 0);
    return version;
}

void fixture_switch(struct fixture *f, struct version *version)
{
    version_begin(version);
    fixture_turn(f);
    assert_int_equal(version_state(version), PART_READY);
    version_switch(version);
    fixture_turn(f);
}

void fixture_rewrite(const struct fixture *f, const char *script)
{
    write_file(f->script_path, script);
}

void fixture_turn(struct fixture *f)
{
    reactor_inbox_drain(&f->reactor);
    fixture_pump(f);
    part_turn(&f->reactor);
}

struct runtime *fixture_runtime(const struct fixture *f)
{
    return f->version->parts[0].app_data;
}

/* ---- connections ---- */

struct conn *fixture_open(struct fixture *f)
{
    int pair[2];

    assert_true(f->peer_count < FIXTURE_CONNS_MAX);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    f->peers[f->peer_count++] = pair[1];
    atomic_fetch_add(&f->reactor.open, 1);
    atomic_fetch_add(&f->sockets[0].open, 1);
    assert_true(reactor_adopt(&f->reactor, &f->sockets[0], pair[0]));
    struct conn *conn = CONTAINER_OF(f->reactor.live.prev, struct conn, link);
    if (!conn->listener) /* the relay of that one */
        conn = CONTAINER_OF(conn->link.prev, struct conn, link);
    conn->bytes_in = 0;
    fixture_pump(f);
    return conn;
}

struct conn *fixture_outgoing(struct fixture *f)
{
    struct conn *found = NULL;

    for (struct list *node = f->reactor.live.next; node != &f->reactor.live; node = node->next) {
        struct conn *conn = CONTAINER_OF(node, struct conn, link);

        if (!conn->listener && found)
            return NULL;
        if (!conn->listener)
            found = conn;
    }
    return found;
}

void fixture_connect_result(struct fixture *f, const struct conn *conn, int32_t result)
{
    fake_ring_complete(f->ring, fixture_op(conn, OP_CONNECT), result, 0);
    fixture_pump(f);
}

int fixture_peer(const struct fixture *f, const struct conn *conn)
{
    /* Ids count from 1, in the order of opening. */
    assert_true(conn->id >= 1 && conn->id <= f->peer_count);
    return f->peers[conn->id - 1];
}

bool fixture_peer_sees_end(const struct fixture *f, const struct conn *conn)
{
    char byte;

    return recv(fixture_peer(f, conn), &byte, 1, MSG_DONTWAIT) == 0;
}

uint64_t fixture_op(const struct conn *conn, int kind)
{
    return op_pack((enum op_kind)kind, conn->slot, conn->generation);
}

/* ---- the turn, and the kernel's part in it ---- */

static void dispatch_conn(struct fixture *f, const struct completion *completion)
{
    struct conn *conn = conn_table_find(&f->reactor.conns, completion->user_data);

    if (!conn) {
        reactor_discard(&f->reactor, completion);
        return;
    }
    switch (op_kind(completion->user_data)) {
    case OP_RECV: conn_on_recv(conn, completion); break;
    case OP_SEND: conn_on_send(conn, completion); break;
    case OP_CANCEL: conn_on_cancel(conn, completion); break;
    case OP_CONNECT: conn_on_connect(conn, completion); break;
    case OP_CLOSE:
        conn->operations--;
        conn_mark_dirty(conn);
        break;
    default: fail();
    }
}

static void dispatch(struct fixture *f, const struct completion *completion)
{
    switch (op_kind(completion->user_data)) {
    case OP_NONE: break;
    case OP_WATCH: watch_on_completion(&f->reactor.watches, completion); break;
    default: dispatch_conn(f, completion);
    }
}

void fixture_pump(struct fixture *f)
{
    struct completion completion;
    struct list *node;

    while (ring_reap(f->ring, &completion, 1) == 1)
        dispatch(f, &completion);
    timer_wheel_advance(&f->reactor.timers, f->reactor.now_ms);
    f->reactor.has_ready = f->reactor.app->turn(&f->reactor);
    while ((node = list_pop(&f->reactor.dirty)))
        conn_settle(CONTAINER_OF(node, struct conn, dirty_link));
    bufring_publish(f->reactor.bufs);
    f->reactor.messages_used = 0;
}

void fixture_advance(struct fixture *f, uint64_t ms)
{
    f->reactor.now_ms += ms;
    f->reactor.now_ns += ms * NS_PER_MS;
    fixture_pump(f);
}

static bool is_armed(struct fixture *f, uint64_t op)
{
    const struct conn *conn;

    if (op_kind(op) == OP_WATCH)
        return true;
    conn = conn_table_find(&f->reactor.conns, op);
    if (!conn)
        return false;
    switch (op_kind(op)) {
    case OP_RECV: return conn->recv_armed;
    case OP_CONNECT: return conn->connect_armed;
    default: return conn->out.in_flight > 0;
    }
}

/* The operation that a cancel aims at ends, if it is there. */
static void answer_cancel(struct fixture *f, uint64_t user_data, uint64_t target)
{
    bool is_there = is_armed(f, target);

    if (is_there)
        fake_ring_complete(f->ring, target, -ECANCELED, 0);
    fake_ring_complete(f->ring, user_data, is_there ? 0 : -ENOENT, 0);
}

void fixture_answer(struct fixture *f)
{
    for (int steps = 0; f->answered < fake_ring_queued(f->ring); steps++) {
        struct fake_sqe sqe = *fake_ring_sqe(f->ring, f->answered++);

        assert_true(steps < ENDLESS);
        if (sqe.kind == FAKE_CANCEL)
            answer_cancel(f, sqe.user_data, sqe.target_user_data);
        if (sqe.kind == FAKE_CLOSE) {
            close(sqe.fd);
            fake_ring_complete(f->ring, sqe.user_data, 0, 0);
        }
        fixture_pump(f);
    }
}

void fixture_feed(struct fixture *f, const struct conn *conn, const void *bytes, size_t len)
{
    assert_int_equal(fake_ring_recv(f->ring, fixture_op(conn, OP_RECV), bytes, len, FAKE_MORE), len);
    fixture_pump(f);
}

void fixture_feed_text(struct fixture *f, const struct conn *conn, const char *text)
{
    fixture_feed(f, conn, text, strlen(text));
}

void fixture_recv_result(struct fixture *f, const struct conn *conn, int32_t result)
{
    fake_ring_complete(f->ring, fixture_op(conn, OP_RECV), result, 0);
    fixture_pump(f);
}

void fixture_send_result(struct fixture *f, const struct conn *conn, int32_t result)
{
    fake_ring_complete(f->ring, fixture_op(conn, OP_SEND), result, 0);
    fixture_pump(f);
}

size_t fixture_drain(struct fixture *f, const struct conn *conn, void *out, size_t max)
{
    size_t total = 0;

    for (int steps = 0; conn->out.in_flight > 0; steps++) {
        const struct fake_sqe *send = fake_ring_find(f->ring, FAKE_SEND, conn->fd);

        assert_true(send && steps < ENDLESS);
        assert_int_equal(send->bytes, conn->out.in_flight);
        if (out)
            fake_ring_gather(send, (char *)out + total, max - total);
        total += send->bytes;
        fixture_send_result(f, conn, (int32_t)send->bytes);
    }
    return total;
}

/* ---- the log ---- */

uint32_t fixture_log_count(const struct fixture *f, const char *text)
{
    FILE *file = fopen(f->log_path, "r");
    char line[4096];
    uint32_t count = 0;

    assert_non_null(file);
    while (fgets(line, sizeof(line), file))
        count += strstr(line, text) != NULL;
    fclose(file);
    return count;
}

bool fixture_log_has(const struct fixture *f, const char *text)
{
    return fixture_log_count(f, text) > 0;
}
