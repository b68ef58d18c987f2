/* The part of api.h about the PROXY protocol header that a connection began with. It is read anew in each call: scripts ask
 * once, most of them never. */
#include "base/addr.h"
#include "base/assert.h"
#include "proto/proxy_protocol.h"
#include "script/api_common.h"

static_assert(sizeof(((struct zerg_proxy *)0)->_source_addr) == ADDR_TEXT_MAX, "api.h has room for any address");

static const struct proxied *find_proxied(const struct zerg_conn *handle)
{
    const struct conn *conn = api_conn(handle);

    return conn ? conn->proxied : NULL;
}

static void read_header(const struct proxied *proxied, struct proxy_header *header)
{
    enum parse_outcome outcome = proxy_protocol_parse(header, proxied->header, proxied->header_bytes);

    assert(outcome == PARSE_DONE); /* it was, or it would not have been kept */
}

int zerg_conn_proxy(const struct zerg_conn *handle, struct zerg_proxy *out)
{
    const struct proxied *proxied = find_proxied(handle);
    struct proxy_header header;
    struct addr peer;

    if (!proxied)
        return ZERG_END;
    read_header(proxied, &header);
    conn_peer(api_conn(handle), &peer);
    *out = (struct zerg_proxy){
        ._version = header.version,
        ._is_local = header.command == PROXY_LOCAL,
        ._has_addrs = header.has_addrs,
        ._has_crc32c = header.has_crc32c,
        ._source_port = addr_port(&proxied->source),
        ._destination_port = addr_port(&proxied->destination),
        ._peer_port = addr_port(&peer),
        ._fields = {header.tlvs.at, header.tlvs.end},
    };
    addr_format_host(&proxied->source, out->_source_addr);
    addr_format_host(&proxied->destination, out->_destination_addr);
    addr_format_host(&peer, out->_peer_addr);
    return ZERG_OK;
}

int zerg_conn_proxy_next(const struct zerg_conn *handle, struct zerg_proxy_fields *rest, struct zerg_proxy_field *out)
{
    const struct proxied *proxied = find_proxied(handle);
    struct proxy_span span = {rest->_at, rest->_end};
    struct proxy_tlv tlv;

    if (!proxied || span.at > span.end || span.end > proxied->header_bytes)
        return ZERG_END;
    if (!proxy_tlv_next(&span, proxied->header, &tlv))
        return ZERG_END;
    rest->_at = span.at;
    out->_value = proxied->header + tlv.value.at;
    out->_len = tlv.value.end - tlv.value.at;
    out->_type = tlv.type;
    return ZERG_OK;
}

int zerg_conn_proxy_ssl(const struct zerg_conn *handle, struct zerg_proxy_ssl *out)
{
    const struct proxied *proxied = find_proxied(handle);
    struct proxy_header header;
    struct proxy_tlv tlv;
    struct proxy_ssl ssl;

    if (!proxied)
        return ZERG_END;
    read_header(proxied, &header);
    if (!proxy_tlv_find(header.tlvs, proxied->header, PROXY_TLV_SSL, &tlv) ||
        !proxy_tlv_read_ssl(&tlv, proxied->header, &ssl))
        return ZERG_END;
    *out = (struct zerg_proxy_ssl){
        ._verify = ssl.verify,
        ._has_tls = (ssl.client & PROXY_SSL_CLIENT_TLS) != 0,
        ._has_cert_conn = (ssl.client & PROXY_SSL_CLIENT_CERT_CONN) != 0,
        ._has_cert_sess = (ssl.client & PROXY_SSL_CLIENT_CERT_SESS) != 0,
        ._fields = {ssl.inner.at, ssl.inner.end},
    };
    return ZERG_OK;
}
