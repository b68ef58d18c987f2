/* The part of api.h about req:forward. */
#include <string.h>

#include "http/http_exchange.h"
#include "proto/http_name.h"
#include "script/api_common.h"
#include "script/http_forwarding.h"

/* They frame the message or are about the connection: not the script's business. */
static bool is_reserved(enum http_name known)
{
    return known == HTTP_NAME_CONTENT_LENGTH || known == HTTP_NAME_EXPECT ||
           (http_name_traits(known) & HTTP_HOP_BY_HOP);
}

int zerg_http_may_forward(const char *name, uint32_t name_len, const char *value, uint32_t value_len)
{
    if (!http_name_is_valid(name, name_len) || is_reserved(http_name_find((const uint8_t *)name, name_len)))
        return ZERG_BAD_NAME;
    return !value || http_value_is_valid(value, value_len) ? ZERG_OK : ZERG_BAD_VALUE;
}

/* Whether the running task may hand the request on. OK, or what the call gives. */
static int check(const struct http_exchange *exchange, const struct zerg_http_forward_options *options)
{
    const struct script_conn *sc = exchange->owner;
    struct conn *conn = exchange->conn;

    if (exchange->has_begun)
        return ZERG_SENT;
    if (sc->http_forwarding || (sc->reader && sc->reader != sc->runtime->running))
        return ZERG_BUSY;
    if (conn->state != CONN_OPEN)
        return api_end_with(sc->runtime, close_reason_text((enum close_reason)conn->reason));
    /* A server gets all of a body, or none of it. */
    return !options->_body && (exchange->taken > 0 || exchange->failure != 0) ? ZERG_BROKEN : ZERG_OK;
}

int zerg_http_forward(struct zerg_http *http, const char *target, uint32_t len,
                      const struct zerg_http_forward_options *options)
{
    struct http_exchange *exchange = (struct http_exchange *)(void *)http;
    struct script_conn *sc = exchange->owner;
    struct group_view *view;
    struct task *task;
    int rc = api_begin(&task);

    if (rc == ZERG_OK && sc->reader == task)
        task_forget_park(task);
    if (rc == ZERG_OK)
        rc = check(exchange, options);
    if (rc == ZERG_OK)
        rc = api_find_group(task, target, len, &view);
    if (rc != ZERG_OK)
        return rc;
    input_end_borrow(&exchange->conn->in);
    return http_forwarding_begin(task, sc, view, options);
}

int zerg_http_forward_finish(struct zerg_http_forward_result *out)
{
    struct task *task = api_task();

    return task ? http_forwarding_finish(task, out) : ZERG_NO_TASK;
}

uint32_t zerg_http_answer_status(const struct zerg_http *http)
{
    const struct http_exchange *exchange = (const struct http_exchange *)(const void *)http;
    const struct script_conn *sc = exchange->owner;
    const uint8_t *bytes;
    const struct http_head *head = sc->http_forwarding ? http_forwarding_head(sc->http_forwarding, &bytes) : NULL;

    return head ? head->status : 0;
}

int zerg_http_forward_go_on(const struct zerg_http_field *fields, uint32_t count)
{
    struct task *task = api_task();

    return task ? http_forwarding_go_on(task, fields, count) : ZERG_NO_TASK;
}
