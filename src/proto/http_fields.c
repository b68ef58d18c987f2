/* A state for each part of a line, so that parsing can stop behind any byte. A part is scanned to its end by one call
 * of http_scan(); when the bytes end first, the next call scans on from there. Lines that are there as a whole and
 * well, so nearly all, are taken without states: a line of which that cannot be said goes through them from its start. */
#include "proto/http_fields.h"

#include "base/assert.h"
#include "proto/http_scan.h"

enum fields_state {
    LINE_START,
    IN_NAME,
    BEFORE_VALUE, /* blanks behind the colon */
    IN_VALUE,
    VALUE_LF, /* the CR was there */
    LAST_LF,  /* the CR of the empty line was there */
};

void http_fields_init(struct http_fields *fields, uint16_t at, uint16_t count_max)
{
    assert(count_max >= 1 && count_max <= HTTP_FIELDS_MAX);
    fields->count = 0;
    fields->count_max = count_max;
    fields->at = at;
    fields->state = LINE_START;
    fields->refusal = (struct http_refusal){0};
}

static enum parse_outcome refuse(struct http_fields *fields, uint16_t status, const char *problem)
{
    fields->refusal = (struct http_refusal){problem, status};
    return PARSE_BAD;
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t';
}

static enum parse_outcome refuse_line(struct http_fields *fields, uint8_t first)
{
    switch (first) {
    case ' ':
    case '\t': return refuse(fields, 400, "a folded line, or blanks before a field name");
    case '\n': return refuse(fields, 400, "LF without CR");
    case ':': return refuse(fields, 400, "a field without a name");
    default: return refuse(fields, 400, "a character that no field name has");
    }
}

static enum parse_outcome refuse_name(struct http_fields *fields, uint8_t stop)
{
    switch (stop) {
    case ' ':
    case '\t': return refuse(fields, 400, "a blank between field name and colon");
    case '\r':
    case '\n': return refuse(fields, 400, "a line without a colon");
    default: return refuse(fields, 400, "a character that no field name has");
    }
}

static enum parse_outcome refuse_value(struct http_fields *fields, uint8_t stop)
{
    return refuse(fields, 400, stop == '\n' ? "LF without CR" : "a control character in a field value");
}

static void end_name(struct http_field *field, const uint8_t *data, uint16_t at)
{
    field->name.end = at;
    field->known = (uint8_t)http_name_find(data + field->name.at, http_span_len(field->name));
    field->is_hop_by_hop = http_name_traits(field->known) & HTTP_HOP_BY_HOP;
}

static void end_value(struct http_field *field, const uint8_t *data, uint16_t at)
{
    while (at > field->value.at && is_blank(data[at - 1]))
        at--;
    field->value.end = at;
}

/* Of the empty line, or of a field. PARSE_MORE: go on in fields->state; PARSE_DONE cannot be yet. */
static enum parse_outcome start_line(struct http_fields *fields, uint8_t first)
{
    if (first == '\r') {
        fields->at++;
        fields->state = LAST_LF;
        return PARSE_MORE;
    }
    if (!http_is(first, HTTP_IN_TOKEN))
        return refuse_line(fields, first);
    if (fields->count == fields->count_max)
        return refuse(fields, 431, "too many fields");
    fields->list[fields->count].name.at = fields->at;
    fields->state = IN_NAME;
    return PARSE_MORE;
}

static enum parse_outcome scan_name(struct http_fields *fields, const uint8_t *data, uint16_t len)
{
    fields->at = (uint16_t)http_scan(HTTP_IN_TOKEN, data, fields->at, len);
    if (fields->at == len)
        return PARSE_MORE;
    if (data[fields->at] != ':')
        return refuse_name(fields, data[fields->at]);
    end_name(&fields->list[fields->count], data, fields->at);
    fields->at++;
    fields->state = BEFORE_VALUE;
    return PARSE_MORE;
}

static void skip_blanks(struct http_fields *fields, const uint8_t *data, uint16_t len)
{
    while (fields->at < len && is_blank(data[fields->at]))
        fields->at++;
    if (fields->at < len) {
        fields->list[fields->count].value.at = fields->at;
        fields->state = IN_VALUE;
    }
}

static enum parse_outcome scan_value(struct http_fields *fields, const uint8_t *data, uint16_t len)
{
    fields->at = (uint16_t)http_scan(HTTP_IN_VALUE, data, fields->at, len);
    if (fields->at == len)
        return PARSE_MORE;
    if (data[fields->at] != '\r')
        return refuse_value(fields, data[fields->at]);
    end_value(&fields->list[fields->count], data, fields->at);
    fields->at++;
    fields->state = VALUE_LF;
    return PARSE_MORE;
}

static enum parse_outcome end_line(struct http_fields *fields, uint8_t byte)
{
    if (byte != '\n')
        return refuse(fields, 400, "CR without LF");
    fields->at++;
    if (fields->state == LAST_LF)
        return PARSE_DONE;
    fields->count++;
    fields->state = LINE_START;
    return PARSE_MORE;
}

/* One part, as far as it is there. */
static inline enum parse_outcome step(struct http_fields *fields, const uint8_t *data, uint16_t len)
{
    switch ((enum fields_state)fields->state) {
    case LINE_START: return start_line(fields, data[fields->at]);
    case IN_NAME: return scan_name(fields, data, len);
    case BEFORE_VALUE: skip_blanks(fields, data, len); return PARSE_MORE;
    case IN_VALUE: return scan_value(fields, data, len);
    case VALUE_LF:
    case LAST_LF: return end_line(fields, data[fields->at]);
    }
    return PARSE_BAD;
}

/* Takes the line at fields->at, if nothing is missing or wrong. */
static inline bool take_line(struct http_fields *fields, const uint8_t *data, uint32_t len)
{
    struct http_field *field = &fields->list[fields->count];
    uint32_t at = fields->at;
    uint32_t end;

    if (fields->count == fields->count_max)
        return false;
    end = http_scan(HTTP_IN_TOKEN, data, at, len);
    if (end == at || end == len || data[end] != ':')
        return false;
    field->name.at = (uint16_t)at;
    end_name(field, data, (uint16_t)end);
    for (at = end + 1; at < len && is_blank(data[at]);)
        at++;
    end = http_scan(HTTP_IN_VALUE, data, at, len);
    if (len - end < 2 || data[end] != '\r' || data[end + 1] != '\n')
        return false;
    field->value.at = (uint16_t)at;
    end_value(field, data, (uint16_t)end);
    fields->count++;
    fields->at = (uint16_t)(end + 2);
    return true;
}

enum parse_outcome http_fields_parse(struct http_fields *fields, const uint8_t *data, uint16_t len)
{
    enum parse_outcome outcome = PARSE_MORE;

    while (outcome == PARSE_MORE && fields->at < len) {
        if (fields->state != LINE_START || !take_line(fields, data, len))
            outcome = step(fields, data, len);
    }
    return outcome;
}
