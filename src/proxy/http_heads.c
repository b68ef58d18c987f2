/* See http_heads.h. Each head is written in one piece into the output it goes to; how long it can get at most is reckoned
 * first. */
#include "proxy/http_heads.h"

#include <errno.h>
#include <strings.h>

#include "base/addr.h"
#include "base/hash.h"
#include "base/limits.h"
#include "core/conn.h"
#include "core/listener.h"
#include "core/reactor.h"
#include "http/http_exchange.h"
#include "http/http_put.h"
#include "http/http_reason.h"
#include "http/http_server.h"
#include "proto/http_path.h"
#include "proxy/proxy.h"

enum { OWN_BYTES_MAX = 1024 }; /* of what is ours in a head, but for hosts that it repeats */
enum { LINE_EXTRA = 4 };       /* ": " and the line's end */
enum { KNOWN_BYTES_MAX = 32 }; /* longer names are not known */

#define BIT_OF(name) (1ULL << (name))
static_assert(HTTP_NAMES <= 64, "a set of known names is 64 bits");

#define FRAMING_NAMES (BIT_OF(HTTP_NAME_CONTENT_LENGTH) | BIT_OF(HTTP_NAME_TRANSFER_ENCODING))
#define X_FORWARDED_NAMES                                                                                          \
    (BIT_OF(HTTP_NAME_X_FORWARDED_FOR) | BIT_OF(HTTP_NAME_X_FORWARDED_HOST) | BIT_OF(HTTP_NAME_X_FORWARDED_PORT) | \
     BIT_OF(HTTP_NAME_X_FORWARDED_PROTO) | BIT_OF(HTTP_NAME_X_REAL_IP))

/* Where a head is being written. */
struct writing {
    const struct http_head *from; /* the fields that are passed on, */
    const uint8_t *bytes;         /* and what their spans count from */
    const struct http_field_config *changes;
    uint32_t change_count;
    uint64_t left_out; /* names that are not passed on */
    char *at;
};

/* ---- fields ---- */

static char *put_span(char *at, const uint8_t *bytes, struct http_span span)
{
    return http_put(at, bytes + span.at, http_span_len(span));
}

static uint8_t plain(uint8_t byte)
{
    if (byte == '_')
        return '-';
    return byte >= 'A' && byte <= 'Z' ? byte | ' ' : byte;
}

static bool spells(const char *name, const uint8_t *text, size_t len)
{
    if (strlen(name) != len)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (plain((uint8_t)name[i]) != plain(text[i]))
            return false;
    }
    return true;
}

bool http_heads_is_changed(const struct http_field_config *changes, uint32_t count, const uint8_t *name, size_t len)
{
    for (uint32_t i = 0; i < count; i++) {
        if (spells(changes[i].name, name, len))
            return true;
    }
    return false;
}

/* Whether the configuration says what becomes of this field. */
static bool is_changed(const struct writing *out, const uint8_t *name, size_t len)
{
    return http_heads_is_changed(out->changes, out->change_count, name, len);
}

/* The known name that servers which read `_` as `-` take a field for. */
static enum http_name known_as(const struct writing *out, const struct http_field *field)
{
    const uint8_t *name = out->bytes + field->name.at;
    uint16_t len = http_span_len(field->name);
    uint8_t text[KNOWN_BYTES_MAX];

    if (LIKELY(field->known != HTTP_NAME_OTHER || len > sizeof(text) || !memchr(name, '_', len)))
        return (enum http_name)field->known;
    for (uint16_t i = 0; i < len; i++)
        text[i] = plain(name[i]);
    return http_name_find(text, len);
}

#define IS_CHANGED(out, name) ((out)->change_count > 0 && is_changed(out, (const uint8_t *)(name), sizeof(name) - 1))

static bool is_passed(const struct writing *out, const struct http_field *field)
{
    if (field->is_hop_by_hop || (out->left_out & BIT_OF(known_as(out, field))))
        return false;
    return out->change_count == 0 || !is_changed(out, out->bytes + field->name.at, http_span_len(field->name));
}

/* Names are known to begin a line and values to end it: between the two is a colon and what blanks there were. */
static void put_passed(struct writing *out)
{
    const struct http_fields *fields = &out->from->fields;

    for (uint16_t i = 0; i < fields->count; i++) {
        const struct http_field *field = &fields->list[i];

        if (!is_passed(out, field))
            continue;
        out->at = put_span(out->at, out->bytes, field->name);
        out->at = HTTP_PUT(out->at, ": ");
        out->at = put_span(out->at, out->bytes, field->value);
        out->at = HTTP_PUT(out->at, "\r\n");
    }
}

static void put_changes(struct writing *out)
{
    for (uint32_t i = 0; i < out->change_count; i++) {
        const struct http_field_config *change = &out->changes[i];

        if (!change->value)
            continue;
        out->at = http_put_text(out->at, change->name);
        out->at = HTTP_PUT(out->at, ": ");
        out->at = http_put_text(out->at, change->value);
        out->at = HTTP_PUT(out->at, "\r\n");
    }
}

static size_t bytes_of_changes(const struct writing *out)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < out->change_count; i++) {
        if (out->changes[i].value)
            bytes += strlen(out->changes[i].name) + strlen(out->changes[i].value) + LINE_EXTRA;
    }
    return bytes;
}

static const struct http_field *find(const struct http_head *head, enum http_name known)
{
    for (uint16_t i = 0; i < head->fields.count; i++) {
        if (head->fields.list[i].known == known)
            return &head->fields.list[i];
    }
    return NULL;
}

/* The values of all fields of that name, joined by commas and with one behind them. */
static void put_list(struct writing *out, enum http_name known)
{
    const struct http_fields *fields = &out->from->fields;

    for (uint16_t i = 0; i < fields->count; i++) {
        if (fields->list[i].known != known || http_span_is_empty(fields->list[i].value))
            continue;
        out->at = put_span(out->at, out->bytes, fields->list[i].value);
        out->at = HTTP_PUT(out->at, ", ");
    }
}

/* ---- who asks ---- */

struct client {
    char host[ADDR_TEXT_MAX]; /* "": it has no address */
    bool is_v6;
    bool is_trusted; /* what it says of where a request comes from is kept */
    uint16_t port;   /* that it came to */
};

static void describe_client(struct client *client, const struct conn *conn)
{
    const struct listener_config *config = conn->listener->config;
    struct addr addr;

    conn_remote(conn, &addr);
    *client = (struct client){.port = addr_port(&config->addr)};
    if (addr.sa.sa_family == AF_INET || addr.sa.sa_family == AF_INET6)
        addr_format_host(&addr, client->host);
    client->is_v6 = strchr(client->host, ':') != NULL;
    if (conn->proxied && conn->proxied->destination.sa.sa_family != AF_UNSPEC)
        client->port = addr_port(&conn->proxied->destination);
    for (uint32_t i = 0; i < config->trusted_count && !client->is_trusted; i++)
        client->is_trusted = addr_range_has(&config->trusted[i], &addr);
}

/* A field that a trusted client may have set: then that one is passed on, else ours takes its place. True when ours is to be
 * written. */
static bool is_ours(struct writing *out, const struct client *client, enum http_name known, const char *name)
{
    if (client->is_trusted && find(out->from, known)) {
        out->left_out &= ~BIT_OF(known);
        return false;
    }
    out->left_out |= BIT_OF(known);
    return !is_changed(out, (const uint8_t *)name, strlen(name));
}

static void put_forwarded_for(struct writing *out, const struct client *client)
{
    out->left_out |= BIT_OF(HTTP_NAME_X_FORWARDED_FOR);
    if (client->host[0] == '\0' || IS_CHANGED(out, "X-Forwarded-For")) {
        if (client->is_trusted)
            out->left_out &= ~BIT_OF(HTTP_NAME_X_FORWARDED_FOR);
        return;
    }
    out->at = HTTP_PUT(out->at, "X-Forwarded-For: ");
    if (client->is_trusted)
        put_list(out, HTTP_NAME_X_FORWARDED_FOR);
    out->at = http_put_text(out->at, client->host);
    out->at = HTTP_PUT(out->at, "\r\n");
}

/* Host as it came. */
static struct http_span host_of(const struct http_head *head)
{
    const struct http_field *field = find(head, HTTP_NAME_HOST);

    if (head->target.form == HTTP_ABSOLUTE)
        return head->target.authority;
    return field ? field->value : (struct http_span){0};
}

static void put_x_forwarded(struct writing *out, const struct client *client)
{
    struct http_span host = host_of(out->from);

    put_forwarded_for(out, client);
    if (is_ours(out, client, HTTP_NAME_X_FORWARDED_PROTO, "X-Forwarded-Proto"))
        out->at = HTTP_PUT(out->at, "X-Forwarded-Proto: http\r\n");
    if (is_ours(out, client, HTTP_NAME_X_FORWARDED_HOST, "X-Forwarded-Host") && !http_span_is_empty(host)) {
        out->at = HTTP_PUT(out->at, "X-Forwarded-Host: ");
        out->at = put_span(out->at, out->bytes, host);
        out->at = HTTP_PUT(out->at, "\r\n");
    }
    if (is_ours(out, client, HTTP_NAME_X_FORWARDED_PORT, "X-Forwarded-Port") && client->port != 0) {
        out->at = HTTP_PUT(out->at, "X-Forwarded-Port: ");
        out->at = http_put_number(out->at, client->port);
        out->at = HTTP_PUT(out->at, "\r\n");
    }
    if (is_ours(out, client, HTTP_NAME_X_REAL_IP, "X-Real-IP") && client->host[0] != '\0') {
        out->at = HTTP_PUT(out->at, "X-Real-IP: ");
        out->at = http_put_text(out->at, client->host);
        out->at = HTTP_PUT(out->at, "\r\n");
    }
}

/* 128 bits that no other request of these days has. */
static void put_request_id(struct writing *out, const struct client *client, const struct conn *conn)
{
    struct proxy *proxy = conn->reactor->proxy;

    if (!is_ours(out, client, HTTP_NAME_X_REQUEST_ID, "X-Request-ID"))
        return;
    proxy->next_request += HASH_STEP;
    out->at = HTTP_PUT(out->at, "X-Request-ID: ");
    out->at = http_put_hex(out->at, proxy->request_seed, 16);
    out->at = http_put_hex(out->at, hash_mix(proxy->next_request), 16);
    out->at = HTTP_PUT(out->at, "\r\n");
}

/* RFC 7239. */
static void put_forwarded(struct writing *out, const struct client *client)
{
    struct http_span host = host_of(out->from);

    out->left_out |= BIT_OF(HTTP_NAME_FORWARDED);
    if (IS_CHANGED(out, "Forwarded"))
        return;
    out->at = HTTP_PUT(out->at, "Forwarded: ");
    if (client->is_trusted)
        put_list(out, HTTP_NAME_FORWARDED);
    out->at = HTTP_PUT(out->at, "for=");
    if (client->host[0] == '\0')
        out->at = HTTP_PUT(out->at, "unknown");
    else if (client->is_v6)
        out->at = HTTP_PUT(http_put_text(HTTP_PUT(out->at, "\"["), client->host), "]\"");
    else
        out->at = http_put_text(out->at, client->host);
    if (!http_span_is_empty(host))
        out->at = HTTP_PUT(put_span(HTTP_PUT(out->at, ";host=\""), out->bytes, host), "\"");
    out->at = HTTP_PUT(out->at, ";proto=http\r\n");
}

/* RFC 9110 section 7.6.3: a further line goes behind those that came, as they make one list. */
static char *put_via(char *at, const struct http_head *head)
{
    return head->minor == 0 ? HTTP_PUT(at, "Via: 1.0 zerg\r\n") : HTTP_PUT(at, "Via: 1.1 zerg\r\n");
}

static void put_origin(struct writing *out, const struct conn *conn)
{
    const struct http_config *config = &conn->listener->config->http;
    struct client client;

    describe_client(&client, conn);
    /* Nobody who is not trusted says where a request comes from, whatever we add ourselves. */
    if (!client.is_trusted)
        out->left_out |= X_FORWARDED_NAMES | BIT_OF(HTTP_NAME_FORWARDED) | BIT_OF(HTTP_NAME_X_REQUEST_ID);
    if (config->adds_x_forwarded)
        put_x_forwarded(out, &client);
    if (config->adds_request_id)
        put_request_id(out, &client, conn);
    if (config->adds_forwarded)
        put_forwarded(out, &client);
}

/* ---- requests ---- */

/* The path, with its query; NULL when what is to be stripped is not there. */
static char *put_target(char *at, const struct http_exchange *exchange, const struct http_change *change)
{
    const struct http_target *target = &exchange->head.target;
    const uint8_t *bytes = exchange->head_bytes;
    const char *strip = change->rewrite ? change->rewrite->strip : NULL;
    bool has_query = target->has_query;
    int len;

    if (change->path) {
        at = http_put(at, change->path, change->path_len);
        has_query = has_query && !memchr(change->path, '?', change->path_len);
    } else if (http_span_is_empty(target->path)) {
        if (exchange->head.method == HTTP_OPTIONS && !has_query)
            return HTTP_PUT(at, "*"); /* RFC 9112 section 3.2.4 */
        *at++ = '/';
    } else if (strip) {
        len = http_path_strip(at, bytes + target->path.at, http_span_len(target->path), strip);
        if (len < 0)
            return NULL;
        at += len;
    } else {
        at = put_span(at, bytes, target->path);
    }
    if (has_query)
        at = put_span(HTTP_PUT(at, "?"), bytes, target->query);
    return at;
}

/* fallback: for a request of HTTP/1.0 that has none. */
static void put_host(struct writing *out, const char *fallback)
{
    struct http_span host = host_of(out->from);

    out->left_out |= BIT_OF(HTTP_NAME_HOST);
    if (IS_CHANGED(out, "Host"))
        return;
    out->at = HTTP_PUT(out->at, "Host: ");
    out->at = http_span_is_empty(host) ? http_put_text(out->at, fallback) : put_span(out->at, out->bytes, host);
    out->at = HTTP_PUT(out->at, "\r\n");
}

static bool begins_with(struct http_span span, const uint8_t *bytes, const char *word)
{
    size_t len = strlen(word);

    return http_span_len(span) >= len && http_spells(bytes + span.at, word, len);
}

bool http_heads_passes_upgrade(const struct http_head *head, const uint8_t *bytes)
{
    struct http_span protocol = head->upgrade;

    return head->wants_upgrade && !memchr(bytes + protocol.at, ',', http_span_len(protocol)) &&
           !http_span_is(protocol, bytes, "h2c") && !begins_with(protocol, bytes, "http/") &&
           !begins_with(protocol, bytes, "tls/");
}

bool http_heads_agree(const struct http_exchange *exchange, const struct http_head *head, const uint8_t *bytes)
{
    struct http_span asked = exchange->head.upgrade;
    struct http_span given = head->upgrade;

    return head->status == STATUS_SWITCHING && http_span_len(asked) == http_span_len(given) &&
           strncasecmp((const char *)exchange->head_bytes + asked.at, (const char *)bytes + given.at,
                       http_span_len(asked)) == 0;
}

static void put_request_framing(struct writing *out, const struct http_change *change)
{
    const struct http_head *head = out->from;

    out->left_out |= FRAMING_NAMES;
    if (change->body) {
        out->left_out |= BIT_OF(HTTP_NAME_EXPECT); /* it is here */
        out->at = HTTP_PUT(out->at, "Content-Length: ");
        out->at = http_put_number(out->at, change->body_len);
        out->at = HTTP_PUT(out->at, "\r\n");
    } else if (head->body == HTTP_BODY_CHUNKED) {
        out->at = HTTP_PUT(out->at, "Transfer-Encoding: chunked\r\n");
    } else if (head->has_content_length) {
        out->at = HTTP_PUT(out->at, "Content-Length: ");
        out->at = http_put_number(out->at, head->content_length);
        out->at = HTTP_PUT(out->at, "\r\n");
    }
    if (http_heads_passes_upgrade(head, out->bytes)) {
        out->at = HTTP_PUT(out->at, "Connection: Upgrade\r\nUpgrade: ");
        out->at = put_span(out->at, out->bytes, head->upgrade);
        out->at = HTTP_PUT(out->at, "\r\n");
    }
}

static int finish(struct conn *conn, const struct writing *out, const char *start)
{
    if (output_commit(&conn->out, (uint32_t)(out->at - start)) < 0)
        return -ENOMEM;
    conn_mark_dirty(conn);
    return 0;
}

/* Room for a head: what it is made of, twice its host, and what is ours. */
static char *reserve(struct conn *conn, const struct writing *out, size_t more, int *error)
{
    size_t bytes = out->from->at + more + bytes_of_changes(out) + OWN_BYTES_MAX;
    char *start = NULL;

    *error = -E2BIG;
    if (bytes <= RESERVE_BYTES_MAX) {
        *error = -ENOMEM;
        start = (char *)output_reserve(&conn->out, &conn->reactor->chunks, (uint32_t)bytes);
    }
    return start;
}

int http_heads_request(const struct http_exchange *exchange, const struct http_change *change, const char *host,
                       struct conn *server)
{
    const struct http_head *head = &exchange->head;
    const struct http_rewrite *rewrite = change->rewrite;
    struct writing out = {
        .from = head,
        .bytes = exchange->head_bytes,
        .changes = rewrite ? rewrite->request_fields : NULL,
        .change_count = rewrite ? rewrite->request_field_count : 0,
    };
    size_t more = change->method_len + change->path_len + strlen(host) + 3 * (size_t)http_span_len(host_of(head));
    int error;
    char *start = reserve(server, &out, more, &error);

    if (!start)
        return error;
    out.at = change->method ? http_put(start, change->method, change->method_len)
                            : put_span(start, out.bytes, head->method_text);
    *out.at++ = ' ';
    out.at = put_target(out.at, exchange, change);
    if (!out.at)
        return -EINVAL;
    out.at = HTTP_PUT(out.at, " HTTP/1.1\r\n");
    put_host(&out, host);
    put_origin(&out, exchange->conn);
    put_request_framing(&out, change);
    put_passed(&out);
    if (exchange->conn->listener->config->http.adds_via)
        out.at = put_via(out.at, head);
    put_changes(&out);
    out.at = HTTP_PUT(out.at, "\r\n");
    return finish(server, &out, start);
}

/* ---- answers ---- */

static void put_status_line(struct writing *out)
{
    out->at = HTTP_PUT(out->at, "HTTP/1.1 ");
    out->at = http_put_number(out->at, out->from->status);
    *out->at++ = ' ';
    out->at = put_span(out->at, out->bytes, out->from->reason);
    out->at = HTTP_PUT(out->at, "\r\n");
}

static void put_answer_framing(struct writing *out, const struct http_exchange *exchange)
{
    const struct http_answer *answer = &exchange->answer;

    if (answer->framing == HTTP_FRAMING_CHUNKED) {
        out->at = HTTP_PUT(out->at, "Transfer-Encoding: chunked\r\n");
    } else if (out->from->has_content_length && answer->framing != HTTP_FRAMING_CLOSE &&
               out->from->status != STATUS_NO_CONTENT) {
        out->at = HTTP_PUT(out->at, "Content-Length: ");
        out->at = http_put_number(out->at, out->from->content_length);
        out->at = HTTP_PUT(out->at, "\r\n");
    }
    if (answer->closes)
        out->at = HTTP_PUT(out->at, "Connection: close\r\n");
    else if (exchange->head.minor == 0)
        out->at = HTTP_PUT(out->at, "Connection: keep-alive\r\n");
}

/* Begins an answer's head. */
static char *begin_answer(struct writing *out, const struct http_exchange *exchange, int *error)
{
    char *start = reserve(exchange->conn, out, 0, error);

    if (!start)
        return NULL;
    out->at = start;
    put_status_line(out);
    return start;
}

int http_heads_answer(const struct http_exchange *exchange, const struct http_change *change,
                      const struct http_head *head, const uint8_t *bytes)
{
    const struct http_rewrite *rewrite = change->rewrite;
    struct writing out = {
        .from = head,
        .bytes = bytes,
        .changes = rewrite ? rewrite->response_fields : NULL,
        .change_count = rewrite ? rewrite->response_field_count : 0,
        .left_out = FRAMING_NAMES,
    };
    int error;
    char *start = begin_answer(&out, exchange, &error);

    if (!start)
        return error;
    if (exchange->answer.framing != HTTP_FRAMING_CHUNKED) /* there will be none */
        out.left_out |= BIT_OF(HTTP_NAME_TRAILER);
    if (!find(head, HTTP_NAME_DATE) && !IS_CHANGED(&out, "Date")) { /* RFC 9110 section 6.6.1 */
        out.at = HTTP_PUT(out.at, "Date: ");
        out.at = http_put(out.at, http_server_date(exchange->server), HTTP_DATE_BYTES);
        out.at = HTTP_PUT(out.at, "\r\n");
    }
    put_passed(&out);
    if (exchange->conn->listener->config->http.adds_via)
        out.at = put_via(out.at, head);
    put_changes(&out);
    put_answer_framing(&out, exchange);
    out.at = HTTP_PUT(out.at, "\r\n");
    return finish(exchange->conn, &out, start);
}

int http_heads_interim(const struct http_exchange *exchange, const struct http_head *head, const uint8_t *bytes)
{
    struct writing out = {.from = head, .bytes = bytes, .left_out = FRAMING_NAMES};
    int error;
    char *start = begin_answer(&out, exchange, &error);

    if (!start)
        return error;
    put_passed(&out);
    if (head->body == HTTP_BODY_TUNNEL) {
        out.at = HTTP_PUT(out.at, "Connection: Upgrade\r\nUpgrade: ");
        out.at = put_span(out.at, bytes, head->upgrade);
        out.at = HTTP_PUT(out.at, "\r\n");
    }
    out.at = HTTP_PUT(out.at, "\r\n");
    return finish(exchange->conn, &out, start);
}
