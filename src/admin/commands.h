/* What the control socket of a server understands: the one table of its commands, each in a file of its own. */
#pragma once

#include "admin/control.h"

/* Their context is the struct service. */
extern const struct control_command service_commands[];
