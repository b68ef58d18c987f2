/* See http_answer.h. A head is written in one piece into the connection's output, with a small body right behind it. */
#include "http/http_answer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/limits.h"
#include "core/chunk.h"
#include "core/conn.h"
#include "core/listener.h"
#include "core/part.h"
#include "core/reactor.h"
#include "http/http_exchange.h"
#include "http/http_intake.h"
#include "http/http_put.h"
#include "http/http_reason.h"
#include "http/http_server.h"
#include "proto/http_name.h"

#define NO_LENGTH UINT64_MAX
#define TEXT_TYPE "Content-Type: text/plain; charset=utf-8\r\n"
#define JSON_TYPE "Content-Type: application/json\r\n"
#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"

enum {
    HEAD_BYTES_MAX = 512, /* of what is not the script's: status line, Date, Content-Length, ... */
    BODY_BESIDE_HEAD_MAX = 16 * 1024,
    CHUNK_FRAME_BYTES_MAX = 16, /* size in hex and two line ends */
    LINE_EXTRA = 4,             /* ": " and the line's end */
    LENGTH_DIGITS_MAX = 15,
};

void http_answer_init(struct http_answer *answer)
{
    *answer = (struct http_answer){.length = NO_LENGTH};
}

static struct chunk_pool *chunks_of(const struct http_exchange *exchange)
{
    return &exchange->conn->reactor->chunks;
}

static void forget_fields(struct http_exchange *exchange)
{
    struct chunk *fields = exchange->answer.fields;

    if (fields)
        chunk_release(chunks_of(exchange), fields);
    exchange->answer.fields = NULL;
}

void http_answer_deinit(struct http_exchange *exchange)
{
    forget_fields(exchange);
}

/* ---- the fields of the script: lines in a chunk, one behind the other ---- */

/* Room for one more line of `bytes`. */
static int make_room(struct http_exchange *exchange, uint32_t bytes)
{
    struct chunk *old = exchange->answer.fields;
    uint32_t used = old ? old->end : 0;
    struct chunk *larger;

    if (used + bytes > HTTP_ANSWER_FIELDS_BYTES)
        return -ERANGE;
    if (old && chunk_room(old) >= bytes)
        return 0;
    larger = chunk_new(chunks_of(exchange), used + bytes);
    if (!larger)
        return -ENOMEM;
    if (old)
        memcpy(larger->data, old->data, used);
    larger->end = used;
    forget_fields(exchange);
    exchange->answer.fields = larger;
    return 0;
}

static int add_line(struct http_exchange *exchange, const char *name, uint32_t name_len, const char *value,
                    uint32_t value_len)
{
    uint32_t bytes = name_len + value_len + LINE_EXTRA;
    int rc = make_room(exchange, bytes);
    struct chunk *fields = exchange->answer.fields;
    char *at;

    if (rc != 0)
        return rc;
    at = (char *)fields->data + fields->end;
    at = http_put(at, name, name_len);
    at = http_put(at, ": ", 2);
    at = http_put(at, value, value_len);
    http_put(at, "\r\n", 2);
    fields->end += bytes;
    return 0;
}

static void remove_lines(struct http_exchange *exchange, const char *name, uint32_t len)
{
    struct chunk *fields = exchange->answer.fields;
    char *at = fields ? (char *)fields->data : NULL;

    while (fields && at < (char *)fields->data + fields->end) {
        char *end = (char *)fields->data + fields->end;
        char *next = (char *)memchr(at, '\n', (size_t)(end - at)) + 1; /* every line has one */
        bool is_it = (uint32_t)(next - at) > len && at[len] == ':' && strncasecmp(at, name, len) == 0;

        if (is_it) {
            memmove(at, next, (size_t)(end - next));
            fields->end -= (uint32_t)(next - at);
        } else {
            at = next;
        }
    }
}

/* Decimal digits and nothing else. */
static int set_length(struct http_answer *answer, const char *value, uint32_t len)
{
    uint64_t length = 0;

    if (len == 0 || len > LENGTH_DIGITS_MAX)
        return -EINVAL;
    for (uint32_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9')
            return -EINVAL;
        length = length * 10 + (uint64_t)(value[i] - '0');
    }
    answer->length = length;
    return 0;
}

/* Fields that frame the message are not lines: what they ask for is remembered. 0; -ERANGE: it is an ordinary field; -EINVAL or
 * -EPERM, as http_answer_set(). */
static int set_framing(struct http_exchange *exchange, enum http_set mode, enum http_name known, const char *value,
                       uint32_t len)
{
    struct http_answer *answer = &exchange->answer;

    switch (known) {
    case HTTP_NAME_CONTENT_LENGTH:
        if (mode != HTTP_REMOVE)
            return set_length(answer, value, len);
        answer->length = NO_LENGTH;
        return 0;
    case HTTP_NAME_CONNECTION:
        answer->closes = mode != HTTP_REMOVE && len == 5 && strncasecmp(value, "close", len) == 0;
        if (answer->closes || mode == HTTP_REMOVE)
            return 0;
        return len == 10 && strncasecmp(value, "keep-alive", len) == 0 ? 0 : -EINVAL; /* as it is anyway */
    case HTTP_NAME_TRANSFER_ENCODING:
    case HTTP_NAME_UPGRADE:
    case HTTP_NAME_TRAILER:
    case HTTP_NAME_KEEP_ALIVE: return mode == HTTP_REMOVE ? 0 : -EPERM;
    default: return -ERANGE;
    }
}

int http_answer_set(struct http_exchange *exchange, enum http_set mode, const char *name, uint32_t name_len,
                    const char *value, uint32_t value_len)
{
    struct http_answer *answer = &exchange->answer;
    enum http_name known;
    int rc;

    if (exchange->has_begun || exchange->is_lent)
        return exchange->is_lent ? -EBUSY : -EALREADY;
    if (!http_name_is_valid(name, name_len))
        return -EPERM;
    if (mode != HTTP_REMOVE && !http_value_is_valid(value, value_len))
        return -EINVAL;
    known = http_name_find((const uint8_t *)name, name_len);
    rc = set_framing(exchange, mode, known, value, value_len);
    if (rc != -ERANGE)
        return rc;
    if (mode != HTTP_ADD)
        remove_lines(exchange, name, name_len);
    if (known == HTTP_NAME_DATE)
        answer->has_date = mode != HTTP_REMOVE;
    if (known == HTTP_NAME_CONTENT_TYPE)
        answer->has_type = mode != HTTP_REMOVE;
    return mode == HTTP_REMOVE ? 0 : add_line(exchange, name, name_len, value, value_len);
}

/* ---- heads ---- */

static char *put_status(char *at, uint32_t status)
{
    const char *reason;

    if (status == 200)
        return HTTP_PUT(at, "HTTP/1.1 200 OK\r\n");
    reason = http_reason(status);
    at = HTTP_PUT(at, "HTTP/1.1 ");
    at = http_put_number(at, status);
    *at++ = ' ';
    at = http_put(at, reason, strlen(reason));
    return HTTP_PUT(at, "\r\n");
}

static char *put_framing(char *at, const struct http_exchange *exchange, uint64_t length)
{
    if (exchange->answer.framing == HTTP_FRAMING_CHUNKED)
        return HTTP_PUT(at, "Transfer-Encoding: chunked\r\n");
    if (length == NO_LENGTH)
        return at;
    at = HTTP_PUT(at, "Content-Length: ");
    at = http_put_number(at, length);
    return HTTP_PUT(at, "\r\n");
}

static char *put_connection(char *at, const struct http_exchange *exchange)
{
    if (exchange->answer.closes)
        return HTTP_PUT(at, "Connection: close\r\n");
    return exchange->head.minor == 0 ? HTTP_PUT(at, "Connection: keep-alive\r\n") : at;
}

/* The head; `length` for Content-Length. Has the connection's fate decided. */
static char *put_head(char *at, struct http_exchange *exchange, uint64_t length, bool has_content)
{
    const struct http_answer *answer = &exchange->answer;

    at = put_status(at, exchange->status);
    if (!answer->has_date) {
        at = HTTP_PUT(at, "Date: ");
        at = http_put(at, http_server_date(exchange->server), HTTP_DATE_BYTES);
        at = HTTP_PUT(at, "\r\n");
    }
    if (has_content && !answer->has_type)
        at = answer->is_json ? HTTP_PUT(at, JSON_TYPE) : HTTP_PUT(at, TEXT_TYPE);
    if (answer->fields)
        at = http_put(at, answer->fields->data, answer->fields->end);
    at = put_framing(at, exchange, length);
    at = put_connection(at, exchange);
    return HTTP_PUT(at, "\r\n");
}

static bool is_without_content(const struct http_exchange *exchange)
{
    return exchange->status == STATUS_NO_CONTENT || exchange->status == STATUS_NOT_MODIFIED;
}

static bool has_no_body(const struct http_exchange *exchange)
{
    return exchange->head.method == HTTP_HEAD || is_without_content(exchange);
}

void http_answer_decide_end(struct http_exchange *exchange)
{
    const struct conn *conn = exchange->conn;
    struct http_answer *answer = &exchange->answer;

    /* Behind a CONNECT that was refused, what the client meant for the tunnel may have come already. */
    answer->closes = answer->closes || !exchange->head.keeps_alive || exchange->head.method == HTTP_CONNECT ||
                     part_is_draining(conn) || answer->framing == HTTP_FRAMING_CLOSE || !http_intake_may_end(exchange);
}

/* What has come of a body that nobody asked for is looked at first: if it is malformed, the answer is that. */
static void look_at_body(struct http_exchange *exchange)
{
    if (exchange->taken == 0 && exchange->failure == 0 && exchange->conn->in.bytes > 0 &&
        http_intake_can_drain(exchange))
        (void)http_intake_drain(exchange);
}

/* 0 when an answer can begin. What is malformed gets no other answer than that it is: -EPIPE then. */
static int check_begin(struct http_exchange *exchange)
{
    int rc;

    if (exchange->is_lent)
        return -EBUSY;
    if (exchange->has_begun)
        return exchange->is_malformed ? -EPIPE : -EALREADY;
    if (!conn_is_writable(exchange->conn))
        return -EPIPE;
    if (!exchange->is_malformed)
        return 0;
    rc = http_answer_refuse(exchange, exchange->failure);
    return rc < 0 ? rc : -EPIPE;
}

/* Stages what follows a head. Without memory for it the connection ends: half an answer must not be taken for one. */
static int write_on(struct conn *conn, const void *data, uint32_t len)
{
    if (conn_write(conn, data, len) == 0)
        return 0;
    conn_kill(conn, CLOSE_NO_MEMORY);
    return -EPIPE;
}

/* Stages the head, with len bytes of body behind it when there are few. */
static int stage_head(struct http_exchange *exchange, uint64_t length, const void *body, uint32_t len)
{
    struct conn *conn = exchange->conn;
    const struct chunk *fields = exchange->answer.fields;
    uint32_t room = HEAD_BYTES_MAX + (fields ? fields->end : 0);
    bool is_beside = len <= BODY_BESIDE_HEAD_MAX && room + len <= RESERVE_BYTES_MAX;
    bool has_content = length != 0 && !is_without_content(exchange);
    char *start = (char *)output_reserve(&conn->out, chunks_of(exchange), is_beside ? room + len : room);
    char *at = start;

    if (!start)
        return -ENOMEM;
    at = put_head(at, exchange, length, has_content);
    if (is_beside && len > 0)
        at = http_put(at, body, len);
    if (output_commit(&conn->out, (uint32_t)(at - start)) < 0)
        return -ENOMEM;
    conn_mark_dirty(conn);
    exchange->has_begun = 1;
    forget_fields(exchange);
    return is_beside ? 0 : write_on(conn, body, len);
}

/* ---- whole answers ---- */

/* What Content-Length says of a whole answer: also for one that has no body, where the script may know it better. */
static uint64_t length_of(const struct http_exchange *exchange, uint32_t len)
{
    uint32_t status = exchange->status;

    if (status == STATUS_NO_CONTENT)
        return NO_LENGTH;
    if (has_no_body(exchange) && len == 0 && (exchange->answer.length != NO_LENGTH || status == STATUS_NOT_MODIFIED))
        return exchange->answer.length;
    return len;
}

/* Whatever the body of the request is. */
static int send_whole(struct http_exchange *exchange, const char *body, uint32_t len)
{
    int rc;

    exchange->answer.framing = has_no_body(exchange) ? HTTP_FRAMING_NONE : HTTP_FRAMING_LENGTH;
    http_answer_decide_end(exchange);
    rc = stage_head(exchange, length_of(exchange, len), body, has_no_body(exchange) ? 0 : len);
    exchange->has_ended = exchange->has_begun;
    return rc;
}

int http_answer_send(struct http_exchange *exchange, const char *body, uint32_t len)
{
    int rc;

    if (!exchange->has_begun && !exchange->is_lent)
        look_at_body(exchange);
    rc = check_begin(exchange);
    return rc == 0 ? send_whole(exchange, body, len) : rc;
}

int http_answer_refuse(struct http_exchange *exchange, uint16_t status)
{
    bool closes = exchange->answer.closes;
    char body[64];
    int len;

    if (exchange->has_begun)
        return -EALREADY;
    if (!conn_is_writable(exchange->conn))
        return -EPIPE;
    forget_fields(exchange);
    http_answer_init(&exchange->answer);
    exchange->answer.closes = closes;
    exchange->status = status;
    len = snprintf(body, sizeof(body), "%u %s\n", status, http_reason(status));
    return send_whole(exchange, body, (uint32_t)len);
}

int http_answer_continue(struct conn *conn)
{
    return conn_write(conn, CONTINUE, sizeof(CONTINUE) - 1);
}

/* ---- streamed answers ---- */

static enum http_framing framing_of_stream(const struct http_exchange *exchange)
{
    if (exchange->answer.length != NO_LENGTH && exchange->status != STATUS_NO_CONTENT)
        return HTTP_FRAMING_LENGTH;
    if (is_without_content(exchange))
        return HTTP_FRAMING_NONE;
    return exchange->head.minor == 0 ? HTTP_FRAMING_CLOSE : HTTP_FRAMING_CHUNKED;
}

static int begin_stream(struct http_exchange *exchange)
{
    struct http_answer *answer = &exchange->answer;
    int rc = check_begin(exchange);
    uint64_t length;

    if (rc != 0)
        return rc;
    answer->framing = (uint8_t)framing_of_stream(exchange);
    http_answer_decide_end(exchange);
    length = answer->framing == HTTP_FRAMING_LENGTH ? answer->length : NO_LENGTH;
    rc = stage_head(exchange, length, NULL, 0);
    answer->left = answer->length;
    return rc;
}

static int write_chunk(struct conn *conn, const void *data, uint32_t len)
{
    char size[CHUNK_FRAME_BYTES_MAX];
    char *end = HTTP_PUT(http_put_hex(size, len, 0), "\r\n");

    if (write_on(conn, size, (uint32_t)(end - size)) == -EPIPE || write_on(conn, data, len) == -EPIPE)
        return -EPIPE;
    return write_on(conn, "\r\n", 2);
}

static int write_framed(struct http_exchange *exchange, const void *data, uint32_t len)
{
    struct http_answer *answer = &exchange->answer;
    struct conn *conn = exchange->conn;

    if (answer->framing == HTTP_FRAMING_LENGTH) {
        if (len > answer->left)
            return -ERANGE;
        answer->left -= len;
    }
    if (len == 0 || has_no_body(exchange))
        return 0;
    return answer->framing == HTTP_FRAMING_CHUNKED ? write_chunk(conn, data, len) : write_on(conn, data, len);
}

int http_answer_write(struct http_exchange *exchange, const void *data, uint32_t len)
{
    int rc = 0;

    if (exchange->has_ended || exchange->is_lent)
        return check_begin(exchange);
    if (!exchange->has_begun)
        rc = begin_stream(exchange);
    if (rc != 0)
        return rc;
    return conn_is_writable(exchange->conn) ? write_framed(exchange, data, len) : -EPIPE;
}

int http_answer_trailer(struct http_exchange *exchange, const char *name, uint32_t name_len, const char *value,
                        uint32_t value_len)
{
    if (exchange->has_ended || exchange->is_lent)
        return check_begin(exchange);
    if (!exchange->has_begun)
        return -EAGAIN;
    if (!http_name_is_valid(name, name_len) ||
        (http_name_traits(http_name_find((const uint8_t *)name, name_len)) & HTTP_NO_TRAILER))
        return -EPERM;
    if (!http_value_is_valid(value, value_len))
        return -EINVAL;
    return add_line(exchange, name, name_len, value, value_len);
}

/* The last chunk, and what follows it. */
static int end_chunks(struct http_exchange *exchange)
{
    const struct chunk *trailers = exchange->answer.fields;
    struct conn *conn = exchange->conn;
    int rc;

    if (!trailers)
        return write_on(conn, "0\r\n\r\n", 5);
    rc = write_on(conn, "0\r\n", 3);
    if (rc == 0)
        rc = write_on(conn, trailers->data, trailers->end);
    return rc == 0 ? write_on(conn, "\r\n", 2) : rc;
}

int http_answer_finish(struct http_exchange *exchange)
{
    struct http_answer *answer = &exchange->answer;
    struct conn *conn = exchange->conn;

    if (exchange->has_ended || exchange->is_lent)
        return check_begin(exchange);
    if (!exchange->has_begun)
        return http_answer_send(exchange, "", 0);
    if (!conn_is_writable(conn))
        return -EPIPE;
    if (exchange->is_malformed) { /* the client must not take it for a whole answer */
        conn_close(conn, CLOSE_ABORTED);
        return -EPIPE;
    }
    if (answer->framing == HTTP_FRAMING_LENGTH && answer->left > 0 && !has_no_body(exchange))
        return -ERANGE;
    exchange->has_ended = 1;
    return answer->framing == HTTP_FRAMING_CHUNKED && !has_no_body(exchange) ? end_chunks(exchange) : 0;
}
