/* See client.h. */
#include "admin/client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "admin/control_words.h"
#include "base/addr.h"
#include "base/limits.h"

enum { QUIET_S_MAX = 5 }; /* for a server that hangs and that nobody named */

PRINTF_LIKE(2, 3) static void say(const struct client *client, const char *format, ...)
{
    va_list args;

    if (client->is_quiet)
        return;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
}

/* ---- connecting ---- */

static int explain(const struct client *client, int rc)
{
    const char *advice = "";

    say(client, "zerg: no server answers at %s: %s\n", client->path, strerror(-rc));
    if (rc == -ENOENT || rc == -ENOTDIR)
        advice =
            "Start one with `zerg run`, or say where it is: its configuration with -c FILE, or its control socket with "
            "--control PATH.\n";
    else if (rc == -ECONNREFUSED)
        advice = "The server that was there has gone. Start it with `zerg run`.\n";
    else if (rc == -EACCES || rc == -EPERM)
        advice = "Only root, and the user whom it runs as, may talk to a server.\n";
    say(client, "%s", advice);
    return rc;
}

/* Somebody else could have been quicker at a path in /tmp than our own server. */
static int check_owner(const struct client *client)
{
    struct ucred server;
    socklen_t len = sizeof(server);

    if (getsockopt(fileno(client->stream), SOL_SOCKET, SO_PEERCRED, &server, &len) < 0)
        return -errno;
    if (geteuid() == 0 || server.uid == 0 || server.uid == geteuid())
        return 0;
    say(client, "zerg: the server at %s is another user's (uid %u): it is not asked.\n", client->path,
        (unsigned)server.uid);
    return -EPERM;
}

static int connect_to(const char *path)
{
    struct addr addr;
    int rc = addr_parse_unix(&addr, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    if (rc == 0 && connect(fd, &addr.sa, addr.len) < 0)
        rc = -errno;
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

static int open_stream(struct client *client)
{
    int fd = connect_to(client->path);
    int rc;

    if (fd < 0)
        return explain(client, fd);
    client->stream = fdopen(fd, "r");
    if (!client->stream) {
        rc = -errno;
        close(fd);
        return explain(client, rc);
    }
    rc = check_owner(client);
    if (rc < 0)
        client_close(client);
    return rc;
}

int client_open(struct client *client, const char *path)
{
    *client = (struct client){.path = path};
    return open_stream(client);
}

int client_open_quietly(struct client *client, const char *path)
{
    struct timeval longest = {.tv_sec = QUIET_S_MAX};
    int rc;

    *client = (struct client){.path = path, .is_quiet = true};
    rc = open_stream(client);
    if (rc == 0 && setsockopt(fileno(client->stream), SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof(longest)) < 0) {
        rc = -errno;
        client_close(client);
    }
    return rc;
}

void client_close(struct client *client)
{
    if (client->stream)
        fclose(client->stream);
    client->stream = NULL;
}

/* ---- asking ---- */

static int send_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

        if (n < 0)
            return -errno;
        bytes += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Whether it has arrived shows when the reply is read. */
static int send_request(const struct client *client, const char *const words[], size_t count)
{
    char *line = control_words_join(words, count);
    size_t len = line ? strlen(line) : 0;
    int rc = 0;

    if (!line) {
        say(client, "zerg: the request is not valid UTF-8\n");
        return -EINVAL;
    }
    line[len] = '\n';
    if (len + 1 > CONTROL_REQUEST_BYTES_MAX) {
        say(client, "zerg: the request has %zu bytes, a server takes at most %d\n", len, CONTROL_REQUEST_BYTES_MAX);
        rc = -EMSGSIZE;
    } else {
        rc = send_all(fileno(client->stream), line, len + 1);
        if (rc == -EPIPE || rc == -ECONNRESET) /* what the server said before it hung up is still to be read */
            rc = 0;
        if (rc < 0)
            say(client, "zerg: cannot ask the server at %s: %s\n", client->path, strerror(-rc));
    }
    free(line);
    return rc;
}

/* The next line from the server. */
static int read_reply(const struct client *client, struct client_reply *reply)
{
    size_t size = 0;
    ssize_t len;

    *reply = (struct client_reply){.text = NULL};
    len = getline(&reply->text, &size, client->stream);
    if (len <= 0 || reply->text[len - 1] != '\n') {
        say(client, "zerg: the server at %s has gone without an answer\n", client->path);
        client_reply_free(reply);
        return -EPIPE;
    }
    reply->text[len - 1] = '\0';
    reply->json = json_loads(reply->text, 0, NULL);
    return 0;
}

int client_ask(struct client *client, const char *const words[], size_t count, struct client_reply *reply)
{
    const char *progress;
    int rc = send_request(client, words, count);

    if (rc < 0)
        return rc;
    do {
        rc = read_reply(client, reply);
        if (rc < 0)
            return rc;
        if (json_is_boolean(json_object_get(reply->json, "ok")))
            return 0;
        progress = json_string_value(json_object_get(reply->json, "progress"));
        if (progress)
            say(client, "%s\n", progress);
        else
            say(client, "zerg: what answers at %s is no server of zerg\n", client->path);
        rc = progress ? 0 : -EPROTO;
        client_reply_free(reply);
    } while (rc == 0);
    return rc;
}

/* ---- replies ---- */

void client_reply_free(struct client_reply *reply)
{
    json_decref(reply->json);
    free(reply->text);
    *reply = (struct client_reply){.text = NULL};
}

bool client_reply_is_ok(const struct client_reply *reply)
{
    return json_is_true(json_object_get(reply->json, "ok"));
}

const char *client_reply_error(const struct client_reply *reply)
{
    const char *error = json_string_value(json_object_get(reply->json, "error"));

    return error ? error : "the server did not say why";
}
