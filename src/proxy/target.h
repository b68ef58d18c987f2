/* Where to connect, as operators and scripts write it: "127.0.0.1:3000", "[::1]:3000", "db.internal:5432", "unix:/path",
 * "unix:@name", "srv:_pg._tcp.db.internal". Text to structure only: names are looked up elsewhere. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/limits.h"
#include "base/macros.h"

enum { TARGET_TEXT_MAX = HOST_NAME_BYTES_MAX + 16 }; /* "[", "]:65535" or a prefix, and the NUL */

enum target_kind {
    TARGET_ADDR, /* addr */
    TARGET_HOST, /* host and port */
    TARGET_SRV,  /* host: the name of SRV records */
};

struct target {
    enum target_kind kind;
    uint16_t port;
    struct addr addr;
    char host[HOST_NAME_BYTES_MAX + 1];
};

/* 0, or -EINVAL when the text is none of the above. */
MUST_CHECK int target_parse(struct target *target, const char *text, size_t len);
/* The same for a name or numeric address without a port ("db.internal", "::1"): port is 0. */
MUST_CHECK int target_parse_host(struct target *target, const char *text, size_t len);
