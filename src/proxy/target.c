/* See target.h. */
#include "proxy/target.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "proto/dns.h"

/* "10.1" and "1.2.3.4.5" are mistyped addresses, and would be strange names: the last label of a name has a letter. */
static bool looks_numeric(const char *name)
{
    return name[strspn(name, "0123456789.")] == '\0';
}

/* 1 to 65535 in decimal digits; 0: it is none. */
static uint16_t parse_port(const char *digits, size_t len)
{
    uint32_t port = 0;

    if (len == 0 || len > 5)
        return 0;
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)digits[i]))
            return 0;
        port = port * 10 + (uint32_t)(digits[i] - '0');
    }
    return port <= UINT16_MAX ? (uint16_t)port : 0;
}

/* Copies len bytes of text as a string into target->host. */
static int set_host(struct target *target, const char *text, size_t len)
{
    if (len == 0 || len > HOST_NAME_BYTES_MAX || memchr(text, '\0', len))
        return -EINVAL;
    memcpy(target->host, text, len);
    target->host[len] = '\0';
    return 0;
}

/* A numeric address or a name in target->host; brackets: it stood in them, so it must be IPv6. */
static int settle_host(struct target *target, uint16_t port, bool has_brackets)
{
    bool has_colon = strchr(target->host, ':') != NULL;

    target->port = port;
    if (addr_parse_ip(&target->addr, target->host, port) == 0) {
        target->kind = TARGET_ADDR;
        return has_colon || !has_brackets ? 0 : -EINVAL;
    }
    if (has_brackets || looks_numeric(target->host) || !dns_is_host_name(target->host))
        return -EINVAL;
    target->kind = TARGET_HOST;
    return 0;
}

static int parse_unix(struct target *target, const char *text, size_t len)
{
    if (set_host(target, text, len) < 0)
        return -EINVAL;
    target->kind = TARGET_ADDR;
    return addr_parse_unix(&target->addr, target->host) < 0 ? -EINVAL : 0;
}

static int parse_srv(struct target *target, const char *text, size_t len)
{
    target->kind = TARGET_SRV;
    return set_host(target, text, len) == 0 && dns_is_host_name(target->host) ? 0 : -EINVAL;
}

static bool has_prefix(const char *text, size_t len, const char *prefix)
{
    size_t prefix_len = strlen(prefix);

    return len >= prefix_len && memcmp(text, prefix, prefix_len) == 0;
}

int target_parse(struct target *target, const char *text, size_t len)
{
    const char *colon = memrchr(text, ':', len);
    bool has_brackets = len > 0 && text[0] == '[';
    size_t host_len;
    uint16_t port;

    *target = (struct target){0};
    if (has_prefix(text, len, "unix:"))
        return parse_unix(target, text + 5, len - 5);
    if (has_prefix(text, len, "srv:"))
        return parse_srv(target, text + 4, len - 4);
    if (!colon)
        return -EINVAL;
    host_len = (size_t)(colon - text);
    port = parse_port(colon + 1, len - host_len - 1);
    if (has_brackets) {
        if (host_len < 2 || text[host_len - 1] != ']')
            return -EINVAL;
        text++;
        host_len -= 2;
    } else if (memchr(text, ':', host_len)) { /* IPv6 without brackets: which colon is the port's? */
        return -EINVAL;
    }
    if (port == 0 || set_host(target, text, host_len) < 0)
        return -EINVAL;
    return settle_host(target, port, has_brackets);
}

int target_parse_host(struct target *target, const char *text, size_t len)
{
    *target = (struct target){0};
    return set_host(target, text, len) < 0 ? -EINVAL : settle_host(target, 0, false);
}
