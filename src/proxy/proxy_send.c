/* See proxy_send.h. */
#include "proxy/proxy_send.h"

#include "base/limits.h"
#include "core/conn.h"
#include "proto/proxy_protocol.h"

int proxy_send(struct conn *server, const struct conn *client, enum proxy_send version,
               const struct proxy_field *fields, size_t field_count)
{
    struct proxy_message message = {
        .command = client ? PROXY_PROXY : PROXY_LOCAL,
        .transport = PROXY_STREAM,
        .fields = fields,
        .field_count = field_count,
    };
    uint8_t header[PROXY_HEADER_BYTES_MAX];
    struct addr source, destination;
    int len;

    if (version == PROXY_SEND_NONE)
        return 0;
    if (client) {
        conn_remote(client, &source);
        conn_local(client, &destination);
        message.source = &source;
        message.destination = &destination;
    }
    if (version == PROXY_SEND_V1)
        len = proxy_protocol_build_v1(header, sizeof(header), &message);
    else
        len = proxy_protocol_build_v2(header, sizeof(header), &message);
    return len < 0 ? len : conn_write(server, header, (uint32_t)len);
}
