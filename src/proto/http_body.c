/* One state for each byte of framing that may come next. Sizes and extensions of chunks are read byte by byte: there
 * are few of them, and they may be cut anywhere. */
#include "proto/http_body.h"

#include "base/assert.h"
#include "proto/http_scan.h"

enum body_state {
    SIZED,
    UNTIL_CLOSE,
    SIZE_START, /* of a chunk */
    IN_SIZE,
    EXTENSION_START, /* behind a semicolon: a name */
    IN_EXTENSION,
    EXTENSION_VALUE_START,
    IN_EXTENSION_VALUE,
    IN_QUOTES,
    QUOTED_PAIR, /* behind a backslash in quotes */
    QUOTES_END,
    SIZE_LF,
    IN_CHUNK,
    CHUNK_CR,
    CHUNK_LF,
    IN_TRAILERS,
    ENDED,
    REFUSED,
};

enum { SIZE_DIGITS_MAX = 16, ANSWER_TO_BAD_RESPONSE = 502 };

static enum http_body_outcome refuse(struct http_body *body, uint16_t status, const char *problem)
{
    body->state = REFUSED;
    body->refusal.problem = problem;
    body->refusal.status = body->kind == HTTP_RESPONSE ? ANSWER_TO_BAD_RESPONSE : status;
    return HTTP_BODY_BAD;
}

static enum http_body_outcome go_on(struct http_body *body, enum body_state state)
{
    body->state = (uint8_t)state;
    return HTTP_BODY_MORE;
}

/* Counts content before it comes. */
static enum http_body_outcome announce(struct http_body *body, uint64_t bytes)
{
    if (bytes > body->content_max - body->content_bytes)
        return refuse(body, 413, "more content than is allowed");
    body->content_bytes += bytes;
    return HTTP_BODY_MORE;
}

void http_body_init(struct http_body *body, const struct http_head *head, uint64_t content_max,
                    const struct http_limits *limits, struct http_fields *trailers)
{
    static const uint8_t first_states[] = {
        [HTTP_BODY_NONE] = ENDED,
        [HTTP_BODY_LENGTH] = SIZED,
        [HTTP_BODY_CHUNKED] = SIZE_START,
        [HTTP_BODY_UNTIL_CLOSE] = UNTIL_CLOSE,
    };

    assert(head->body != HTTP_BODY_TUNNEL);
    assert(head->body != HTTP_BODY_CHUNKED || trailers);
    *body = (struct http_body){
        .state = first_states[head->body],
        .kind = head->kind,
        .limits = *limits,
        .content_max = content_max,
        .trailers = trailers,
    };
    if (head->body == HTTP_BODY_LENGTH) {
        body->left = head->content_length;
        (void)announce(body, body->left);
    }
}

/* ---- content ---- */

static size_t smaller(uint64_t a, size_t b)
{
    return a < b ? (size_t)a : b;
}

static enum http_body_outcome give(struct http_body_step *step, size_t bytes)
{
    step->content_at = step->used;
    step->content_bytes = bytes;
    step->used += bytes;
    return HTTP_BODY_CONTENT;
}

static enum http_body_outcome give_left(struct http_body *body, size_t len, struct http_body_step *step,
                                        enum body_state then)
{
    size_t bytes = smaller(body->left, len - step->used);

    body->left -= bytes;
    if (body->left == 0)
        body->state = (uint8_t)then;
    return give(step, bytes);
}

static enum http_body_outcome give_all(struct http_body *body, size_t len, struct http_body_step *step)
{
    enum http_body_outcome outcome = announce(body, len - step->used);

    return outcome == HTTP_BODY_BAD ? outcome : give(step, len - step->used);
}

/* ---- chunks ---- */

static enum http_body_outcome start_size(struct http_body *body, uint8_t byte)
{
    if (!http_is(byte, HTTP_IN_HEX))
        return refuse(body, 400, "a chunk size that is no number");
    body->digits = 1;
    body->left = http_hex_value(byte);
    return go_on(body, IN_SIZE);
}

/* What may stand behind a size, and behind an extension. */
static enum http_body_outcome end_part(struct http_body *body, uint8_t byte, const char *problem)
{
    if (byte == '\r')
        return go_on(body, SIZE_LF);
    if (byte == ';')
        return go_on(body, EXTENSION_START);
    return refuse(body, 400, byte == '\n' ? "LF without CR" : problem);
}

static enum http_body_outcome read_size(struct http_body *body, uint8_t byte)
{
    if (!http_is(byte, HTTP_IN_HEX))
        return end_part(body, byte, "a chunk size that is no number");
    if (++body->digits > SIZE_DIGITS_MAX || body->left > (uint64_t)INT64_MAX >> 4)
        return refuse(body, 413, "a chunk size past all bounds");
    body->left = body->left << 4 | http_hex_value(byte);
    return HTTP_BODY_MORE;
}

/* Extensions (RFC 9112 section 7.1.1), which nobody uses, without the blanks that they may have: those are "bad". */
static enum http_body_outcome read_extension(struct http_body *body, uint8_t byte)
{
    static const char problem[] = "a malformed chunk extension";
    bool is_token = http_is(byte, HTTP_IN_TOKEN);

    switch ((enum body_state)body->state) {
    case EXTENSION_START: return is_token ? go_on(body, IN_EXTENSION) : refuse(body, 400, problem);
    case IN_EXTENSION:
        if (byte == '=')
            return go_on(body, EXTENSION_VALUE_START);
        return is_token ? HTTP_BODY_MORE : end_part(body, byte, problem);
    case EXTENSION_VALUE_START:
        if (byte == '"')
            return go_on(body, IN_QUOTES);
        return is_token ? go_on(body, IN_EXTENSION_VALUE) : refuse(body, 400, problem);
    case IN_EXTENSION_VALUE: return is_token ? HTTP_BODY_MORE : end_part(body, byte, problem);
    case IN_QUOTES:
        if (byte == '"')
            return go_on(body, QUOTES_END);
        if (byte == '\\')
            return go_on(body, QUOTED_PAIR);
        return http_is(byte, HTTP_IN_VALUE) ? HTTP_BODY_MORE : refuse(body, 400, problem);
    case QUOTED_PAIR: return http_is(byte, HTTP_IN_VALUE) ? go_on(body, IN_QUOTES) : refuse(body, 400, problem);
    default: return end_part(body, byte, problem);
    }
}

static enum http_body_outcome count_extension(struct http_body *body, uint8_t byte)
{
    if (++body->extension_bytes > HTTP_CHUNK_EXTENSION_BYTES)
        return refuse(body, 413, "too many bytes of chunk extensions");
    return read_extension(body, byte);
}

static enum http_body_outcome end_size(struct http_body *body, uint8_t byte)
{
    if (byte != '\n')
        return refuse(body, 400, "CR without LF");
    if (body->left > 0) {
        body->state = IN_CHUNK;
        return announce(body, body->left);
    }
    http_fields_init(body->trailers, 0, body->limits.fields);
    return go_on(body, IN_TRAILERS);
}

static enum http_body_outcome end_chunk(struct http_body *body, uint8_t byte)
{
    if (byte != (body->state == CHUNK_CR ? '\r' : '\n'))
        return refuse(body, 400, "a chunk that does not end where it should");
    return go_on(body, body->state == CHUNK_CR ? CHUNK_LF : SIZE_START);
}

/* ---- trailers ---- */

static bool may_be_trailers(const struct http_fields *fields)
{
    for (uint16_t i = 0; i < fields->count; i++) {
        if (http_name_traits(fields->list[i].known) & HTTP_NO_TRAILER)
            return false;
    }
    return true;
}

static enum http_body_outcome read_trailers(struct http_body *body, const uint8_t *data, size_t len,
                                            struct http_body_step *step)
{
    struct http_fields *trailers = body->trailers;
    uint16_t window = (uint16_t)smaller(body->limits.head_bytes, len - step->used);
    enum parse_outcome outcome = http_fields_parse(trailers, data + step->used, window);

    if (outcome == PARSE_BAD)
        return refuse(body, trailers->refusal.status, trailers->refusal.problem);
    if (outcome == PARSE_MORE)
        return window < body->limits.head_bytes ? HTTP_BODY_MORE : refuse(body, 431, "trailers that do not fit");
    if (!may_be_trailers(trailers))
        return refuse(body, 400, "a trailer that belongs into the head");
    step->used += trailers->at;
    body->state = ENDED;
    return HTTP_BODY_DONE;
}

/* ---- all ---- */

/* A byte that is framing. */
static enum http_body_outcome read_byte(struct http_body *body, uint8_t byte)
{
    switch ((enum body_state)body->state) {
    case SIZE_START: return start_size(body, byte);
    case IN_SIZE: return read_size(body, byte);
    case SIZE_LF: return end_size(body, byte);
    case CHUNK_CR:
    case CHUNK_LF: return end_chunk(body, byte);
    default: return count_extension(body, byte);
    }
}

enum http_body_outcome http_body_next(struct http_body *body, const uint8_t *data, size_t len,
                                      struct http_body_step *step)
{
    enum http_body_outcome outcome = HTTP_BODY_MORE;

    *step = (struct http_body_step){0};
    if (body->state == ENDED)
        return HTTP_BODY_DONE;
    if (body->state == REFUSED)
        return HTTP_BODY_BAD;
    while (outcome == HTTP_BODY_MORE && step->used < len) {
        switch ((enum body_state)body->state) {
        case SIZED: return give_left(body, len, step, ENDED);
        case UNTIL_CLOSE: return give_all(body, len, step);
        case IN_CHUNK: return give_left(body, len, step, CHUNK_CR);
        case IN_TRAILERS: return read_trailers(body, data, len, step);
        default: outcome = read_byte(body, data[step->used++]);
        }
    }
    return outcome;
}

bool http_body_may_end(const struct http_body *body)
{
    return body->state == ENDED || body->state == UNTIL_CLOSE;
}
