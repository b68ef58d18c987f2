/* The parts of a configuration that are about HTTP. See config_read.h. */
#include <lauxlib.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/limits.h"
#include "script/config_read.h"
#include "script/field.h"

static struct http_field_config *new_fields(lua_State *L, uint32_t count)
{
    struct http_field_config *fields = calloc(count, sizeof(*fields));

    if (!fields)
        field_out_of_memory(L);
    return fields;
}

/* The list of names and values that the field is, or nil. */
static void read_fields(lua_State *L, const char *name, struct http_field_config **fields, uint32_t *count)
{
    uint32_t length;

    lua_getfield(L, -1, name);
    length = lua_isnil(L, -1) ? 0 : (uint32_t)lua_objlen(L, -1);
    if (length > 0)
        *fields = new_fields(L, length);
    *count = length;
    for (uint32_t i = 0; i < length; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        (*fields)[i].name = field_string(L, "name");
        (*fields)[i].value = field_string(L, "value");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void read_route(lua_State *L, struct http_route *route)
{
    route->host = field_string(L, "host");
    route->path = field_string(L, "path");
    route->body_bytes = (uint64_t)field_number(L, "body_bytes");
    route->forward = field_string(L, "forward");
    route->handler = field_string(L, "handler_label");
    route->rewrite.strip = field_string(L, "strip");
    read_fields(L, "headers", &route->rewrite.request_fields, &route->rewrite.request_field_count);
    read_fields(L, "response_headers", &route->rewrite.response_fields, &route->rewrite.response_field_count);
    assert(route->path && route->handler);
}

static void read_routes(lua_State *L, struct listener_config *listener, uint32_t *route_count)
{
    size_t count;

    field_enter(L, "routes");
    count = lua_objlen(L, -1);
    assert(count >= 1 && count <= ROUTES_MAX);
    listener->routes = calloc(count, sizeof(listener->routes[0]));
    if (!listener->routes)
        field_out_of_memory(L);
    listener->route_count = (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        read_route(L, &listener->routes[i]);
        listener->routes[i].index = (*route_count)++;
        lua_pop(L, 1);
    }
    field_leave(L);
}

void config_read_http(lua_State *L, struct listener_config *listener, uint32_t *route_count)
{
    struct http_config *http = &listener->http;

    field_enter(L, "timeouts");
    http->header_ms = field_ms(L, "header");
    http->body_ms = field_ms(L, "body");
    http->keepalive_ms = field_ms(L, "keepalive");
    field_leave(L);

    field_enter(L, "limits");
    http->header_bytes = (uint16_t)field_u32(L, "header_bytes");
    http->headers = (uint16_t)field_u32(L, "headers");
    field_leave(L);

    field_enter(L, "forward_headers");
    http->adds_x_forwarded = field_bool(L, "x_forwarded");
    http->adds_request_id = field_bool(L, "request_id");
    http->adds_forwarded = field_bool(L, "forwarded");
    http->adds_via = field_bool(L, "via");
    field_leave(L);

    if (listener->protocol == PROTOCOL_HTTP)
        read_routes(L, listener, route_count);
}
