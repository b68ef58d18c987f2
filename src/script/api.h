/* The whole C-to-Lua ABI: what Lua modules may call and read through FFI. This file is compiled by C *and* is the text that
 * ffi.cdef gets (comments and lines starting with # are dropped by scripts/cdef), so the two cannot drift. Scalars, pointers and
 * small structs only.
 *
 * Rules: a function here never enters Lua, never resumes a coroutine and never raises (LuaJIT's FFI forbids it). What
 * would wait records what the running task awaits and returns ZERG_PARK: the Lua side then yields (zerg.park) and calls the same
 * function again when it is resumed. Fields that start with _ are read by the modules of lua/zerg only. */
#pragma once

#include <stdint.h>

#pragma GCC visibility push(default)

enum zerg_result {
    ZERG_OK = 0,
    ZERG_PARK = 1,      /* recorded: yield, then call again */
    ZERG_FULL = 2,      /* written, but more is staged than write_buffer_max: zerg_conn_wait_room() */
    ZERG_HEAD = 3,      /* the head of an answer is there to be looked at: zerg_http_forward_go_on() */
    ZERG_END = -1,      /* the outside world says no more: zerg_conn_reason() has the word */
    ZERG_CLOSED = -2,   /* misuse: the script closed this connection before */
    ZERG_BUSY = -3,     /* misuse: another coroutine is reading from it */
    ZERG_CANCELED = -4, /* the task was cancelled, or a deadline around it has passed: raise */
    ZERG_NO_TASK = -5,  /* misuse: nothing here can park (main chunk of a script, a finalizer) */
    ZERG_RELEASED = -6, /* misuse: a view or sequence was used after its release */
    ZERG_NO_MEMORY = -7,
    ZERG_RANGE = -8,        /* misuse: a count or position outside what is there */
    ZERG_FORWARDED = -9,    /* misuse: C relays this connection now */
    ZERG_NO_TARGET = -10,   /* misuse: neither an upstream nor an address */
    ZERG_LOOKUP_PARK = -11, /* ZERG_PARK, where a positive number is a count */
    ZERG_FED = -12,         /* misuse: another coroutine relays to this connection */
    ZERG_NO_CONN = -13,   /* misuse: the handle is NULL, which is what FFI makes of nil. Any function that takes one. */
    ZERG_SHUT = -14,      /* misuse: it was shut down for writing */
    ZERG_HTTP = -15,      /* misuse: the connection speaks HTTP, and bytes in between would break that */
    ZERG_BROKEN = -16,    /* the body of a request cannot be had: zerg_http_reason() has the word */
    ZERG_SENT = -17,      /* misuse: the answer has begun, or ended, before */
    ZERG_BAD_NAME = -18,  /* misuse: what no header field may be called */
    ZERG_BAD_VALUE = -19, /* misuse: what no such field may have for a value */
    ZERG_EARLY = -20,     /* misuse: the answer has not begun */
};

/* How zerg_forward_end() ends a connection. */
enum zerg_ending {
    ZERG_ENDING_ORDERLY = 0, /* after what is staged */
    ZERG_ENDING_BROKEN = 1,  /* by a RST behind it */
    ZERG_ENDING_NOW = 2,     /* by a RST */
    ZERG_ENDING_SOON = 3,    /* not yet: what is staged still goes out, if the peer takes it without long pauses */
};

/* What coroutine.yield() returns when the reactor resumes a parked task. */
enum zerg_wake {
    ZERG_WAKE = 0,         /* what was awaited may be there: call again (yield returns nil, not 0) */
    ZERG_WAKE_TIMEOUT = 1, /* the time-out of this wait passed */
    ZERG_WAKE_CANCEL = 2,  /* task:cancel() or a deadline: raise zerg.park's token */
};

enum zerg_seq_kind {
    ZERG_SEQ_SLICE = 0,    /* borrows from another sequence: release() ends this object only */
    ZERG_SEQ_BORROWED = 1, /* of wait/read/peek: ends with the next of those */
    ZERG_SEQ_RETAINED = 2, /* has leases of its own */
};

/* A lease on received bytes: the first words of core's struct lease (asserted in api_view.c). Its memory is never unmapped
 * while the reactor lives, and `generation` changes when the lease ends, so a stale pointer is safe to compare. */
struct zerg_lease {
    const uint8_t *data;
    uint32_t len;
    uint32_t generation;
    struct zerg_lease *next; /* next piece of the same sequence */
};

/* One piece. Valid while _lease->generation == _generation. */
struct zerg_view {
    const uint8_t *_data;
    uint32_t _len;
    uint32_t _generation;
    struct zerg_lease *_lease;
    uint32_t _kind; /* enum zerg_seq_kind */
};

/* _len bytes that start _offset bytes into _first and go on in the leases after it. Empty: _first is NULL.
 * Valid while _first->generation == _generation; a piece in the middle that was released on its own has data NULL. */
struct zerg_seq {
    struct zerg_lease *_first;
    uint32_t _generation;
    uint32_t _offset;
    uint32_t _len;
    uint32_t _kind; /* enum zerg_seq_kind */
};

/* Handle of a connection: slot pointer and the generation it had. A handle that outlived its connection is found out by the
 * generation, never reaches another connection. */
struct zerg_conn {
    void *_conn;
    uint32_t _generation;
    uint32_t _slot;
    double _id;
    /* Of connections that the script made: C lets go of them when they are closed, so the handle remembers who did that. */
    void *_owned; /* its script side, NULL once it was let go, or for an accepted one */
    void *_closer;
    uint32_t _closer_generation;
    double _bytes_in_before; /* of the same connection, for those that used it before */
    double _bytes_out_before;
    uint32_t _carries; /* 1: of struct zerg_filtering */
    uint32_t _is_http; /* 1: of a request */
};

struct zerg_task {
    void *_task;
    uint32_t _generation;
};

/* Of zerg_connect() and zerg_forward(). Times are seconds; negative: as the upstream says, or the usual; 0: no limit. */
struct zerg_dial_options {
    double connect_s;
    double idle_s;  /* of a forward: no byte either way */
    double total_s; /* of all, from the begin: of a connect until it is connected, of a forward until it has ended */
    const char *hash_key; /* for hashing upstreams; NULL: the client's address, or none */
    uint32_t hash_key_len;
    int proxy_version;     /* 1 or 2: a PROXY protocol header goes first; 0: none; -1: as the upstream says */
    const uint8_t *fields; /* of that header: type, two bytes of length, value, of each; version 2 only */
    uint32_t fields_len;
    const struct zerg_conn
        *client;  /* of a connect: whom the header tells of, who gave time-outs and hash; NULL: nobody */
    int no_reuse; /* of a connect: 1: no idle connection will do */
};

/* How a forward went. Strings are valid until the next call of any function here. */
struct zerg_forward_result {
    double bytes_up;
    double bytes_down;
    double duration_s;
    const char *server;
    const char *reason; /* "closed": both sides have said all they had */
};

/* A forward with filters, which the script carries out itself. */
struct zerg_filtering {
    void *_filtering; /* NULL: it has not begun */
    /* Handles for the carrying alone: to all others both connections are being forwarded. */
    struct zerg_conn _client;
    struct zerg_conn _server;
};

/* ---- views and sequences (no connection needed) ---- */

/* Gives the piece its own lease in place (kind becomes RETAINED). OK, RELEASED, NO_MEMORY. */
int zerg_view_retain(struct zerg_view *view);
/* Ends the view: BORROWED gives the buffer back, RETAINED ends its own lease, SLICE just becomes invalid. Idempotent. */
void zerg_view_release(struct zerg_view *view);
int zerg_seq_retain(struct zerg_seq *seq);
void zerg_seq_release(struct zerg_seq *seq);
/* OK while every piece of seq is valid, else RELEASED. */
int zerg_seq_check(const struct zerg_seq *seq);
/* Copies len bytes from 0-based position `from`; the caller has checked the range. OK or RELEASED. */
int zerg_seq_copy(const struct zerg_seq *seq, uint32_t from, uint32_t len, uint8_t *out);
/* 0-based position of the first occurrence at or after `from`, -1: none, ZERG_RELEASED. An empty needle is found at from. */
double zerg_seq_find(const struct zerg_seq *seq, const uint8_t *needle, uint32_t needle_len, uint32_t from);
/* The view of the piece that holds position `from` (0-based), clipped to the sequence. OK, RELEASED, RANGE (past the end). */
int zerg_seq_view_at(const struct zerg_seq *seq, uint32_t from, struct zerg_view *out);
/* A zero-copy part: len bytes from 0-based `from`. OK, RELEASED, RANGE. */
int zerg_seq_slice(const struct zerg_seq *seq, uint32_t from, uint32_t len, struct zerg_seq *out);

/* ---- reading ---- all of want, read, peek and take first end what was borrowed before; only one task at a time may be parked
 * in a read of one connection (BUSY). ZERG_END comes only when fewer bytes than asked for are left and no more will come. */

/* OK when at least `bytes` unread bytes are there, PARK, END, CLOSED, BUSY, CANCELED, NO_TASK. bytes >= 1. */
int zerg_conn_want(const struct zerg_conn *conn, uint32_t bytes);
/* Whether the script holds the front of something that it is still reading (1 or 0): the connection does not go to another version of
 * the scripts then. */
void zerg_conn_set_partial(const struct zerg_conn *conn, int is_partial);
/* The next unread piece, borrowed (earlier borrows stay). OK, or END when nothing is unread (does not park), CLOSED. */
int zerg_conn_next_view(const struct zerg_conn *conn, struct zerg_view *out);
/* All unread bytes, borrowed and consumed. As want(1). */
int zerg_conn_read(const struct zerg_conn *conn, struct zerg_seq *out);
/* All unread bytes (at least `bytes`), borrowed, not consumed. As want(bytes). bytes 0: whatever is there, never parks; out is empty
 * when nothing is. */
int zerg_conn_peek(const struct zerg_conn *conn, uint32_t bytes, struct zerg_seq *out);
/* Exactly `bytes` unread bytes, borrowed and consumed. As want(bytes). */
int zerg_conn_take(const struct zerg_conn *conn, uint32_t bytes, struct zerg_seq *out);
/* Drops the first `bytes` unread bytes and ends what was borrowed. OK, RANGE (fewer are there), CLOSED. */
int zerg_conn_skip(const struct zerg_conn *conn, uint32_t bytes);
/* Unread bytes. */
double zerg_conn_unread(const struct zerg_conn *conn);
/* Pointer to the first n <= 8 unread bytes, in one piece (gathered into scratch when they span buffers; valid until the next call of
 * any function here), or NULL when fewer are there. Does not park, consumes nothing, leaves borrows alone. */
const uint8_t *zerg_conn_front(const struct zerg_conn *conn, uint32_t n);
/* Searches unread bytes: 0-based position of the needle at or after from, or -1. Does not park. */
double zerg_conn_find(const struct zerg_conn *conn, const uint8_t *needle, uint32_t needle_len, uint32_t from);
/* Wakes the task that is parked in a read of this connection: its call sees the wake, finds nothing, and parks again unless the
 * caller's own flag says otherwise (reader:cancel). */
void zerg_conn_wake_reader(const struct zerg_conn *conn);

/* ---- writing ---- */

/* Stages len bytes (copied). OK, FULL (staged as well), END (connection dead), CLOSED, NO_MEMORY. */
int zerg_conn_write(const struct zerg_conn *conn, const void *data, uint32_t len);
/* Stages the bytes of a sequence. As zerg_conn_write, or RELEASED. */
int zerg_conn_write_seq(const struct zerg_conn *conn, const struct zerg_seq *seq);
/* OK when no more than write_buffer_max is staged, PARK, END, CLOSED, CANCELED, NO_TASK. */
int zerg_conn_wait_room(const struct zerg_conn *conn);
/* Room for n bytes (1 to 65536) in one piece at *out, written by the caller and staged by commit(m <= n). Valid until the next
 * write, reserve or park. OK, END, CLOSED, RANGE, NO_MEMORY. */
int zerg_conn_reserve(const struct zerg_conn *conn, uint32_t n, uint8_t **out);
/* OK, FULL, END, CLOSED, RANGE (more than was reserved, or nothing was). */
int zerg_conn_commit(const struct zerg_conn *conn, uint32_t n);
/* OK when nothing is staged any more and the kernel has it all, PARK, END, CLOSED, CANCELED, NO_TASK. */
int zerg_conn_flush(const struct zerg_conn *conn);
/* Half-close after what is staged; reading goes on. OK, END, CLOSED. Idempotent. */
int zerg_conn_shutdown(const struct zerg_conn *conn);
/* Close after what is staged. Idempotent; a NULL handle is ignored, as by all that return nothing. */
void zerg_conn_close(struct zerg_conn *conn);
/* RST, staged bytes dropped. Idempotent. */
void zerg_conn_abort(struct zerg_conn *conn);

/* ---- connections to others ---- what waits is begun by one function; when the task has been resumed, the one that finishes
 * it is called, again for each stray wake-up. END: zerg_pending_reason() has the word. A task has at most one such thing
 * under way; a new one, or its end, drops it. */

/* Connects to a target: an upstream's name, "host:port", "[v6]:port", "unix:/path", "srv:name". An idle connection will do.
 * OK (out is filled in; zerg_conn_let_go() must follow some day), PARK, END, NO_TARGET, NO_TASK, CANCELED, NO_MEMORY, RANGE
 * (the fields of the header). */
int zerg_connect(const char *target, uint32_t len, const struct zerg_dial_options *options, struct zerg_conn *out);
/* OK, PARK, END, CANCELED. */
int zerg_connect_finish(struct zerg_conn *out);
/* Gives a connection that zerg_connect() made back for further use within idle_s (negative: the usual; 0: for ever),or
 * closes it where that cannot be. The handle is as after a close. OK, END (it had ended, or was closed), or RANGE: it has bytes that
 * were not read or not sent; misuse as for a write. */
int zerg_conn_keepalive(struct zerg_conn *conn, double idle_s);
/* The handle of a connection that zerg_connect() made is gone: closes it. Idempotent; for a finalizer. */
void zerg_conn_let_go(struct zerg_conn *conn);

/* Hands the connection to a server of a target, and relays both ways until both ends are done. PARK, END (no server was reached: it is
 * still the script's), NO_TARGET, CLOSED, BUSY, FED, FORWARDED, NO_TASK, CANCELED, NO_MEMORY, RANGE (the fields of the header). */
int zerg_forward(const struct zerg_conn *conn, const char *target, uint32_t len,
                 const struct zerg_dial_options *options);
/* The same to another open connection. proxy_version, connect_s and hash_key do not matter. */
int zerg_forward_conn(const struct zerg_conn *conn, const struct zerg_conn *to,
                      const struct zerg_dial_options *options);
/* OK: out is filled in. PARK, END, CANCELED. */
int zerg_forward_finish(struct zerg_forward_result *out);

/* For a forward that the script carries out itself, with filters. */
/* Whether the connection can be forwarded: OK, or as zerg_forward(). */
int zerg_forward_check(const struct zerg_conn *conn);
/* Begins. OK (zerg_filter_drop() must follow some day), or as zerg_forward_check() of the two, or NO_MEMORY. */
int zerg_filter_begin(const struct zerg_conn *client, const struct zerg_conn *server, const char *target,
                      double connect_s, struct zerg_filtering *out);
/* So many bytes came from that one of its two handles. What zerg_relay() moves for it is counted there. */
void zerg_filter_count(const struct zerg_conn *from, double bytes);
/* How the other side must end when this one has ended: enum zerg_ending. */
int zerg_forward_ending(const struct zerg_conn *conn);
/* Ends one side, as enum zerg_ending says. What was read from it stays valid. */
void zerg_forward_end(const struct zerg_conn *conn, int ending);
/* It is over, with its record: HAProxy's letters. Both sides end in order if they have not ended, and out is filled in; the strings
 * are valid until the drop. */
void zerg_filter_end(const struct zerg_filtering *filtering, int cause, int phase, struct zerg_forward_result *out);
/* For a finalizer. One that has not ended was killed. Idempotent. */
void zerg_filter_drop(struct zerg_filtering *filtering);

/* Moves the next n bytes that come to another connection, n < 2^53 or infinite. OK: all are staged there. PARK, END (either
 * has ended), CLOSED, BUSY, FED, FORWARDED, NO_TASK, CANCELED, NO_MEMORY. */
int zerg_relay(const struct zerg_conn *from, const struct zerg_conn *to, double n);
/* OK, PARK, END, CANCELED, NO_MEMORY. */
int zerg_relay_finish(void);
/* Bytes that the last relay of this task has moved. */
double zerg_relay_moved(void);
/* Stages a received sequence without a copy where that pays. As zerg_conn_write_seq(). */
int zerg_conn_pass_seq(const struct zerg_conn *conn, const struct zerg_seq *seq);

/* Looks a host name up, or takes a numeric address as it is. PARK, END, NO_TARGET (no host name), NO_TASK, CANCELED, NO_MEMORY. */
int zerg_resolve(const char *name, uint32_t len);
/* How many addresses were found, at least 1; or LOOKUP_PARK, END, CANCELED. */
int zerg_resolve_finish(void);
/* The address at that 0-based place, as text; after zerg_resolve_finish(), until anything else waits. */
const char *zerg_resolved(uint32_t place);

/* Drops what the task has under way. */
void zerg_pending_drop(void);
/* What the task has under way is none of what it does until zerg_pending_unshelve(), as a function of the script's runs in the
 * middle of it. */
void zerg_pending_shelve(void);
void zerg_pending_unshelve(void);
/* Why the last of these ended without success: "refused", "timeout", "dns: no such name", ... Static or valid until the next. */
const char *zerg_pending_reason(void);

/* ---- about a connection ---- a stale handle gives "", 0 or NULL */

/* Why it ended ("closed", "reset", "timeout", ...), NULL while it is open. Static string. */
const char *zerg_conn_reason(const struct zerg_conn *conn);
/* Text forms; valid until the next call of the same function on any connection. "" for an unnamed unix peer. */
const char *zerg_conn_remote_addr(const struct zerg_conn *conn);
const char *zerg_conn_local_addr(const struct zerg_conn *conn);
uint32_t zerg_conn_remote_port(const struct zerg_conn *conn);
uint32_t zerg_conn_local_port(const struct zerg_conn *conn);
/* The listener's name. */
const char *zerg_conn_listener(const struct zerg_conn *conn);
double zerg_conn_bytes_in(const struct zerg_conn *conn);
double zerg_conn_bytes_out(const struct zerg_conn *conn); /* taken by the kernel */
/* Leases that scripts hold on this connection's bytes. */
uint32_t zerg_conn_held(const struct zerg_conn *conn);
/* Seconds; 0: none; negative: unchanged. OK or CLOSED. */
int zerg_conn_set_timeouts(const struct zerg_conn *conn, double read_s, double write_s, double idle_s);
/* Asks for runtime.closed() when the connection ends. OK, END when it has ended already, FORWARDED. */
int zerg_conn_watch_close(const struct zerg_conn *conn);
/* Lua keeps something of a connection that speaks HTTP: it is told when that is over. OK, or END: it is. NO_MEMORY. */
int zerg_conn_keep(const struct zerg_conn *conn);

/* ---- the PROXY protocol header that a connection began with ---- */

/* Bytes [_at, _end) of the header: the fields that zerg_conn_proxy_next() takes one by one. */
struct zerg_proxy_fields {
    uint32_t _at;
    uint32_t _end;
};

struct zerg_proxy_field {
    const uint8_t *_value; /* valid while the connection is */
    uint32_t _len;
    uint32_t _type;
};

struct zerg_proxy {
    uint32_t _version;
    uint32_t _is_local; /* 1: the proxy speaks for itself */
    uint32_t _has_addrs;
    uint32_t _has_crc32c;
    uint32_t _source_port;
    uint32_t _destination_port;
    uint32_t _peer_port;
    struct zerg_proxy_fields _fields;
    char _source_addr[128];
    char _destination_addr[128];
    char _peer_addr[128]; /* who connected to us */
};

struct zerg_proxy_ssl {
    uint32_t _verify;
    uint32_t _has_tls;
    uint32_t _has_cert_conn;
    uint32_t _has_cert_sess;
    struct zerg_proxy_fields _fields;
};

/* OK, or END: there was no header, or the handle is stale. */
int zerg_conn_proxy(const struct zerg_conn *conn, struct zerg_proxy *out);
/* The next field. OK, or END: there are no more. */
int zerg_conn_proxy_next(const struct zerg_conn *conn, struct zerg_proxy_fields *rest, struct zerg_proxy_field *out);
/* What the field about TLS says. OK, or END: there is none. */
int zerg_conn_proxy_ssl(const struct zerg_conn *conn, struct zerg_proxy_ssl *out);

/* ---- HTTP: a request, and the answer to it ---- */

/* The first words of struct http_exchange: valid while _generation is the one that the handler was started with, and its memory
 * is never unmapped while the reactor lives. */
struct zerg_http {
    const uint8_t *_head; /* the bytes of its head */
    uint64_t _taken;      /* bytes of its body, by whoever */
    uint32_t _generation;
    uint32_t _status;   /* of the answer: set by Lua */
    uint8_t _method;    /* enum http_method */
    uint8_t _minor;     /* of HTTP/1.x */
    uint8_t _has_begun; /* the head of the answer is staged */
    uint8_t _has_ended; /* and all of the rest */
};

/* Bytes that somebody else owns. */
struct zerg_text {
    const uint8_t *_data;
    uint32_t _len;
};

/* Of enum http_method. */
enum zerg_http_known_method { ZERG_HTTP_CONNECT = 6 };

enum zerg_http_part {
    ZERG_HTTP_METHOD = 0,
    ZERG_HTTP_TARGET = 1,
    ZERG_HTTP_PATH = 2, /* normalised; valid until the next call */
    ZERG_HTTP_QUERY = 3,
    ZERG_HTTP_HOST = 4,
    ZERG_HTTP_CONTENT_TYPE = 5,
};

/* Whose fields. */
enum zerg_http_side {
    ZERG_HTTP_REQUEST = 0,
    ZERG_HTTP_TRAILERS = 1, /* behind the body of the request */
    ZERG_HTTP_ANSWER = 2,   /* of the server that the request is forwarded to, while ZERG_HEAD stands */
};

enum zerg_http_field_mode {
    ZERG_HTTP_SET = 0, /* in place of what has that name */
    ZERG_HTTP_ADD = 1,
    ZERG_HTTP_REMOVE = 2,
};

/* OK, or END: there is none. Valid, where nothing else is said, as long as the request. */
int zerg_http_part(const struct zerg_http *http, int part, struct zerg_text *out);
/* Whether there are fields of that side (enum zerg_http_side): OK or END. */
int zerg_http_has(const struct zerg_http *http, int side);
/* The first field of that name, in any case, at or behind the 0-based place `from`. Its place, or END. */
int zerg_http_find(const struct zerg_http *http, int side, const char *name, uint32_t len, int from,
                   struct zerg_text *value);
/* The field at that place. OK or END. */
int zerg_http_field(const struct zerg_http *http, int side, int place, struct zerg_text *name, struct zerg_text *value);
/* The handle of its connection. */
void zerg_http_conn(const struct zerg_http *http, struct zerg_conn *out);
/* The next piece of the body, borrowed until the next call. At most max bytes in all. OK, END (that was all), PARK, BROKEN, BUSY,
 * CANCELED, NO_TASK, NO_MEMORY. */
int zerg_http_chunk(struct zerg_http *http, double max, struct zerg_view *out);
/* A call of zerg_http_chunk() has parked for too long. */
void zerg_http_timed_out(struct zerg_http *http);
/* Why there is no more of the body, or of the connection; NULL: there may be. Static. */
const char *zerg_http_reason(const struct zerg_http *http);
/* Changes the fields of the answer, as enum zerg_http_field_mode says. OK, SENT, BAD_NAME, BAD_VALUE, RANGE (they do not fit),
 * NO_MEMORY. */
int zerg_http_set(struct zerg_http *http, int mode, const char *name, uint32_t name_len, const char *value,
                  uint32_t value_len);
/* application/json: of the body, unless Content-Type was set. */
void zerg_http_say_json(struct zerg_http *http);
/* Stages the whole answer. OK, FULL (staged as well), END (the connection is dead), SENT, NO_MEMORY. */
int zerg_http_send(struct zerg_http *http, const char *body, uint32_t len);
/* Stages a part of the body, and the head before the first. As zerg_http_send(), or RANGE: more than Content-Length says. */
int zerg_http_write(struct zerg_http *http, const void *data, uint32_t len);
/* Adds a field behind a body in chunks; behind any other it is dropped. As zerg_http_set(), or EARLY. */
int zerg_http_trailer(struct zerg_http *http, const char *name, uint32_t name_len, const char *value,
                      uint32_t value_len);
/* Ends the body. As zerg_http_send(), or RANGE: less than Content-Length says. */
int zerg_http_finish(struct zerg_http *http);
/* OK when no more than write_buffer_max is staged, PARK, END, CANCELED, NO_TASK. */
int zerg_http_wait_room(struct zerg_http *http);
/* Nobody takes a CONNECT: 501. */
void zerg_http_refuse_connect(struct zerg_http *http);
/* The handler has returned: an answer that was not begun is empty, or says what was wrong with the body. OK, or RANGE as
 * zerg_http_finish(); or BUSY: another task was forwarding the request. */
int zerg_http_returned(struct zerg_http *http);

/* A field that a forwarded message gets. */
struct zerg_http_field {
    const char *_name;
    const char *_value; /* NULL: it is removed */
};

/* Of zerg_http_forward(), which copies what it points to. Times are seconds; negative: as the upstream
 * says; 0: no limit. */
struct zerg_http_forward_options {
    const char *_path; /* in place of the request's path, and of its query when it has a ? itself; NULL: those */
    const char *_method;
    const char *_body; /* in place of the request's; NULL: that, as it comes */
    const char *_hash_key;
    const struct zerg_http_field *_fields; /* of the request */
    const struct zerg_http_field *_answer_fields;
    uint32_t _path_len;
    uint32_t _method_len;
    uint32_t _body_len;
    uint32_t _hash_key_len;
    uint32_t _field_count;
    uint32_t _answer_field_count;
    double _connect_s;
    double _read_s;
    int _retries;
    int _wants_head; /* 1: the head of the answer waits to be looked at */
};

struct zerg_http_forward_result {
    uint32_t status;
    double bytes_up;
    double bytes_down;
    double duration_s;
    const char *server; /* these two are valid until the next call of any function here */
    const char *reason; /* why the answer is not complete, NULL: it is */
};

/* Whether a field may be set in a forwarded message: OK, BAD_NAME, BAD_VALUE. value NULL: whether it may be removed. */
int zerg_http_may_forward(const char *name, uint32_t name_len, const char *value, uint32_t value_len);
/* Forwards the request to a server of a target, and the answer to the client. PARK, HEAD, END (there is no answer, and nothing was
 * sent), NO_TARGET, SENT, BUSY (another coroutine reads the body, or forwards it), BROKEN (a part of the body is gone), NO_TASK,
 * CANCELED, NO_MEMORY. */
int zerg_http_forward(struct zerg_http *http, const char *target, uint32_t len,
                      const struct zerg_http_forward_options *options);
/* OK: out is filled in. PARK, HEAD, END, CANCELED. */
int zerg_http_forward_finish(struct zerg_http_forward_result *out);
/* The status of the answer that HEAD tells of, 0: there is none just now. */
uint32_t zerg_http_answer_status(const struct zerg_http *http);
/* HEAD was dealt with: these fields are set in the answer, in place of those of the options; NULL: those. As zerg_http_forward(). */
int zerg_http_forward_go_on(const struct zerg_http_field *fields, uint32_t count);

/* Names and values of application/x-www-form-urlencoded text, as they are written. */
struct zerg_pairs {
    const uint8_t *_text; /* what is left of it */
    double _len;
    struct zerg_text _name;
    struct zerg_text _value;
};

/* OK, or END. */
int zerg_pair_next(struct zerg_pairs *pairs);
/* Undoes the escapes; out has room for len bytes. Returns the length. */
uint32_t zerg_pair_decode(char *out, const uint8_t *text, uint32_t len);

/* ---- tasks: coroutines that the reactor resumes ---- */

/* The running task. OK or NO_TASK. */
int zerg_task_self(struct zerg_task *out);
/* Parks the running task until zerg_task_wake() or, with timeout_s >= 0, until that time passed (WAKE_TIMEOUT).
 * PARK, CANCELED, NO_TASK. */
int zerg_task_park(double timeout_s);
/* Makes a task ready that is parked in zerg_task_park(); elsewhere, or gone: no effect. Returns 1 when it was woken. */
int zerg_task_wake(const struct zerg_task *task);
/* Every park of the task, the present one included, raises from now on. No effect on one that has ended. */
void zerg_task_cancel(const struct zerg_task *task);
/* Opens a deadline around what the running task does next: when seconds have passed, its parks raise until the scope is left.
 * Scopes nest, at most 16 deep. Returns the scope's depth (1..16), or NO_TASK, RANGE (too deep), NO_MEMORY. */
int zerg_scope_enter(double seconds);
/* Leaves the scope of that depth, and those inside it that were never left: 1 when its time had passed, else 0 (also when it is not
 * there any more). */
int zerg_scope_leave(int depth);
/* Depth of the outermost scope of the running task whose time has passed, 0: none; -1: the task itself was cancelled. */
int zerg_scope_expired(void);

/* ---- the rest ---- */

double zerg_now(void);  /* monotonic seconds of this turn */
double zerg_time(void); /* wall clock, seconds since the epoch */
uint32_t zerg_reactor_index(void);
uint32_t zerg_reactor_count(void);
const char *zerg_version_text(void);
int zerg_reloading(void); /* 1: a newer version of the scripts is current */
int zerg_draining(void);  /* 1: the server is shutting down */
/* level: 0 debug, 1 info, 2 warn, 3 error. */
void zerg_log(int level, const char *message, uint32_t len);
int zerg_log_is_on(int level);
/* Around the code of an operator, which is ended with an error when it runs too long; nothing else may run after that, until
 * the second is called. */
void zerg_eval_begin(void);
void zerg_eval_end(void);
/* Machine code of a compiled trace and where it starts in the script, so that the watchdog can name the line of a handler that
 * never parks (see stall.h). A NULL place forgets all traces (they were flushed). */
void zerg_trace_compiled(double address, uint32_t bytes, const char *place);

#pragma GCC visibility pop
