/* Handing the listening sockets over to another process of the program, by the convention of systemd (LISTEN_FDS,
 * sd_listen_fds(3)), so that activation by the service manager is the same thing. takeover.h is the other side.
 *
 * The old process starts the program anew with its sockets and one that connects the two. The new one says over that when it
 * serves; it says nothing when it could not start. Control thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "admin/takeover.h"
#include "base/macros.h"

struct control_handed;
struct engine;

enum { HANDOVER_PROBLEM_BYTES = 1024 };

/* The new process on its way. */
struct handover {
    int fd;      /* owned: our end of what the new process answers over; -1: nothing is under way */
    int done_fd; /* owned: the same, when it is DONE; -1: it is not, or was taken */
    pid_t pid;   /* of the new process */
    int pidfd;   /* owned: the same, which means no other when that has ended; -1: the kernel gives none */
    uint64_t until_ms;
    char line[TAKEOVER_LINE_BYTES]; /* what came so far of the next line */
    uint32_t line_bytes;
    uint32_t fd_count;                 /* of the sockets that it was given, */
    bool *is_left;                     /* and which of them it has no use for: owned */
    char problem[TAKEOVER_LINE_BYTES]; /* what it said first of what is wrong with it; empty: nothing */
    bool has_control;                  /* it goes on with the control socket, too */
};

enum handover_outcome { HANDOVER_WAITS, HANDOVER_DONE, HANDOVER_FAILED };

void handover_init(struct handover *handover);
/* Forgets the new process, however far it is. Idempotent. */
void handover_deinit(struct handover *handover);
/* Starts the program anew with the sockets of the engine's current version and the control socket, of which fd is -1 when there is
 * none. 0, or a negative errno with a sentence in problem (HANDOVER_PROBLEM_BYTES). */
MUST_CHECK int handover_begin(struct handover *handover, const struct engine *engine,
                              const struct control_handed *control, char *problem);
/* When handover->fd is readable, or until_ms has come. FAILED: with a sentence in problem, of one line; the new process
 * has ended then. */
enum handover_outcome handover_look(struct handover *handover, uint64_t now_ms, char *problem);
/* When it is DONE: a descriptor that is the caller's now, and for whose end the new process waits, for a moment, before it talks to
 * the service manager. */
MUST_CHECK int handover_take_fd(struct handover *handover);
/* When it is DONE: the sockets of the engine's current version are the new process's from now on, and what follows leaves them
 * alone; those that it has no use for stay ours. */
void handover_lend(struct handover *handover, const struct engine *engine);
/* A signal for the new process. */
void handover_signal(const struct handover *handover, int number);
/* Ends the new process, if one is under way. */
void handover_cancel(struct handover *handover);
