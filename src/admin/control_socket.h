/* The listening side of the control socket: a unix socket's file that belongs to us alone, put at its path in one step, so that
 * there is a server to reach at any moment while one takes over from another, and who may connect to it. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "admin/control_path.h"
#include "base/macros.h"

enum { CONTROL_ERROR_MAX = 256 };

struct control_socket {
    int fd;                        /* owned; -1: not open */
    char path[CONTROL_PATH_BYTES]; /* where its file is, */
    dev_t device;                  /* and which: not another server's that took its place */
    ino_t inode;
    bool is_published; /* the file is at its path, no more under a temporary name */
    bool is_lent;      /* another process goes on with it: the file is left */
};

/* One that another process has listened on until now, for another one to go on with. */
struct control_handed {
    int fd; /* owned until a control socket takes it; -1: there is none */
    char path[CONTROL_PATH_BYTES];
    /* That is its usual place, as the first of all processes saw it, which may have been somebody else's. */
    bool is_default;
    dev_t device;
    ino_t inode;
};

struct control_socket_options {
    const char *path; /* shorter than CONTROL_PATH_BYTES */
    uid_t owner;      /* of the file, and of its directory when that is made: who we are, or are to become */
    gid_t group;
    struct control_handed *handed; /* taken if its file is the one at the path; NULL: there is none */
};

/* Listens, with mode 0600, under a temporary name beside the path, whose directory is made, with 0700, when only that is missing:
 * what could be in the way is found here. One that was handed over is there already. 0; -EADDRINUSE: another server is there; or
 * another negative errno. With each of them a sentence in error, which has CONTROL_ERROR_MAX bytes. */
MUST_CHECK int control_socket_prepare(struct control_socket *self, const struct control_socket_options *options,
                                      char *error);
/* Puts what was prepared at its path. A socket's file that nobody listens on is replaced. As control_socket_prepare(); when it
 * fails, the socket is still to be closed. */
MUST_CHECK int control_socket_publish(struct control_socket *self, char *error);
/* What another process needs to go on with it: fd is borrowed. */
void control_socket_hand(const struct control_socket *self, bool is_default, struct control_handed *out);
/* Another process goes on with it: closes it and leaves the file. */
void control_socket_lend(struct control_socket *self);
/* The process that had it before goes on without it. */
void control_socket_own(struct control_socket *self);
/* Closes it and removes its file, unless another server has put its own there. Idempotent. */
void control_socket_close(struct control_socket *self);
/* The next client, a descriptor that does not block and is the caller's; -EPERM: one that is neither us nor root was turned
 * away; -EAGAIN: there is none; or another negative errno. */
MUST_CHECK int control_socket_accept(const struct control_socket *self);
