/* See http_route.h. */
#include "http/http_route.h"

#include <string.h>

#include "base/limits.h"
#include "core/config.h"
#include "proto/http_head.h"
#include "proto/http_path.h"

static bool takes_all(const struct http_route *route)
{
    return !route->host && strcmp(route->path, "/") == 0;
}

/* "*.a.example" fits what ends in ".a.example" and has more before it. */
static bool host_fits(const char *host, const struct http_head *head, const uint8_t *bytes)
{
    struct http_span is = head->authority.host;
    size_t len = strlen(host);

    if (!http_span_is_empty(is) && bytes[is.end - 1] == '.') /* the root, which is the same host */
        is.end--;
    if (host[0] != '*')
        return http_span_is(is, bytes, host);
    if (http_span_len(is) < len) /* at least one character in place of the asterisk */
        return false;
    return http_spells(bytes + is.end - (len - 1), host + 1, len - 1);
}

static bool fits(const struct http_route *route, const struct http_head *head, const uint8_t *bytes, const char *path,
                 size_t path_len)
{
    size_t len = strlen(route->path);

    if (route->host && !host_fits(route->host, head, bytes))
        return false;
    return path_len >= len && memcmp(path, route->path, len) == 0;
}

int http_route_find(const struct http_route **out, const struct listener_config *config, const struct http_head *head,
                    const uint8_t *bytes)
{
    static _Thread_local char path[HTTP_HEAD_BYTES_MAX + 1];
    struct http_span raw = head->target.path;
    bool is_alone = config->route_count == 1 && takes_all(&config->routes[0]);
    int len;

    *out = is_alone ? &config->routes[0] : NULL;
    if (is_alone && !memchr(bytes + raw.at, '%', http_span_len(raw)))
        return 0;
    len = http_path_normalize(path, bytes + raw.at, http_span_len(raw));
    if (len < 0)
        return len;
    for (uint32_t i = 0; i < config->route_count && !*out; i++) {
        if (fits(&config->routes[i], head, bytes, path, (size_t)len))
            *out = &config->routes[i];
    }
    return 0;
}
