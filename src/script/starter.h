/* The first configuration of a new user: `zerg init`. The files' text is in lua/zerg/starter. */
#pragma once

#include "base/macros.h"

/* Writes zerg.lua and what belongs to it into directory, which is made when it is not there, and calls on_file with
 * the path of each file written. Overwrites nothing: 0; or -EEXIST, -EIO or -ENOMEM with a message for the operator
 * in `message` (message_bytes of room). */
MUST_CHECK int starter_write(const char *directory, void (*on_file)(const char *path), char *message,
                             size_t message_bytes);
