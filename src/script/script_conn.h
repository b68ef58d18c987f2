/* A connection as a script sees it: which task serves it, which one reads from it, which ones wait to write. Implements
 * struct conn_handler; conn->owner points here while the handler task lives. Reactor thread only. */
#pragma once

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/macros.h"
#include "proxy/group_view.h"

struct conn;
struct conn_handler;
struct filtering;
struct forward;
struct http_exchange;
struct http_forwarding;
struct runtime;
struct task;
struct transfer;
struct zerg_conn;

struct script_conn {
    struct conn *conn; /* borrowed: pinned by the tasks that need it */
    struct runtime *runtime;
    struct task *reader; /* the task parked in a read, NULL: none */
    uint32_t wanted;     /* unread bytes it waits for */
    bool handler_ended;
    bool closed_by_script;
    bool migrates_again;                     /* it could not go to the next version, which is tried again */
    bool is_partial;                         /* the script holds the front of something that it still reads */
    bool is_migrant;                         /* it is to go to the next version: runtime->migrant_count */
    bool is_watched;                         /* on_close callbacks are registered */
    bool close_announced;                    /* they were called, or are about to be */
    bool is_http;                            /* it serves a request: */
    bool has_returned;                       /* its handler ended without an error */
    struct http_exchange *exchange;          /* borrowed; NULL once the client speaks another protocol */
    struct http_forwarding *http_forwarding; /* borrowed: req:forward() hands the request on, NULL: it does not */
    struct transfer *transfer;               /* borrowed: conn:relay() moves bytes from here, NULL: none does */
    struct forward *forward;                 /* borrowed: conn:forward() looks for a server for it */
    struct filtering *filtering; /* borrowed: filters of conn:forward() carry what comes and goes, NULL: none do */
    struct transfer *inflow;     /* borrowed: conn:relay() moves bytes to here */
    struct list writers;         /* tasks parked for room or a flush */
    struct task *handler_task;   /* borrowed: that of an accepted connection, or of a request; NULL: of others */
    struct list migrant_link;    /* runtime->migrants: it is ready to go */
    struct task *closer;         /* who closed it: later use by that task is misuse; compared, never followed */
    uint32_t closer_generation;
    struct list ended_link; /* runtime->ended: on_close callbacks are due */
    /* Of a connection that zerg.connect() made: */
    bool is_outgoing;
    bool is_lent;              /* to a relay: its end lets go of us */
    struct zerg_conn *handle;  /* what Lua has of it; its collection lets go of us. NULL: nothing yet */
    struct slot slot;          /* on the server */
    struct list outgoing_link; /* runtime->outgoing */
    uint64_t bytes_in_before;  /* what the connection had received for others */
    uint64_t bytes_out_before;
} __attribute__((aligned(CACHE_LINE_BYTES)));

extern const struct conn_handler script_conn_handler;

/* Makes the task that parks the reader of conn, and lets bytes in up to `wanted`. */
void script_conn_set_reader(struct script_conn *sc, struct task *task, uint32_t wanted);
/* The reader does not wait any more. */
void script_conn_reader_left(struct script_conn *sc);
/* Whether the running task may read, where something has hold of the input: OK, BUSY (another task reads or relays from it),
 * FORWARDED (another one looks for a server for it). What the running task itself began and could not wait for is dropped. */
int script_conn_claim_input(struct script_conn *sc);
/* Wakes all who wait for something of it: it has ended. */
void script_conn_tell_users(struct script_conn *sc);
/* Wakes those who wait to write. */
void script_conn_wake_writers(struct script_conn *sc);
/* Its handler has ended, while others may still wait for something of it: nobody does any more. */
void script_conn_dismiss_users(struct script_conn *sc);
/* The handler's task has ended: closes the connection after what is staged. */
void script_conn_handler_ended(struct script_conn *sc);
/* The script side of a connection, nothing of which is begun. NULL without memory. */
MUST_CHECK struct script_conn *script_conn_new(struct runtime *runtime, struct conn *conn);
/* Pushes what functions of zerg.runtime take for an accepted connection: listener, conn, generation, slot, id. Returns how many
 * values that are. */
int script_conn_push(lua_State *L, const struct conn *conn);
/* The next version has the connection: its handler is dropped where it is parked, and this is freed. */
void script_conn_leave(struct script_conn *sc);
/* The script closes the connection, in order or by a reset. */
void script_conn_close(struct script_conn *sc, bool is_abort);
/* What a call on a connection that the script closed gives: CLOSED to the task that did, END to others, who could not know. */
int script_conn_closed_result(const struct script_conn *sc);
/* Asks for on_close callbacks; false when the connection has ended already. */
bool script_conn_watch(struct script_conn *sc);
/* Starts the tasks that run on_close callbacks which are due. Outside of any task. */
void script_conn_announce_ends(struct runtime *runtime);
/* Starts the task that runs the callbacks of one; is_over: of one that speaks HTTP, and Lua may forget it. */
void script_conn_start_closed(struct runtime *runtime, struct conn *conn, bool is_over);
/* "conn 17 from 127.0.0.1:5555 on listener echo", of HTTP with ", GET /path", for log entries. Returns out. */
const char *script_conn_describe(const struct script_conn *sc, char *out, size_t out_bytes);

/* The script side of a connection that a dial made: open, with nothing on top of it. Takes over the slot, when it succeeds. NULL without
 * memory. */
MUST_CHECK struct script_conn *script_conn_adopt(struct runtime *runtime, struct conn *conn, struct slot *slot);
/* Gives Lua its handle. */
void script_conn_fill_handle(struct script_conn *sc, struct zerg_conn *handle);
/* Nobody can use it any more: closes the connection and frees this. Only of one that was adopted. */
void script_conn_let_go(struct script_conn *sc);
/* Lets go of all of them: the reactor ends. */
void script_conn_let_go_all(struct runtime *runtime);
/* As script_conn_let_go(), but the connection, which has nothing unread or staged, goes to the pool: its handle is stale then. False:
 * the pool has closed it instead. max, idle_ms: see pool_checkin(). */
bool script_conn_give_to_pool(struct script_conn *sc, uint32_t max, uint32_t idle_ms);
/* A relay takes the connection over now: who waits to write has to be told. */
void script_conn_lend(struct script_conn *sc);
/* Filters carry its bytes now: the same. */
void script_conn_carry(struct script_conn *sc, struct filtering *filtering);
/* That relay has ended: on_close callbacks are due, and nobody needs a connection that the script made. */
void script_conn_forward_ended(struct script_conn *sc);
