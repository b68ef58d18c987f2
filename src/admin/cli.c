/* Walks argv once. Flags may stand before and after the command; the first word that is no flag is the command, or a
 * script when it ends in ".lua". What a flag goes with is checked at the end, when the command is known. */
#include "admin/cli.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/control_path.h"
#include "admin/nearest.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"

#define BIT(n) (1u << (n))

enum flag_id {
    FLAG_CONFIG,
    FLAG_PORT,
    FLAG_REACTORS,
    FLAG_REACTOR,
    FLAG_LOG_LEVEL,
    FLAG_CONTROL,
    FLAG_TCP,
    FLAG_HTTP,
    FLAG_HELP,
    FLAG_CHECK,
    FLAG_VERSION,
    FLAG_NOW,
    FLAG_JSON,
};

struct flag {
    const char *name; /* with its dashes */
    const char *short_name;
    const char *argument; /* NULL: takes none */
    enum flag_id id;
    uint32_t commands; /* BIT(enum cli_command) of those it goes with */
};

enum {
    SERVING = BIT(CLI_RUN) | BIT(CLI_SCRIPT) | BIT(CLI_PROXY),
    SHOWING = BIT(CLI_STATUS) | BIT(CLI_CONNECTIONS) | BIT(CLI_SERVERS),
    ASKING = SHOWING | BIT(CLI_RELOAD) | BIT(CLI_STOP) | BIT(CLI_UPGRADE) | BIT(CLI_CLOSE) |
             BIT(CLI_REPL), /* a running server */
    ANY_COMMAND = BIT(CLI_COMMAND_COUNT) - 1,
};

static const struct flag flags[] = {
    {"--config", "-c", "FILE", FLAG_CONFIG, BIT(CLI_RUN) | BIT(CLI_CHECK) | ASKING},
    {"--port", "-p", "PORT", FLAG_PORT, BIT(CLI_SCRIPT)},
    {"--reactors", NULL, "N", FLAG_REACTORS, SERVING | BIT(CLI_CHECK)},
    {"--reactor", NULL, "N", FLAG_REACTOR, BIT(CLI_REPL)},
    {"--log-level", NULL, "LEVEL", FLAG_LOG_LEVEL, SERVING | BIT(CLI_CHECK)},
    {"--control", NULL, "PATH", FLAG_CONTROL, SERVING | ASKING},
    {"--tcp", NULL, NULL, FLAG_TCP, BIT(CLI_PROXY)},
    {"--http", NULL, NULL, FLAG_HTTP, BIT(CLI_SCRIPT) | BIT(CLI_PROXY)},
    {"--help", "-h", NULL, FLAG_HELP, ANY_COMMAND},
    {"--check", "-t", NULL, FLAG_CHECK, ANY_COMMAND},
    {"--version", "-V", NULL, FLAG_VERSION, ANY_COMMAND},
    {"--now", NULL, NULL, FLAG_NOW, BIT(CLI_STOP)},
    {"--json", NULL, NULL, FLAG_JSON, SHOWING},
};

/* CLI_SCRIPT has no name of its own. */
static const char *const command_names[CLI_COMMAND_COUNT] = {
    [CLI_RUN] = "run",       [CLI_SCRIPT] = "SCRIPT.lua", [CLI_PROXY] = "proxy",
    [CLI_CHECK] = "check",   [CLI_RELOAD] = "reload",     [CLI_STOP] = "stop",
    [CLI_STATUS] = "status", [CLI_UPGRADE] = "upgrade",   [CLI_CONNECTIONS] = "connections",
    [CLI_CLOSE] = "close",   [CLI_SERVERS] = "servers",   [CLI_REPL] = "repl",
    [CLI_INIT] = "init",     [CLI_VERSION] = "version",   [CLI_HELP] = "help",
};

/* What was seen so far. */
struct parsing {
    struct cli *cli;
    char **argv;
    int argc;
    int at; /* argument being read */
    bool has_command;
    bool wants_help;
    bool wants_tcp;
    const struct flag *given[COUNT_OF(flags)]; /* flags seen, to check them against the command */
    size_t given_count;
};

/* Prints "zerg: ..." and where help is; returns -EINVAL. */
static int PRINTF_LIKE(1, 2) wrong(const char *format, ...)
{
    va_list args;

    fputs("zerg: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("\nTry `zerg --help`.\n", stderr);
    return -EINVAL;
}

static int unknown(const char *what, const char *word, const char *const known[])
{
    const char *near = nearest_of(word, known);

    if (near)
        return wrong("unknown %s `%s`: did you mean `%s`?", what, word, near);
    return wrong("unknown %s `%s`", what, word);
}

/* ---- flags ---- */

static const struct flag *flag_find(const char *name, size_t len)
{
    for (size_t i = 0; i < COUNT_OF(flags); i++) {
        const char *short_name = flags[i].short_name;

        if (strlen(flags[i].name) == len && strncmp(flags[i].name, name, len) == 0)
            return &flags[i];
        if (short_name && strlen(short_name) == len && strncmp(short_name, name, len) == 0)
            return &flags[i];
    }
    return NULL;
}

static int unknown_flag(const char *word)
{
    const char *names[COUNT_OF(flags) + 1];

    for (size_t i = 0; i < COUNT_OF(flags); i++)
        names[i] = flags[i].name;
    names[COUNT_OF(flags)] = NULL;
    return unknown("flag", word, names);
}

/* A decimal number from least to most. */
static int parse_number(const char *text, long least, long most, long *out)
{
    char *end;

    errno = 0;
    *out = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *out < least || *out > most)
        return -EINVAL;
    return 0;
}

static int set_number_flag(struct cli *cli, const struct flag *flag, const char *value)
{
    long least = flag->id == FLAG_PORT ? 1 : 0;
    long most = flag->id == FLAG_PORT ? UINT16_MAX : flag->id == FLAG_REACTOR ? REACTORS_MAX - 1 : REACTORS_MAX;
    long number;

    if (parse_number(value, least, most, &number) < 0)
        return wrong("%s: expected a number from %ld to %ld, got \"%s\"", flag->name, least, most, value);
    if (flag->id == FLAG_PORT)
        cli->port = (uint16_t)number;
    else if (flag->id == FLAG_REACTOR)
        cli->reactor = (int)number;
    else
        cli->reactors = (int)number;
    return 0;
}

static int set_control(struct cli *cli, const char *path)
{
    size_t len;

    assert(path); /* the flag takes a value */
    len = strlen(path);
    if (len == 0 || len >= CONTROL_PATH_BYTES || path[len - 1] == '/')
        return wrong("--control: expected the path of a unix socket's file, of at most %d bytes, got \"%s\"",
                     CONTROL_PATH_BYTES - 1, path);
    cli->control = path;
    return 0;
}

static int set_command(struct parsing *parsing, enum cli_command command)
{
    if (parsing->has_command && parsing->cli->command != command)
        return wrong("one command at a time: `%s` or `%s`", command_names[parsing->cli->command],
                     command_names[command]);
    parsing->has_command = true;
    parsing->cli->command = command;
    return 0;
}

static int set_flag(struct parsing *parsing, const struct flag *flag, const char *value)
{
    struct cli *cli = parsing->cli;

    switch (flag->id) {
    case FLAG_CONFIG: cli->config = value; return 0;
    case FLAG_PORT:
    case FLAG_REACTOR:
    case FLAG_REACTORS: return set_number_flag(cli, flag, value);
    case FLAG_LOG_LEVEL:
        cli->log_level = value;
        if (log_level_parse(value) < 0)
            return wrong("--log-level: expected debug, info, warn or error, got \"%s\"", value);
        return 0;
    case FLAG_CONTROL: return set_control(cli, value);
    case FLAG_TCP: parsing->wants_tcp = true; return 0;
    case FLAG_HTTP: cli->speaks_http = true; return 0;
    case FLAG_HELP: parsing->wants_help = true; return 0;
    case FLAG_CHECK: return set_command(parsing, CLI_CHECK);
    case FLAG_VERSION: return set_command(parsing, CLI_VERSION);
    case FLAG_NOW: cli->is_now = true; return 0;
    case FLAG_JSON: cli->wants_json = true; return 0;
    }
    return -EINVAL;
}

/* Reads one flag: "--name", "--name=value", "--name value", "-n value" or "-nvalue". */
static int parse_flag(struct parsing *parsing)
{
    const char *word = parsing->argv[parsing->at];
    bool is_long = strncmp(word, "--", 2) == 0;
    size_t name_len = is_long ? strcspn(word, "=") : 2;
    const struct flag *flag = flag_find(word, name_len);
    const char *value = word[name_len] == '\0' ? NULL : word + name_len + (is_long ? 1 : 0);

    if (!flag)
        return unknown_flag(word);
    if (value && !flag->argument)
        return wrong("`%s` takes no value", flag->name);
    if (!value && flag->argument) {
        if (parsing->at + 1 >= parsing->argc)
            return wrong("`%s` wants a value: %s", flag->name, flag->argument);
        value = parsing->argv[++parsing->at];
    }
    if (parsing->given_count < COUNT_OF(parsing->given))
        parsing->given[parsing->given_count++] = flag;
    return set_flag(parsing, flag, value);
}

/* ---- commands ---- */

static int command_find(const char *word)
{
    for (int i = 0; i < CLI_COMMAND_COUNT; i++) {
        if (i != CLI_SCRIPT && strcmp(word, command_names[i]) == 0)
            return i;
    }
    return -ENOENT;
}

static int unknown_command(const char *word)
{
    const char *names[CLI_COMMAND_COUNT + 1];

    memcpy(names, command_names, sizeof(command_names));
    names[CLI_COMMAND_COUNT] = NULL;
    return unknown("command", word, names);
}

static bool ends_in_lua(const char *word)
{
    size_t len = strlen(word);

    return len > 4 && strcmp(word + len - 4, ".lua") == 0;
}

static int parse_command(struct parsing *parsing, const char *word)
{
    int command = command_find(word);

    if (command >= 0)
        return set_command(parsing, (enum cli_command)command);
    if (!ends_in_lua(word))
        return unknown_command(word);
    parsing->cli->script = word;
    return set_command(parsing, CLI_SCRIPT);
}

/* LISTEN, then one TARGET after the other. */
static int parse_proxy_argument(struct cli *cli, const char *word)
{
    if (!cli->listen) {
        cli->listen = word;
        return 0;
    }
    if (cli->target_count == UPSTREAM_SERVERS_MAX)
        return wrong("`proxy` takes at most %d TARGETs, not also `%s`", UPSTREAM_SERVERS_MAX, word);
    cli->targets[cli->target_count++] = word;
    return 0;
}

/* A word that follows the command. */
static int parse_argument(struct parsing *parsing, const char *word)
{
    struct cli *cli = parsing->cli;
    int command = command_find(word);

    if (cli->command == CLI_INIT && !cli->directory) {
        cli->directory = word;
        return 0;
    }
    if (cli->command == CLI_PROXY)
        return parse_proxy_argument(cli, word);
    if ((cli->command == CLI_CLOSE || cli->command == CLI_SERVERS) && cli->word_count < CLI_WORDS_MAX) {
        cli->words[cli->word_count++] = word;
        return 0;
    }
    if (cli->command == CLI_HELP && cli->topic == CLI_HELP && command >= 0) {
        cli->topic = (enum cli_command)command;
        return 0;
    }
    if ((cli->command == CLI_RUN || cli->command == CLI_CHECK) && ends_in_lua(word))
        return wrong("`%s %s`: a configuration is given with -c %s", command_names[cli->command], word, word);
    return wrong("`%s` does not take `%s`", command_names[cli->command], word);
}

static int check_flags(const struct parsing *parsing)
{
    enum cli_command command = parsing->cli->command;

    for (size_t i = 0; i < parsing->given_count; i++) {
        const struct flag *flag = parsing->given[i];

        if (!(flag->commands & BIT(command)))
            return wrong("`%s` does not go with `%s`", flag->name, command_names[command]);
    }
    return 0;
}

/* What `proxy` cannot do without. A word that stands alone is the TARGET. */
static int finish_proxy(struct parsing *parsing)
{
    struct cli *cli = parsing->cli;

    if (parsing->wants_tcp && cli->speaks_http)
        return wrong("`proxy` takes `--tcp` or `--http`, not both");
    cli->speaks_http = !parsing->wants_tcp;
    if (!cli->listen || (cli->target_count == 0 && cli->listen[0] == ':'))
        return wrong("`proxy` wants where to relay to: `zerg proxy [LISTEN] TARGET... [--tcp]`");
    if (cli->target_count == 0) {
        cli->targets[cli->target_count++] = cli->listen;
        cli->listen = ":8080";
    }
    return 0;
}

static int finish_close(const struct cli *cli)
{
    long id;

    if (cli->word_count != 1 || parse_number(cli->words[0], 1, LONG_MAX, &id) < 0)
        return wrong("`close` wants the ID of a connection, as `zerg connections` shows it: `zerg close ID`");
    return 0;
}

/* Nothing, to list them; or UPSTREAM SERVER and what is to be with it. */
static int finish_servers(const struct cli *cli)
{
    static const char *const states[] = {"up", "down", "drain", "auto"};
    const char *usage = "`zerg servers UPSTREAM SERVER up|down|drain|auto` or `... weight N`";
    long weight;

    if (cli->word_count == 0)
        return 0;
    if (cli->word_count == 4 && strcmp(cli->words[2], "weight") == 0) {
        if (parse_number(cli->words[3], 1, UPSTREAM_WEIGHT_MAX, &weight) == 0)
            return 0;
        return wrong("weight: expected a number from 1 to %d, got \"%s\"", UPSTREAM_WEIGHT_MAX, cli->words[3]);
    }
    for (size_t i = 0; cli->word_count == 3 && i < COUNT_OF(states); i++) {
        if (strcmp(cli->words[2], states[i]) == 0)
            return 0;
    }
    return wrong("`servers` wants nothing, or which server and what: %s", usage);
}

/* What only the whole line says about a command. */
static int finish(struct parsing *parsing)
{
    switch (parsing->cli->command) {
    case CLI_PROXY: return finish_proxy(parsing);
    case CLI_CLOSE: return finish_close(parsing->cli);
    case CLI_SERVERS: return finish_servers(parsing->cli);
    default: return 0;
    }
}

static int parse_words(struct parsing *parsing)
{
    bool flags_end = false;
    int status = 0;

    for (parsing->at = 1; parsing->at < parsing->argc && status == 0; parsing->at++) {
        const char *word = parsing->argv[parsing->at];

        if (!flags_end && strcmp(word, "--") == 0)
            flags_end = true;
        else if (!flags_end && word[0] == '-' && word[1] != '\0')
            status = parse_flag(parsing);
        else if (!parsing->has_command)
            status = parse_command(parsing, word);
        else
            status = parse_argument(parsing, word);
    }
    return status;
}

int cli_parse(struct cli *cli, int argc, char **argv)
{
    struct parsing parsing = {.cli = cli, .argv = argv, .argc = argc};
    int status;

    *cli = (struct cli){.command = CLI_RUN, .topic = CLI_HELP, .directory = NULL, .reactors = -1};
    status = parse_words(&parsing);
    if (status == 0 && !parsing.wants_help)
        status = check_flags(&parsing);
    if (status == 0 && !parsing.wants_help)
        status = finish(&parsing);
    if (parsing.wants_help) {
        cli->topic = parsing.has_command ? cli->command : CLI_HELP;
        cli->command = CLI_HELP;
    }
    if (!cli->directory)
        cli->directory = ".";
    return status;
}
