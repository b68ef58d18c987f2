/* See greeting.h. */
#include "script/greeting.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "core/conn.h"
#include "proto/proxy_protocol.h"
#include "proto/wire.h"
#include "proxy/proxy_send.h"
#include "script/api.h"

enum { GREETING_FIELDS_MAX = 64 };

/* Type, length, value, one behind the other. The number of fields, -1 when they do not add up. */
static int read_fields(const struct zerg_dial_options *options, struct proxy_field *fields)
{
    uint32_t at = 0;
    int count = 0;

    while (at < options->fields_len) {
        const uint8_t *field = options->fields + at;

        if (count == GREETING_FIELDS_MAX || options->fields_len - at < PROXY_TLV_HEAD_BYTES)
            return -1;
        fields[count].type = field[0];
        fields[count].bytes = wire_read_u16(field + 1);
        fields[count].value = field + PROXY_TLV_HEAD_BYTES;
        at += PROXY_TLV_HEAD_BYTES + fields[count++].bytes;
    }
    return at == options->fields_len ? count : -1;
}

int greeting_make(struct greeting *greeting, const struct zerg_dial_options *options, enum proxy_send usual,
                  const struct conn *client)
{
    enum proxy_send version = options->proxy_version >= 0 ? (enum proxy_send)options->proxy_version : usual;
    struct proxy_field fields[GREETING_FIELDS_MAX];
    uint8_t header[PROXY_HEADER_BYTES_MAX];
    int count = read_fields(options, fields);
    int len;

    *greeting = (struct greeting){0};
    if (count < 0 || (count > 0 && version != PROXY_SEND_V2))
        return ZERG_RANGE;
    if (version == PROXY_SEND_NONE)
        return ZERG_OK;
    len = proxy_send_build(header, sizeof(header), client, version, fields, (size_t)count);
    if (len < 0)
        return ZERG_RANGE;
    greeting->bytes = malloc((size_t)len);
    if (!greeting->bytes)
        return ZERG_NO_MEMORY;
    memcpy(greeting->bytes, header, (size_t)len);
    greeting->len = (uint32_t)len;
    return ZERG_OK;
}

int greeting_send(const struct greeting *greeting, struct conn *server)
{
    return greeting->bytes ? conn_write(server, greeting->bytes, greeting->len) : 0;
}

void greeting_free(struct greeting *greeting)
{
    free(greeting->bytes);
    *greeting = (struct greeting){0};
}
