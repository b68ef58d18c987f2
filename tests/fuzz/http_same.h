/* Whether two parses of the same bytes came to the same: what unit tests and fuzzing both ask of heads that came in
 * pieces. And parsing in memory of exactly that size, so that the address sanitizer sees a read past the end. */
#pragma once

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "proto/http_head.h"

static inline bool http_same_span(struct http_span a, struct http_span b)
{
    return a.at == b.at && a.end == b.end;
}

static inline bool http_same_fields(const struct http_fields *a, const struct http_fields *b)
{
    if (a->count != b->count || a->at != b->at)
        return false;
    for (uint16_t i = 0; i < a->count; i++) {
        const struct http_field *left = &a->list[i];
        const struct http_field *right = &b->list[i];

        if (!http_same_span(left->name, right->name) || !http_same_span(left->value, right->value) ||
            left->known != right->known || left->is_hop_by_hop != right->is_hop_by_hop)
            return false;
    }
    return true;
}

static inline bool http_same_target(const struct http_target *a, const struct http_target *b)
{
    return http_same_span(a->all, b->all) && http_same_span(a->scheme, b->scheme) &&
           http_same_span(a->authority, b->authority) && http_same_span(a->path, b->path) &&
           http_same_span(a->query, b->query) && a->form == b->form && a->has_query == b->has_query;
}

static inline bool http_same_start(const struct http_head *a, const struct http_head *b)
{
    return a->minor == b->minor && a->method == b->method && a->at == b->at &&
           http_same_span(a->method_text, b->method_text) && http_same_target(&a->target, &b->target) &&
           a->status == b->status && http_same_span(a->reason, b->reason);
}

static inline bool http_same_facts(const struct http_head *a, const struct http_head *b)
{
    return http_same_span(a->authority.host, b->authority.host) && a->authority.port == b->authority.port &&
           a->body == b->body && a->options == b->options && a->has_content_length == b->has_content_length &&
           a->is_chunked == b->is_chunked && a->keeps_alive == b->keeps_alive &&
           a->expects_continue == b->expects_continue && a->wants_upgrade == b->wants_upgrade &&
           a->content_length == b->content_length && http_same_span(a->upgrade, b->upgrade);
}

/* Two heads of which the same was said; of bad ones, why counts alone. */
static inline bool http_same_head(const struct http_head *a, const struct http_head *b)
{
    if (a->refusal.problem || b->refusal.problem)
        return a->refusal.problem && b->refusal.problem && strcmp(a->refusal.problem, b->refusal.problem) == 0 &&
               a->refusal.status == b->refusal.status;
    return http_same_start(a, b) && http_same_facts(a, b) && http_same_fields(&a->fields, &b->fields);
}

static inline enum parse_outcome http_parse_copy(struct http_head *head, const void *data, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    enum parse_outcome outcome;

    memcpy(copy, data, len);
    outcome = http_head_parse(head, copy, len);
    free(copy);
    return outcome;
}

/* `head` was made by http_request_init() or http_response_init(); gives more of the same bytes `step` at a time,
 * beginning with `first` of them. */
static inline enum parse_outcome http_parse_pieces(struct http_head *head, const void *data, size_t len, size_t first,
                                                   size_t step)
{
    enum parse_outcome outcome = http_parse_copy(head, data, first);

    for (size_t given = first; outcome == PARSE_MORE && given < len;) {
        given = len - given < step ? len : given + step;
        outcome = http_parse_copy(head, data, given);
    }
    return outcome;
}
