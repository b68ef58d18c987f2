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
    pid_t predecessor; /* as in control_socket_options */
};

struct control_socket_options {
    const char *path; /* shorter than CONTROL_PATH_BYTES */
    uid_t owner;      /* of the file, and of its directory when that is made: who we are, or are to become */
    gid_t group;
    pid_t predecessor; /* a server that may be there, as we take over from it; 0: none */
};

/* Listens, with mode 0600, under a temporary name beside the path, whose directory is made, with 0700, when only that is missing:
 * what could be in the way is found here. 0; -EADDRINUSE: another server is there; or another negative errno. With each of them
 * a sentence in error, which has CONTROL_ERROR_MAX bytes. */
MUST_CHECK int control_socket_prepare(struct control_socket *self, const struct control_socket_options *options,
                                      char *error);
/* Puts what was prepared at its path. A socket's file that nobody listens on is replaced, and so is the predecessor's. As
 * control_socket_prepare(); when it fails, the socket is still to be closed. */
MUST_CHECK int control_socket_publish(struct control_socket *self, char *error);
/* Closes it and removes its file, unless another server has put its own there. Idempotent. */
void control_socket_close(struct control_socket *self);
/* The next client, a descriptor that does not block and is the caller's; -EPERM: one that is neither us nor root was turned
 * away; -EAGAIN: there is none; or another negative errno. */
MUST_CHECK int control_socket_accept(const struct control_socket *self);
