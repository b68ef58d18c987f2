/* The fields (type, length, value) behind the addresses of a PROXY protocol header of version 2: walking through them,
 * finding one, and what is inside the one about TLS. Positions count from the first byte of the header, so they hold
 * wherever its bytes are copied to. proxy_protocol.h has the header itself. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum proxy_tlv_type {
    PROXY_TLV_ALPN = 0x01,
    PROXY_TLV_AUTHORITY = 0x02, /* the host name that the client asked for, usually by SNI */
    PROXY_TLV_CRC32C = 0x03,    /* 4 bytes: of the header, with these 4 taken as zero */
    PROXY_TLV_NOOP = 0x04,      /* padding */
    PROXY_TLV_UNIQUE_ID = 0x05, /* at most PROXY_UNIQUE_ID_BYTES_MAX bytes */
    PROXY_TLV_SSL = 0x20,       /* struct proxy_ssl */
    PROXY_TLV_NETNS = 0x30,     /* name of the network namespace */
    PROXY_TLV_CUSTOM_FIRST = 0xe0,
    PROXY_TLV_CUSTOM_LAST = 0xef,
};

/* Fields inside the one of type PROXY_TLV_SSL. */
enum proxy_ssl_type {
    PROXY_SSL_VERSION = 0x21, /* text: "TLSv1.3" */
    PROXY_SSL_CN = 0x22,      /* common name of the client's certificate */
    PROXY_SSL_CIPHER = 0x23,
    PROXY_SSL_SIG_ALG = 0x24, /* these two are about the proxy's certificate */
    PROXY_SSL_KEY_ALG = 0x25,
};

/* Bits of proxy_ssl.client. */
enum proxy_ssl_client {
    PROXY_SSL_CLIENT_TLS = 0x01,       /* the client came by TLS */
    PROXY_SSL_CLIENT_CERT_CONN = 0x02, /* it gave a certificate on this connection */
    PROXY_SSL_CLIENT_CERT_SESS = 0x04, /* or on an earlier one of the same session */
};

enum {
    PROXY_TLV_HEAD_BYTES = 3,
    PROXY_CRC32C_BYTES = 4,
    PROXY_SSL_HEAD_BYTES = 5,
    PROXY_UNIQUE_ID_BYTES_MAX = 128,
};

/* The bytes [at, end) of a header. */
struct proxy_span {
    uint32_t at;
    uint32_t end;
};

struct proxy_tlv {
    uint8_t type;
    struct proxy_span value;
};

struct proxy_ssl {
    uint8_t client;          /* enum proxy_ssl_client */
    uint32_t verify;         /* 0: there was a certificate, and it was found good */
    struct proxy_span inner; /* for proxy_tlv_next(): enum proxy_ssl_type */
};

/* Takes the next field of `rest` into `tlv`. False when there is none, or when what is left is too short for one: `rest`
 * is not empty then. Inside a header that was parsed, whatever its sender made of it, the latter does not happen. */
bool proxy_tlv_next(struct proxy_span *rest, const uint8_t *header, struct proxy_tlv *tlv);
/* The first field of a type, in all of a header's (header->tlvs) or in a proxy_ssl.inner. */
bool proxy_tlv_find(struct proxy_span tlvs, const uint8_t *header, uint8_t type, struct proxy_tlv *tlv);
/* What a field of type PROXY_TLV_SSL holds. False when it is too short. */
bool proxy_tlv_read_ssl(const struct proxy_tlv *tlv, const uint8_t *header, struct proxy_ssl *ssl);
/* Goes through all fields once. NULL when they fill `tlvs` exactly and each has a length that its type allows; otherwise
 * what is wrong, a static text. `checksum` is the one of type PROXY_TLV_CRC32C (its value is not checked here), or has
 * type 0. */
const char *proxy_tlv_problem(struct proxy_span tlvs, const uint8_t *header, struct proxy_tlv *checksum);
/* The checksum that belongs into `field`: of header_bytes bytes, with those of `field` taken as zero. */
uint32_t proxy_tlv_crc32c(struct proxy_span field, const uint8_t *header, uint32_t header_bytes);
