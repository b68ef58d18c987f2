/* The control socket: who may talk to a running server asks it things there, a line each, and gets JSON back, a line each.
 * docs/control.md is the protocol. What can be asked is a table of commands that the owner brings; each is answered at once
 * or later, whether its client still is there or not.
 * Control thread only. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "admin/control_socket.h"
#include "admin/control_words.h"
#include "admin/loop.h"
#include "base/list.h"
#include "base/macros.h"

struct control_request;

struct control_command {
    const char *name;  /* NULL: the table ends here */
    const char *usage; /* "stop [now]" */
    /* words[0] is the name; they are borrowed until the request is answered, which must happen once, by control_ok(),
     * control_fail() or control_misused(). */
    void (*run)(struct control_request *request, const struct control_words *words);
};

struct control {
    struct control_socket socket;
    struct loop *loop; /* borrowed */
    struct loop_source listening;
    const struct control_command *commands; /* borrowed */
    void *context;                          /* of the commands: borrowed */
    struct list clients;                    /* who asked, or was answered, last is the last */
    uint32_t client_count;
    struct list requests; /* not answered yet */
    bool is_stopped;
    uint64_t accept_from_ms; /* no new clients before, as there was no descriptor for one; 0: at any time */
};

/* Nothing is open yet: all of the below but control_prepare() does nothing then. */
void control_init(struct control *control, struct loop *loop, const struct control_command *commands, void *context);
/* Does what can fail, while nobody finds it yet. 0, or a negative errno with a sentence in error, see
 * control_socket_prepare(). */
MUST_CHECK int control_prepare(struct control *control, const struct control_socket_options *options, char *error);
/* It is found from now on; clients are taken whenever the loop turns. 0, or a negative errno with a sentence in error;
 * nothing is open any more then. */
MUST_CHECK int control_publish(struct control *control, char *error);
/* Another process goes on with the socket; who is here already stays. */
void control_lend(struct control *control);
/* What is to be done by time alone. Returns the milliseconds until it is to be called again, -1: no time is set. */
int control_look(struct control *control, uint64_t now_ms);
/* Takes no more clients and runs no more commands, and leaves the path to others; what was asked before can be answered still.
 * Idempotent. */
void control_stop(struct control *control);
/* Tells clients whose requests were not answered that the server has ended, lets them all read their last answers for a moment
 * and ends them. Idempotent. */
void control_close(struct control *control);

/* ---- for commands ---- */

void *control_context(const struct control_request *request);
/* Whether its client is there to hear the answer. */
bool control_is_awaited(const struct control_request *request);
/* Says how far it is. Any number of times, before the answer. */
void control_progress(struct control_request *request, const char *format, ...) PRINTF_LIKE(2, 3);
/* The answer, and the request's end: it is done. fields, an object, is taken over; NULL: there is nothing to add. */
void control_ok(struct control_request *request, json_t *fields);
/* The answer, and the request's end: it could not be done, for that reason, which may have several lines. */
void control_fail(struct control_request *request, const char *format, ...) PRINTF_LIKE(2, 3);
/* The same with more in the reply. fields, an object, is taken over; NULL: there is nothing to add. */
void control_fail_with(struct control_request *request, json_t *fields, const char *format, ...) PRINTF_LIKE(3, 4);
/* The same for words that the command does not take: says what it takes. */
void control_misused(struct control_request *request);
/* A JSON string of any text: bytes that are no UTF-8 are replaced. NULL without memory. */
MUST_CHECK json_t *control_text(const char *text);
/* The command `help`, which tables may have: lists them. */
void control_help(struct control_request *request, const struct control_words *words);
