/* A connection as a script sees it: which task serves it, which one reads from it, which ones wait to write. Implements
 * struct conn_handler; conn->owner points here while the handler task lives. Reactor thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

struct conn;
struct conn_handler;
struct runtime;
struct task;

struct script_conn {
    struct conn *conn; /* borrowed: pinned by the tasks that need it */
    struct runtime *runtime;
    struct task *reader; /* the task parked in a read, NULL: none */
    uint32_t wanted;     /* unread bytes it waits for */
    bool handler_ended;
    bool closed_by_script;
    bool is_watched;      /* on_close callbacks are registered */
    bool close_announced; /* they were called, or are about to be */
    struct list writers;  /* tasks parked for room or a flush */
    struct task *closer;  /* who closed it: later use by that task is misuse; compared, never followed */
    uint32_t closer_generation;
    struct list ended_link; /* runtime->ended: on_close callbacks are due */
} __attribute__((aligned(CACHE_LINE_BYTES)));

extern const struct conn_handler script_conn_handler;

/* Makes the task that parks the reader of conn, and lets bytes in up to `wanted`. */
void script_conn_set_reader(struct script_conn *sc, struct task *task, uint32_t wanted);
/* The reader does not wait any more. */
void script_conn_reader_left(struct script_conn *sc);
/* The handler's task has ended: closes the connection after what is staged. */
void script_conn_handler_ended(struct script_conn *sc);
/* The script closes the connection, in order or by a reset. */
void script_conn_close(struct script_conn *sc, bool is_abort);
/* What a call on a connection that the script closed gives: CLOSED to the task that did, END to others, who could not know. */
int script_conn_closed_result(const struct script_conn *sc);
/* Asks for on_close callbacks; false when the connection has ended already. */
bool script_conn_watch(struct script_conn *sc);
/* Starts the tasks that run on_close callbacks which are due. Outside of any task. */
void script_conn_announce_ends(struct runtime *runtime);
/* "conn 17 from 127.0.0.1:5555 on listener echo", for log entries. Returns out. */
const char *script_conn_describe(const struct script_conn *sc, char *out, size_t out_bytes);
