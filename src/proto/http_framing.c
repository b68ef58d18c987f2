/* First each field by itself, then what they say together. */
#include "proto/http_framing.h"

#include <string.h>

#include "proto/http_head.h"
#include "proto/http_scan.h"

enum {
    HTTP_PORT = 80,
    HTTPS_PORT = 443,
    LENGTH_DIGITS_MAX = 19, /* of INT64_MAX */
    STATUS_SWITCHING = 101,
    STATUS_NO_CONTENT = 204,
    STATUS_NOT_MODIFIED = 304,
};

/* What is seen once only. */
struct facts {
    struct http_head *head;
    const uint8_t *data;
    const struct http_field *host; /* NULL: not seen */
    bool has_encoding;
    uint16_t option_count;
};

static bool refuse(struct facts *facts, uint16_t status, const char *problem)
{
    facts->head->refusal = (struct http_refusal){problem, status};
    return false;
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t';
}

/* The next item of a list (RFC 9110 section 5.6.1); empty ones are skipped. False at the end. */
static bool next_item(struct http_span *rest, const uint8_t *data, struct http_span *item)
{
    while (rest->at < rest->end && (is_blank(data[rest->at]) || data[rest->at] == ','))
        rest->at++;
    item->at = rest->at;
    while (rest->at < rest->end && data[rest->at] != ',')
        rest->at++;
    item->end = rest->at;
    while (item->end > item->at && is_blank(data[item->end - 1]))
        item->end--;
    return !http_span_is_empty(*item);
}

/* ---- each field ---- */

/* Tabs are as good as spaces around a value (RFC 9110 section 5.6.3), but not to every program, and who frames a
 * message wants to be understood. */
static bool has_tab_around(const struct http_field *field, const uint8_t *data)
{
    uint16_t at = field->value.end;

    for (uint16_t i = field->name.end; i < field->value.at; i++) {
        if (data[i] == '\t')
            return true;
    }
    while (data[at] == ' ')
        at++;
    return data[at] == '\t';
}

static bool read_length(struct facts *facts, struct http_span value)
{
    struct http_head *head = facts->head;
    uint64_t length = 0;

    if (head->has_content_length)
        return refuse(facts, 400, "more than one Content-Length");
    if (http_span_is_empty(value) || http_scan_scalar(HTTP_IN_DIGIT, facts->data, value.at, value.end) != value.end)
        return refuse(facts, 400, "a Content-Length that is no number");
    if (http_span_len(value) > LENGTH_DIGITS_MAX)
        return refuse(facts, 413, "a Content-Length past all bounds");
    for (uint16_t at = value.at; at < value.end; at++)
        length = length * 10 + (uint64_t)(facts->data[at] - '0');
    if (length > INT64_MAX)
        return refuse(facts, 413, "a Content-Length past all bounds");
    head->has_content_length = true;
    head->content_length = length;
    return true;
}

/* Whether this is a list of codings whose last and only last is chunked: well-framed, but more than we can undo. */
static bool ends_with_chunked(struct http_span rest, const uint8_t *data)
{
    bool was_chunked = false;
    struct http_span item;

    while (next_item(&rest, data, &item)) {
        if (was_chunked)
            return false;
        was_chunked = http_span_is(item, data, "chunked");
    }
    return was_chunked;
}

static bool read_encoding(struct facts *facts, struct http_span value)
{
    if (facts->has_encoding)
        return refuse(facts, 400, "more than one Transfer-Encoding");
    facts->has_encoding = true;
    if (http_span_is(value, facts->data, "chunked")) {
        facts->head->is_chunked = true;
        return true;
    }
    if (ends_with_chunked(value, facts->data) && facts->data[value.end - 1] != ',' && facts->data[value.at] != ',')
        return refuse(facts, 501, "a transfer coding other than chunked");
    return refuse(facts, 400, "a Transfer-Encoding that does not end in one chunked");
}

static bool read_host(struct facts *facts, const struct http_field *field)
{
    if (facts->host)
        return refuse(facts, 400, "more than one Host");
    facts->host = field;
    if (http_span_is_empty(field->value))
        return true; /* allowed where the target has no authority (RFC 9110 section 7.2) */
    if (!http_authority_read(&facts->head->authority, facts->data, field->value))
        return refuse(facts, 400, "a Host that is no host");
    return true;
}

static bool read_framing(struct facts *facts, const struct http_field *field)
{
    if (has_tab_around(field, facts->data))
        return refuse(facts, 400, "a tab around a value that frames the message");
    return field->known == HTTP_NAME_CONTENT_LENGTH ? read_length(facts, field->value)
                                                    : read_encoding(facts, field->value);
}

/* A server must ignore it in 1.0 (RFC 9110 section 10.1.1). */
static bool read_expect(struct facts *facts, struct http_span value)
{
    if (facts->head->minor == 0)
        return true;
    if (!http_span_is(value, facts->data, "100-continue"))
        return refuse(facts, 417, "an Expect other than 100-continue");
    facts->head->expects_continue = true;
    return true;
}

static void mark_hop_by_hop(struct http_head *head, const uint8_t *data, struct http_span option)
{
    for (uint16_t i = 0; i < head->fields.count; i++) {
        struct http_field *field = &head->fields.list[i];

        if (http_span_is_same(option, field->name, data))
            field->is_hop_by_hop = true;
    }
}

static bool read_option(struct facts *facts, struct http_span option)
{
    struct http_head *head = facts->head;
    const uint8_t *data = facts->data;

    if (http_scan_scalar(HTTP_IN_TOKEN, data, option.at, option.end) != option.end)
        return refuse(facts, 400, "a Connection that is no list of tokens");
    if (++facts->option_count > HTTP_CONNECTION_OPTIONS_MAX)
        return refuse(facts, 400, "too many options in Connection");
    if (http_span_is(option, data, "close"))
        head->options |= HTTP_OPTION_CLOSE;
    else if (http_span_is(option, data, "keep-alive"))
        head->options |= HTTP_OPTION_KEEP_ALIVE;
    else if (http_span_is(option, data, "upgrade"))
        head->options |= HTTP_OPTION_UPGRADE;
    else if (http_name_traits(http_name_find(data + option.at, http_span_len(option))) & HTTP_END_TO_END)
        return refuse(facts, 400, "a Connection that names a field of the message");
    else
        mark_hop_by_hop(head, data, option);
    return true;
}

static bool read_connection(struct facts *facts, struct http_span value)
{
    struct http_span option;

    while (next_item(&value, facts->data, &option)) {
        if (!read_option(facts, option))
            return false;
    }
    return true;
}

static bool read_field(struct facts *facts, const struct http_field *field)
{
    struct http_head *head = facts->head;

    switch ((enum http_name)field->known) {
    case HTTP_NAME_CONTENT_LENGTH:
    case HTTP_NAME_TRANSFER_ENCODING: return read_framing(facts, field);
    case HTTP_NAME_CONNECTION: return read_connection(facts, field->value);
    case HTTP_NAME_HOST: return head->kind == HTTP_RESPONSE || read_host(facts, field);
    case HTTP_NAME_EXPECT: return head->kind == HTTP_RESPONSE || read_expect(facts, field->value);
    case HTTP_NAME_UPGRADE:
        if (http_span_is_empty(head->upgrade))
            head->upgrade = field->value;
        return true;
    default: return true;
    }
}

/* ---- all fields together ---- */

static bool check_target_authority(struct facts *facts)
{
    struct http_head *head = facts->head;
    struct http_target *target = &head->target;
    struct http_authority host = head->authority;
    uint16_t default_port = 0;

    if (target->form != HTTP_ABSOLUTE && target->form != HTTP_AUTHORITY)
        return true;
    if (!http_authority_read(&head->authority, facts->data, target->authority))
        return refuse(facts, 400, "a target whose authority is no host");
    if (target->form == HTTP_AUTHORITY && head->authority.port == 0)
        return refuse(facts, 400, "a target of CONNECT without a port");
    if (target->form == HTTP_ABSOLUTE)
        default_port = http_span_len(target->scheme) == sizeof("http") - 1 ? HTTP_PORT : HTTPS_PORT;
    if (facts->host && !http_authority_is_same(&head->authority, &host, facts->data, default_port))
        return refuse(facts, 400, "a Host other than that of the target");
    return true;
}

static bool check_request(struct facts *facts)
{
    struct http_head *head = facts->head;

    if (head->minor == 1 && !facts->host)
        return refuse(facts, 400, "no Host");
    if (!check_target_authority(facts))
        return false;
    if (head->is_chunked)
        head->body = HTTP_BODY_CHUNKED;
    else if (head->content_length > 0)
        head->body = HTTP_BODY_LENGTH;
    if (head->method == HTTP_CONNECT && head->body != HTTP_BODY_NONE)
        return refuse(facts, 400, "CONNECT with a body");
    return true;
}

static enum http_body_kind response_body(const struct http_head *head)
{
    bool is_informational = head->status < 200;

    if (head->status == STATUS_SWITCHING || (head->method == HTTP_CONNECT && head->status / 100 == 2))
        return HTTP_BODY_TUNNEL;
    if (is_informational || head->method == HTTP_HEAD || head->status == STATUS_NO_CONTENT ||
        head->status == STATUS_NOT_MODIFIED)
        return HTTP_BODY_NONE;
    if (head->is_chunked)
        return HTTP_BODY_CHUNKED;
    if (!head->has_content_length)
        return HTTP_BODY_UNTIL_CLOSE;
    return head->content_length > 0 ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
}

/* Where a status says that there is no body and the fields say that there is one, who sent it may send one. */
static bool check_response(struct facts *facts)
{
    struct http_head *head = facts->head;
    bool has_body = head->is_chunked || head->content_length > 0;

    head->body = (uint8_t)response_body(head);
    if (head->status < 200 && has_body)
        return refuse(facts, 400, "a status of 1xx with a body");
    if (head->status == STATUS_NO_CONTENT && has_body)
        head->options |= HTTP_OPTION_CLOSE;
    return true;
}

static bool keeps_alive(const struct http_head *head)
{
    if (head->options & HTTP_OPTION_CLOSE || head->body == HTTP_BODY_UNTIL_CLOSE || head->body == HTTP_BODY_TUNNEL)
        return false;
    return head->minor == 1 || head->options & HTTP_OPTION_KEEP_ALIVE;
}

static bool check_together(struct facts *facts)
{
    struct http_head *head = facts->head;
    bool has_upgrade = !http_span_is_empty(head->upgrade);

    if (head->has_content_length && facts->has_encoding)
        return refuse(facts, 400, "both Content-Length and Transfer-Encoding");
    if (facts->has_encoding && head->minor == 0)
        return refuse(facts, 400, "a Transfer-Encoding in 1.0");
    if (!(head->kind == HTTP_REQUEST ? check_request(facts) : check_response(facts)))
        return false;
    head->keeps_alive = keeps_alive(head);
    head->wants_upgrade = head->minor == 1 && has_upgrade && head->options & HTTP_OPTION_UPGRADE;
    return true;
}

const char *http_framing_derive(struct http_head *head, const uint8_t *data)
{
    struct facts facts = {.head = head, .data = data};

    for (uint16_t i = 0; i < head->fields.count; i++) {
        const struct http_field *field = &head->fields.list[i];

        if (field->known != HTTP_NAME_OTHER && field->known <= HTTP_NAME_LAST_INTERPRETED && !read_field(&facts, field))
            return head->refusal.problem;
    }
    return check_together(&facts) ? NULL : head->refusal.problem;
}
