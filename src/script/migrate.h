/* Connections that go from one version of the scripts to the next in the middle of a conversation: those whose handler is parked
 * in a read of them, holds nothing of what was received, and has a `migrate`. That says what the next version is to have;
 * then the handler is dropped where it is, and `serve` of the next version goes on with the same socket, its unread
 * bytes, its staged output, its time-outs and counters. Reactor thread only. */
#pragma once

struct runtime;
struct script_conn;

/* A newer version is current: offers all connections of this one. */
void migrate_supersede(struct runtime *runtime);
/* The connection's reader has parked, or nobody waits to write to it any more: it may go, if nothing comes meanwhile. */
void migrate_offer(struct script_conn *sc);
/* Moves those that were offered; once a turn, outside of any task. All of one turn go together, so that those who know each other
 * do not lose sight of each other. */
void migrate_offered(struct runtime *runtime);
