/* See http_forwarding.h. */
#include "script/http_forwarding.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/slab.h"
#include "core/conn.h"
#include "core/reactor.h"
#include "http/http_exchange.h"
#include "proxy/dial.h"
#include "proxy/http_forward.h"
#include "script/api_common.h"
#include "script/pending.h"
#include "script/runtime.h"
#include "script/script_conn.h"
#include "script/task.h"

enum { FORWARDINGS_PER_BLOCK = 16, REASON_BYTES_MAX = 160 };

struct http_forwarding {
    struct pending pending;
    struct script_conn *sc;       /* borrowed, until it has ended */
    struct http_forward *forward; /* NULL: it has ended */
    struct http_rewrite rewrite;
    void *options;       /* owned, of malloc(3): what the script asked for, */
    void *answer_fields; /* and what on_response did */
    bool has_head;       /* and the script has not seen it */
    bool has_answer;     /* the answer has begun */
    struct zerg_http_forward_result result;
    char server_name[ADDR_TEXT_MAX];
    char reason[REASON_BYTES_MAX]; /* "": the answer is complete */
};

void http_forwarding_init_slab(struct slab *slab)
{
    slab_init(slab, sizeof(struct http_forwarding), FORWARDINGS_PER_BLOCK, 0);
}

/* The exchange, if there is one any more, is the script's again. */
static void give_back(struct http_forwarding *forwarding)
{
    struct script_conn *sc = forwarding->sc;

    if (sc && sc->exchange)
        sc->exchange->is_lent = false;
    if (sc)
        sc->http_forwarding = NULL;
    forwarding->sc = NULL;
    forwarding->forward = NULL;
}

static void drop(struct pending *pending)
{
    struct http_forwarding *forwarding = CONTAINER_OF(pending, struct http_forwarding, pending);
    struct runtime *runtime = pending->task->runtime;
    struct http_forward *forward = forwarding->forward;

    pending_end(pending);
    if (forward) {
        give_back(forwarding);
        http_forward_cancel(forward);
    }
    free(forwarding->options);
    free(forwarding->answer_fields);
    slab_free(&runtime->http_forwarding_slab, forwarding);
}

/* ---- what the forward tells ---- */

static void on_head(struct http_forward *forward)
{
    struct http_forwarding *forwarding = forward->options.owner;

    forwarding->has_head = true;
    pending_wake(&forwarding->pending);
}

static void on_tunnel(struct http_forward *forward)
{
    struct http_forwarding *forwarding = forward->options.owner;

    forwarding->result.status = forward->head.status;
    snprintf(forwarding->server_name, sizeof(forwarding->server_name), "%s", http_forward_server(forward));
    forwarding->sc->exchange = NULL;
}

static void set_reason(struct http_forwarding *forwarding, const struct http_forward *forward)
{
    if (forward->dial)
        pending_format_dial_reason(forwarding->reason, sizeof(forwarding->reason), forward->dial);
    else
        snprintf(forwarding->reason, sizeof(forwarding->reason), "%s", forward->failure_text);
}

/* What there is to say of an answer, or of why there is none. */
static void note_outcome(struct http_forwarding *forwarding, const struct http_forward *forward)
{
    const struct http_change *change = &forward->options.change;
    struct http_exchange *exchange = forward->exchange;

    snprintf(forwarding->server_name, sizeof(forwarding->server_name), "%s", http_forward_server(forward));
    forwarding->result.bytes_up = change->body ? (double)change->body_len : (double)forward->up.bytes;
    forwarding->result.bytes_down = (double)forward->down.bytes;
    forwarding->result.status = exchange->status;
    forwarding->has_answer = exchange->has_begun;
    if (forward->failure == 0)
        return;
    set_reason(forwarding, forward);
    exchange->fallback = forward->failure;
}

static void note_tunnel(struct http_forwarding *forwarding, const struct relay_end *end)
{
    forwarding->result.bytes_up = (double)end->bytes_up;
    forwarding->result.bytes_down = (double)end->bytes_down;
    forwarding->has_answer = true;
    if (end->reason != CLOSE_PEER)
        snprintf(forwarding->reason, sizeof(forwarding->reason), "%s", close_reason_text(end->reason));
}

static void on_end(struct http_forward *forward)
{
    struct http_forwarding *forwarding = forward->options.owner;
    uint64_t now_ms = forward->view->reactor->now_ms;

    forwarding->result.duration_s = (double)(now_ms - forward->started_ms) / (double)MS_PER_S;
    if (forward->state == HTTP_FORWARD_TUNNELS)
        note_tunnel(forwarding, &forward->tunnel);
    else
        note_outcome(forwarding, forward);
    give_back(forwarding);
    pending_wake(&forwarding->pending);
}

static const struct http_forward_watch watch = {.on_tunnel = on_tunnel, .on_end = on_end};
static const struct http_forward_watch watch_with_head = {.on_head = on_head, .on_tunnel = on_tunnel, .on_end = on_end};

/* ---- what its exchange does ---- */

void http_forwarding_on_input(struct http_forwarding *forwarding)
{
    http_forward_on_input(forwarding->forward);
}

void http_forwarding_on_output(struct http_forwarding *forwarding)
{
    http_forward_on_output(forwarding->forward);
}

void http_forwarding_on_read_timeout(struct http_forwarding *forwarding)
{
    http_forward_on_read_timeout(forwarding->forward);
}

void http_forwarding_abandon(struct http_forwarding *forwarding)
{
    struct http_forward *forward = forwarding->forward;
    enum close_reason reason = (enum close_reason)forwarding->sc->conn->reason;

    if (forward->state == HTTP_FORWARD_TUNNELS) { /* which is no business of the request any more */
        forwarding->sc->http_forwarding = NULL;
        forwarding->sc = NULL;
        return;
    }
    note_outcome(forwarding, forward);
    snprintf(forwarding->reason, sizeof(forwarding->reason), "%s",
             close_reason_text(reason == CLOSE_NONE ? CLOSE_LOCAL : reason));
    give_back(forwarding);
    http_forward_cancel(forward);
    pending_wake(&forwarding->pending);
}

/* ---- for the API ---- */

/* Appends a copy of text, with a NUL, at *at; NULL stays NULL. */
static char *copy_text(char **at, const char *text, size_t len)
{
    char *copy = *at;

    if (!text)
        return NULL;
    memcpy(copy, text, len);
    copy[len] = '\0';
    *at += len + 1;
    return copy;
}

static size_t bytes_of_fields(const struct zerg_http_field *fields, uint32_t count)
{
    size_t bytes = count * sizeof(struct http_field_config);

    for (uint32_t i = 0; i < count; i++)
        bytes += strlen(fields[i]._name) + (fields[i]._value ? strlen(fields[i]._value) : 0) + 2;
    return bytes;
}

/* The list goes to `list`, the texts to *at. */
static void copy_fields(struct http_field_config *list, char **at, const struct zerg_http_field *fields, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const char *value = fields[i]._value;

        list[i].name = copy_text(at, fields[i]._name, strlen(fields[i]._name));
        list[i].value = copy_text(at, value, value ? strlen(value) : 0);
    }
}

/* What the script asked for, in memory of our own: a coroutine that is never resumed may lose it to the collector. False
 * without memory. */
static bool copy_options(struct http_forwarding *forwarding, struct http_change *change,
                         const struct zerg_http_forward_options *options)
{
    size_t bytes = bytes_of_fields(options->_fields, options->_field_count) +
                   bytes_of_fields(options->_answer_fields, options->_answer_field_count) + options->_path_len +
                   options->_method_len + options->_body_len + 3;
    struct http_field_config *fields = malloc(bytes);
    struct http_field_config *answer_fields;
    char *at;

    if (!fields)
        return false;
    forwarding->options = fields;
    answer_fields = fields + options->_field_count;
    at = (char *)(answer_fields + options->_answer_field_count);
    copy_fields(fields, &at, options->_fields, options->_field_count);
    copy_fields(answer_fields, &at, options->_answer_fields, options->_answer_field_count);
    forwarding->rewrite = (struct http_rewrite){
        .request_fields = fields,
        .request_field_count = options->_field_count,
        .response_fields = answer_fields,
        .response_field_count = options->_answer_field_count,
    };
    *change = (struct http_change){
        .rewrite = &forwarding->rewrite,
        .path = copy_text(&at, options->_path, options->_path_len),
        .path_len = options->_path_len,
        .method = copy_text(&at, options->_method, options->_method_len),
        .method_len = options->_method_len,
        .body = copy_text(&at, options->_body, options->_body_len),
        .body_len = options->_body_len,
    };
    return true;
}

static struct http_forward_options forward_options(struct http_forwarding *forwarding, struct group_view *view,
                                                   const struct zerg_http_forward_options *options)
{
    struct http_forward_options out = http_forward_defaults(view, forwarding->sc->exchange);

    if (options->_connect_s >= 0)
        out.connect_ms = api_ms(options->_connect_s);
    if (options->_read_s >= 0)
        out.read_ms = api_ms(options->_read_s);
    if (options->_retries >= 0)
        out.retries = (uint32_t)options->_retries;
    if (options->_hash_key)
        out.key_hash = hash_bytes(options->_hash_key, options->_hash_key_len);
    out.watch = options->_wants_head ? &watch_with_head : &watch;
    out.owner = forwarding;
    return out;
}

int http_forwarding_begin(struct task *task, struct script_conn *sc, struct group_view *view,
                          const struct zerg_http_forward_options *options)
{
    struct http_forwarding *forwarding = slab_new(&task->runtime->http_forwarding_slab);
    struct http_forward_options forward;

    if (!forwarding)
        return ZERG_NO_MEMORY;
    *forwarding = (struct http_forwarding){.sc = sc};
    pending_begin(&forwarding->pending, task, drop);
    forward = forward_options(forwarding, view, options);
    if (copy_options(forwarding, &forward.change, options))
        forwarding->forward = http_forward_new(sc->exchange, view, &forward);
    if (!forwarding->forward) {
        drop(&forwarding->pending);
        return ZERG_NO_MEMORY;
    }
    sc->http_forwarding = forwarding;
    sc->exchange->is_lent = true;
    http_forward_start(forwarding->forward);
    return http_forwarding_finish(task, NULL);
}

/* It has ended. The strings of *out are valid until the next call. */
static int hand_over(struct http_forwarding *forwarding, struct zerg_http_forward_result *out)
{
    struct runtime *runtime = forwarding->pending.task->runtime;
    bool has_answer = forwarding->has_answer;
    const char *reason = forwarding->reason;

    if (!has_answer) {
        pending_set_reason(runtime, reason);
    } else {
        *out = forwarding->result;
        snprintf(runtime->forward_server, sizeof(runtime->forward_server), "%s", forwarding->server_name);
        pending_set_reason(runtime, reason);
        out->server = runtime->forward_server;
        out->reason = reason[0] != '\0' ? runtime->pending_reason : NULL;
    }
    drop(&forwarding->pending);
    return has_answer ? ZERG_OK : ZERG_END;
}

int http_forwarding_finish(struct task *task, struct zerg_http_forward_result *out)
{
    struct pending *pending = pending_of(task, drop);
    struct http_forwarding *forwarding;

    if (!pending)
        return ZERG_END;
    forwarding = CONTAINER_OF(pending, struct http_forwarding, pending);
    if (forwarding->forward)
        return forwarding->has_head ? ZERG_HEAD : pending_park(task);
    if (!out && forwarding->has_answer) /* it has ended already, and nobody will wake the task */
        return task_park(task, 0);
    return hand_over(forwarding, out);
}

/* In place of those that were asked for first. False without memory. */
static bool copy_answer_fields(struct http_forwarding *forwarding, const struct zerg_http_field *fields, uint32_t count)
{
    struct http_field_config *list = malloc(bytes_of_fields(fields, count) + 1);
    char *at = (char *)(list + count);

    if (!list)
        return false;
    forwarding->answer_fields = list;
    copy_fields(list, &at, fields, count);
    forwarding->rewrite.response_fields = list;
    forwarding->rewrite.response_field_count = count;
    return true;
}

int http_forwarding_go_on(struct task *task, const struct zerg_http_field *fields, uint32_t count)
{
    struct pending *pending = pending_of(task, drop);
    struct http_forwarding *forwarding;

    if (!pending)
        return ZERG_END;
    forwarding = CONTAINER_OF(pending, struct http_forwarding, pending);
    if (forwarding->forward && forwarding->has_head) {
        forwarding->has_head = false;
        if (fields && !copy_answer_fields(forwarding, fields, count)) {
            drop(pending);
            return ZERG_NO_MEMORY;
        }
        http_forward_go_on(forwarding->forward);
    }
    return http_forwarding_finish(task, NULL);
}

const struct http_head *http_forwarding_head(const struct http_forwarding *forwarding, const uint8_t **bytes)
{
    const struct http_forward *forward = forwarding->forward;

    if (!forward || !forward->head_lease)
        return NULL;
    *bytes = forward->head_lease->data;
    return &forward->head;
}
