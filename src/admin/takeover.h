/* What this process was started with, by the convention of systemd (LISTEN_FDS, sd_listen_fds(3)): by the service manager, or by
 * a process that makes way for it, which is another one of the program (handover.h) and wants to know when this one serves.
 * Control thread only. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/macros.h"

struct inherited;

/* What the process that makes way says in the environment. The first is a descriptor, to which lines of text are the answer:
 *
 *     left N   of its sockets the one of that number, from 0 on, is of no use here
 *     ready    this process serves
 *
 * Lines that it does not know are none to it. */
#define TAKEOVER_READY_VARIABLE "ZERG_READY_FD"
#define TAKEOVER_PREDECESSOR_VARIABLE "ZERG_PREDECESSOR"
/* In LISTEN_FDNAMES: of a socket that is the service manager's, and of others. */
#define TAKEOVER_LENT_NAME "lent"
#define TAKEOVER_OWN_NAME "own"

enum { TAKEOVER_FIRST_FD = 3 };

/* Which descriptors are open before the program has opened any: LISTEN_FDS may say anything. Once, at the start of the process. */
void takeover_remember(void);
/* The sockets that this process was started with, and how it says that it serves. Changes the environment, so before any thread
 * is started. Those that it cannot use are closed, and the log says so. */
void takeover_receive(struct inherited *out);
/* The process that makes way for this one, 0: nobody does. Of the service manager, too, there is none. */
pid_t takeover_predecessor(void);
/* This process serves: tells that who makes way, if anybody does, and which of its sockets nobody has taken here. */
void takeover_confirm(const struct inherited *inherited);
