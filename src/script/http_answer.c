/* See http_answer.h. A head is written in one piece into the connection's output, with a small body right behind it. */
#include "script/http_answer.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/limits.h"
#include "core/chunk.h"
#include "core/conn.h"
#include "core/listener.h"
#include "core/reactor.h"
#include "proto/http_name.h"
#include "script/api_common.h"
#include "script/http_exchange.h"
#include "script/http_intake.h"
#include "script/http_reason.h"
#include "script/runtime.h"

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
    return &exchange->sc.conn->reactor->chunks;
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
        return ZERG_RANGE;
    if (old && chunk_room(old) >= bytes)
        return ZERG_OK;
    larger = chunk_new(chunks_of(exchange), used + bytes);
    if (!larger)
        return ZERG_NO_MEMORY;
    if (old)
        memcpy(larger->data, old->data, used);
    larger->end = used;
    forget_fields(exchange);
    exchange->answer.fields = larger;
    return ZERG_OK;
}

static char *put(char *at, const void *text, size_t len)
{
    memcpy(at, text, len);
    return at + len;
}

static int add_line(struct http_exchange *exchange, const char *name, uint32_t name_len, const char *value,
                    uint32_t value_len)
{
    uint32_t bytes = name_len + value_len + LINE_EXTRA;
    int rc = make_room(exchange, bytes);
    struct chunk *fields = exchange->answer.fields;
    char *at;

    if (rc != ZERG_OK)
        return rc;
    at = (char *)fields->data + fields->end;
    at = put(at, name, name_len);
    at = put(at, ": ", 2);
    at = put(at, value, value_len);
    put(at, "\r\n", 2);
    fields->end += bytes;
    return ZERG_OK;
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
        return ZERG_BAD_VALUE;
    for (uint32_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9')
            return ZERG_BAD_VALUE;
        length = length * 10 + (uint64_t)(value[i] - '0');
    }
    answer->length = length;
    return ZERG_OK;
}

/* Fields that frame the message are not lines: what they ask for is remembered. OK, RANGE (it is an ordinary field), or what is
 * wrong. */
static int set_framing(struct http_exchange *exchange, int mode, enum http_name known, const char *value, uint32_t len)
{
    struct http_answer *answer = &exchange->answer;

    switch (known) {
    case HTTP_NAME_CONTENT_LENGTH:
        if (mode != ZERG_HTTP_REMOVE)
            return set_length(answer, value, len);
        answer->length = NO_LENGTH;
        return ZERG_OK;
    case HTTP_NAME_CONNECTION:
        if (mode != ZERG_HTTP_REMOVE && !(len == 5 && strncasecmp(value, "close", len) == 0))
            return ZERG_BAD_VALUE;
        answer->closes = mode != ZERG_HTTP_REMOVE;
        return ZERG_OK;
    case HTTP_NAME_TRANSFER_ENCODING:
    case HTTP_NAME_UPGRADE:
    case HTTP_NAME_TRAILER:
    case HTTP_NAME_KEEP_ALIVE: return mode == ZERG_HTTP_REMOVE ? ZERG_OK : ZERG_BAD_NAME;
    default: return ZERG_RANGE;
    }
}

int http_answer_set(struct http_exchange *exchange, int mode, const char *name, uint32_t name_len, const char *value,
                    uint32_t value_len)
{
    struct http_answer *answer = &exchange->answer;
    enum http_name known;
    int rc;

    if (exchange->shared._has_begun)
        return ZERG_SENT;
    if (!http_name_is_valid(name, name_len))
        return ZERG_BAD_NAME;
    if (mode != ZERG_HTTP_REMOVE && !http_value_is_valid(value, value_len))
        return ZERG_BAD_VALUE;
    known = http_name_find((const uint8_t *)name, name_len);
    rc = set_framing(exchange, mode, known, value, value_len);
    if (rc != ZERG_RANGE)
        return rc;
    if (mode != ZERG_HTTP_ADD)
        remove_lines(exchange, name, name_len);
    if (known == HTTP_NAME_DATE)
        answer->has_date = mode != ZERG_HTTP_REMOVE;
    if (known == HTTP_NAME_CONTENT_TYPE)
        answer->has_type = mode != ZERG_HTTP_REMOVE;
    return mode == ZERG_HTTP_REMOVE ? ZERG_OK : add_line(exchange, name, name_len, value, value_len);
}

/* ---- heads ---- */

static const char *date(struct runtime *runtime)
{
    struct http_date *cache = &runtime->date;
    int64_t second;

    if (cache->at_ms == runtime->reactor->now_ms && cache->second != 0)
        return cache->text;
    cache->at_ms = runtime->reactor->now_ms;
    second = (int64_t)(clock_wall_ns() / NS_PER_S);
    if (second != cache->second)
        http_date_format(cache->text, second);
    cache->second = second;
    return cache->text;
}

/* Without a NUL. */
static char *put_number(char *at, uint64_t number)
{
    char digits[20];
    uint32_t count = 0;

    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (count > 0)
        *at++ = digits[--count];
    return at;
}

#define PUT(at, text) put(at, text, sizeof(text) - 1)

static char *put_status(char *at, uint32_t status)
{
    const char *reason;

    if (status == 200)
        return PUT(at, "HTTP/1.1 200 OK\r\n");
    reason = http_reason(status);
    at = PUT(at, "HTTP/1.1 ");
    at = put_number(at, status);
    *at++ = ' ';
    at = put(at, reason, strlen(reason));
    return PUT(at, "\r\n");
}

static char *put_framing(char *at, const struct http_exchange *exchange, uint64_t length)
{
    if (exchange->answer.framing == HTTP_FRAMING_CHUNKED)
        return PUT(at, "Transfer-Encoding: chunked\r\n");
    if (length == NO_LENGTH)
        return at;
    at = PUT(at, "Content-Length: ");
    at = put_number(at, length);
    return PUT(at, "\r\n");
}

static char *put_connection(char *at, const struct http_exchange *exchange)
{
    if (exchange->answer.closes)
        return PUT(at, "Connection: close\r\n");
    return exchange->head.minor == 0 ? PUT(at, "Connection: keep-alive\r\n") : at;
}

/* The head; `length` for Content-Length. Has the connection's fate decided. */
static char *put_head(char *at, struct http_exchange *exchange, uint64_t length, bool has_content)
{
    const struct http_answer *answer = &exchange->answer;

    at = put_status(at, exchange->shared._status);
    if (!answer->has_date) {
        at = PUT(at, "Date: ");
        at = put(at, date(exchange->sc.runtime), HTTP_DATE_BYTES);
        at = PUT(at, "\r\n");
    }
    if (has_content && !answer->has_type)
        at = answer->is_json ? PUT(at, JSON_TYPE) : PUT(at, TEXT_TYPE);
    if (answer->fields)
        at = put(at, answer->fields->data, answer->fields->end);
    at = put_framing(at, exchange, length);
    at = put_connection(at, exchange);
    return PUT(at, "\r\n");
}

static bool is_without_content(const struct http_exchange *exchange)
{
    return exchange->shared._status == STATUS_NO_CONTENT || exchange->shared._status == STATUS_NOT_MODIFIED;
}

static bool has_no_body(const struct http_exchange *exchange)
{
    return exchange->head.method == HTTP_HEAD || is_without_content(exchange);
}

/* Whether the connection ends behind the answer. */
static void decide_end(struct http_exchange *exchange)
{
    const struct conn *conn = exchange->sc.conn;
    struct http_answer *answer = &exchange->answer;

    answer->closes = answer->closes || !exchange->head.keeps_alive || conn->reactor->state != REACTOR_RUNNING ||
                     answer->framing == HTTP_FRAMING_CLOSE || !http_intake_may_end(exchange);
}

/* OK when an answer can begin. */
static int check_begin(const struct http_exchange *exchange)
{
    if (exchange->shared._has_begun)
        return ZERG_SENT;
    return conn_is_writable(exchange->sc.conn) ? ZERG_OK : ZERG_END;
}

/* Stages what follows a head. Without memory for it the connection ends: half an answer must not be taken for one. */
static int write_on(struct conn *conn, const void *data, uint32_t len)
{
    if (conn_write(conn, data, len) == 0)
        return api_fullness(conn);
    conn_kill(conn, CLOSE_NO_MEMORY);
    return ZERG_END;
}

/* Stages the head, with len bytes of body behind it when there are few. */
static int stage_head(struct http_exchange *exchange, uint64_t length, const void *body, uint32_t len)
{
    struct conn *conn = exchange->sc.conn;
    const struct chunk *fields = exchange->answer.fields;
    uint32_t room = HEAD_BYTES_MAX + (fields ? fields->end : 0);
    bool is_beside = len <= BODY_BESIDE_HEAD_MAX && room + len <= RESERVE_BYTES_MAX;
    bool has_content = length != 0 && !is_without_content(exchange);
    char *start = (char *)output_reserve(&conn->out, chunks_of(exchange), is_beside ? room + len : room);
    char *at = start;

    if (!start)
        return ZERG_NO_MEMORY;
    at = put_head(at, exchange, length, has_content);
    if (is_beside && len > 0)
        at = put(at, body, len);
    if (output_commit(&conn->out, (uint32_t)(at - start)) < 0)
        return ZERG_NO_MEMORY;
    conn_mark_dirty(conn);
    exchange->shared._has_begun = 1;
    forget_fields(exchange);
    return is_beside ? api_fullness(conn) : write_on(conn, body, len);
}

/* ---- whole answers ---- */

/* What Content-Length says of a whole answer: also for one that has no body, where the script may know it better. */
static uint64_t length_of(const struct http_exchange *exchange, uint32_t len)
{
    uint32_t status = exchange->shared._status;

    if (status == STATUS_NO_CONTENT)
        return NO_LENGTH;
    if (has_no_body(exchange) && len == 0 && (exchange->answer.length != NO_LENGTH || status == STATUS_NOT_MODIFIED))
        return exchange->answer.length;
    return len;
}

int http_answer_send(struct http_exchange *exchange, const char *body, uint32_t len)
{
    int rc = check_begin(exchange);

    if (rc != ZERG_OK)
        return rc;
    exchange->answer.framing = has_no_body(exchange) ? HTTP_FRAMING_NONE : HTTP_FRAMING_LENGTH;
    decide_end(exchange);
    rc = stage_head(exchange, length_of(exchange, len), body, has_no_body(exchange) ? 0 : len);
    exchange->shared._has_ended = exchange->shared._has_begun;
    return rc;
}

int http_answer_refuse(struct http_exchange *exchange, uint16_t status)
{
    bool closes = exchange->answer.closes;
    char body[64];
    int len;

    forget_fields(exchange);
    http_answer_init(&exchange->answer);
    exchange->answer.closes = closes;
    exchange->shared._status = status;
    len = snprintf(body, sizeof(body), "%u %s\n", status, http_reason(status));
    return http_answer_send(exchange, body, (uint32_t)len);
}

int http_answer_continue(struct conn *conn)
{
    return conn_write(conn, CONTINUE, sizeof(CONTINUE) - 1) < 0 ? ZERG_NO_MEMORY : ZERG_OK;
}

/* ---- streamed answers ---- */

static enum http_framing framing_of_stream(const struct http_exchange *exchange)
{
    if (exchange->answer.length != NO_LENGTH && exchange->shared._status != STATUS_NO_CONTENT)
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

    if (rc != ZERG_OK)
        return rc;
    answer->framing = (uint8_t)framing_of_stream(exchange);
    decide_end(exchange);
    length = answer->framing == HTTP_FRAMING_LENGTH ? answer->length : NO_LENGTH;
    rc = stage_head(exchange, length, NULL, 0);
    answer->left = answer->length;
    return rc;
}

static int write_chunk(struct conn *conn, const void *data, uint32_t len)
{
    char size[CHUNK_FRAME_BYTES_MAX];
    int size_len = snprintf(size, sizeof(size), "%x\r\n", len);

    if (write_on(conn, size, (uint32_t)size_len) == ZERG_END || write_on(conn, data, len) == ZERG_END)
        return ZERG_END;
    return write_on(conn, "\r\n", 2);
}

static int write_framed(struct http_exchange *exchange, const void *data, uint32_t len)
{
    struct http_answer *answer = &exchange->answer;
    struct conn *conn = exchange->sc.conn;

    if (answer->framing == HTTP_FRAMING_LENGTH) {
        if (len > answer->left)
            return ZERG_RANGE;
        answer->left -= len;
    }
    if (len == 0 || has_no_body(exchange))
        return api_fullness(conn);
    return answer->framing == HTTP_FRAMING_CHUNKED ? write_chunk(conn, data, len) : write_on(conn, data, len);
}

int http_answer_write(struct http_exchange *exchange, const void *data, uint32_t len)
{
    int rc = ZERG_OK;

    if (exchange->shared._has_ended)
        return ZERG_SENT;
    if (!exchange->shared._has_begun)
        rc = begin_stream(exchange);
    if (rc != ZERG_OK && rc != ZERG_FULL)
        return rc;
    return conn_is_writable(exchange->sc.conn) ? write_framed(exchange, data, len) : ZERG_END;
}

int http_answer_finish(struct http_exchange *exchange)
{
    struct http_answer *answer = &exchange->answer;
    struct conn *conn = exchange->sc.conn;

    if (exchange->shared._has_ended)
        return ZERG_SENT;
    if (!exchange->shared._has_begun)
        return http_answer_send(exchange, "", 0);
    if (!conn_is_writable(conn))
        return ZERG_END;
    if (answer->framing == HTTP_FRAMING_LENGTH && answer->left > 0 && !has_no_body(exchange))
        return ZERG_RANGE;
    exchange->shared._has_ended = 1;
    if (answer->framing == HTTP_FRAMING_CHUNKED && !has_no_body(exchange))
        return write_on(conn, "0\r\n\r\n", 5);
    return api_fullness(conn);
}
