/* A reactor on the fake ring, with one listener and a clock that only the test moves, for tests of connections and of what
 * stands on them. Its app is a recorder that writes down what it is told, or the real script runtime. Sockets are local
 * pairs, there to see what the peer would see; bytes never go through them, the test makes the completions. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/config.h"
#include "core/conn.h"
#include "core/engine.h"
#include "core/listen_socket.h"
#include "core/listener.h"
#include "core/reactor.h"
#include "fake_ring.h"

enum { FIXTURE_CONNS_MAX = 128, FIXTURE_SOCKETS_MAX = 2, FIXTURE_VERSIONS_MAX = 4 };
enum { HTTP_BODY_BYTES = 1000 }; /* limits.body_bytes of a fixture that speaks HTTP */

struct runtime;
struct version;

/* What the recorder was told, all connections. */
struct record {
    uint32_t opened;
    uint32_t inputs;
    uint32_t outputs;
    uint32_t read_timeouts;
    uint32_t ends;
    enum close_reason end_reason; /* of the last end */
    uint32_t turns;
    uint32_t abandons;
};

struct fixture {
    struct config config;
    struct listener_config listener_config;
    struct http_route route;                           /* of a listener that speaks HTTP */
    struct listen_socket sockets[FIXTURE_SOCKETS_MAX]; /* the first is its listener's */
    struct version *version;                           /* the one it begins with */
    struct version *newer[FIXTURE_VERSIONS_MAX];
    uint32_t newer_count;
    struct engine engine;
    struct reactor reactor;
    struct ring *ring; /* the reactor's */
    struct record record;
    uint32_t answered;            /* operations that fixture_answer() has seen */
    bool consumes;                /* the recorder drops input at once */
    bool has_more;                /* what the recorder's turn says */
    int peers[FIXTURE_CONNS_MAX]; /* the other ends */
    uint32_t peer_count;
    char directory[64]; /* of log and script */
    char *script_path;
    char *log_path;
};

struct fixture_options {
    uint32_t buffers;      /* 0: 8 */
    uint32_t buffer_bytes; /* 0: 1024 */
    bool incremental;
    bool reuseport;           /* the reactor accepts for itself */
    uint32_t max_connections; /* 0: 16 */
    struct timeouts timeouts;
    const char *script;                /* text of a handler script: the app is the real runtime; NULL: the recorder */
    uint64_t script_memory_max;        /* 0: 64 MiB */
    const struct http_config *http;    /* the listener speaks HTTP; NULL: it does not */
    const char *forward;               /* the listener relays to this ("unix:@name"): the handler is the relay */
    struct upstream_config *upstreams; /* borrowed until fixture_free() */
    uint32_t upstream_count;
};

/* The usual setup and teardown: the recorder, all options 0. */
int fixture_setup(void **state);
int fixture_teardown(void **state);
/* Asserts that opening the reactor works. */
struct fixture *fixture_new(const struct fixture_options *options);
/* The same, and gives the outcome of opening the reactor. */
int fixture_try_new(struct fixture **out, const struct fixture_options *options);
/* Ends every connection as a stopping server does, and checks that everything came back. */
void fixture_free(struct fixture *f);

/* Another version, with the same script file, of this configuration, which is like config or a copy of it; nothing of it is
 * begun. Freed with the fixture. */
struct version *fixture_add_version(struct fixture *f, struct config *config);
/* Begins it and makes it current, as the control thread does. */
void fixture_switch(struct fixture *f, struct version *version);
/* Writes the script file anew: for versions that are loaded from now on. */
void fixture_rewrite(const struct fixture *f, const char *script);
/* A turn that also looks into the inbox and after parts. */
void fixture_turn(struct fixture *f);

/* The scripts, of a fixture that has some. */
struct runtime *fixture_runtime(const struct fixture *f);

/* A new connection, receiving. */
struct conn *fixture_open(struct fixture *f);
/* The other end of a connection's socket. */
int fixture_peer(const struct fixture *f, const struct conn *conn);
/* The one connection of our own making, NULL: there is none (or more). */
struct conn *fixture_outgoing(struct fixture *f);
/* The kernel answers its connect. */
void fixture_connect_result(struct fixture *f, const struct conn *conn, int32_t result);
/* True when the peer sees our end of stream (or a reset). */
bool fixture_peer_sees_end(const struct fixture *f, const struct conn *conn);

/* One turn at the fixture's own time: completions, timers, the app, settling; without what only the reactor does for those
 * that wait for buffers. */
void fixture_pump(struct fixture *f);
/* Time passes, in one step; then a turn. */
void fixture_advance(struct fixture *f, uint64_t ms);
/* Answers cancels and closes that were queued, as the kernel does, and turns, until there are none. */
void fixture_answer(struct fixture *f);

/* Completions of a connection's present operations, followed by a turn. */
void fixture_feed(struct fixture *f, const struct conn *conn, const void *bytes, size_t len);
void fixture_feed_text(struct fixture *f, const struct conn *conn, const char *text);
void fixture_recv_result(struct fixture *f, const struct conn *conn, int32_t result);
void fixture_send_result(struct fixture *f, const struct conn *conn, int32_t result);
/* Everything in flight is sent, and what follows it, until nothing is staged; appended to out if given. Returns the bytes. */
size_t fixture_drain(struct fixture *f, const struct conn *conn, void *out, size_t max);

/* user_data of a connection's operation. */
uint64_t fixture_op(const struct conn *conn, int kind);
/* True when the log has the text. */
bool fixture_log_has(const struct fixture *f, const char *text);
/* How often the log has it. */
uint32_t fixture_log_count(const struct fixture *f, const char *text);
