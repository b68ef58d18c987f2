/* What this process was started with, by the convention of systemd (LISTEN_FDS, sd_listen_fds(3)): by the service manager, or by
 * a process that makes way for it, which is another one of the program (handover.h) and wants to know when this one serves.
 * Control thread only, unless it says otherwise. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/macros.h"

struct control_handed;
struct inherited;

/* What the process that makes way says in the environment. The second is its control socket, of which we may make use; the first a
 * connection to it, over which lines of text are the answer, and which it closes when the service manager knows of us:
 *
 *     left N        of its sockets the one of that number, from 0 on, is of no use here
 *     control       its control socket is ours from now on
 *     problem TEXT  something is wrong; of the process that ends before it serves, the first one says why
 *     ready         this process serves
 *
 * Lines that it does not know are none to it. */
#define TAKEOVER_READY_VARIABLE "ZERG_READY_FD"
#define TAKEOVER_CONTROL_VARIABLE "ZERG_CONTROL"
/* Its value: descriptor, 1: at the usual place, device, inode, path. */
#define TAKEOVER_CONTROL_FORMAT "%d %d %llu %llu %s"
/* In LISTEN_FDNAMES: of a socket that is the service manager's, and of others. */
#define TAKEOVER_LENT_NAME "lent"
#define TAKEOVER_OWN_NAME "own"

/* Of a line with its newline; a longer problem is cut. */
enum { TAKEOVER_FIRST_FD = 3, TAKEOVER_LINE_BYTES = 512 };

/* Which descriptors are open before the program has opened any, as LISTEN_FDS may say anything, and whether one of them leads to a
 * process that makes way. Once, at the start of the process, before any thread: it changes the environment. */
void takeover_remember(void);
/* Tells who makes way, if anybody does, what is wrong here: the first line of a message, which need not be zero-terminated. What
 * the log has of level error is told by itself, until this process serves. Any thread. */
void takeover_complain(const char *message, size_t len);
/* The sockets that this process was started with. Changes the environment, too. Those that it cannot use are closed, and the log
 * says so. */
void takeover_receive(struct inherited *out);
/* Whether another process makes way for this one. */
bool takeover_has_predecessor(void);
/* Its control socket, which whoever uses it takes; fd is -1 when there is none. */
struct control_handed *takeover_control(void);
/* This process serves: tells that who makes way, if anybody does, and which of its sockets were taken here. Waits, for a while,
 * until what this process says to the service manager is heard. 0, or a negative errno after logging it: nobody makes way, so this
 * process must not serve. */
MUST_CHECK int takeover_confirm(const struct inherited *inherited);
