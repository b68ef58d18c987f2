/* See control.h. */
#include "admin/control.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/control_client.h"
#include "admin/nearest.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"

enum { ACCEPT_RETRY_AFTER_MS = 1000, TEXT_BYTES = 512, COMMANDS_MAX = 32 };
enum { REAL_DIGITS = 15 }; /* what a double has, so that 12.5 is not 12.499999999999999 */

static const char ended_text[] = "the server has ended";

struct control_request {
    struct list link;
    struct control *control;               /* borrowed */
    struct control_client *client;         /* borrowed; NULL: it has gone */
    const struct control_command *command; /* borrowed */
    struct control_words words;
    char line[]; /* what the words are in */
};

/* ---- saying something ---- */

json_t *control_text(const char *text)
{
    json_t *value = json_string(text);
    char *copy = value ? NULL : strdup(text);

    if (!copy)
        return value;
    for (char *at = copy; *at != '\0'; at++) {
        if ((unsigned char)*at >= 0x80)
            *at = '?';
    }
    value = json_string(copy);
    free(copy);
    return value;
}

static PRINTF_LIKE(1, 0) json_t *text_of(const char *format, va_list args)
{
    char *text;
    json_t *value;

    if (vasprintf(&text, format, args) < 0)
        return NULL;
    value = control_text(text);
    free(text);
    return value;
}

/* Takes the object over. One that could not be made for want of memory ends the client, which must not wait for ever. */
static void put(struct control_client *client, json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(REAL_DIGITS)) : NULL;
    size_t len = text ? strlen(text) : 0;

    json_decref(object);
    if (text) {
        text[len] = '\n'; /* in place of its NUL: the two go out in one piece */
        control_client_put(client, text, len + 1);
    } else {
        client->is_broken = true;
    }
    free(text);
}

static json_t *failure(json_t *error)
{
    return json_pack("{s:b, s:o}", "ok", 0, "error", error);
}

/* A failure that belongs to no request. */
static void PRINTF_LIKE(2, 3) put_failure(struct control_client *client, const char *format, ...)
{
    va_list args;
    json_t *error;

    va_start(args, format);
    error = text_of(format, args);
    va_end(args);
    put(client, failure(error));
}

/* ---- requests ---- */

void *control_context(const struct control_request *request)
{
    return request->control->context;
}

bool control_is_awaited(const struct control_request *request)
{
    return request->client && !request->client->has_gone;
}

void control_progress(struct control_request *request, const char *format, ...)
{
    va_list args;
    json_t *text;

    if (!request->client)
        return;
    va_start(args, format);
    text = text_of(format, args);
    va_end(args);
    put(request->client, json_pack("{s:o}", "progress", text));
    control_client_settle(request->client);
}

/* It is the last to go when there are too many. */
static void note_active(struct control_client *client)
{
    list_move_tail(&client->control->clients, &client->link);
}

/* The request ends; its client goes on to the next one. Takes the reply over. */
static void answer(struct control_request *request, json_t *reply)
{
    struct control_client *client = request->client;

    list_del(&request->link);
    free(request);
    if (!client) {
        json_decref(reply);
        return;
    }
    client->request = NULL;
    note_active(client);
    put(client, reply);
    control_client_settle(client);
}

/* Takes both over. Behind what is in the reply, as people read it too: `ok` comes first. */
static void answer_with(struct control_request *request, json_t *reply, json_t *fields)
{
    if (fields && json_object_update(reply, fields) < 0) {
        json_decref(reply);
        reply = NULL;
    }
    json_decref(fields);
    answer(request, reply);
}

void control_ok(struct control_request *request, json_t *fields)
{
    answer_with(request, json_pack("{s:b}", "ok", 1), fields);
}

void control_fail(struct control_request *request, const char *format, ...)
{
    va_list args;
    json_t *error;

    va_start(args, format);
    error = text_of(format, args);
    va_end(args);
    answer(request, failure(error));
}

void control_fail_with(struct control_request *request, json_t *fields, const char *format, ...)
{
    va_list args;
    json_t *error;

    va_start(args, format);
    error = text_of(format, args);
    va_end(args);
    answer_with(request, failure(error), fields);
}

void control_misused(struct control_request *request)
{
    control_fail(request, "usage: %s", request->command->usage);
}

void control_help(struct control_request *request, const struct control_words *words)
{
    const struct control_command *command = request->control->commands;
    json_t *list = json_array();

    if (words->count != 1) {
        json_decref(list);
        control_misused(request);
        return;
    }
    for (; command->name; command++)
        json_array_append_new(list, json_string(command->usage));
    control_ok(request, json_pack("{s:o}", "commands", list));
}

/* ---- lines ---- */

static const struct control_command *find_command(const struct control *control, const char *name)
{
    const struct control_command *command = control->commands;

    while (command->name && strcmp(command->name, name) != 0)
        command++;
    return command->name ? command : NULL;
}

static void refuse_unknown(struct control_client *client, const char *name)
{
    const char *names[COMMANDS_MAX + 1];
    const char *near;
    size_t count = 0;

    for (const struct control_command *command = client->control->commands; command->name; command++) {
        assert(count < COMMANDS_MAX);
        names[count++] = command->name;
    }
    names[count] = NULL;
    near = nearest_of(name, names);
    if (near)
        put_failure(client, "unknown command `%.*s`: did you mean `%s`?", TEXT_BYTES, name, near);
    else
        put_failure(client, "unknown command `%.*s`: `help` lists them", TEXT_BYTES, name);
}

static struct control_request *new_request(struct control_client *client, const char *line, size_t len)
{
    struct control_request *request = calloc(1, sizeof(*request) + len + 1);

    if (!request)
        return NULL;
    request->control = client->control;
    request->client = client;
    memcpy(request->line, line, len + 1);
    return request;
}

static void run(struct control_request *request)
{
    list_add_tail(&request->control->requests, &request->link);
    request->client->request = request;
    request->command->run(request, &request->words);
}

static void on_line(struct control_client *client, char *line, size_t len)
{
    struct control_request *request;
    const char *wrong;

    note_active(client);
    if (client->control->is_stopped) {
        put_failure(client, "%s", ended_text);
        return;
    }
    if (strlen(line) != len) {
        put_failure(client, "a request must not have NUL bytes in it");
        return;
    }
    if (len > 0 && line[len - 1] == '\r')
        line[--len] = '\0';
    request = new_request(client, line, len);
    if (!request) {
        put_failure(client, "not enough memory");
        return;
    }
    wrong = control_words_split(&request->words, request->line);
    if (!wrong && request->words.count > 0)
        request->command = find_command(client->control, request->words.word[0]);
    if (request->command) {
        run(request);
        return;
    }
    if (wrong)
        put_failure(client, "%s", wrong);
    else if (request->words.count > 0)
        refuse_unknown(client, request->words.word[0]);
    else
        put_failure(client, "an empty request: `help` lists the commands");
    free(request);
}

static void on_bad_line(struct control_client *client, const char *why)
{
    put_failure(client, "%s", why);
}

static void on_gone(struct control_client *client)
{
    if (client->request)
        client->request->client = NULL;
    client->control->client_count--;
    control_client_free(client);
}

/* ---- clients ---- */

static const struct control_client_handler client_handler = {
    .on_line = on_line,
    .on_bad_line = on_bad_line,
    .on_gone = on_gone,
};

/* Ready is level: without a pause, a client that cannot be taken would keep the loop turning. */
static void pause_accepting(struct control *control, int error)
{
    log_warn("control socket: cannot accept: %s", strerror(error));
    control->listening.events = 0;
    control->accept_from_ms = clock_now_ms() + ACCEPT_RETRY_AFTER_MS;
}

/* Reads what the other end has sent, and says that nothing more comes: it would get ECONNRESET behind our last line, from a
 * socket that is closed with bytes unread (unix_release_sock()). */
static void take_leave(int fd)
{
    char unread[4096];

    (void)shutdown(fd, SHUT_WR);
    for (size_t taken = 0; taken < CONTROL_REQUEST_BYTES_MAX; taken += sizeof(unread)) {
        if (recv(fd, unread, sizeof(unread), MSG_DONTWAIT) <= 0)
            break;
    }
}

static void refuse_client(int fd)
{
    static const char text[] = "{\"ok\":false,\"error\":\"too many clients of the control socket\"}\n";

    if (send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL) < 0)
        log_debug("control socket: cannot refuse a client: %s", strerror(errno));
    take_leave(fd);
    close(fd);
}

/* NULL: all of them have requests under way. */
static struct control_client *find_idle_longest(const struct control *control)
{
    for (struct list *node = control->clients.next; node != &control->clients; node = node->next) {
        struct control_client *client = CONTAINER_OF(node, struct control_client, link);

        if (!client->request)
            return client;
    }
    return NULL;
}

/* Whoever keeps connections that ask nothing must not lock the operator out. False: there is no room. */
static bool make_room(struct control *control)
{
    struct control_client *client;

    if (control->client_count < CONTROL_CLIENTS_MAX)
        return true;
    client = find_idle_longest(control);
    if (!client)
        return false;
    put_failure(client, "the control socket has too many clients: this one, which has been idle longest, makes room");
    take_leave(client->source.fd);
    on_gone(client);
    log_debug("control socket: the client that was idle longest made room for another one");
    return true;
}

static void take_client(struct control *control, int fd)
{
    struct control_client *client;

    if (!make_room(control)) {
        refuse_client(fd);
        return;
    }
    client = control_client_new(control->loop, fd, &client_handler);
    if (!client)
        return;
    client->control = control;
    control->client_count++;
    list_add_tail(&control->clients, &client->link);
}

static void on_listening_ready(struct loop_source *source, short ready)
{
    struct control *control = CONTAINER_OF(source, struct control, listening);
    int fd = control_socket_accept(&control->socket);

    (void)ready;
    if (fd >= 0)
        take_client(control, fd);
    else if (fd != -EPERM && fd != -EAGAIN && fd != -EINTR && fd != -ECONNABORTED)
        pause_accepting(control, -fd);
}

/* ---- beginning and end ---- */

void control_init(struct control *control, struct loop *loop, const struct control_command *commands, void *context)
{
    *control = (struct control){.socket = {.fd = -1}, .loop = loop, .commands = commands, .context = context};
    list_init(&control->clients);
    list_init(&control->requests);
}

int control_prepare(struct control *control, const struct control_socket_options *options, char *error)
{
    int rc = control_socket_prepare(&control->socket, options, error);

    if (rc < 0)
        return rc;
    control->listening = (struct loop_source){
        .fd = control->socket.fd,
        .events = POLLIN,
        .on_ready = on_listening_ready,
    };
    rc = loop_add(control->loop, &control->listening);
    if (rc == 0)
        return 0;
    snprintf(error, CONTROL_ERROR_MAX, "control socket %s: %s", options->path, strerror(-rc));
    control_socket_close(&control->socket);
    return rc;
}

int control_publish(struct control *control, char *error)
{
    int rc = control->socket.fd < 0 ? 0 : control_socket_publish(&control->socket, error);

    if (rc == 0)
        return 0;
    loop_remove(control->loop, &control->listening);
    control_socket_close(&control->socket);
    return rc;
}

void control_lend(struct control *control)
{
    loop_remove(control->loop, &control->listening);
    control_socket_lend(&control->socket);
}

int control_look(struct control *control, uint64_t now_ms)
{
    if (control->accept_from_ms == 0 || control->socket.fd < 0)
        return -1;
    if (now_ms < control->accept_from_ms)
        return (int)(control->accept_from_ms - now_ms);
    control->accept_from_ms = 0;
    control->listening.events = POLLIN;
    return -1;
}

void control_stop(struct control *control)
{
    control->is_stopped = true;
    loop_remove(control->loop, &control->listening);
    control_socket_close(&control->socket);
}

void control_close(struct control *control)
{
    int left_ms = CONTROL_FLUSH_MS;
    struct list *link;

    control_stop(control);
    while (!list_is_empty(&control->requests))
        control_fail(CONTAINER_OF(control->requests.next, struct control_request, link), "%s", ended_text);
    while ((link = list_pop(&control->clients))) {
        struct control_client *client = CONTAINER_OF(link, struct control_client, link);

        left_ms = control_client_flush(client, left_ms);
        on_gone(client);
    }
}
