/* What other threads tell a reactor, and what it does about it. Reactor thread only. */
#pragma once

struct reactor;

/* Takes all messages that are there. */
void reactor_inbox_drain(struct reactor *reactor);
/* After the last turn: lets go of what nobody takes any more. */
void reactor_inbox_drop(struct reactor *reactor);
/* Ends everything now. */
void reactor_stop(struct reactor *reactor);
