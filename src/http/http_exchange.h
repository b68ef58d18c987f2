/* One request and its answer, from the first byte of the head until the connection is ready for the next one, and who answers
 * it. What the files of this folder and the handlers above it share; an idle connection has none. Reactor thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "http/http_answer.h"
#include "http/http_inflow.h"
#include "proto/http_head.h"

struct conn;
struct http_exchange;
struct http_route;
struct http_server;
struct lease;

/* Whether a handler may begin at once, or has to wait for its turn, as others are being served. */
enum http_start { HTTP_START_NOW, HTTP_START_LATER };

/* Who answers requests: a script, or the reverse proxy. Calls come from the reactor thread, none from inside a call that the
 * handler itself made, but for on_end. */
struct http_handler {
    /* The head is there. The handler has the exchange, and its connection's input and output, from here until it calls
     * http_exchange_done(), which may be before this returns. */
    void (*run)(struct http_exchange *exchange, enum http_start start);
    /* Bytes came behind the head, or no more will (conn_ended()). */
    void (*on_input)(struct http_exchange *exchange);
    /* The client took some of what is staged. */
    void (*on_output)(struct http_exchange *exchange);
    /* conn_await_input()'s time passed. */
    void (*on_read_timeout)(struct http_exchange *exchange);
    /* The connection has ended. What is left to do is http_exchange_done(), now or later. */
    void (*on_end)(struct http_exchange *exchange);
};

enum http_stage {
    HTTP_READS_HEAD,
    HTTP_RUNS,  /* its handler does */
    HTTP_DRAINS /* answered; the rest of its body is skipped */
};

struct http_exchange {
    /* The first fields are read by Lua: struct zerg_http of script/api.h. */
    const uint8_t *head_bytes;
    uint64_t taken;      /* bytes of its body, by the handler */
    uint32_t generation; /* changes when the handler is done */
    uint32_t status;     /* of the answer */
    uint8_t method;      /* enum http_method */
    uint8_t minor;       /* of HTTP/1.x */
    uint8_t has_begun;   /* the head of the answer is staged */
    uint8_t has_ended;   /* and all of the rest */

    uint8_t stage;   /* enum http_stage */
    bool is_waiting; /* for the rest of the head, with its time-out */
    bool continue_sent;
    bool is_lent;                       /* by its handler to a forward: nobody else may read or write meanwhile */
    bool has_sent_body;                 /* a part of its body went to a server */
    bool is_malformed;                  /* its body is: no answer but that */
    uint16_t fallback;                  /* status of the answer, if the handler gives none; 0: that is an empty one */
    struct conn *conn;                  /* borrowed: the client's */
    struct http_server *server;         /* borrowed */
    const struct http_route *route;     /* borrowed, of the configuration: set when the head is there */
    const struct http_handler *handler; /* NULL until it runs */
    void *owner;                        /* the handler's own */
    struct lease *head_lease;           /* owned: keeps the bytes of the head; NULL while that is being read */
    const char *failure_text;           /* as a word; static */
    uint16_t failure;                   /* why there is no more of the body, as a status; 0: there may be */
    uint64_t drained;                   /* what was skipped of its body behind what was taken */
    struct http_answer answer;
    struct http_inflow inflow; /* its body */
    struct http_head head;     /* last: only those fields that were found are touched */
};

/* What the handler of an exchange calls at its end. goes_on: the answer is complete, and the connection in step; it is used on
 * if the client may do so. The exchange is gone afterwards, or its rest is skipped. */
void http_exchange_done(struct http_exchange *exchange, bool goes_on);
/* The connection speaks another protocol from now on: the exchange is gone, and the caller gives the connection to who sees to it. */
void http_exchange_leave(struct http_exchange *exchange);
/* The handler did not come to its end: the whole answer for that if nothing was said yet, else the connection is cut, so that nobody
 * takes it for the whole. Whether the connection can go on. */
bool http_exchange_fail(struct http_exchange *exchange, uint16_t status);
