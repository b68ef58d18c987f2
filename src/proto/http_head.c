/* Start lines, a state for each part of them; the fields are http_fields.c's. Every part is judged as soon as its
 * bytes are there and in their order, so that the same bytes come to the same verdict however they arrive. */
#include "proto/http_head.h"

#include <string.h>

#include "base/assert.h"
#include "proto/http_framing.h"
#include "proto/http_scan.h"

enum head_state {
    REQUEST_START,
    EMPTY_LINE_LF, /* the CR of an empty line before the request was there */
    METHOD_START,
    IN_METHOD,
    TARGET_START,
    IN_PATH,  /* of an origin form */
    IN_QUERY, /* the same */
    IN_OTHER_TARGET,
    REQUEST_VERSION,
    RESPONSE_VERSION,
    IN_STATUS,
    STATUS_END,
    IN_REASON,
    LINE_CR,
    LINE_LF,
    IN_FIELDS,
};

enum { STATUS_DIGITS = 3, STATUS_MIN = 100, ANSWER_TO_BAD_RESPONSE = 502 };

/* '#' stands for a digit. */
static const char version_form[] = "HTTP/#.#";
enum { VERSION_BYTES = sizeof(version_form) - 1, MAJOR_AT = 5, MINOR_AT = 7 };

static void init(struct http_head *head, const struct http_limits *limits)
{
    assert(limits->head_bytes > 0 && limits->head_bytes <= HTTP_HEAD_BYTES_MAX);
    memset(head, 0, offsetof(struct http_head, fields));
    head->bytes_max = limits->head_bytes;
    http_fields_init(&head->fields, 0, limits->fields);
}

void http_request_init(struct http_head *head, const struct http_limits *limits)
{
    init(head, limits);
    head->kind = HTTP_REQUEST;
    head->state = REQUEST_START;
}

void http_response_init(struct http_head *head, const struct http_limits *limits, enum http_method method)
{
    init(head, limits);
    head->kind = HTTP_RESPONSE;
    head->state = RESPONSE_VERSION;
    head->method = (uint8_t)method;
}

static enum parse_outcome refuse(struct http_head *head, uint16_t status, const char *problem)
{
    head->refusal = (struct http_refusal){problem, status};
    return PARSE_BAD;
}

static enum parse_outcome go_on(struct http_head *head, enum head_state state)
{
    head->state = (uint8_t)state;
    return PARSE_MORE;
}

/* ---- request line ---- */

static enum parse_outcome start_request(struct http_head *head, uint8_t first)
{
    if (first != '\r')
        return go_on(head, METHOD_START);
    head->at++;
    return go_on(head, EMPTY_LINE_LF);
}

static enum parse_outcome end_empty_line(struct http_head *head, uint8_t byte)
{
    if (byte != '\n')
        return refuse(head, 400, "CR without LF");
    head->at++;
    return go_on(head, METHOD_START);
}

static enum parse_outcome scan_method(struct http_head *head, const uint8_t *data, uint16_t len)
{
    uint16_t start = head->method_text.at;

    head->at = (uint16_t)http_scan_scalar(HTTP_IN_TOKEN, data, head->at, len);
    if (head->at - start > HTTP_METHOD_BYTES_MAX)
        return refuse(head, 501, "a method longer than any");
    if (head->at == len)
        return PARSE_MORE;
    if (data[head->at] != ' ' || head->at == start)
        return refuse(head, 400, "does not begin with a method and one space");
    head->method_text.end = head->at;
    head->method = (uint8_t)http_method_find(data + start, http_span_len(head->method_text));
    head->at++;
    return go_on(head, TARGET_START);
}

static enum parse_outcome start_method(struct http_head *head, const uint8_t *data, uint16_t len)
{
    head->method_text.at = head->at;
    go_on(head, IN_METHOD);
    return scan_method(head, data, len);
}

static enum parse_outcome start_target(struct http_head *head, uint8_t first)
{
    head->target.all.at = head->at;
    if (first != '/' || head->method == HTTP_CONNECT)
        return go_on(head, IN_OTHER_TARGET);
    head->target.path.at = head->at;
    return go_on(head, IN_PATH);
}

/* What ended the scan of a target. */
static enum parse_outcome end_target(struct http_head *head, uint8_t stop)
{
    if (stop == '\r' || stop == '\n')
        return refuse(head, 400, "a request line without a version");
    if (stop != ' ')
        return refuse(head, 400, "a character that no target has");
    if (head->at == head->target.all.at)
        return refuse(head, 400, "more than one space before the target");
    head->target.all.end = head->at;
    head->at++;
    return go_on(head, REQUEST_VERSION);
}

static enum parse_outcome scan_path(struct http_head *head, const uint8_t *data, uint16_t len)
{
    head->at = (uint16_t)http_scan(HTTP_IN_PATH, data, head->at, len);
    if (head->at == len)
        return PARSE_MORE;
    head->target.path.end = head->at;
    if (data[head->at] != '?')
        return end_target(head, data[head->at]);
    head->at++;
    head->target.has_query = true;
    head->target.query.at = head->at;
    return go_on(head, IN_QUERY);
}

static enum parse_outcome scan_query(struct http_head *head, const uint8_t *data, uint16_t len)
{
    head->at = (uint16_t)http_scan(HTTP_IN_QUERY, data, head->at, len);
    if (head->at == len)
        return PARSE_MORE;
    head->target.query.end = head->at;
    return end_target(head, data[head->at]);
}

static enum parse_outcome scan_other_target(struct http_head *head, const uint8_t *data, uint16_t len)
{
    head->at = (uint16_t)http_scan(HTTP_IN_QUERY, data, head->at, len);
    return head->at == len ? PARSE_MORE : end_target(head, data[head->at]);
}

/* ---- version ---- */

static bool fits_version(const uint8_t *data, uint16_t len)
{
    if (len >= VERSION_BYTES && memcmp(data, "HTTP/1.1", VERSION_BYTES) == 0)
        return true;
    for (uint16_t i = 0; i < len && i < VERSION_BYTES; i++) {
        bool fits = version_form[i] == '#' ? http_is(data[i], HTTP_IN_DIGIT) : data[i] == (uint8_t)version_form[i];

        if (!fits)
            return false;
    }
    return true;
}

static enum parse_outcome read_version(struct http_head *head, const uint8_t *data, uint16_t len)
{
    const uint8_t *version = data + head->at;

    if (!fits_version(version, len - head->at))
        return refuse(head, 400, "no HTTP version where it belongs");
    if (len - head->at < VERSION_BYTES)
        return PARSE_MORE;
    if (version[MAJOR_AT] != '1' || version[MINOR_AT] > '1')
        return refuse(head, 505, "a version other than 1.0 and 1.1");
    head->minor = version[MINOR_AT] == '1';
    head->at = (uint16_t)(head->at + VERSION_BYTES);
    return PARSE_DONE;
}

/* The target could have been judged before, but HTTP/2's preface (PRI * HTTP/2.0) is to be told about its version. */
static enum parse_outcome read_request_version(struct http_head *head, const uint8_t *data, uint16_t len)
{
    enum parse_outcome outcome = read_version(head, data, len);
    const char *problem = NULL;

    if (outcome != PARSE_DONE)
        return outcome;
    if (!head->target.path.end)
        problem = http_target_read(&head->target, data, head->method);
    return problem ? refuse(head, 400, problem) : go_on(head, LINE_CR);
}

static enum parse_outcome read_response_version(struct http_head *head, const uint8_t *data, uint16_t len)
{
    enum parse_outcome outcome = read_version(head, data, len);

    return outcome == PARSE_DONE ? go_on(head, IN_STATUS) : outcome;
}

/* ---- status ---- */

static enum parse_outcome read_status(struct http_head *head, const uint8_t *data, uint16_t len)
{
    const uint8_t *status = data + head->at + 1;

    if (data[head->at] != ' ')
        return refuse(head, 400, "no space before the status");
    for (uint16_t i = 0; i < STATUS_DIGITS && head->at + 1 + i < len; i++) {
        if (!http_is(status[i], HTTP_IN_DIGIT))
            return refuse(head, 400, "a status that is not three digits");
    }
    if (len - head->at <= STATUS_DIGITS)
        return PARSE_MORE;
    head->status = (uint16_t)((status[0] - '0') * 100 + (status[1] - '0') * 10 + (status[2] - '0'));
    if (head->status < STATUS_MIN)
        return refuse(head, 400, "a status below 100");
    head->at = (uint16_t)(head->at + 1 + STATUS_DIGITS);
    return go_on(head, STATUS_END);
}

/* The space belongs there even before an empty reason, but many leave it out. */
static enum parse_outcome end_status(struct http_head *head, uint8_t byte)
{
    head->reason = (struct http_span){head->at, head->at};
    if (byte == '\r')
        return go_on(head, LINE_CR);
    if (byte != ' ')
        return refuse(head, 400, byte == '\n' ? "LF without CR" : "a status that is not three digits");
    head->at++;
    head->reason.at = head->at;
    return go_on(head, IN_REASON);
}

static enum parse_outcome scan_reason(struct http_head *head, const uint8_t *data, uint16_t len)
{
    head->at = (uint16_t)http_scan(HTTP_IN_VALUE, data, head->at, len);
    if (head->at == len)
        return PARSE_MORE;
    head->reason.end = head->at;
    return go_on(head, LINE_CR);
}

/* ---- both ---- */

static enum parse_outcome read_line_cr(struct http_head *head, uint8_t byte)
{
    if (byte != '\r')
        return refuse(head, 400, byte == '\n' ? "LF without CR" : "a start line that does not end where it should");
    head->at++;
    return go_on(head, LINE_LF);
}

static enum parse_outcome read_line_lf(struct http_head *head, uint8_t byte)
{
    if (byte != '\n')
        return refuse(head, 400, "CR without LF");
    head->at++;
    head->fields.at = head->at;
    return go_on(head, IN_FIELDS);
}

/* One part, as far as it is there. There is at least one byte at head->at. */
static enum parse_outcome step(struct http_head *head, const uint8_t *data, uint16_t len)
{
    uint8_t byte = data[head->at];

    switch ((enum head_state)head->state) {
    case REQUEST_START: return start_request(head, byte);
    case EMPTY_LINE_LF: return end_empty_line(head, byte);
    case METHOD_START: return start_method(head, data, len);
    case IN_METHOD: return scan_method(head, data, len);
    case TARGET_START: return start_target(head, byte);
    case IN_PATH: return scan_path(head, data, len);
    case IN_QUERY: return scan_query(head, data, len);
    case IN_OTHER_TARGET: return scan_other_target(head, data, len);
    case REQUEST_VERSION: return read_request_version(head, data, len);
    case RESPONSE_VERSION: return read_response_version(head, data, len);
    case IN_STATUS: return read_status(head, data, len);
    case STATUS_END: return end_status(head, byte);
    case IN_REASON: return scan_reason(head, data, len);
    case LINE_CR: return read_line_cr(head, byte);
    case LINE_LF: return read_line_lf(head, byte);
    case IN_FIELDS: break;
    }
    return PARSE_DONE;
}

/* PARSE_MORE comes both of a part that is not all there and of one behind which there is more to read: the former moves
 * neither the place nor the state. */
static enum parse_outcome parse_start_line(struct http_head *head, const uint8_t *data, uint16_t len)
{
    enum parse_outcome outcome = PARSE_MORE;

    while (outcome == PARSE_MORE && head->at < len) {
        uint16_t at = head->at;
        uint8_t state = head->state;

        outcome = step(head, data, len);
        if (head->at == at && head->state == state)
            break;
    }
    return outcome;
}

static enum parse_outcome parse_fields(struct http_head *head, const uint8_t *data, uint16_t len)
{
    enum parse_outcome outcome = http_fields_parse(&head->fields, data, len);

    head->at = head->fields.at;
    if (outcome == PARSE_BAD)
        head->refusal = head->fields.refusal;
    return outcome;
}

static bool is_in_target(const struct http_head *head)
{
    return head->state >= TARGET_START && head->state <= IN_OTHER_TARGET;
}

/* The head so far, of which only the first bytes_max count. */
static enum parse_outcome parse_window(struct http_head *head, const uint8_t *data, uint16_t len)
{
    enum parse_outcome outcome = head->state == IN_FIELDS ? PARSE_DONE : parse_start_line(head, data, len);

    if (head->state == IN_FIELDS && outcome != PARSE_BAD)
        outcome = parse_fields(head, data, len);
    if (outcome == PARSE_DONE)
        return http_framing_derive(head, data) ? PARSE_BAD : PARSE_DONE;
    if (outcome == PARSE_MORE && len == head->bytes_max)
        return is_in_target(head) ? refuse(head, 414, "a target that does not fit")
                                  : refuse(head, 431, "a head that does not fit");
    return outcome;
}

enum parse_outcome http_head_parse(struct http_head *head, const uint8_t *data, size_t len)
{
    uint16_t window = len < head->bytes_max ? (uint16_t)len : head->bytes_max;
    enum parse_outcome outcome = parse_window(head, data, window);

    if (outcome == PARSE_BAD && head->kind == HTTP_RESPONSE)
        head->refusal.status = ANSWER_TO_BAD_RESPONSE;
    return outcome;
}
