/* PROXY protocol, versions 1 (a line of text) and 2 (binary): who a connection is from, told by the proxy before it in
 * front of the first byte. Reading and making such headers, as HAProxy's doc/proxy-protocol.txt specifies them. Whom to
 * believe, and how long to wait for a header, is the caller's business. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/macros.h"
#include "proto/parse.h"
#include "proto/proxy_tlv.h"

#define PROXY_V1_START "PROXY "
#define PROXY_V2_SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

enum {
    PROXY_V1_BYTES_MAX = 107, /* with the CRLF */
    PROXY_V2_HEAD_BYTES = 16, /* signature, version and command, family and transport, length of the rest */
    PROXY_V2_INET_BYTES = 12, /* two addresses, two ports */
    PROXY_V2_INET6_BYTES = 36,
    PROXY_V2_PATH_BYTES = 108,
    PROXY_V2_UNIX_BYTES = 2 * PROXY_V2_PATH_BYTES,
};

enum proxy_version { PROXY_V1 = 1, PROXY_V2 = 2 };

/* The values of these three are those on the wire. */
enum proxy_command {
    PROXY_LOCAL = 0, /* the proxy itself connects, to see whether we are there: use the connection's own addresses */
    PROXY_PROXY = 1, /* it connects for somebody else */
};
enum proxy_family { PROXY_UNSPEC = 0, PROXY_INET = 1, PROXY_INET6 = 2, PROXY_UNIX = 3 };
enum proxy_transport { PROXY_ANY_TRANSPORT = 0, PROXY_STREAM = 1, PROXY_DGRAM = 2 };

/* ---- reading ---- */

struct proxy_header {
    enum proxy_version version;
    enum proxy_command command; /* always PROXY_PROXY in version 1 */
    enum proxy_family family;   /* PROXY_UNSPEC for UNKNOWN of version 1 and for LOCAL, whatever stands there */
    enum proxy_transport transport;
    bool has_addrs;         /* false (LOCAL, unknown family or transport): source and destination are not set */
    bool has_crc32c;        /* there was a checksum. It is right, or the header would be bad */
    uint32_t bytes;         /* length of the header; what the client sent begins there */
    struct proxy_span tlvs; /* for proxy_tlv_next() and proxy_tlv_find(); empty in version 1 */
    struct addr source;
    struct addr destination;
    const char *problem; /* after PARSE_BAD: what is wrong, for the log; static */
};

/* Looks for a whole header at the start of `data`. All of `header` is set after PARSE_DONE only. What does not start
 * like a header is bad with its first wrong byte; a line, and what follows the head of version 2, are judged when they
 * are complete. Behind the head of LOCAL there may be anything; elsewhere what is no address must be fields. A sender
 * that promised checksums may be held to it by has_crc32c: damage on the way can make a checksum look like another
 * field, but not a wrong one look right. */
enum parse_outcome proxy_protocol_parse(struct proxy_header *header, const uint8_t *data, size_t len);

/* ---- making ---- */

/* A field of the sender's own. */
struct proxy_field {
    uint8_t type; /* anything but PROXY_TLV_CRC32C */
    uint16_t bytes;
    const void *value; /* borrowed during the call */
};

enum proxy_checksum { PROXY_WITHOUT_CHECKSUM, PROXY_WITH_CRC32C };

struct proxy_message {
    enum proxy_command command;
    enum proxy_transport transport;
    /* Borrowed during the call. Without both, or when they do not go together (a path and an IP address), and for LOCAL,
     * no addresses are sent. Of IPv4 and IPv6, the former is sent as v4-mapped; two v4-mapped ones are sent as IPv4. */
    const struct addr *source;
    const struct addr *destination;
    const struct proxy_field *fields; /* version 2 only; borrowed during the call */
    size_t field_count;
    enum proxy_checksum checksum; /* version 2 only */
};

/* These two write a header to out, which has room for `size` bytes, and return its length; or -ENOBUFS when it is longer
 * than that. Version 1 is for TCP: without a pair of IP addresses and PROXY_STREAM it says UNKNOWN. */
MUST_CHECK int proxy_protocol_build_v1(uint8_t *out, size_t size, const struct proxy_message *message);
/* Also -EMSGSIZE when it is longer than PROXY_HEADER_BYTES_MAX, and -EINVAL for a field that a receiver may refuse: one
 * of type PROXY_TLV_CRC32C or a value that does not fit its type. */
MUST_CHECK int proxy_protocol_build_v2(uint8_t *out, size_t size, const struct proxy_message *message);
