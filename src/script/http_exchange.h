/* One request and its answer, from the first byte of the head until the connection is ready for the next one. What the files
 * http_*.c and api_http.c share; an idle connection has none. Reactor thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/http_body.h"
#include "proto/http_head.h"
#include "script/api.h"
#include "script/http_answer.h"
#include "script/script_conn.h"

struct lease;

enum http_stage {
    HTTP_READS_HEAD,
    HTTP_RUNS,  /* its handler does */
    HTTP_DRAINS /* answered; the rest of its body is skipped */
};

struct http_exchange {
    struct zerg_http shared;  /* what Lua reads; first */
    struct script_conn sc;    /* the tasks that wait for its connection */
    struct lease *head_lease; /* owned: keeps the bytes of the head; NULL while that is being read */
    uint8_t stage;            /* enum http_stage */
    bool has_returned;        /* the handler did, without an error */
    bool is_waiting;          /* for the rest of the head, with its time-out */
    bool continue_sent;
    uint16_t failure;         /* why there is no more of the body, as a status; 0: there may be */
    const char *failure_text; /* as a word; static */
    uint64_t taken;           /* of the body by the handler, */
    uint64_t drained;         /* and what was skipped behind that */
    struct http_answer answer;
    struct http_body body;
    struct http_fields *trailers; /* owned, of its slab, while a chunked body is read */
    struct http_head head;        /* last: only those fields that were found are touched */
};

static inline struct http_exchange *http_exchange_of(struct script_conn *sc)
{
    return CONTAINER_OF(sc, struct http_exchange, sc);
}
