/* What is true of every head that was accepted. */
#pragma once

#include "base/assert.h"
#include "http_same.h"
#include "proto/http_name.h"

static inline void check_inside(struct http_span span, const struct http_head *head)
{
    assert(span.at <= span.end && span.end <= head->at);
}

static inline bool ends_in_blank(struct http_span span, const uint8_t *data)
{
    return data[span.at] == ' ' || data[span.at] == '\t' || data[span.end - 1] == ' ' || data[span.end - 1] == '\t';
}

static inline void check_field(const struct http_head *head, const struct http_field *field, const uint8_t *data)
{
    const char *text = (const char *)data;

    check_inside(field->name, head);
    check_inside(field->value, head);
    assert(field->name.end < field->value.at);
    assert(http_name_is_valid(text + field->name.at, http_span_len(field->name)));
    assert(http_value_is_valid(text + field->value.at, http_span_len(field->value)));
    assert(http_span_is_empty(field->value) || !ends_in_blank(field->value, data));
    if (field->known != HTTP_NAME_OTHER)
        assert(http_span_is(field->name, data, http_name_text(field->known)));
}

static inline void check_fields(const struct http_head *head, const uint8_t *data)
{
    assert(memcmp(data + head->at - 4, "\r\n\r\n", 4) == 0);
    for (uint16_t i = 0; i < head->fields.count; i++)
        check_field(head, &head->fields.list[i], data);
    check_inside(head->upgrade, head);
    check_inside(head->authority.host, head);
    assert(!(head->has_content_length && head->is_chunked));
    assert(head->content_length <= INT64_MAX);
    assert(head->body != HTTP_BODY_LENGTH || head->content_length > 0);
    assert(head->body != HTTP_BODY_CHUNKED || head->minor == 1);
    assert(!head->keeps_alive || (head->body != HTTP_BODY_UNTIL_CLOSE && head->body != HTTP_BODY_TUNNEL));
}
