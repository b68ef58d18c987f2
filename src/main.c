/* The commands of the program: load what the command line names, then hand over to admin/server.c. Exit status 0: done,
 * 1: it could not be done, 2: the command line is wrong. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/cli.h"
#include "admin/server.h"
#include "admin/version.h"
#include "base/assert.h"
#include "script/config.h"
#include "script/starter.h"

enum { STATUS_OK = 0, STATUS_FAILED = 1, STATUS_USAGE = 2 };
enum { LINE_BYTES = 2048 };

static const char *const default_configs[] = {"zerg.lua", "/etc/zerg/zerg.lua"};

/* The configuration to use; NULL, after a message, when none was given and none is in its usual places. */
static const char *find_config(const struct cli *cli)
{
    if (cli->config)
        return cli->config;
    for (size_t i = 0; i < COUNT_OF(default_configs); i++) {
        if (access(default_configs[i], F_OK) == 0)
            return default_configs[i];
    }
    fprintf(stderr, "zerg: there is no configuration: neither ./%s nor %s exists.\n", default_configs[0],
            default_configs[1]);
    fputs("Name one with -c FILE, let `zerg init` write a first one, or serve a script: `zerg SCRIPT.lua`.\n", stderr);
    return NULL;
}

static void print_problem(void *context, const struct config_problem *problem)
{
    char line[LINE_BYTES];

    (void)context;
    fprintf(stderr, "%s\n", config_problem_format(problem, line, sizeof(line)));
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
    case CLI_COMMAND_COUNT: break;
    }
    return STATUS_USAGE;
}

int main(int argc, char **argv)
{
    struct cli cli;

    if (cli_parse(&cli, argc, argv) < 0)
        return STATUS_USAGE;
    return run_command(&cli);
}
