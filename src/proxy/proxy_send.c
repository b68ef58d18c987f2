/* See proxy_send.h. */
#include "proxy/proxy_send.h"

#include "base/limits.h"
#include "core/conn.h"
#include "proto/proxy_protocol.h"

int proxy_send_build(uint8_t *out, size_t size, const struct conn *client, enum proxy_send version,
                     const struct proxy_field *fields, size_t field_count)
{
    struct proxy_message message = {
        .command = client ? PROXY_PROXY : PROXY_LOCAL,
        .transport = PROXY_STREAM,
        .fields = fields,
        .field_count = field_count,
    };
    struct addr source, destination;

    if (version == PROXY_SEND_NONE)
        return 0;
    if (client) {
        conn_remote(client, &source);
        conn_local(client, &destination);
        message.source = &source;
        message.destination = &destination;
    }
    if (version == PROXY_SEND_V1)
        return proxy_protocol_build_v1(out, size, &message);
    return proxy_protocol_build_v2(out, size, &message);
}

int proxy_send(struct conn *server, const struct conn *client, enum proxy_send version,
               const struct proxy_field *fields, size_t field_count)
{
    uint8_t header[PROXY_HEADER_BYTES_MAX];
    int len;

    if (version == PROXY_SEND_NONE)
        return 0;
    len = proxy_send_build(header, sizeof(header), client, version, fields, field_count);
    return len < 0 ? len : conn_write(server, header, (uint32_t)len);
}
