/* Connections that go from one version of the scripts to the next in the middle of a conversation: those whose handler is parked
 * in a read of them, holds nothing of what was received, and has a `migrate`. That says what the next version is to have;
 * then the handler is dropped where it is, and `serve` of the next version goes on with the same socket, its unread
 * bytes, its staged output, its time-outs and counters. Reactor thread only. */
#pragma once

struct runtime;
struct script_conn;

/* Nobody is to go yet. */
void migrate_init(struct runtime *runtime);
/* A newer version is current: the connections whose handlers have `migrate` are to go to it. */
void migrate_supersede(struct runtime *runtime);
/* The connection's reader has parked: it is ready. */
void migrate_offer(struct script_conn *sc);
/* It reads no more, and so is not ready. */
void migrate_withdraw(struct script_conn *sc);
/* It does not go, or has gone. */
void migrate_forget(struct script_conn *sc);
/* Moves those that are ready; once a turn, outside of any task. They wait a moment for each other, so that all go in one turn,
 * and those who know each other do not lose sight of each other. */
void migrate_ready(struct runtime *runtime);
