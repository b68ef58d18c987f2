/* See commands.h. */
#include "admin/commands.h"

#include <stddef.h>

#include "admin/cmd_connections.h"
#include "admin/cmd_eval.h"
#include "admin/cmd_reload.h"
#include "admin/cmd_servers.h"
#include "admin/cmd_status.h"
#include "admin/cmd_stop.h"
#include "admin/cmd_upgrade.h"

const struct control_command service_commands[] = {
    {"check", "check", cmd_check},
    {"close", "close ID", cmd_close},
    {"connections", "connections", cmd_connections},
    {"eval", "eval REACTOR CODE", cmd_eval},
    {"reload", "reload", cmd_reload},
    {"server", "server UPSTREAM SERVER up|down|drain|auto, or weight N", cmd_server},
    {"servers", "servers", cmd_servers},
    {"status", "status", cmd_status},
    {"stop", "stop [now]", cmd_stop},
    {"upgrade", "upgrade", cmd_upgrade},
    {"help", "help", control_help},
    {NULL, NULL, NULL},
};
