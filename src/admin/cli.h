/* The command line as a struct: which command, with what. Knows the names of commands and flags, and what each takes; does
 * nothing itself but print help and what is wrong with the line. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/macros.h"

enum cli_command {
    CLI_RUN,
    CLI_SCRIPT,
    CLI_PROXY,
    CLI_CHECK,
    CLI_RELOAD,
    CLI_STOP,
    CLI_STATUS,
    CLI_UPGRADE,
    CLI_CONNECTIONS,
    CLI_CLOSE,
    CLI_SERVERS,
    CLI_REPL,
    CLI_INIT,
    CLI_VERSION,
    CLI_HELP,
    CLI_COMMAND_COUNT
};

enum { CLI_WORDS_MAX = 4 };

/* Strings are borrowed from argv. */
struct cli {
    enum cli_command command;
    enum cli_command topic;                    /* of CLI_HELP: the command that is asked about, CLI_HELP: all of them */
    const char *config;                        /* -c, NULL: not given */
    const char *script;                        /* of CLI_SCRIPT and CLI_PROXY */
    const char *listen;                        /* of CLI_PROXY */
    const char *targets[UPSTREAM_SERVERS_MAX]; /* of CLI_PROXY, at least one */
    uint32_t target_count;
    const char *directory;            /* of CLI_INIT */
    const char *log_level;            /* NULL: not given */
    const char *control;              /* path of the control socket, NULL: not given */
    int reactors;                     /* -1: not given, 0: one per CPU */
    uint16_t port;                    /* 0: not given */
    bool speaks_http;                 /* of CLI_SCRIPT and CLI_PROXY */
    int reactor;                      /* of CLI_REPL */
    bool is_now;                      /* of CLI_STOP */
    bool wants_json;                  /* of CLI_STATUS, CLI_CONNECTIONS and CLI_SERVERS */
    const char *words[CLI_WORDS_MAX]; /* of CLI_CLOSE: the connection; of CLI_SERVERS: which, and what with it */
    uint32_t word_count;
};

/* Fills cli from the arguments. 0; or -EINVAL, after a message on stderr (exit status 2). */
MUST_CHECK int cli_parse(struct cli *cli, int argc, char **argv);
/* Prints the help of one command on stdout, or of all (CLI_HELP). */
void cli_print_help(enum cli_command topic);
