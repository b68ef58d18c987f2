/* Socket addresses to and from text with inet_pton(3) and inet_ntop(3): names are never looked up here. */
#include "base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum { UNIX_PATH_OFFSET = offsetof(struct sockaddr_un, sun_path) };

static_assert(sizeof("unix:") + sizeof(((struct sockaddr_un *)0)->sun_path) <= ADDR_TEXT_MAX, "any unix path fits");
static_assert(INET6_ADDRSTRLEN + IF_NAMESIZE + sizeof("[%]:65535") <= ADDR_TEXT_MAX, "any IPv6 address fits");

static int parse_ip4(struct addr *addr, const char *host, uint16_t port)
{
    *addr = (struct addr){.len = sizeof(addr->in4)};
    if (inet_pton(AF_INET, host, &addr->in4.sin_addr) != 1)
        return -EINVAL;
    addr->in4.sin_family = AF_INET;
    addr->in4.sin_port = htons(port);
    return 0;
}

/* Interface name or number → its index, 0 when there is none. */
static uint32_t parse_zone(const char *zone)
{
    char *end;
    unsigned long index = strtoul(zone, &end, 10);

    if (zone[0] >= '0' && zone[0] <= '9' && *end == '\0' && index <= UINT32_MAX)
        return (uint32_t)index;
    return if_nametoindex(zone);
}

static int parse_ip6(struct addr *addr, const char *host, uint16_t port)
{
    const char *percent = strchrnul(host, '%');
    size_t len = (size_t)(percent - host);
    char digits[INET6_ADDRSTRLEN];

    *addr = (struct addr){.len = sizeof(addr->in6)};
    if (len >= sizeof(digits))
        return -EINVAL;
    memcpy(digits, host, len);
    digits[len] = '\0';
    if (inet_pton(AF_INET6, digits, &addr->in6.sin6_addr) != 1)
        return -EINVAL;
    if (*percent == '%') {
        addr->in6.sin6_scope_id = parse_zone(percent + 1);
        if (addr->in6.sin6_scope_id == 0)
            return -EINVAL;
    }
    addr->in6.sin6_family = AF_INET6;
    addr->in6.sin6_port = htons(port);
    return 0;
}

int addr_parse_ip(struct addr *addr, const char *host, uint16_t port)
{
    return strchr(host, ':') ? parse_ip6(addr, host, port) : parse_ip4(addr, host, port);
}

int addr_parse_unix(struct addr *addr, const char *path)
{
    bool is_abstract = path[0] == '@';
    size_t len = strlen(path);

    *addr = (struct addr){0};
    if (len == 0 || (is_abstract && len == 1))
        return -EINVAL;
    if (len >= sizeof(addr->un.sun_path))
        return -ENAMETOOLONG;
    addr->un.sun_family = AF_UNIX;
    memcpy(addr->un.sun_path, path, len);
    if (is_abstract)
        addr->un.sun_path[0] = '\0';
    /* A path counts with its NUL; in the abstract namespace every counted byte is part of the name (unix(7)). */
    addr->len = (socklen_t)(UNIX_PATH_OFFSET + len + (is_abstract ? 0 : 1));
    return 0;
}

/* The path, or "@" and the abstract name. A peer may have bound any bytes: those that could garble a log become '?'. */
static void print_unix(const struct addr *addr, char *out)
{
    size_t len = addr->len > UNIX_PATH_OFFSET ? addr->len - UNIX_PATH_OFFSET : 0;
    const char *path = addr->un.sun_path;
    bool is_abstract = len > 0 && path[0] == '\0';

    if (len > sizeof(addr->un.sun_path))
        len = sizeof(addr->un.sun_path);
    if (!is_abstract)
        len = strnlen(path, len);
    for (size_t i = 0; i < len; i++)
        out[i] = (unsigned char)path[i] < ' ' || path[i] == 0x7f ? '?' : path[i];
    if (is_abstract)
        out[0] = '@';
    out[len] = '\0';
}

static void print_ip6(const struct sockaddr_in6 *in6, char *out)
{
    char zone[IF_NAMESIZE];
    size_t len;

    if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
        inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], out, ADDR_TEXT_MAX);
        return;
    }
    inet_ntop(AF_INET6, &in6->sin6_addr, out, ADDR_TEXT_MAX);
    if (in6->sin6_scope_id == 0)
        return;
    len = strlen(out);
    if (if_indextoname(in6->sin6_scope_id, zone))
        snprintf(out + len, ADDR_TEXT_MAX - len, "%%%s", zone);
    else
        snprintf(out + len, ADDR_TEXT_MAX - len, "%%%u", in6->sin6_scope_id);
}

const char *addr_format(const struct addr *addr, char *out)
{
    char host[ADDR_TEXT_MAX];

    addr_format_host(addr, host);
    if (addr_is_unix(addr))
        snprintf(out, ADDR_TEXT_MAX, "unix:%.*s", (int)sizeof(addr->un.sun_path), host);
    else if (strchr(host, ':'))
        snprintf(out, ADDR_TEXT_MAX, "[%.*s]:%u", INET6_ADDRSTRLEN + IF_NAMESIZE, host, addr_port(addr));
    else if (host[0])
        snprintf(out, ADDR_TEXT_MAX, "%.*s:%u", INET_ADDRSTRLEN, host, addr_port(addr));
    else
        out[0] = '\0';
    return out;
}

const char *addr_format_host(const struct addr *addr, char *out)
{
    out[0] = '\0';
    if (addr->sa.sa_family == AF_INET)
        inet_ntop(AF_INET, &addr->in4.sin_addr, out, ADDR_TEXT_MAX);
    else if (addr->sa.sa_family == AF_INET6)
        print_ip6(&addr->in6, out);
    else if (addr_is_unix(addr))
        print_unix(addr, out);
    return out;
}

uint16_t addr_port(const struct addr *addr)
{
    if (addr->sa.sa_family == AF_INET)
        return ntohs(addr->in4.sin_port);
    if (addr->sa.sa_family == AF_INET6)
        return ntohs(addr->in6.sin6_port);
    return 0;
}

bool addr_equals(const struct addr *left, const struct addr *right)
{
    return left->len == right->len && memcmp(&left->sa, &right->sa, left->len) == 0;
}

bool addr_is_unix(const struct addr *addr)
{
    return addr->sa.sa_family == AF_UNIX;
}

int addr_range_parse(struct addr_range *range, const char *text)
{
    const char *slash = strchrnul(text, '/');
    size_t len = (size_t)(slash - text);
    char host[ADDR_TEXT_MAX];
    unsigned long bits_max, bits;
    char *end;

    *range = (struct addr_range){.addr.sa.sa_family = AF_UNIX};
    if (strcmp(text, "unix") == 0)
        return 0;
    if (len >= sizeof(host))
        return -EINVAL;
    memcpy(host, text, len);
    host[len] = '\0';
    if (addr_parse_ip(&range->addr, host, 0) < 0)
        return -EINVAL;
    bits_max = range->addr.sa.sa_family == AF_INET ? 32 : 128;
    range->prefix_bits = (uint8_t)bits_max;
    if (*slash == '\0')
        return 0;
    bits = strtoul(slash + 1, &end, 10);
    if (slash[1] < '0' || slash[1] > '9' || *end != '\0' || bits > bits_max)
        return -EINVAL;
    range->prefix_bits = (uint8_t)bits;
    return 0;
}

/* The bytes that a prefix is a prefix of; *family is AF_INET or AF_INET6 then, else AF_UNIX and NULL. */
static const uint8_t *range_bytes(const struct addr *addr, sa_family_t *family)
{
    *family = addr->sa.sa_family;
    if (*family == AF_INET)
        return (const uint8_t *)&addr->in4.sin_addr;
    if (*family != AF_INET6) {
        *family = AF_UNIX; /* an unnamed peer has no family at all */
        return NULL;
    }
    if (!IN6_IS_ADDR_V4MAPPED(&addr->in6.sin6_addr))
        return addr->in6.sin6_addr.s6_addr;
    *family = AF_INET;
    return &addr->in6.sin6_addr.s6_addr[12];
}

bool addr_range_has(const struct addr_range *range, const struct addr *addr)
{
    uint8_t whole = range->prefix_bits / 8;
    uint8_t rest = range->prefix_bits % 8;
    sa_family_t range_family, family;
    const uint8_t *prefix = range_bytes(&range->addr, &range_family);
    const uint8_t *bytes = range_bytes(addr, &family);

    if (family != range_family)
        return false;
    if (!bytes)
        return true;
    if (memcmp(prefix, bytes, whole) != 0)
        return false;
    return rest == 0 || (prefix[whole] ^ bytes[whole]) >> (8 - rest) == 0;
}
