/* Making headers. The binary one is written through a struct that counts on past the end of the buffer, so that lengths
 * are judged once, at the end. */
#include "proto/proxy_protocol.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "proto/wire.h"

enum { LENGTH_AT = 14 };

/* ---- what addresses can be said to be ---- */

static bool is_ip4(const struct addr *addr)
{
    return addr->sa.sa_family == AF_INET ||
           (addr->sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&addr->in6.sin6_addr));
}

static bool is_ip(const struct addr *addr)
{
    return addr->sa.sa_family == AF_INET || addr->sa.sa_family == AF_INET6;
}

static enum proxy_family family_of(const struct proxy_message *message)
{
    const struct addr *source = message->source;
    const struct addr *destination = message->destination;

    if (message->command == PROXY_LOCAL || message->transport == PROXY_ANY_TRANSPORT || !source || !destination)
        return PROXY_UNSPEC;
    if (addr_is_unix(source) && addr_is_unix(destination))
        return PROXY_UNIX;
    if (is_ip4(source) && is_ip4(destination))
        return PROXY_INET;
    return is_ip(source) && is_ip(destination) ? PROXY_INET6 : PROXY_UNSPEC;
}

/* All IP addresses as 16 bytes; the last four are the whole of a v4-mapped one. */
static void get_ip6(const struct addr *addr, uint8_t *out)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

    if (addr->sa.sa_family == AF_INET6) {
        memcpy(out, &addr->in6.sin6_addr, 16);
        return;
    }
    memcpy(out, mapped, sizeof(mapped));
    memcpy(out + sizeof(mapped), &addr->in4.sin_addr, 4);
}

/* ---- version 1 ---- */

/* The line knows no dotted tail in IPv6 addresses, which inet_ntop(3) writes for v4-mapped ones. */
static void undot(char *text, const uint8_t *tail)
{
    char *dotted = strrchr(text, ':') + 1;

    if (strchr(dotted, '.'))
        snprintf(dotted, (size_t)(text + INET6_ADDRSTRLEN - dotted), "%x:%x", wire_read_u16(tail),
                 wire_read_u16(tail + 2));
}

static void print_ip(const struct addr *addr, enum proxy_family family, char *out)
{
    uint8_t bytes[16];

    get_ip6(addr, bytes);
    if (family == PROXY_INET) {
        inet_ntop(AF_INET, bytes + 12, out, INET6_ADDRSTRLEN);
        return;
    }
    inet_ntop(AF_INET6, bytes, out, INET6_ADDRSTRLEN);
    undot(out, bytes + 12);
}

static int print_line(char *line, size_t size, const struct proxy_message *message)
{
    enum proxy_family family = family_of(message);
    char source[INET6_ADDRSTRLEN];
    char destination[INET6_ADDRSTRLEN];

    if ((family != PROXY_INET && family != PROXY_INET6) || message->transport != PROXY_STREAM)
        return snprintf(line, size, PROXY_V1_START "UNKNOWN\r\n");
    print_ip(message->source, family, source);
    print_ip(message->destination, family, destination);
    return snprintf(line, size, PROXY_V1_START "TCP%c %s %s %u %u\r\n", family == PROXY_INET ? '4' : '6', source,
                    destination, addr_port(message->source), addr_port(message->destination));
}

int proxy_protocol_build_v1(uint8_t *out, size_t size, const struct proxy_message *message)
{
    char line[PROXY_V1_BYTES_MAX + 1];
    int bytes = print_line(line, sizeof(line), message);

    assert(bytes > 0 && bytes <= PROXY_V1_BYTES_MAX);
    if ((size_t)bytes > size)
        return -ENOBUFS;
    memcpy(out, line, (size_t)bytes);
    return bytes;
}

/* ---- version 2 ---- */

struct writer {
    uint8_t *out;
    size_t size;
    size_t used; /* may pass size: then nothing more is written, only counted */
};

static void put(struct writer *writer, const void *data, size_t bytes)
{
    if (bytes > 0 && writer->used <= writer->size && bytes <= writer->size - writer->used)
        memcpy(writer->out + writer->used, data, bytes);
    writer->used += bytes;
}

static void put_u16(struct writer *writer, uint16_t value)
{
    uint8_t bytes[2];

    wire_write_u16(bytes, value);
    put(writer, bytes, sizeof(bytes));
}

static void put_field(struct writer *writer, uint8_t type, const void *value, uint16_t bytes)
{
    put(writer, &type, 1);
    put_u16(writer, bytes);
    put(writer, value, bytes);
}

static void put_path(struct writer *writer, const struct addr *addr)
{
    uint8_t path[PROXY_V2_PATH_BYTES] = {0};
    size_t skipped = offsetof(struct sockaddr_un, sun_path);
    size_t len = addr->len > skipped ? addr->len - skipped : 0;

    memcpy(path, addr->un.sun_path, len < sizeof(path) ? len : sizeof(path));
    put(writer, path, sizeof(path));
}

static void put_addrs(struct writer *writer, const struct proxy_message *message, enum proxy_family family)
{
    size_t skipped = family == PROXY_INET ? 12 : 0; /* of a v4-mapped address */
    uint8_t ip[16];

    if (family == PROXY_UNIX) {
        put_path(writer, message->source);
        put_path(writer, message->destination);
    } else if (family != PROXY_UNSPEC) {
        get_ip6(message->source, ip);
        put(writer, ip + skipped, sizeof(ip) - skipped);
        get_ip6(message->destination, ip);
        put(writer, ip + skipped, sizeof(ip) - skipped);
        put_u16(writer, addr_port(message->source));
        put_u16(writer, addr_port(message->destination));
    }
}

static void put_head(struct writer *writer, const struct proxy_message *message, enum proxy_family family)
{
    enum proxy_transport transport = family == PROXY_UNSPEC ? PROXY_ANY_TRANSPORT : message->transport;
    const uint8_t kinds[] = {(uint8_t)(PROXY_V2 << 4 | message->command), (uint8_t)(family << 4 | transport)};

    put(writer, PROXY_V2_SIGNATURE, sizeof(PROXY_V2_SIGNATURE) - 1);
    put(writer, kinds, sizeof(kinds));
    put_u16(writer, 0); /* the length, which finish() knows */
}

/* The checksum comes first: no damage to the length of another field can hide it. */
static int put_fields(struct writer *writer, const struct proxy_message *message)
{
    static const uint8_t zeros[PROXY_CRC32C_BYTES];

    if (message->checksum == PROXY_WITH_CRC32C)
        put_field(writer, PROXY_TLV_CRC32C, zeros, sizeof(zeros));
    for (size_t i = 0; i < message->field_count && writer->used <= PROXY_HEADER_BYTES_MAX; i++) {
        const struct proxy_field *field = &message->fields[i];

        if (field->type == PROXY_TLV_CRC32C)
            return -EINVAL;
        put_field(writer, field->type, field->value, field->bytes);
    }
    return 0;
}

/* Fills in what can be known at the end only: the length, then the checksum over all of it. */
static int finish(const struct writer *writer, uint32_t tlvs_at)
{
    uint8_t *out = writer->out;
    uint32_t bytes = (uint32_t)writer->used;
    struct proxy_tlv checksum;

    if (writer->used > PROXY_HEADER_BYTES_MAX)
        return -EMSGSIZE;
    if (writer->used > writer->size)
        return -ENOBUFS;
    if (proxy_tlv_problem((struct proxy_span){tlvs_at, bytes}, out, &checksum))
        return -EINVAL;
    wire_write_u16(out + LENGTH_AT, (uint16_t)(bytes - PROXY_V2_HEAD_BYTES));
    if (checksum.type == PROXY_TLV_CRC32C)
        wire_write_u32(out + checksum.value.at, proxy_tlv_crc32c(checksum.value, out, bytes));
    return (int)bytes;
}

int proxy_protocol_build_v2(uint8_t *out, size_t size, const struct proxy_message *message)
{
    struct writer writer = {.out = out, .size = size};
    enum proxy_family family = family_of(message);
    uint32_t tlvs_at;
    int error;

    assert(message->field_count == 0 || message->fields);
    assert(message->command <= PROXY_PROXY && message->transport <= PROXY_DGRAM);
    put_head(&writer, message, family);
    put_addrs(&writer, message, family);
    tlvs_at = (uint32_t)writer.used;
    error = put_fields(&writer, message);
    return error ? error : finish(&writer, tlvs_at);
}
