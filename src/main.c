/* The commands of the program: load what the command line names, then hand over to admin/server.c, or find the server that it
 * means and hand over to admin/ask.c. Exit status 0: done, 1: it could not be done, 2: the command line is wrong. */
#include <errno.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/ask.h"
#include "admin/cli.h"
#include "admin/config_path.h"
#include "admin/control_path.h"
#include "admin/program.h"
#include "admin/server.h"
#include "admin/takeover.h"
#include "admin/usual_server.h"
#include "admin/version.h"
#include "base/assert.h"
#include "script/config.h"
#include "script/starter.h"

enum { STATUS_OK = 0, STATUS_FAILED = 1, STATUS_USAGE = 2 };
enum { LINE_BYTES = 2048 };
enum { ARENAS_MAX = 2 };

static const char *const default_configs[] = {"zerg.lua", "/etc/zerg/zerg.lua"};

/* The first of the usual places where there is a configuration; NULL: there is none. */
static const char *usual_config(void)
{
    for (size_t i = 0; i < COUNT_OF(default_configs); i++) {
        if (access(default_configs[i], F_OK) == 0)
            return default_configs[i];
    }
    return NULL;
}

/* The configuration to use; NULL, after a message, when none was given and none is in its usual places. */
static const char *find_config(const struct cli *cli)
{
    const char *path = cli->config ? cli->config : usual_config();

    if (path)
        return path;
    fprintf(stderr, "zerg: there is no configuration: neither ./%s nor %s exists.\n", default_configs[0],
            default_configs[1]);
    fputs("Name one with -c FILE, let `zerg init` write a first one, or serve a script: `zerg SCRIPT.lua`.\n", stderr);
    return NULL;
}

static void print_problem(void *context, const struct config_problem *problem)
{
    char line[LINE_BYTES];

    (void)context;
    config_problem_format(problem, line, sizeof(line));
    takeover_complain(line, strlen(line));
    fprintf(stderr, "%s\n", line);
}

/* Where the configuration is, as the command line says. False, after a message, when there is none. */
static bool make_request(const struct cli *cli, struct config_request *request)
{
    *request = (struct config_request){
        .script = cli->script,
        .port = cli->port,
        .protocol = cli->speaks_http ? PROTOCOL_HTTP : PROTOCOL_TCP,
        .listen = cli->listen,
        .targets = cli->targets,
        .target_count = cli->target_count,
        .reactors = cli->reactors,
        .log_level = cli->log_level,
        .control = cli->control,
        .run_scripts = cli->command == CLI_CHECK,
        .on_problem = print_problem,
    };

    if (!cli->script && !cli->listen)
        request->path = find_config(cli);
    return cli->script || cli->listen || request->path;
}

/* The configuration; NULL after messages. */
static struct config *load(const struct config_request *request)
{
    struct config *config;

    if (config_load(request, &config) == -ENOMEM)
        fputs("zerg: not enough memory to load the configuration\n", stderr);
    return config;
}

static int serve(const struct cli *cli)
{
    struct config_request request;
    struct config *config = make_request(cli, &request) ? load(&request) : NULL;
    int status;

    if (!config) /* of `zerg proxy` the command line is the configuration */
        return cli->command == CLI_PROXY ? STATUS_USAGE : STATUS_FAILED;
    status = server_run(config, &request);
    config_free(config);
    return status;
}

static void print_count(uint32_t count, const char *what, const char *end)
{
    printf("%u %s%s%s", count, what, count == 1 ? "" : "s", end);
}

static int check(const struct cli *cli)
{
    struct config_request request;
    struct config *config = make_request(cli, &request) ? load(&request) : NULL;

    if (!config)
        return STATUS_FAILED;
    printf("%s is fine: ", config->path);
    print_count(config->listener_count, "listener", ", ");
    if (config->upstream_count > 0)
        print_count(config->upstream_count, "upstream", ", ");
    print_count(config->reactors, "reactor", "\n");
    config_free(config);
    return STATUS_OK;
}

static void print_written(const char *path)
{
    printf("wrote %s\n", path);
}

static int init(const struct cli *cli)
{
    char message[LINE_BYTES];

    if (starter_write(cli->directory, print_written, message, sizeof(message)) < 0) {
        fprintf(stderr, "zerg: %s\n", message);
        return STATUS_FAILED;
    }
    if (strcmp(cli->directory, ".") == 0)
        puts("Now `zerg run` serves it.");
    else
        printf("Now `zerg run -c %s/zerg.lua` serves it.\n", cli->directory);
    return STATUS_OK;
}

/* ---- talking to a running server ---- */

static int explain_control(const char *config_path)
{
    char path[CONTROL_PATH_BYTES];

    fprintf(stderr,
            "zerg: %s cannot be loaded, so it does not say where its server is: name the control socket with "
            "--control PATH",
            config_path);
    if (control_path_default(path) == 0)
        fprintf(stderr, " (%s, unless it says otherwise)", path);
    fputs(".\n", stderr);
    return -EINVAL;
}

/* A configuration with a mistake must not hide its server: that may well be at the usual place, and says what it serves. out has
 * CONTROL_PATH_BYTES bytes. 0, or a negative errno after a message. */
static int guess_control(const char *config_path, char *out)
{
    struct usual_server server;

    if (!usual_server_find(&server) || !config_path_is(config_path, server.config_path))
        return explain_control(config_path);
    fprintf(stderr, "zerg: warning: %s cannot be loaded: asking the server at the usual place, %s, which serves it.\n",
            config_path, server.path);
    snprintf(out, CONTROL_PATH_BYTES, "%s", server.path);
    return 0;
}

/* The configuration may have changed where its server is to be, which does not move one that runs. */
static void name_usual_server(const char *asked_path)
{
    struct usual_server server;

    if (!usual_server_find(&server) || (asked_path && strcmp(asked_path, server.path) == 0))
        return;
    fprintf(stderr, "zerg: a server answers at the usual place%s%s: name it with --control %s\n",
            server.config_path[0] != '\0' ? " and serves " : "", server.config_path, server.path);
}

/* Where the configuration puts its server's control socket; out has CONTROL_PATH_BYTES bytes. 0, or a negative errno after a
 * message. */
static int read_control_path(const char *config_path, char *out)
{
    struct config_request request = {.path = config_path, .control_only = true, .on_problem = print_problem};
    struct config *config;
    int rc = config_load(&request, &config);

    if (rc < 0)
        return guess_control(config_path, out);
    if (config->control) {
        snprintf(out, CONTROL_PATH_BYTES, "%s", config->control);
    } else if (config->has_control) {
        rc = control_path_default(out);
    } else {
        fprintf(stderr, "zerg: the server of %s has no control socket: `control = false`\n", config_path);
        name_usual_server(NULL);
        rc = -ENOENT;
    }
    config_free(config);
    return rc;
}

/* Reading a configuration runs it: root, who may be in a directory of anybody's, does so with one that nobody named only when it
 * is root's, and so is a link to it. 0, or a negative errno after a message. */
static int check_unnamed(const char *config_path)
{
    struct stat named;
    struct stat file;
    uid_t owner;

    if (geteuid() != 0 || config_path != default_configs[0])
        return 0;
    if (lstat(config_path, &named) < 0 || stat(config_path, &file) < 0)
        return 0; /* it has gone, which its reader says */
    owner = named.st_uid != 0 ? named.st_uid : file.st_uid;
    if (owner == 0)
        return 0;
    fprintf(stderr,
            "zerg: ./%s belongs to another user (uid %u): root does not run it unless it is named.\n"
            "Say where the server is: its configuration with -c FILE, or its control socket with --control PATH.\n",
            config_path, (unsigned)owner);
    return -EPERM;
}

/* The path that the command line names, that of its configuration, of the one at the usual places, or the usual path. */
static int find_control(const struct cli *cli, char *out)
{
    const char *config_path = cli->config ? cli->config : usual_config();
    int rc;

    if (cli->control) {
        snprintf(out, CONTROL_PATH_BYTES, "%s", cli->control);
        return 0;
    }
    if (!config_path)
        return control_path_default(out);
    rc = check_unnamed(config_path);
    return rc < 0 ? rc : read_control_path(config_path, out);
}

static int ask_server(const struct cli *cli)
{
    char path[CONTROL_PATH_BYTES];
    enum ask_outcome outcome;
    int rc = find_control(cli, path);

    if (rc == -ENAMETOOLONG)
        fputs("zerg: the path of RUNTIME_DIRECTORY or XDG_RUNTIME_DIR is too long for a control socket: name it with "
              "--control PATH\n",
              stderr);
    if (rc < 0)
        return STATUS_FAILED;
    outcome = ask_run(cli, path);
    if (outcome == ASK_NOBODY && !cli->control)
        name_usual_server(path);
    return outcome == ASK_DONE ? STATUS_OK : STATUS_FAILED;
}

static int run_command(const struct cli *cli)
{
    switch (cli->command) {
    case CLI_RUN:
    case CLI_SCRIPT:
    case CLI_PROXY: return serve(cli);
    case CLI_CHECK: return check(cli);
    case CLI_INIT: return init(cli);
    case CLI_VERSION: version_print(); return STATUS_OK;
    case CLI_HELP: cli_print_help(cli->topic); return STATUS_OK;
    case CLI_RELOAD:
    case CLI_STOP:
    case CLI_STATUS:
    case CLI_UPGRADE:
    case CLI_CONNECTIONS:
    case CLI_CLOSE:
    case CLI_SERVERS:
    case CLI_REPL: return ask_server(cli);
    case CLI_COMMAND_COUNT: break;
    }
    return STATUS_USAGE;
}

/* What one thread allocates another frees, and each reload has threads of its own: with an arena for each, what is left over in
 * them adds up. The reactors allocate rarely, and scripts not from here. */
static void share_arenas(void)
{
    (void)mallopt(M_ARENA_MAX, ARENAS_MAX);
}

int main(int argc, char **argv)
{
    struct cli cli;

    program_remember(argv);
    takeover_remember();
    share_arenas();
    if (cli_parse(&cli, argc, argv) < 0)
        return STATUS_USAGE;
    return run_command(&cli);
}
