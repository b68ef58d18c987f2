/* What zerg's HTTP/1 parser makes of streams of bytes, for comparing it with another parser: reads cases from stdin,
 * writes a line of JSON for each. A case is a byte that says whether the stream is of requests ('Q') or of responses
 * ('S'), the number of the requests' method for responses (enum http_method), the stream's length (4 bytes, little
 * endian), and the stream.
 *
 * A line has the messages of the stream, whole ones and one whose body has begun, and why that is all: "head", "body"
 * or "trailers" (the stream ends within one), "close" or "tunnel" (what follows is no further message), "bad". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/http_body.h"
#include "proto/http_head.h"

enum { CASE_BYTES_MAX = 1024 * 1024, CASE_HEADER_BYTES = 6 };

static const struct http_limits limits = {16 * 1024, HTTP_FIELDS_MAX};

struct stream {
    enum http_kind kind;
    enum http_method method;
    const uint8_t *data;
    size_t len;
    size_t at;
    const char *comma;
    const char *end; /* why it is all; NULL: go on */
    const char *problem;
};

static void print_bytes(const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (data[i] < ' ' || data[i] > '~' || data[i] == '"' || data[i] == '\\')
            printf("\\u%04x", data[i]);
        else
            putchar(data[i]);
    }
}

static void print_span(const char *before, struct http_span span, const uint8_t *data)
{
    printf("%s\"", before);
    print_bytes(data + span.at, http_span_len(span));
    putchar('"');
}

static void print_fields(const char *key, const struct http_fields *fields, const uint8_t *data)
{
    printf(",\"%s\":[", key);
    for (uint16_t i = 0; i < fields->count; i++) {
        print_span(i > 0 ? "," : "", fields->list[i].name, data);
        print_span(",", fields->list[i].value, data);
    }
    printf("]");
}

static void print_head(const struct http_head *head, const uint8_t *data)
{
    printf("{\"minor\":%d,\"keeps_alive\":%s", head->minor, head->keeps_alive ? "true" : "false");
    if (head->kind == HTTP_REQUEST) {
        print_span(",\"method\":", head->method_text, data);
        print_span(",\"target\":", head->target.all, data);
    } else {
        printf(",\"status\":%d", head->status);
        print_span(",\"reason\":", head->reason, data);
    }
    print_fields("fields", &head->fields, data);
}

static const char *where_it_ends(const struct stream *stream)
{
    return stream->at < stream->len ? "trailers" : "body";
}

static enum http_body_outcome print_content(struct stream *stream, struct http_body *body, struct http_body_step *last)
{
    enum http_body_outcome outcome;

    printf(",\"body\":\"");
    do {
        const uint8_t *data = stream->data + stream->at;

        outcome = http_body_next(body, data, stream->len - stream->at, last);
        print_bytes(data + last->content_at, last->content_bytes);
        stream->at += last->used;
    } while (outcome == HTTP_BODY_CONTENT);
    printf("\"");
    return outcome;
}

static void print_body(struct stream *stream, const struct http_head *head)
{
    static struct http_fields trailers;
    struct http_body body;
    struct http_body_step last;
    enum http_body_outcome outcome;

    http_fields_init(&trailers, 0, HTTP_FIELDS_MAX);
    http_body_init(&body, head, HTTP_CONTENT_UNLIMITED, &limits, &trailers);
    outcome = print_content(stream, &body, &last);
    if (outcome == HTTP_BODY_DONE)
        print_fields("trailers", &trailers, stream->data + stream->at - trailers.at);
    printf(",\"whole\":%s}", outcome == HTTP_BODY_DONE ? "true" : "false");
    if (outcome == HTTP_BODY_MORE)
        stream->end = where_it_ends(stream);
    if (outcome == HTTP_BODY_BAD) {
        stream->end = "bad";
        stream->problem = body.refusal.problem;
    }
}

static bool is_last(const struct http_head *head)
{
    return !head->keeps_alive && !(head->kind == HTTP_RESPONSE && head->status < 200);
}

static void print_message(struct stream *stream)
{
    static struct http_head head;
    const uint8_t *data = stream->data + stream->at;
    enum parse_outcome outcome;

    if (stream->kind == HTTP_REQUEST)
        http_request_init(&head, &limits);
    else
        http_response_init(&head, &limits, stream->method);
    outcome = http_head_parse(&head, data, stream->len - stream->at);
    if (outcome != PARSE_DONE) {
        stream->end = outcome == PARSE_MORE ? "head" : "bad";
        stream->problem = head.refusal.problem;
        return;
    }
    printf("%s", stream->comma);
    stream->comma = ",";
    print_head(&head, data);
    stream->at += head.at;
    if (head.body == HTTP_BODY_TUNNEL || (head.kind == HTTP_REQUEST && head.method == HTTP_CONNECT)) {
        printf(",\"body\":\"\",\"trailers\":[],\"whole\":true}");
        stream->end = "tunnel";
        return;
    }
    print_body(stream, &head);
    if (!stream->end && head.kind == HTTP_REQUEST && head.wants_upgrade)
        stream->end = "tunnel";
    if (!stream->end && is_last(&head))
        stream->end = "close";
}

static void print_stream(struct stream *stream)
{
    printf("{\"messages\":[");
    stream->comma = "";
    while (!stream->end)
        print_message(stream);
    printf("],\"end\":\"%s\",\"problem\":\"%s\"}\n", stream->end, stream->problem ? stream->problem : "");
}

static bool read_case(uint8_t *data, struct stream *stream)
{
    uint8_t header[CASE_HEADER_BYTES];

    if (fread(header, 1, sizeof(header), stdin) != sizeof(header))
        return false;
    *stream = (struct stream){
        .kind = header[0] == 'Q' ? HTTP_REQUEST : HTTP_RESPONSE,
        .method = header[1],
        .data = data,
        .len = header[2] | (size_t)header[3] << 8 | (size_t)header[4] << 16,
    };
    return stream->len <= CASE_BYTES_MAX && header[5] == 0 && fread(data, 1, stream->len, stdin) == stream->len;
}

int main(void)
{
    uint8_t *data = malloc(CASE_BYTES_MAX);
    struct stream stream;

    while (data && read_case(data, &stream))
        print_stream(&stream);
    free(data);
    return 0;
}
