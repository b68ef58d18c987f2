/* What serving HTTP keeps for each reactor: memory for requests, who answers them, the time of day as text. Opened and closed by
 * the reactor's app, on the reactor's thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/slab.h"
#include "proto/http_date.h"

struct conn;
struct http_handler;
struct reactor;

/* The present second as HTTP writes it. */
struct http_clock {
    uint64_t at_ms; /* when it was looked at */
    int64_t second;
    char text[HTTP_DATE_BYTES];
};

struct http_server {
    struct reactor *reactor; /* borrowed */
    struct slab exchanges;
    struct slab trailers;                       /* struct http_fields */
    const struct http_handler *script_handler;  /* of routes with a script, */
    const struct http_handler *forward_handler; /* and of those that forward */
    /* Told when a client ends its stream, and when its connection is over for HTTP; NULL: nobody asks. */
    void (*on_news)(struct conn *conn, bool is_over);
    const struct conn *current; /* whose requests are being taken one by one, NULL: of none */
    struct http_clock clock;
};

/* Sets reactor->http. */
void http_server_init(struct http_server *server, struct reactor *reactor, const struct http_handler *script_handler,
                      const struct http_handler *forward_handler);
/* After the last exchange has ended. */
void http_server_deinit(struct http_server *server);
/* The reactor drains: see http_conn_drain(). */
void http_server_drain(struct reactor *reactor);
/* "Sun, 06 Nov 1994 08:49:37 GMT", HTTP_DATE_BYTES of it. Valid until the next turn. */
const char *http_server_date(struct http_server *server);
