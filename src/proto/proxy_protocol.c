/* Reading headers. Version 1 is taken apart when its whole line is there. Of version 2, each byte of the head is checked
 * as it comes, the rest when all of it is there. */
#include "proto/proxy_protocol.h"

#include <string.h>

#include "base/limits.h"
#include "proto/wire.h"

static_assert(PROXY_V2_HEAD_BYTES + PROXY_V2_UNIX_BYTES <= PROXY_HEADER_BYTES_MAX, "the largest addresses fit");

enum {
    V1_START_BYTES = sizeof(PROXY_V1_START) - 1,
    SIGNATURE_BYTES = sizeof(PROXY_V2_SIGNATURE) - 1,
    COMMAND_AT = SIGNATURE_BYTES, /* version and command */
    FAMILY_AT,                    /* family and transport */
    LENGTH_AT,
};

static_assert(LENGTH_AT + 2 == PROXY_V2_HEAD_BYTES, "the length ends the head");

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static enum parse_outcome refuse(struct proxy_header *header, const char *problem)
{
    header->problem = problem;
    return PARSE_BAD;
}

/* ---- version 1 ---- */

struct text {
    const char *at; /* NULL: there is no further field, not even an empty one */
    size_t len;
};

/* Finds the CRLF. PARSE_DONE sets header->bytes. A CR or an LF alone is refused wherever it is. */
static enum parse_outcome find_line_end(struct proxy_header *header, const uint8_t *data, size_t len)
{
    size_t window = smaller(len, PROXY_V1_BYTES_MAX);

    for (size_t i = V1_START_BYTES; i < window; i++) {
        bool follows_cr = data[i - 1] == '\r';

        if (follows_cr != (data[i] == '\n'))
            return refuse(header, follows_cr ? "CR without LF" : "LF without CR");
        if (follows_cr) {
            header->bytes = (uint32_t)i + 1;
            return PARSE_DONE;
        }
    }
    return window == PROXY_V1_BYTES_MAX ? refuse(header, "no CRLF within 107 bytes") : PARSE_MORE;
}

/* The text up to the next space, or all of it. */
static struct text take_field(struct text *rest)
{
    struct text field = *rest;
    const char *space = rest->at ? memchr(rest->at, ' ', rest->len) : NULL;

    if (!space) {
        *rest = (struct text){0};
        return field;
    }
    field.len = (size_t)(space - field.at);
    rest->at = space + 1;
    rest->len -= field.len + 1;
    return field;
}

static bool text_is(struct text text, const char *word)
{
    return text.len == strlen(word) && memcmp(text.at, word, text.len) == 0;
}

static bool parse_port(struct text text, uint16_t *port)
{
    uint32_t value = 0;

    if (text.len == 0 || text.len > 5 || (text.at[0] == '0' && text.len > 1))
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
        value = value * 10 + (uint32_t)(text.at[i] - '0');
    }
    *port = (uint16_t)value;
    return value <= UINT16_MAX;
}

/* The character set keeps out zones ("%eth0"), which addr_parse_ip() would take, and NULs. A dotted tail of an IPv6
 * address is accepted: inet_ntop(3) prints v4-mapped ones like that, and so do senders. */
static bool parse_ip(struct text text, int family, uint16_t port, struct addr *addr)
{
    const char *alphabet = family == AF_INET ? "0123456789." : "0123456789abcdefABCDEF:.";
    char host[INET6_ADDRSTRLEN];

    if (text.len == 0 || text.len >= sizeof(host))
        return false;
    memcpy(host, text.at, text.len);
    host[text.len] = '\0';
    return strspn(host, alphabet) == text.len && addr_parse_ip(addr, host, port) == 0 && addr->sa.sa_family == family;
}

static enum parse_outcome parse_v1_addrs(struct proxy_header *header, struct text rest)
{
    int family = header->family == PROXY_INET ? AF_INET : AF_INET6;
    struct text source = take_field(&rest);
    struct text destination = take_field(&rest);
    struct text source_port = take_field(&rest);
    struct text destination_port = take_field(&rest);
    uint16_t ports[2];

    if (!destination_port.at || rest.at)
        return refuse(header, "not two addresses and two ports, one space between them");
    if (!parse_port(source_port, &ports[0]) || !parse_port(destination_port, &ports[1]))
        return refuse(header, "a port that is no decimal number from 0 to 65535");
    if (!parse_ip(source, family, ports[0], &header->source) ||
        !parse_ip(destination, family, ports[1], &header->destination))
        return refuse(header, "an address that is none of its family");
    header->has_addrs = true;
    header->transport = PROXY_STREAM;
    return PARSE_DONE;
}

static enum parse_outcome parse_v1(struct proxy_header *header, const uint8_t *data, size_t len)
{
    enum parse_outcome outcome;
    struct text rest;
    struct text protocol;

    if (memcmp(data, PROXY_V1_START, smaller(len, V1_START_BYTES)) != 0)
        return refuse(header, "does not begin as either version does");
    outcome = find_line_end(header, data, len);
    if (outcome != PARSE_DONE)
        return outcome;

    header->version = PROXY_V1;
    header->command = PROXY_PROXY;
    rest = (struct text){(const char *)data + V1_START_BYTES, header->bytes - V1_START_BYTES - 2};
    protocol = take_field(&rest);
    if (text_is(protocol, "UNKNOWN"))
        return PARSE_DONE; /* what else the line says is to be ignored */
    if (text_is(protocol, "TCP4"))
        header->family = PROXY_INET;
    else if (text_is(protocol, "TCP6"))
        header->family = PROXY_INET6;
    else
        return refuse(header, "a protocol other than TCP4, TCP6 and UNKNOWN");
    return parse_v1_addrs(header, rest);
}

/* ---- version 2 ---- */

static uint32_t addrs_bytes(uint8_t family)
{
    static const uint32_t bytes[] = {
        [PROXY_UNSPEC] = 0,
        [PROXY_INET] = PROXY_V2_INET_BYTES,
        [PROXY_INET6] = PROXY_V2_INET6_BYTES,
        [PROXY_UNIX] = PROXY_V2_UNIX_BYTES,
    };

    return family < COUNT_OF(bytes) ? bytes[family] : 0;
}

/* Of LOCAL nothing behind the command counts, not even the family: whatever is there must be skipped. */
static bool is_local(const uint8_t *data)
{
    return (data[COMMAND_AT] & 15) == PROXY_LOCAL;
}

/* What is wrong with as much of the head as is there, or NULL. */
static const char *head_problem(const uint8_t *data, size_t len)
{
    uint32_t rest_bytes;

    if (memcmp(data, PROXY_V2_SIGNATURE, smaller(len, SIGNATURE_BYTES)) != 0)
        return "does not begin as either version does";
    if (len > COMMAND_AT && data[COMMAND_AT] >> 4 != PROXY_V2)
        return "a binary header of a version other than 2";
    if (len > COMMAND_AT && (data[COMMAND_AT] & 15) > PROXY_PROXY)
        return "an unknown command";
    if (len > FAMILY_AT && !is_local(data) &&
        (data[FAMILY_AT] >> 4 > PROXY_UNIX || (data[FAMILY_AT] & 15) > PROXY_DGRAM))
        return "an unknown family or transport";
    if (len < PROXY_V2_HEAD_BYTES)
        return NULL;
    rest_bytes = wire_read_u16(data + LENGTH_AT);
    if (rest_bytes > PROXY_HEADER_BYTES_MAX - PROXY_V2_HEAD_BYTES)
        return "longer than any header may be";
    if (!is_local(data) && rest_bytes < addrs_bytes(data[FAMILY_AT] >> 4))
        return "too short for its addresses";
    return NULL;
}

static void read_ip4(struct addr *addr, const uint8_t *host, const uint8_t *port)
{
    *addr = (struct addr){.len = sizeof(addr->in4)};
    addr->in4.sin_family = AF_INET;
    memcpy(&addr->in4.sin_addr, host, sizeof(addr->in4.sin_addr));
    memcpy(&addr->in4.sin_port, port, sizeof(addr->in4.sin_port));
}

static void read_ip6(struct addr *addr, const uint8_t *host, const uint8_t *port)
{
    *addr = (struct addr){.len = sizeof(addr->in6)};
    addr->in6.sin6_family = AF_INET6;
    memcpy(&addr->in6.sin6_addr, host, sizeof(addr->in6.sin6_addr));
    memcpy(&addr->in6.sin6_port, port, sizeof(addr->in6.sin6_port));
}

/* The field is filled up with NULs, which cannot be told from those at the end of an abstract name: names have none. */
static void read_path(struct addr *addr, const uint8_t *path)
{
    size_t len = PROXY_V2_PATH_BYTES;

    static_assert(PROXY_V2_PATH_BYTES == sizeof(addr->un.sun_path), "a path of the wire fits, not always with its NUL");
    *addr = (struct addr){0};
    addr->un.sun_family = AF_UNIX;
    if (path[0] != '\0') {
        len = strnlen((const char *)path, PROXY_V2_PATH_BYTES - 1) + 1;
    } else {
        while (len > 0 && path[len - 1] == '\0')
            len--;
    }
    memcpy(addr->un.sun_path, path, len);
    addr->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

static void read_addrs(struct proxy_header *header, const uint8_t *block)
{
    header->has_addrs = true;
    if (header->family == PROXY_INET) {
        read_ip4(&header->source, block, block + 8);
        read_ip4(&header->destination, block + 4, block + 10);
    } else if (header->family == PROXY_INET6) {
        read_ip6(&header->source, block, block + 32);
        read_ip6(&header->destination, block + 16, block + 34);
    } else {
        read_path(&header->source, block);
        read_path(&header->destination, block + PROXY_V2_PATH_BYTES);
    }
}

/* Sets header->tlvs, and judges the checksum if there is one: also that of LOCAL, whose command byte may be what was
 * damaged. */
static enum parse_outcome read_tlvs(struct proxy_header *header, const uint8_t *data)
{
    struct proxy_span tlvs = {PROXY_V2_HEAD_BYTES + addrs_bytes(data[FAMILY_AT] >> 4), header->bytes};
    const char *problem = "too short for its addresses";
    struct proxy_tlv checksum;

    if (tlvs.at <= tlvs.end)
        problem = proxy_tlv_problem(tlvs, data, &checksum);
    if (problem)
        return is_local(data) ? PARSE_DONE : refuse(header, problem);
    header->tlvs = tlvs;
    header->has_crc32c = checksum.type == PROXY_TLV_CRC32C;
    if (header->has_crc32c &&
        proxy_tlv_crc32c(checksum.value, data, header->bytes) != wire_read_u32(data + checksum.value.at))
        return refuse(header, "the checksum is wrong");
    return PARSE_DONE;
}

static enum parse_outcome parse_v2(struct proxy_header *header, const uint8_t *data, size_t len)
{
    const char *problem = head_problem(data, len);
    uint32_t bytes;

    if (problem)
        return refuse(header, problem);
    if (len < PROXY_V2_HEAD_BYTES)
        return PARSE_MORE;
    bytes = PROXY_V2_HEAD_BYTES + wire_read_u16(data + LENGTH_AT);
    if (len < bytes)
        return PARSE_MORE;

    header->version = PROXY_V2;
    header->command = data[COMMAND_AT] & 15;
    header->bytes = bytes;
    if (header->command == PROXY_PROXY) {
        header->family = data[FAMILY_AT] >> 4;
        header->transport = data[FAMILY_AT] & 15;
    }
    if (header->family != PROXY_UNSPEC && header->transport != PROXY_ANY_TRANSPORT)
        read_addrs(header, data + PROXY_V2_HEAD_BYTES);
    return read_tlvs(header, data);
}

/* ---- both ---- */

enum parse_outcome proxy_protocol_parse(struct proxy_header *header, const uint8_t *data, size_t len)
{
    *header = (struct proxy_header){0};
    if (len == 0)
        return PARSE_MORE;
    return data[0] == PROXY_V1_START[0] ? parse_v1(header, data, len) : parse_v2(header, data, len);
}
