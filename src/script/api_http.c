/* The part of api.h about HTTP requests and their answers. */
#include <errno.h>
#include <string.h>

#include "base/limits.h"
#include "core/lease.h"
#include "core/reactor.h"
#include "http/http_answer.h"
#include "http/http_exchange.h"
#include "http/http_intake.h"
#include "http/http_reason.h"
#include "proto/http_path.h"
#include "script/api_common.h"
#include "script/http_forwarding.h"

/* What Lua has is the exchange itself, of which it sees the first fields. */
static_assert(offsetof(struct http_exchange, head_bytes) == offsetof(struct zerg_http, _head), "as api.h has it");
static_assert(offsetof(struct http_exchange, taken) == offsetof(struct zerg_http, _taken), "as api.h has it");
static_assert(offsetof(struct http_exchange, generation) == offsetof(struct zerg_http, _generation), "as api.h has it");
static_assert(offsetof(struct http_exchange, status) == offsetof(struct zerg_http, _status), "as api.h has it");
static_assert(offsetof(struct http_exchange, method) == offsetof(struct zerg_http, _method), "as api.h has it");
static_assert(offsetof(struct http_exchange, minor) == offsetof(struct zerg_http, _minor), "as api.h has it");
static_assert(offsetof(struct http_exchange, has_begun) == offsetof(struct zerg_http, _has_begun), "as api.h has it");
static_assert(offsetof(struct http_exchange, has_ended) == offsetof(struct zerg_http, _has_ended), "as api.h has it");
static_assert((int)ZERG_HTTP_SET == (int)HTTP_SET && (int)ZERG_HTTP_ADD == (int)HTTP_ADD, "as api.h has it");
static_assert((int)ZERG_HTTP_CONNECT == (int)HTTP_CONNECT, "as api.h has it");
static_assert((int)ZERG_HTTP_REMOVE == (int)HTTP_REMOVE, "as api.h has it");

static struct http_exchange *exchange_of(struct zerg_http *http)
{
    return (struct http_exchange *)(void *)http;
}

static const struct http_exchange *const_exchange_of(const struct zerg_http *http)
{
    return (const struct http_exchange *)(const void *)http;
}

/* ---- the head ---- */

static int give(const struct zerg_http *http, struct http_span span, struct zerg_text *out)
{
    out->_data = http->_head + span.at;
    out->_len = http_span_len(span);
    return ZERG_OK;
}

static int give_path(const struct zerg_http *http, struct zerg_text *out)
{
    static _Thread_local char path[HTTP_HEAD_BYTES_MAX + 1];
    const struct http_target *target = &const_exchange_of(http)->head.target;
    int len;

    if (target->form == HTTP_ASTERISK)
        return give(http, target->all, out);
    len = http_path_normalize(path, http->_head + target->path.at, http_span_len(target->path));
    out->_data = (const uint8_t *)path;
    out->_len = len > 0 ? (uint32_t)len : 0; /* what cannot be was refused before */
    return ZERG_OK;
}

static int give_known(const struct zerg_http *http, enum http_name known, struct zerg_text *out)
{
    const struct http_fields *fields = &const_exchange_of(http)->head.fields;

    for (uint16_t i = 0; i < fields->count; i++) {
        if (fields->list[i].known == known)
            return give(http, fields->list[i].value, out);
    }
    return ZERG_END;
}

int zerg_http_part(const struct zerg_http *http, int part, struct zerg_text *out)
{
    const struct http_head *head = &const_exchange_of(http)->head;

    switch ((enum zerg_http_part)part) {
    case ZERG_HTTP_METHOD: return give(http, head->method_text, out);
    case ZERG_HTTP_TARGET: return give(http, head->target.all, out);
    case ZERG_HTTP_PATH: return give_path(http, out);
    case ZERG_HTTP_QUERY: return head->target.has_query ? give(http, head->target.query, out) : ZERG_END;
    case ZERG_HTTP_HOST:
        return http_span_is_empty(head->authority.host) ? ZERG_END : give(http, head->authority.host, out);
    case ZERG_HTTP_CONTENT_TYPE: return give_known(http, HTTP_NAME_CONTENT_TYPE, out);
    }
    return ZERG_END;
}

/* The fields of a side, and the bytes that their spans count from; NULL: there are none. */
static const struct http_fields *fields_of(const struct zerg_http *http, int side, const uint8_t **bytes)
{
    const struct http_exchange *exchange = const_exchange_of(http);
    const struct http_inflow *inflow = &exchange->inflow;
    const struct script_conn *sc = exchange->owner;
    const struct http_head *head;

    *bytes = http->_head;
    switch ((enum zerg_http_side)side) {
    case ZERG_HTTP_REQUEST: return &exchange->head.fields;
    case ZERG_HTTP_TRAILERS:
        if (!inflow->trailer_bytes)
            return NULL;
        *bytes = inflow->trailer_bytes->data;
        return inflow->trailers;
    case ZERG_HTTP_ANSWER: break;
    }
    head = sc->http_forwarding ? http_forwarding_head(sc->http_forwarding, bytes) : NULL;
    return head ? &head->fields : NULL;
}

static void give_from(const uint8_t *bytes, struct http_span span, struct zerg_text *out)
{
    *out = (struct zerg_text){._data = bytes + span.at, ._len = http_span_len(span)};
}

int zerg_http_has(const struct zerg_http *http, int side)
{
    const uint8_t *bytes;

    return fields_of(http, side, &bytes) ? ZERG_OK : ZERG_END;
}

int zerg_http_find(const struct zerg_http *http, int side, const char *name, uint32_t len, int from,
                   struct zerg_text *value)
{
    const uint8_t *bytes;
    const struct http_fields *fields = fields_of(http, side, &bytes);
    enum http_name known = http_name_is_valid(name, len) ? http_name_find((const uint8_t *)name, len) : HTTP_NAME_OTHER;

    for (int i = from; fields && i < fields->count; i++) {
        const struct http_field *field = &fields->list[i];
        bool is_it = known != HTTP_NAME_OTHER ? field->known == known
                                              : field->known == HTTP_NAME_OTHER && http_span_len(field->name) == len &&
                                                    strncasecmp((const char *)bytes + field->name.at, name, len) == 0;

        if (is_it) {
            give_from(bytes, field->value, value);
            return i;
        }
    }
    return ZERG_END;
}

int zerg_http_field(const struct zerg_http *http, int side, int place, struct zerg_text *name, struct zerg_text *value)
{
    const uint8_t *bytes;
    const struct http_fields *fields = fields_of(http, side, &bytes);

    if (!fields || place < 0 || place >= fields->count)
        return ZERG_END;
    give_from(bytes, fields->list[place].name, name);
    give_from(bytes, fields->list[place].value, value);
    return ZERG_OK;
}

void zerg_http_conn(const struct zerg_http *http, struct zerg_conn *out)
{
    struct conn *conn = const_exchange_of(http)->conn;

    *out = (struct zerg_conn){._conn = conn,
                              ._generation = conn->generation,
                              ._slot = conn->slot,
                              ._id = (double)conn->id,
                              ._is_http = 1};
}

/* ---- the body ---- */

static int park_reader(struct http_exchange *exchange)
{
    struct script_conn *sc = exchange->owner;
    struct task *task = sc->runtime->running;
    uint32_t wanted = sc->conn->in.bytes + 1;
    int rc = ZERG_NO_TASK;

    if (task)
        rc = task_park_reading(task, sc);
    if (rc == ZERG_PARK)
        script_conn_set_reader(sc, task, wanted);
    return rc;
}

/* Nothing is there yet: the client may wait for our word. */
static int await_body(struct http_exchange *exchange)
{
    struct conn *conn = exchange->conn;

    if (conn_ended(conn)) {
        http_intake_fail(exchange, STATUS_BAD_REQUEST, conn->reason ? close_reason_text(conn->reason) : "closed");
        return ZERG_BROKEN;
    }
    if (exchange->head.expects_continue && !exchange->continue_sent && exchange->taken == 0 && conn->in.bytes == 0 &&
        !exchange->has_begun) {
        if (http_answer_continue(conn) < 0)
            return ZERG_NO_MEMORY;
        exchange->continue_sent = true;
    }
    return park_reader(exchange);
}

static int give_content(struct http_exchange *exchange, uint32_t bytes, struct zerg_view *out)
{
    struct conn *conn = exchange->conn;
    struct lease *lease = input_take(&conn->in, bytes);

    if (!lease) { /* it is counted as read: nobody may go on behind it */
        http_intake_fail(exchange, STATUS_UNAVAILABLE, "limit: out of memory");
        return ZERG_BROKEN;
    }
    conn_on_consumed(conn);
    exchange->taken += bytes;
    *out = (struct zerg_view){
        ._data = lease->data,
        ._len = lease->len,
        ._generation = lease->generation,
        ._lease = (struct zerg_lease *)(void *)lease,
        ._kind = ZERG_SEQ_BORROWED,
    };
    return ZERG_OK;
}

/* More than the caller wants is announced, or there. */
static bool is_past(const struct http_exchange *exchange, double max)
{
    return (double)exchange->inflow.body.content_bytes > max;
}

int zerg_http_chunk(struct zerg_http *http, double max, struct zerg_view *out)
{
    struct http_exchange *exchange = exchange_of(http);
    struct script_conn *sc = exchange->owner;
    enum http_inflow_outcome outcome;
    uint32_t bytes;

    if (sc->http_forwarding || (sc->reader && sc->reader != sc->runtime->running))
        return ZERG_BUSY;
    if (sc->reader)
        task_forget_park(sc->reader);
    if (exchange->drained > 0)
        http_intake_fail(exchange, STATUS_BAD_REQUEST, "closed: the answer was sent, and the body skipped");
    if (exchange->failure != 0 || exchange->has_sent_body)
        return ZERG_BROKEN;
    input_end_borrow(&exchange->conn->in);
    outcome = http_intake_next(exchange, &bytes);
    if (is_past(exchange, max)) {
        http_intake_fail(exchange, STATUS_TOO_LARGE, "limit");
        return ZERG_BROKEN;
    }
    switch (outcome) {
    case HTTP_INFLOW_CONTENT: return give_content(exchange, bytes, out);
    case HTTP_INFLOW_DONE: return ZERG_END;
    case HTTP_INFLOW_BAD: return ZERG_BROKEN;
    case HTTP_INFLOW_MORE: break;
    }
    return await_body(exchange);
}

void zerg_http_timed_out(struct zerg_http *http)
{
    http_intake_fail(exchange_of(http), STATUS_TIMED_OUT, "timeout");
}

const char *zerg_http_reason(const struct zerg_http *http)
{
    const struct http_exchange *exchange = const_exchange_of(http);
    const char *text = exchange->has_sent_body ? "body: a part of it was sent before" : exchange->failure_text;

    if (!text && exchange->conn->reason != CLOSE_NONE)
        text = close_reason_text(exchange->conn->reason);
    return text;
}

/* ---- the answer ---- */

/* What the functions of http_answer.h give, for Lua. */
static int result_of(const struct http_exchange *exchange, int rc)
{
    switch (rc) {
    case 0: return api_fullness(exchange->conn);
    case -EALREADY: return ZERG_SENT;
    case -EPIPE: return ZERG_END;
    case -ERANGE: return ZERG_RANGE;
    case -EPERM: return ZERG_BAD_NAME;
    case -EINVAL: return ZERG_BAD_VALUE;
    case -EAGAIN: return ZERG_EARLY;
    case -EBUSY: return ZERG_FORWARDED;
    default: return ZERG_NO_MEMORY;
    }
}

int zerg_http_set(struct zerg_http *http, int mode, const char *name, uint32_t name_len, const char *value,
                  uint32_t value_len)
{
    struct http_exchange *exchange = exchange_of(http);
    int rc = http_answer_set(exchange, (enum http_set)mode, name, name_len, value, value_len);

    return rc == 0 ? ZERG_OK : result_of(exchange, rc);
}

int zerg_http_trailer(struct zerg_http *http, const char *name, uint32_t name_len, const char *value,
                      uint32_t value_len)
{
    struct http_exchange *exchange = exchange_of(http);
    int rc = http_answer_trailer(exchange, name, name_len, value, value_len);

    return rc == 0 ? ZERG_OK : result_of(exchange, rc);
}

void zerg_http_say_json(struct zerg_http *http)
{
    exchange_of(http)->answer.is_json = true;
}

int zerg_http_send(struct zerg_http *http, const char *body, uint32_t len)
{
    struct http_exchange *exchange = exchange_of(http);

    return result_of(exchange, http_answer_send(exchange, body, len));
}

int zerg_http_write(struct zerg_http *http, const void *data, uint32_t len)
{
    struct http_exchange *exchange = exchange_of(http);

    return result_of(exchange, http_answer_write(exchange, data, len));
}

int zerg_http_finish(struct zerg_http *http)
{
    struct http_exchange *exchange = exchange_of(http);

    return result_of(exchange, http_answer_finish(exchange));
}

int zerg_http_wait_room(struct zerg_http *http)
{
    struct http_exchange *exchange = exchange_of(http);
    struct conn *conn = exchange->conn;
    struct script_conn *sc = exchange->owner;
    struct task *task = sc->runtime->running;

    if (!conn_is_full(conn))
        return ZERG_OK;
    if (conn->state != CONN_OPEN)
        return ZERG_END;
    return task ? task_park_writing(task, sc) : ZERG_NO_TASK;
}

void zerg_http_refuse_connect(struct zerg_http *http)
{
    struct http_exchange *exchange = exchange_of(http);

    http_intake_fail(exchange, STATUS_NOT_IMPLEMENTED, "closed"); /* the answer of one that gives none */
}

int zerg_http_returned(struct zerg_http *http)
{
    struct http_exchange *exchange = exchange_of(http);
    struct script_conn *sc = exchange->owner;
    int rc;

    if (sc->http_forwarding) { /* another task does, whose business ends with the handler */
        http_forwarding_abandon(sc->http_forwarding);
        sc->has_returned = false;
        return ZERG_BUSY;
    }
    if (!http->_has_begun && (exchange->failure != 0 || exchange->fallback != 0))
        rc = http_answer_refuse(exchange, exchange->failure != 0 ? exchange->failure : exchange->fallback);
    else
        rc = http->_has_ended ? 0 : http_answer_finish(exchange);
    sc->has_returned = rc != -ERANGE && rc != -ENOMEM;
    return rc == -ERANGE ? ZERG_RANGE : ZERG_OK;
}

/* ---- forms ---- */

int zerg_pair_next(struct zerg_pairs *pairs)
{
    size_t len = (size_t)pairs->_len;
    struct http_pair pair;

    if (!http_pair_next(&pair, &pairs->_text, &len))
        return ZERG_END;
    pairs->_len = (double)len;
    pairs->_name = (struct zerg_text){pair.name, (uint32_t)pair.name_len};
    pairs->_value = (struct zerg_text){pair.value, (uint32_t)pair.value_len};
    return ZERG_OK;
}

uint32_t zerg_pair_decode(char *out, const uint8_t *text, uint32_t len)
{
    return (uint32_t)http_pair_decode(out, text, len);
}
