/* The other end of the control socket: connects to a running server, asks, and waits for the answer. Whatever goes wrong is said
 * on stderr, with what to do, and so is how far the server is. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/macros.h"

struct client {
    const char *path; /* borrowed */
    FILE *stream;     /* owned */
    bool is_quiet;    /* nothing is said on stderr */
};

struct client_reply {
    char *text;   /* owned: the line as it came, without its newline */
    json_t *json; /* owned: an object with a boolean "ok" */
};

/* Connects to the server whose control socket is at the path. 0, or a negative errno after a message. */
MUST_CHECK int client_open(struct client *client, const char *path);
/* The same, with a server that may be there or not: nothing is said, then and later, and no answer takes long. */
MUST_CHECK int client_open_quietly(struct client *client, const char *path);
void client_close(struct client *client);
/* Sends a request of these words and waits for its answer. 0, and the reply is to be freed, whether the server could do it or
 * not; or a negative errno after a message. */
MUST_CHECK int client_ask(struct client *client, const char *const words[], size_t count, struct client_reply *reply);
void client_reply_free(struct client_reply *reply);
/* Whether the server did it, */
bool client_reply_is_ok(const struct client_reply *reply);
/* and why not, if not. */
const char *client_reply_error(const struct client_reply *reply);
