/* See commands.h. */
#include "admin/commands.h"

#include <stddef.h>

#include "admin/cmd_status.h"
#include "admin/cmd_stop.h"

const struct control_command service_commands[] = {
    {"status", "status", cmd_status},
    {"stop", "stop [now]", cmd_stop},
    {"help", "help", control_help},
    {NULL, NULL, NULL},
};
