/* See usual_server.h. */
#include "admin/usual_server.h"

#include <stdio.h>
#include <string.h>

#include "admin/client.h"

static void note_config(struct usual_server *out, const json_t *reply)
{
    const char *path = json_string_value(json_object_get(reply, "config_path"));

    if (path && path[0] == '/' && strlen(path) < sizeof(out->config_path))
        snprintf(out->config_path, sizeof(out->config_path), "%s", path);
}

bool usual_server_find(struct usual_server *out)
{
    static const char *const words[] = {"status"};
    struct client_reply reply;
    struct client client;
    bool is_there;

    out->config_path[0] = '\0';
    if (control_path_default(out->path) < 0 || client_open_quietly(&client, out->path) < 0)
        return false;
    is_there = client_ask(&client, words, 1, &reply) == 0;
    if (is_there) {
        is_there = client_reply_is_ok(&reply);
        note_config(out, reply.json);
        client_reply_free(&reply);
    }
    client_close(&client);
    return is_there;
}
