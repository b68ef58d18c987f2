/* Every read is preceded by a look at the span's end; lengths from the wire are compared with what is left, never added
 * up first. */
#include "proto/proxy_tlv.h"

#include <stddef.h>

#include "base/assert.h"
#include "proto/crc32c.h"
#include "proto/wire.h"

static uint32_t span_bytes(struct proxy_span span)
{
    return span.end - span.at;
}

bool proxy_tlv_next(struct proxy_span *rest, const uint8_t *header, struct proxy_tlv *tlv)
{
    uint32_t bytes;

    assert(rest->at <= rest->end);
    if (span_bytes(*rest) < PROXY_TLV_HEAD_BYTES)
        return false;
    bytes = wire_read_u16(header + rest->at + 1);
    if (bytes > span_bytes(*rest) - PROXY_TLV_HEAD_BYTES)
        return false;
    tlv->type = header[rest->at];
    tlv->value.at = rest->at + PROXY_TLV_HEAD_BYTES;
    tlv->value.end = tlv->value.at + bytes;
    rest->at = tlv->value.end;
    return true;
}

bool proxy_tlv_find(struct proxy_span tlvs, const uint8_t *header, uint8_t type, struct proxy_tlv *tlv)
{
    while (proxy_tlv_next(&tlvs, header, tlv))
        if (tlv->type == type)
            return true;
    return false;
}

bool proxy_tlv_read_ssl(const struct proxy_tlv *tlv, const uint8_t *header, struct proxy_ssl *ssl)
{
    const uint8_t *value = header + tlv->value.at;

    if (span_bytes(tlv->value) < PROXY_SSL_HEAD_BYTES)
        return false;
    ssl->client = value[0];
    ssl->verify = wire_read_u32(value + 1);
    ssl->inner = (struct proxy_span){tlv->value.at + PROXY_SSL_HEAD_BYTES, tlv->value.end};
    return true;
}

static const char *ssl_problem(const struct proxy_tlv *tlv, const uint8_t *header)
{
    struct proxy_ssl ssl;
    struct proxy_tlv inner;

    if (!proxy_tlv_read_ssl(tlv, header, &ssl))
        return "an SSL field of less than 5 bytes";
    while (proxy_tlv_next(&ssl.inner, header, &inner))
        continue;
    return span_bytes(ssl.inner) ? "a field inside the SSL field does not fit into it" : NULL;
}

static const char *checksum_problem(const struct proxy_tlv *tlv, const struct proxy_tlv *earlier)
{
    if (span_bytes(tlv->value) != PROXY_CRC32C_BYTES)
        return "a checksum that has not 4 bytes";
    return earlier->type == PROXY_TLV_CRC32C ? "two checksums" : NULL;
}

const char *proxy_tlv_problem(struct proxy_span tlvs, const uint8_t *header, struct proxy_tlv *checksum)
{
    const char *problem = NULL;
    struct proxy_tlv tlv;

    *checksum = (struct proxy_tlv){0};
    while (!problem && proxy_tlv_next(&tlvs, header, &tlv)) {
        if (tlv.type == PROXY_TLV_SSL)
            problem = ssl_problem(&tlv, header);
        else if (tlv.type == PROXY_TLV_UNIQUE_ID && span_bytes(tlv.value) > PROXY_UNIQUE_ID_BYTES_MAX)
            problem = "a unique id of more than 128 bytes";
        else if (tlv.type == PROXY_TLV_CRC32C) {
            problem = checksum_problem(&tlv, checksum);
            *checksum = tlv;
        }
    }
    if (!problem && span_bytes(tlvs))
        problem = "a field does not fit into the header";
    return problem;
}

uint32_t proxy_tlv_crc32c(struct proxy_span field, const uint8_t *header, uint32_t header_bytes)
{
    static const uint8_t zeros[PROXY_CRC32C_BYTES];
    uint32_t crc;

    assert(span_bytes(field) == PROXY_CRC32C_BYTES && field.end <= header_bytes);
    crc = crc32c_extend(0, header, field.at);
    crc = crc32c_extend(crc, zeros, sizeof(zeros));
    return crc32c_extend(crc, header + field.end, header_bytes - field.end);
}
