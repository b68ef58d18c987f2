/* PROXY protocol headers written by hand after the specification, and parsing them in memory of exactly their size, so
 * that the address sanitizer sees a read past the end. */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "proto/proxy_protocol.h"

struct bytes {
    const char *at;
    size_t len;
};

#define BYTES(text) ((struct bytes){text, sizeof(text) - 1})

#define SIGNATURE "\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A"
/* 192.168.0.1:56324 → 192.168.0.11:443 */
#define ADDRS_INET "\xc0\xa8\x00\x01\xc0\xa8\x00\x0b\xdc\x04\x01\xbb"
#define V2_INET SIGNATURE "\x21\x11\x00\x0c" ADDRS_INET
/* [2001:db8::1]:56324 → [2001:db8::2]:443 */
#define ADDRS_INET6                            \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1" \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\2" \
    "\xdc\x04\x01\xbb"
#define V2_INET6 SIGNATURE "\x21\x21\x00\x24" ADDRS_INET6
#define V2_LOCAL SIGNATURE "\x20\x00\x00\x00"
/* With the checksum that an independent implementation gives, then an authority. */
#define V2_CRC32C                                                                      \
    SIGNATURE "\x21\x11\x00\x21" ADDRS_INET "\x03\x00\x04\xcc\x5b\xc6\x6b\x02\x00\x0b" \
              "example.com"
#define V2_SSL                                             \
    SIGNATURE "\x21\x11\x00\x26" ADDRS_INET "\x20\x00\x17" \
              "\x05\x00\x00\x00\x01"                       \
              "\x21\x00\x07"                               \
              "TLSv1.3"                                    \
              "\x22\x00\x05"                               \
              "Alice"

static inline enum parse_outcome parse_exactly(struct proxy_header *header, const void *data, size_t len)
{
    uint8_t *copy = len > 0 ? malloc(len) : NULL;
    enum parse_outcome outcome;

    if (len > 0)
        memcpy(copy, data, len);
    outcome = proxy_protocol_parse(header, copy, len);
    free(copy);
    return outcome;
}
