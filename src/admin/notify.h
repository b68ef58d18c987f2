/* Tells the service manager how we are, by the protocol of sd_notify(3): through libsystemd, on a thread of its own, because that
 * waits when the manager does not read, and the control thread must not. Messages are sent in their order. Without
 * NOTIFY_SOCKET in the environment nothing here does anything. There is one manager, so there is one of this; control thread
 * only. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/macros.h"

enum {
    NOTIFY_BYTES_MAX = 512, /* of one message; a longer status is cut */
    NOTIFY_QUEUE_MAX = 16,  /* messages that wait for the manager; past that the oldest are left out */
    NOTIFY_CLOSE_MS = 500,  /* that notify_close() waits for them */
};

/* Reads the environment and starts the thread. Before other threads, as it changes the environment: a WATCHDOG_PID that names
 * this process is removed, so that the process that an upgrade starts takes the watchdog over with WATCHDOG_USEC; when it
 * names another one, both are. NOTIFY_SOCKET stays. What goes wrong is logged; then nothing is sent. */
void notify_open(void);
/* Waits, for a while, until everything is sent. */
void notify_close(void);

/* Serving, at the start or after notify_reloading(); with a status as notify_status() has it. */
void notify_ready(const char *format, ...) PRINTF_LIKE(1, 2);
void notify_reloading(void);
/* Draining, or stopping at once. */
void notify_stopping(void);
/* What a person reads in `systemctl status`: one line, in which control characters become spaces. */
void notify_status(const char *format, ...) PRINTF_LIKE(1, 2);
/* pid is the service's main process from now on. As the manager hears none but that, nothing more is sent afterwards. It has to be
 * the manager's child when this is sent, which it is once the parent it had between it and us has exited: a child of ours would
 * get no TERM when the service stops, but a KILL at once, also after we have gone (systemd 252). fd is taken over, and closed when
 * that was sent, or will not be: what another process sends earlier is not heard. */
void notify_main_pid(pid_t pid, int fd);

/* How often notify_watchdog() is to be called, half of what the manager waits. 0: it does not wait for it. */
uint32_t notify_watchdog_ms(void);
void notify_watchdog(void);
