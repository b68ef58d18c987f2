/* See cmd_connections.h. A reactor tells of so many connections at a time that its others hardly wait; it is asked again for
 * the next, and then the next reactor. */
#include "admin/cmd_connections.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "admin/control.h"
#include "admin/control_words.h"
#include "admin/inquiry.h"
#include "admin/service.h"
#include "base/clock.h"
#include "base/limits.h"
#include "core/conn.h"
#include "script/inspect.h"

/* ---- connections ---- */

struct listing {
    struct inquiry inquiry;
    struct service *service; /* borrowed */
    json_t *list;            /* owned */
    uint32_t reactor;        /* which is being asked, */
    uint32_t slot;           /* and from where on */
    uint32_t count;
    struct conn_info *infos; /* owned: the reactor allocates them in its call, and they are freed with each answer */
};

static void look(struct reactor_call *call, struct reactor *reactor)
{
    struct listing *listing = (struct listing *)call;

    listing->infos = calloc(INSPECT_BATCH, sizeof(*listing->infos)); /* not before: calls may wait for long */
    if (!listing->infos)
        return;
    listing->count = inspect_conns(reactor, &listing->slot, listing->infos, INSPECT_BATCH);
}

static json_t *row_of(const struct conn_info *info, uint32_t reactor)
{
    return json_pack("{s:I, s:o, s:o, s:i, s:i, s:s, s:o, s:f, s:I, s:I}", "id", (json_int_t)info->id, "peer",
                     control_text(info->peer), "listener", control_text(info->listener), "version", (int)info->version,
                     "reactor", (int)reactor, "state", info->state, "waits", control_text(info->waits), "age",
                     (double)info->age_ms / (double)MS_PER_S, "bytes_in", (json_int_t)info->bytes_in, "bytes_out",
                     (json_int_t)info->bytes_out);
}

static void free_listing(struct inquiry *inquiry)
{
    struct listing *listing = (struct listing *)inquiry;

    json_decref(listing->list);
    free(listing->infos);
    free(listing);
}

static void take_rows(struct listing *listing)
{
    for (uint32_t i = 0; i < listing->count; i++)
        json_array_append_new(listing->list, row_of(&listing->infos[i], listing->reactor));
    free(listing->infos);
    listing->infos = NULL;
}

static void on_rows(struct inquiry *inquiry)
{
    struct listing *listing = (struct listing *)inquiry;
    bool has_failed = !listing->infos && !inquiry->call.is_lost;

    if (inquiry->call.is_lost) /* it has no connections, then */
        listing->slot = 0;
    if (listing->infos)
        take_rows(listing);
    if (listing->slot == 0)
        listing->reactor++;
    if (inquiry->request && !has_failed && listing->reactor < listing->service->engine.reactor_count) {
        inquiry_send(listing->service, inquiry, listing->reactor);
        return;
    }
    if (inquiry->request && has_failed)
        control_fail(inquiry->request, "no memory");
    else if (inquiry->request)
        control_ok(inquiry->request, json_pack("{s:O}", "connections", listing->list));
    free_listing(inquiry);
}

void cmd_connections(struct control_request *request, const struct control_words *words)
{
    struct listing *listing;

    if (words->count != 1) {
        control_misused(request);
        return;
    }
    listing = calloc(1, sizeof(*listing));
    if (!listing) {
        control_fail(request, "no memory");
        return;
    }
    listing->service = control_context(request);
    listing->list = json_array();
    listing->inquiry.call.run = look;
    listing->inquiry.request = request;
    listing->inquiry.on_answer = on_rows;
    listing->inquiry.on_lost = free_listing;
    inquiry_send(listing->service, &listing->inquiry, 0);
}

/* ---- close ---- */

struct closing {
    struct inquiry inquiry;
    uint64_t id;
    bool is_found;
};

static void close_conn(struct reactor_call *call, struct reactor *reactor)
{
    struct closing *closing = (struct closing *)call;

    for (struct list *node = reactor->live.next; node != &reactor->live && !closing->is_found; node = node->next) {
        struct conn *conn = CONTAINER_OF(node, struct conn, link);

        closing->is_found = conn->id == closing->id && conn->state < CONN_DYING;
        if (closing->is_found)
            conn_close(conn, CLOSE_SHUTDOWN);
    }
}

static void free_closing(struct inquiry *inquiry)
{
    free(inquiry);
}

static void on_closed(struct inquiry *inquiry)
{
    const struct closing *closing = (const struct closing *)inquiry;

    if (inquiry->request && closing->is_found)
        control_ok(inquiry->request, NULL);
    else if (inquiry->request)
        control_fail(inquiry->request, "there is no connection %llu (any more)", (unsigned long long)closing->id);
    free_closing(inquiry);
}

/* Ids are dealt out to the reactors in turn: see reactor_next_conn_id(). */
static uint32_t reactor_of(const struct service *service, uint64_t id)
{
    return (uint32_t)((id - 1) % service->engine.reactor_count);
}

void cmd_close(struct control_request *request, const struct control_words *words)
{
    struct service *service = control_context(request);
    struct closing *closing;
    uint64_t id;

    if (words->count != 2 || !control_word_is_number(words->word[1], UINT64_MAX, &id) || id == 0) {
        control_misused(request);
        return;
    }
    closing = calloc(1, sizeof(*closing));
    if (!closing) {
        control_fail(request, "no memory");
        return;
    }
    closing->id = id;
    closing->inquiry.call.run = close_conn;
    closing->inquiry.request = request;
    closing->inquiry.on_answer = on_closed;
    closing->inquiry.on_lost = free_closing;
    inquiry_send(service, &closing->inquiry, reactor_of(service, id));
}
