/* See http_pass.h. */
#include "proxy/http_pass.h"

#include "core/conn.h"
#include "core/reactor.h"
#include "http/http_inflow.h"
#include "http/http_put.h"
#include "proxy/http_heads.h"
#include "proxy/pump.h"

enum { CHUNK_HEAD_BYTES_MAX = 16 };

bool http_pass_is_full(const struct http_pass *pass)
{
    return pass->to->out.staged >= pass->to->write_buffer_max;
}

static bool write(const struct http_pass *pass, const void *text, size_t len)
{
    return conn_write(pass->to, text, (uint32_t)len) == 0;
}

/* All of `bytes` is in the first unread piece, and goes in one. */
static bool move_content(struct http_pass *pass, uint32_t bytes)
{
    char head[CHUNK_HEAD_BYTES_MAX];

    if (pass->is_chunked) {
        const char *end = HTTP_PUT(http_put_hex(head, bytes, 0), "\r\n");

        if (!write(pass, head, (size_t)(end - head)))
            return false;
    }
    if (!conn_is_writable(pass->to) || pump_move_whole(pass->from->conn, pass->to, bytes) != bytes)
        return false;
    pass->bytes += bytes;
    return !pass->is_chunked || write(pass, "\r\n", 2);
}

static bool write_trailers(const struct http_pass *pass)
{
    const struct http_fields *trailers = pass->from->trailers;
    const uint8_t *bytes = pass->from->trailer_bytes ? pass->from->trailer_bytes->data : NULL;

    for (uint16_t i = 0; bytes && i < trailers->count; i++) {
        const struct http_field *field = &trailers->list[i];
        uint16_t len = (uint16_t)(field->value.end - field->name.at);

        /* From the name to the end of the value, with what is between them. */
        if (http_heads_is_changed(pass->changes, pass->change_count, bytes + field->name.at,
                                  http_span_len(field->name)))
            continue; /* what the head may not have, they may not have either */
        if (!field->is_hop_by_hop && (!write(pass, bytes + field->name.at, len) || !write(pass, "\r\n", 2)))
            return false;
    }
    return true;
}

enum http_pass_outcome http_pass_end(struct http_pass *pass)
{
    pass->is_done = true;
    if (!pass->is_chunked)
        return HTTP_PASS_DONE;
    if (!write(pass, "0\r\n", 3) || !write_trailers(pass) || !write(pass, "\r\n", 2))
        return HTTP_PASS_LOST;
    return HTTP_PASS_DONE;
}

enum http_pass_outcome http_pass_move(struct http_pass *pass)
{
    struct conn *from = pass->from->conn;
    uint32_t bytes;

    if (!http_pass_is_full(pass))
        conn_on_consumed(from); /* it may have been paused before its very end */
    while (!http_pass_is_full(pass)) {
        switch (http_inflow_next(pass->from, &bytes)) {
        case HTTP_INFLOW_CONTENT:
            if (!move_content(pass, bytes))
                return HTTP_PASS_LOST;
            break;
        case HTTP_INFLOW_MORE: return HTTP_PASS_MORE;
        case HTTP_INFLOW_DONE: return http_pass_end(pass);
        case HTTP_INFLOW_BAD: return HTTP_PASS_BAD;
        }
    }
    conn_pause_input(from);
    return HTTP_PASS_MORE;
}

bool http_pass_is_due(const struct http_pass *pass)
{
    return !pass->is_done && pump_is_due(pass->from->conn, pass->to);
}
