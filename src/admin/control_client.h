/* One client of the control socket: its lines come in, and lines for it go out, in order and without ever blocking. Requests
 * wait while one is being answered, or while their client does not read. Those that were read before it left are run all the
 * same. Control thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "admin/loop.h"
#include "base/limits.h"
#include "base/list.h"

struct control;
struct control_client;
struct control_request;

/* What a client tells its owner. Neither is called by control_client_put(). */
struct control_client_handler {
    /* A line, without its newline but with a NUL behind it; borrowed during the call. Answers at once, or sets client->request. */
    void (*on_line)(struct control_client *client, char *line, size_t len);
    /* A line that is none: too long, or cut off by the end of the stream. Answers at once. */
    void (*on_bad_line)(struct control_client *client, const char *why);
    /* It has gone, with or without an answer: the last call, which frees it with control_client_free(). */
    void (*on_gone)(struct control_client *client);
};

struct control_client {
    struct list link; /* the owner's */
    struct control *control;
    struct control_request *request; /* the one that is being answered, its owner's; NULL: none is */
    const struct control_client_handler *handler;
    struct loop *loop; /* borrowed */
    struct loop_source source;
    char *output; /* owned: what it has not read yet, behind output_sent bytes that it has */
    size_t output_len;
    size_t output_sent;
    bool has_ended; /* it sends no more */
    bool is_ending; /* it is closed when it has read everything */
    bool has_gone;  /* it reads no more, and nothing is read from it: the lines that are there are still told */
    bool is_broken; /* nothing more is done for it */
    bool is_settling;
    size_t input_len;
    char input[CONTROL_REQUEST_BYTES_MAX];
};

/* A client on this socket, which is the client's from now on; NULL without memory or a place in the loop: the socket is closed
 * then. */
MUST_CHECK struct control_client *control_client_new(struct loop *loop, int fd,
                                                     const struct control_client_handler *handler);
void control_client_free(struct control_client *client);
/* Bytes for it. A client that has CONTROL_WAITING_BYTES to read already is given up. control_client_settle() must follow, in
 * the end. */
void control_client_put(struct control_client *client, const char *bytes, size_t len);
/* Sends, goes on to the next request, and ends a client that is through; it may be freed when this returns. Within on_line()
 * it waits until that returns. */
void control_client_settle(struct control_client *client);
/* Waits at most timeout_ms for it to read everything. Returns the milliseconds that are left. */
int control_client_flush(struct control_client *client, int timeout_ms);
