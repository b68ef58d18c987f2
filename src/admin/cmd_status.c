/* See cmd_status.h. */
#include "admin/cmd_status.h"

#include <jansson.h>
#include <limits.h>
#include <unistd.h>

#include "admin/config_path.h"
#include "admin/control.h"
#include "admin/service.h"
#include "base/clock.h"
#include "core/config.h"
#include "core/listen_socket.h"
#include "core/listener.h"
#include "core/reactor.h"
#include "core/version.h"

static const char *state_of(const struct service *service)
{
    if (service->is_stopping)
        return "stopping";
    return service->is_draining ? "draining" : "running";
}

static json_t *config_of(const struct config *config)
{
    const char *path = config->path ? config->path : config->script;

    return path ? control_text(path) : json_null();
}

/* Where that is, whoever asks. */
static json_t *config_path_of(const struct config *config)
{
    const char *path = config->path ? config->path : config->script;
    char absolute[PATH_MAX] = "";

    if (path)
        config_path_absolute(path, absolute);
    return absolute[0] != '\0' ? control_text(absolute) : json_null();
}

static json_t *reactors_of(const struct engine *engine)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < engine->reactor_count; i++) {
        json_int_t open = atomic_load(&engine->reactors[i].open);

        json_array_append_new(list, json_pack("{s:i, s:I}", "index", (int)i, "connections", open));
    }
    return list;
}

static json_t *listener_of(const struct listener *listener, const char *state)
{
    const struct listen_socket *socket = listener->socket;
    json_int_t open = atomic_load(&socket->open);

    return json_pack("{s:o, s:o, s:s, s:I}", "name", control_text(listener->config->name), "address",
                     control_text(socket->where), "state", state, "connections", open);
}

static json_int_t connections_of(const struct version *version)
{
    json_int_t connections = 0;

    for (uint32_t i = 0; i < version->part_count; i++)
        connections += atomic_load(&version->parts[i].connections);
    return connections;
}

/* What the newest version that has connections, and serves there, calls it; NULL: none does. */
static const struct listener *last_listener(const struct engine *engine, const struct listen_socket *socket)
{
    for (const struct list *node = engine->versions.prev; node != &engine->versions; node = node->prev) {
        const struct version *version = CONTAINER_OF(node, struct version, link);
        const struct listener *listener = version_listener(version, socket);

        if (listener && connections_of(version) > 0)
            return listener;
    }
    return NULL;
}

/* Those of older versions that a reload has removed, as long as they have connections. */
static void add_removed_listeners(json_t *list, const struct engine *engine)
{
    for (uint32_t i = 0; i < engine->socket_count; i++) {
        const struct listen_socket *socket = engine->sockets[i];
        const struct listener *listener;

        if (!socket || version_listener(engine->version, socket) || atomic_load(&socket->open) == 0)
            continue;
        listener = last_listener(engine, socket);
        if (listener)
            json_array_append_new(list, listener_of(listener, "draining"));
    }
}

static json_t *listeners_of(const struct service *service)
{
    const struct engine *engine = &service->engine;
    bool listens = !service->is_draining && !service->is_stopping;
    json_t *list = json_array();

    for (uint32_t i = 0; i < engine->version->listener_count; i++)
        json_array_append_new(list, listener_of(&engine->version->listeners[i], listens ? "listening" : "draining"));
    add_removed_listeners(list, engine);
    return list;
}

static json_t *version_of(const struct version *version, uint64_t now_ms)
{
    bool is_current = version == version->engine->version;
    json_int_t memory = 0;
    double age = version->since_ms ? (double)(now_ms - version->since_ms) / (double)MS_PER_S : 0;

    for (uint32_t i = 0; i < version->part_count; i++)
        memory += (json_int_t)atomic_load(&version->parts[i].memory);
    return json_pack("{s:i, s:s, s:f, s:I, s:I}", "number", (int)version->number, "state",
                     is_current ? "current" : (version->since_ms ? "old" : "loading"), "age", age, "connections",
                     connections_of(version), "memory", memory);
}

static json_t *versions_of(const struct engine *engine, uint64_t now_ms)
{
    json_t *list = json_array();

    for (const struct list *node = engine->versions.next; node != &engine->versions; node = node->next)
        json_array_append_new(list, version_of(CONTAINER_OF(node, struct version, link), now_ms));
    return list;
}

void cmd_status(struct control_request *request, const struct control_words *words)
{
    const struct service *service = control_context(request);
    const struct engine *engine = &service->engine;
    uint64_t now_ms = clock_now_ms();
    double uptime = (double)(now_ms - service->started_ms) / (double)MS_PER_S;

    if (words->count != 1) {
        control_misused(request);
        return;
    }
    control_ok(request,
               json_pack("{s:s, s:i, s:f, s:s, s:o, s:o, s:o, s:o, s:o}", "version", ZERG_VERSION, "pid", (int)getpid(),
                         "uptime", uptime, "state", state_of(service), "config", config_of(service->config),
                         "config_path", config_path_of(service->config), "versions", versions_of(engine, now_ms),
                         "reactors", reactors_of(engine), "listeners", listeners_of(service)));
}
