/* Socket addresses: parse and print. IPv4, IPv6 (with %zone), unix paths and abstract ("@name"). No sockets. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/macros.h"

struct addr {
    socklen_t len;
    union {
        struct sockaddr sa;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
        struct sockaddr_storage storage;
    };
};

/* All addresses that begin with the first prefix_bits of `addr`; AF_UNIX: every peer on a unix socket. */
struct addr_range {
    struct addr addr;
    uint8_t prefix_bits;
};

enum { ADDR_TEXT_MAX = 128 }; /* "[ipv6%zone]:port" or "unix:" and a path, with the NUL */

/* A numeric address ("127.0.0.1", "::1", "fe80::1%eth0", no brackets) and a port. 0 or -EINVAL. */
MUST_CHECK int addr_parse_ip(struct addr *addr, const char *host, uint16_t port);
/* A path, or "@name" in the abstract namespace. 0, -EINVAL (empty), -ENAMETOOLONG. */
MUST_CHECK int addr_parse_unix(struct addr *addr, const char *path);
/* "127.0.0.1:80", "[::1]:80", "unix:/path"; always NUL-terminated, out has ADDR_TEXT_MAX bytes. Returns out. */
const char *addr_format(const struct addr *addr, char *out);
/* The host part alone ("127.0.0.1", "::1", the path of a unix socket, "" for an unnamed one). v4-mapped v6 addresses
 * print as IPv4, as dual-stack servers are expected to show their clients. Returns out. */
const char *addr_format_host(const struct addr *addr, char *out);
/* Port in host byte order, 0 for unix sockets. */
uint16_t addr_port(const struct addr *addr);
bool addr_is_unix(const struct addr *addr);
bool addr_equals(const struct addr *left, const struct addr *right);

/* "10.0.0.0/8", "::1", "fd00::/8", or "unix". Bits behind the prefix are ignored. 0 or -EINVAL. */
MUST_CHECK int addr_range_parse(struct addr_range *range, const char *text);
/* IPv4 addresses that are mapped into IPv6 are taken as IPv4. */
bool addr_range_has(const struct addr_range *range, const struct addr *addr);
