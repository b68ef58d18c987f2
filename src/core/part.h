/* A reactor's side of versions (version.h): starts the parts it is given, switches, and ends those that are over. Reactor
 * thread only. */
#pragma once

#include <stdbool.h>

#include "base/macros.h"

struct conn;
struct inbox_message;
struct listen_socket;
struct listener;
struct reactor;
struct version_part;

/* Part of making one: any thread. */
void part_init_timer(struct version_part *part);
/* The first part of a reactor, loaded by its own thread: begins to start it. 0, or a negative errno with
 * part->problem; it has ended then. */
MUST_CHECK int part_open_first(struct version_part *part);
/* 1 while it starts, 0 when it is ready, a negative errno with part->problem. */
MUST_CHECK int part_starting(struct version_part *part);
/* The first part is ready: it is served from now on. */
void part_make_current(struct version_part *part);
/* A message of the control thread's about a part. */
void part_on_message(struct inbox_message *message);
/* Once a turn: goes on with those that start, ends those that are over. */
void part_turn(struct reactor *reactor);
/* The reactor ends, in order or at once: those that are not current yet never will be. */
void part_stop_starting(struct reactor *reactor);
/* After the last turn: ends all that are left. */
void part_close_all(struct reactor *reactor);
/* The app says in unload() that it goes on freeing what the scripts of the part had, in turns that come, and later that it has
 * done so; at the latest in close(). The part stays for so long. */
void part_unload_later(struct version_part *part);
void part_on_unloaded(struct version_part *part);

/* The newest listener that this reactor has for a socket, NULL: it has none any more. */
struct listener *part_listener(const struct reactor *reactor, const struct listen_socket *socket);
/* A connection begins, or ceases, to count for its listener's part. */
void part_add_conn(const struct conn *conn);
void part_remove_conn(const struct conn *conn);
/* The listener of the current version that takes the place of the connection's; NULL: it is the same, or there is none, or
 * that one is for something else. */
struct listener *part_newer_listener(const struct conn *conn);
/* Moves the connection to a listener of another version. */
void part_move(struct conn *conn, struct listener *listener);
/* Moves the connection, which nothing that belongs to its version stands above just now, to that listener, with its time-outs; no
 * effect when there is none. */
void part_catch_up(struct conn *conn);

/* Whether an accepted connection is to come to its end: the server drains, or nobody listens any more where it came in. */
bool part_is_draining(const struct conn *conn);

/* The part that a connection was accepted for. */
struct version_part *part_of(const struct conn *conn);
