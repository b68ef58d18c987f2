/* What other threads tell a reactor, and what it does about it. Reactor thread only. */
#pragma once

struct listen_socket;
struct reactor;

/* Takes all messages that are there. */
void reactor_inbox_drain(struct reactor *reactor);
/* After the last turn: lets go of what nobody takes any more. */
void reactor_inbox_drop(struct reactor *reactor);
/* Closes an accepted socket that no connection can be made of, and says so in the log. */
void reactor_refuse(const struct reactor *reactor, struct listen_socket *socket, int fd);
/* Ends everything now. */
void reactor_stop(struct reactor *reactor);
