/* See control_client.h. */
#include "admin/control_client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"

/* ---- output ---- */

static size_t waiting(const struct control_client *client)
{
    return client->output_len - client->output_sent;
}

/* Out of the loop, as a socket that was hung up is always ready. */
static void note_gone(struct control_client *client)
{
    client->has_gone = true;
    client->output_len = 0;
    client->output_sent = 0;
    loop_remove(client->loop, &client->source);
}

static void send_waiting(struct control_client *client)
{
    while (waiting(client) > 0) {
        ssize_t n =
            send(client->source.fd, client->output + client->output_sent, waiting(client), MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n > 0)
            client->output_sent += (size_t)n;
        else if (errno == EAGAIN)
            return;
        else if (errno != EINTR)
            note_gone(client);
    }
    client->output_len = 0;
    client->output_sent = 0;
}

/* Room for so many bytes more. False without memory. */
static bool make_room(struct control_client *client, size_t len)
{
    char *longer = realloc(client->output, client->output_len + len);

    if (longer)
        client->output = longer;
    return longer != NULL;
}

void control_client_put(struct control_client *client, const char *bytes, size_t len)
{
    assert(len > 0);
    if (client->is_broken || client->has_gone)
        return;
    if (waiting(client) >= CONTROL_WAITING_BYTES || !make_room(client, len)) {
        client->is_broken = true;
        return;
    }
    memcpy(client->output + client->output_len, bytes, len);
    client->output_len += len;
    send_waiting(client);
}

int control_client_flush(struct control_client *client, int timeout_ms)
{
    uint64_t until_ms = clock_now_ms() + (uint64_t)timeout_ms;
    uint64_t now_ms;

    do {
        struct pollfd fd = {.fd = client->source.fd, .events = POLLOUT};

        if (waiting(client) == 0 || client->is_broken)
            return timeout_ms;
        now_ms = clock_now_ms();
        timeout_ms = now_ms < until_ms ? (int)(until_ms - now_ms) : 0;
        if (poll(&fd, 1, timeout_ms) > 0)
            send_waiting(client);
    } while (timeout_ms > 0);
    return 0;
}

/* ---- input ---- */

static void receive(struct control_client *client)
{
    size_t room = sizeof(client->input) - client->input_len;
    ssize_t n = recv(client->source.fd, client->input + client->input_len, room, MSG_DONTWAIT);

    if (n > 0)
        client->input_len += (size_t)n;
    else if (n == 0)
        client->has_ended = true;
    else if (errno != EAGAIN && errno != EINTR)
        note_gone(client);
}

static void refuse_line(struct control_client *client, const char *why)
{
    client->input_len = 0;
    client->is_ending = true;
    client->handler->on_bad_line(client, why);
}

static char *end_of_line(struct control_client *client)
{
    return memchr(client->input, '\n', client->input_len);
}

/* True when there was a line, which has been told. */
static bool take_line(struct control_client *client)
{
    char *end = end_of_line(client);
    size_t len = end ? (size_t)(end - client->input) : 0;

    if (client->is_ending)
        return false;
    if (end) {
        *end = '\0';
        client->handler->on_line(client, client->input, len);
        client->input_len -= len + 1;
        memmove(client->input, end + 1, client->input_len);
        return true;
    }
    if (client->input_len == sizeof(client->input))
        refuse_line(client, "the request is too long");
    else if (client->has_ended && client->input_len > 0) /* not run: it may be the half of another one */
        refuse_line(client, "the request does not end with a newline");
    return false;
}

/* ---- its life ---- */

static bool is_through(struct control_client *client)
{
    bool asks_no_more = client->is_ending || (client->has_ended && client->input_len == 0);

    if (client->is_broken)
        return true;
    if (client->has_gone)
        return client->is_ending || !end_of_line(client);
    return asks_no_more && !client->request && waiting(client) == 0;
}

/* What it asks next is not read before it has its answer: at most one line and one receive are kept of it. */
static short wanted_events(const struct control_client *client)
{
    bool reads = !client->request && !client->has_ended && !client->is_ending;

    if (waiting(client) > 0)
        return POLLOUT;
    return reads ? POLLIN : 0;
}

void control_client_settle(struct control_client *client)
{
    if (client->is_settling)
        return;
    client->is_settling = true;
    while (!client->request && !client->is_broken && waiting(client) == 0 && take_line(client))
        continue;
    client->is_settling = false;
    client->source.events = wanted_events(client);
    if (is_through(client))
        client->handler->on_gone(client);
}

static void on_ready(struct loop_source *source, short ready)
{
    struct control_client *client = CONTAINER_OF(source, struct control_client, source);

    if (ready & POLLOUT)
        send_waiting(client);
    if (ready & POLLIN)
        receive(client);
    else if (ready & (POLLHUP | POLLERR))
        note_gone(client);
    control_client_settle(client);
}

struct control_client *control_client_new(struct loop *loop, int fd, const struct control_client_handler *handler)
{
    struct control_client *client = calloc(1, sizeof(*client));

    if (!client) {
        close(fd);
        return NULL;
    }
    client->handler = handler;
    client->loop = loop;
    client->source = (struct loop_source){.fd = fd, .events = POLLIN, .on_ready = on_ready};
    list_init(&client->link);
    if (loop_add(loop, &client->source) == 0)
        return client;
    control_client_free(client);
    return NULL;
}

void control_client_free(struct control_client *client)
{
    assert(!client->is_settling);
    loop_remove(client->loop, &client->source);
    list_del(&client->link);
    close(client->source.fd);
    free(client->output);
    free(client);
}
