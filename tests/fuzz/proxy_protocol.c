/* PROXY protocol headers. Whatever the bytes: a verdict never changes with bytes that follow, what is given lies inside
 * the header, and what was understood can be said again. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "entries.h"
#include "proto/proxy_protocol.h"

enum { FIELDS_MAX = PROXY_HEADER_BYTES_MAX / PROXY_TLV_HEAD_BYTES };

/* In memory of exactly that size, so that a read past it is seen. */
static enum parse_outcome parse_copy(struct proxy_header *header, const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len);
    enum parse_outcome outcome;

    assert(copy);
    if (len > 0)
        memcpy(copy, data, len);
    outcome = proxy_protocol_parse(header, copy, len);
    free(copy);
    return outcome;
}

/* MORE for every shorter prefix, then the same verdict for this and every longer one. */
static void check_prefixes(enum parse_outcome outcome, const uint8_t *data, size_t size)
{
    size_t longest = size < PROXY_HEADER_BYTES_MAX ? size : PROXY_HEADER_BYTES_MAX;
    enum parse_outcome verdict = PARSE_MORE;
    struct proxy_header header;

    for (size_t len = 0; len <= longest; len++) {
        enum parse_outcome now = parse_copy(&header, data, len);

        assert(verdict == PARSE_MORE || now == verdict);
        assert(now != PARSE_DONE || verdict == PARSE_DONE || header.bytes == len);
        assert((now == PARSE_BAD) == (header.problem != NULL));
        verdict = now;
    }
    assert(verdict == outcome);
}

static void check_span(struct proxy_span inner, struct proxy_span outer)
{
    assert(outer.at <= inner.at && inner.at <= inner.end && inner.end <= outer.end);
}

static void check_ssl(const struct proxy_tlv *tlv, const uint8_t *data)
{
    struct proxy_ssl ssl;
    struct proxy_tlv inner;

    assert(proxy_tlv_read_ssl(tlv, data, &ssl));
    check_span(ssl.inner, tlv->value);
    while (proxy_tlv_next(&ssl.inner, data, &inner))
        check_span(inner.value, tlv->value);
    assert(ssl.inner.at == ssl.inner.end);
}

/* Collects all fields but the checksum. */
static size_t check_tlvs(const struct proxy_header *header, const uint8_t *data, struct proxy_field *fields)
{
    struct proxy_span rest = header->tlvs;
    bool has_crc32c = false;
    size_t count = 0;
    struct proxy_tlv tlv;

    check_span(rest, (struct proxy_span){0, header->bytes});
    while (proxy_tlv_next(&rest, data, &tlv)) {
        check_span(tlv.value, header->tlvs);
        if (tlv.type == PROXY_TLV_SSL)
            check_ssl(&tlv, data);
        if (tlv.type == PROXY_TLV_CRC32C) {
            has_crc32c = true;
            continue;
        }
        fields[count++] = (struct proxy_field){tlv.type, (uint16_t)(tlv.value.end - tlv.value.at), data + tlv.value.at};
    }
    assert(rest.at == rest.end);
    assert(has_crc32c == header->has_crc32c);
    return count;
}

static void check_same(const struct addr *a, const struct addr *b)
{
    char texts[2][ADDR_TEXT_MAX];

    assert(strcmp(addr_format(a, texts[0]), addr_format(b, texts[1])) == 0);
}

static void check_again(const struct proxy_header *first, const uint8_t *out, int bytes)
{
    struct proxy_header again;

    assert(bytes > 0 && parse_copy(&again, out, (size_t)bytes) == PARSE_DONE);
    assert(again.bytes == (uint32_t)bytes && again.command == first->command && again.has_addrs == first->has_addrs);
    if (first->has_addrs) {
        assert(again.transport == first->transport);
        check_same(&again.source, &first->source);
        check_same(&again.destination, &first->destination);
    }
}

/* As the same version, and that of version 2 with a checksum, which makes it longer. */
static void check_round_trip(const struct proxy_header *header, const uint8_t *data)
{
    struct proxy_field fields[FIELDS_MAX];
    uint8_t out[PROXY_HEADER_BYTES_MAX];
    const struct proxy_message message = {
        .command = header->command,
        .transport = header->transport,
        .source = header->has_addrs ? &header->source : NULL,
        .destination = header->has_addrs ? &header->destination : NULL,
        .fields = fields,
        .field_count = check_tlvs(header, data, fields),
        .checksum = PROXY_WITH_CRC32C,
    };
    int bytes;

    if (header->version == PROXY_V1) {
        check_again(header, out, proxy_protocol_build_v1(out, sizeof(out), &message));
        return;
    }
    bytes = proxy_protocol_build_v2(out, sizeof(out), &message);
    if (bytes >= 0)
        check_again(header, out, bytes);
    else
        assert(header->bytes + PROXY_TLV_HEAD_BYTES + PROXY_CRC32C_BYTES > PROXY_HEADER_BYTES_MAX);
}

void fuzz_proxy_protocol(const uint8_t *data, size_t size)
{
    struct proxy_header header;
    enum parse_outcome outcome = proxy_protocol_parse(&header, data, size);

    check_prefixes(outcome, data, size);
    if (outcome == PARSE_DONE)
        check_round_trip(&header, data);
}
