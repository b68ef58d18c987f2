/* cli: the command line as a struct, and what is said of a wrong one. */
#include "admin/cli.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { ARGS_MAX = 16, TEXT_BYTES = 4096 };

/* What the last parse() wrote to stderr. */
static char said[TEXT_BYTES];

/* Parses the words of `line`, which are separated by single spaces. */
static int parse(struct cli *cli, const char *line)
{
    static char words[TEXT_BYTES]; /* cli borrows from it */
    char *argv[ARGS_MAX + 1] = {(char *)"zerg"};
    int argc = 1;
    int memory = memfd_create("stderr", MFD_CLOEXEC);
    int stderr_fd = dup(STDERR_FILENO);
    char *rest = words;
    char *word;
    ssize_t len;
    int status;

    snprintf(words, sizeof(words), "%s", line);
    while ((word = strsep(&rest, " ")) && *line && argc < ARGS_MAX)
        argv[argc++] = word;
    assert_true(dup2(memory, STDERR_FILENO) >= 0);
    status = cli_parse(cli, argc, argv);
    fflush(stderr);
    dup2(stderr_fd, STDERR_FILENO);
    len = pread(memory, said, sizeof(said) - 1, 0);
    said[len > 0 ? len : 0] = '\0';
    close(memory);
    close(stderr_fd);
    return status;
}

static void assert_command(const char *line, enum cli_command command)
{
    struct cli cli;

    assert_int_equal(parse(&cli, line), 0);
    assert_int_equal(cli.command, command);
    assert_string_equal(said, "");
}

static void assert_refused(const char *line, const char *message)
{
    struct cli cli;

    assert_int_equal(parse(&cli, line), -EINVAL);
    if (!strstr(said, message))
        fail_msg("`%s` says: %s", line, said);
}

static void run_is_the_default(void **state)
{
    struct cli cli;

    (void)state;
    assert_int_equal(parse(&cli, ""), 0);
    assert_int_equal(cli.command, CLI_RUN);
    assert_null(cli.config);
    assert_null(cli.log_level);
    assert_int_equal(cli.reactors, -1);
    assert_int_equal(cli.port, 0);
    assert_string_equal(cli.directory, ".");
    assert_command("run", CLI_RUN);
    assert_command("-c x.lua", CLI_RUN);
}

static void commands_are_found(void **state)
{
    (void)state;
    assert_command("check", CLI_CHECK);
    assert_command("-t", CLI_CHECK);
    assert_command("version", CLI_VERSION);
    assert_command("--version", CLI_VERSION);
    assert_command("init", CLI_INIT);
    assert_command("x.lua", CLI_SCRIPT);
    assert_command("-- x.lua", CLI_SCRIPT);
}

static void values_are_taken_in_every_spelling(void **state)
{
    const char *const lines[] = {"-c a.lua run", "run -c a.lua", "-ca.lua", "--config a.lua", "--config=a.lua"};
    struct cli cli;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        assert_int_equal(parse(&cli, lines[i]), 0);
        assert_string_equal(cli.config, "a.lua");
    }
    assert_int_equal(parse(&cli, "x.lua -p 9000 --reactors=0 --log-level debug"), 0);
    assert_string_equal(cli.script, "x.lua");
    assert_int_equal(cli.port, 9000);
    assert_int_equal(cli.reactors, 0);
    assert_string_equal(cli.log_level, "debug");
    assert_int_equal(parse(&cli, "init site"), 0);
    assert_string_equal(cli.directory, "site");
}

static void proxy_takes_where_to_listen_and_targets(void **state)
{
    struct cli cli;

    (void)state;
    assert_int_equal(parse(&cli, "proxy --tcp :8080 127.0.0.1:3000 --reactors 1"), 0);
    assert_int_equal(cli.command, CLI_PROXY);
    assert_string_equal(cli.listen, ":8080");
    assert_int_equal(cli.target_count, 1);
    assert_string_equal(cli.targets[0], "127.0.0.1:3000");
    assert_int_equal(cli.reactors, 1);
    assert_false(cli.speaks_http);
    assert_int_equal(parse(&cli, "proxy :8080 127.0.0.1:3000"), 0);
    assert_true(cli.speaks_http);
    assert_int_equal(parse(&cli, "proxy :8080 a:1 --tcp b:1 -- unix:/x"), 0);
    assert_int_equal(cli.target_count, 3);
    assert_string_equal(cli.targets[0], "a:1");
    assert_string_equal(cli.targets[2], "unix:/x");
    assert_refused("run --tcp", "`--tcp` does not go with `run`");
}

static void proxy_listens_on_8080_for_a_target_that_stands_alone(void **state)
{
    struct cli cli;

    (void)state;
    assert_int_equal(parse(&cli, "--tcp proxy unix:/x"), 0);
    assert_string_equal(cli.listen, ":8080");
    assert_int_equal(cli.target_count, 1);
    assert_string_equal(cli.targets[0], "unix:/x");
    assert_refused("proxy --tcp", "`proxy` wants where to relay to: `zerg proxy [LISTEN] TARGET... [--tcp]`");
    assert_refused("proxy --tcp :8080", "`proxy` wants where to relay to");
}

static void proxy_takes_no_more_targets_than_an_upstream_has_servers(void **state)
{
    char *argv[UPSTREAM_SERVERS_MAX + 5] = {(char *)"zerg", (char *)"proxy", (char *)"--tcp", (char *)":8080"};
    int argc = 4;
    struct cli cli;

    (void)state;
    while (argc < (int)COUNT_OF(argv) - 1)
        argv[argc++] = (char *)"a:1";
    assert_int_equal(cli_parse(&cli, argc, argv), 0);
    assert_int_equal(cli.target_count, UPSTREAM_SERVERS_MAX);
    argv[argc++] = (char *)"b:1";
    assert_int_equal(cli_parse(&cli, argc, argv), -EINVAL);
}

static void help_is_for_all_or_for_one_command(void **state)
{
    struct cli cli;

    (void)state;
    assert_int_equal(parse(&cli, "--help"), 0);
    assert_int_equal(cli.command, CLI_HELP);
    assert_int_equal(cli.topic, CLI_HELP);
    assert_int_equal(parse(&cli, "init -h"), 0);
    assert_int_equal(cli.command, CLI_HELP);
    assert_int_equal(cli.topic, CLI_INIT);
    assert_int_equal(parse(&cli, "help check"), 0);
    assert_int_equal(cli.command, CLI_HELP);
    assert_int_equal(cli.topic, CLI_CHECK);
}

static void unknown_words_bring_the_nearest_known(void **state)
{
    (void)state;
    assert_refused("chekc", "unknown command `chekc`: did you mean `check`?");
    assert_refused("verison", "did you mean `version`?");
    assert_refused("--reactrs 2", "unknown flag `--reactrs`: did you mean `--reactors`?");
    assert_refused("statsu", "unknown command `statsu`: did you mean `status`?");
    assert_refused("stop --nwo", "unknown flag `--nwo`: did you mean `--now`?");
    assert_refused("--zzz", "unknown flag `--zzz`\n");
    assert_refused("serve-it-all", "unknown command `serve-it-all`\n");
    assert_refused("-", "unknown command `-`");
}

static void commands_for_a_running_server_are_found(void **state)
{
    (void)state;
    assert_command("reload", CLI_RELOAD);
    assert_command("stop", CLI_STOP);
    assert_command("status", CLI_STATUS);
    assert_command("upgrade", CLI_UPGRADE);
    assert_command("connections", CLI_CONNECTIONS);
    assert_command("servers", CLI_SERVERS);
    assert_command("repl", CLI_REPL);
    assert_command("-c x.lua --control /s reload", CLI_RELOAD);
}

static void what_is_asked_of_a_server_has_flags_of_its_own(void **state)
{
    struct cli cli;

    (void)state;
    assert_int_equal(parse(&cli, "stop --now --control /x"), 0);
    assert_true(cli.is_now);
    assert_string_equal(cli.control, "/x");
    assert_int_equal(parse(&cli, "stop -c y.lua"), 0);
    assert_false(cli.is_now);
    assert_string_equal(cli.config, "y.lua");
    assert_int_equal(parse(&cli, "status --json"), 0);
    assert_true(cli.wants_json);
    assert_int_equal(parse(&cli, "repl --reactor 3"), 0);
    assert_int_equal(cli.reactor, 3);
    assert_int_equal(parse(&cli, "repl"), 0);
    assert_int_equal(cli.reactor, 0);
    assert_refused("repl --reactor 256", "--reactor: expected a number from 0 to 255, got \"256\"");
    assert_refused("run --reactor 2", "`--reactor` does not go with `run`");
    assert_refused("status --now", "`--now` does not go with `status`");
    assert_refused("reload --json", "`--json` does not go with `reload`");
    assert_refused("run --now", "`--now` does not go with `run`");
    assert_refused("stop --reactors 2", "`--reactors` does not go with `stop`");
    assert_refused("stop now", "`stop` does not take `now`");
    assert_refused("status x.lua", "`status` does not take `x.lua`");
}

static void close_wants_the_number_of_a_connection(void **state)
{
    struct cli cli;

    (void)state;
    assert_int_equal(parse(&cli, "close 17"), 0);
    assert_int_equal(cli.command, CLI_CLOSE);
    assert_int_equal(cli.word_count, 1);
    assert_string_equal(cli.words[0], "17");
    assert_refused("close", "`close` wants the ID of a connection");
    assert_refused("close x", "`close` wants the ID of a connection");
    assert_refused("close 0", "`close` wants the ID of a connection");
    assert_refused("close 1 2", "`close` wants the ID of a connection");
    assert_refused("close 1 2 3 4 5", "`close` does not take `5`");
}

static void servers_takes_nothing_or_one_server_and_what_is_to_be_with_it(void **state)
{
    const char *const right[] = {"app a:1 up", "app a:1 down", "app a:1 drain", "app a:1 auto", "app a:1 weight 5"};
    const char *const wrong[] = {"app", "app a:1", "app a:1 off", "app a:1 weight", "app a:1 up 1", "app a:1 down now"};
    char line[64];
    struct cli cli;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(right); i++) {
        snprintf(line, sizeof(line), "servers %s", right[i]);
        assert_int_equal(parse(&cli, line), 0);
        assert_string_equal(cli.words[1], "a:1");
    }
    assert_int_equal(cli.word_count, 4);
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        snprintf(line, sizeof(line), "servers %s", wrong[i]);
        assert_refused(line, "`zerg servers UPSTREAM SERVER up|down|drain|auto` or `... weight N`");
    }
    assert_refused("servers app a:1 weight 0", "weight: expected a number from 1 to 65535, got \"0\"");
    assert_refused("servers app a:1 weight x", "got \"x\"");
}

static void servers_take_the_path_of_their_control_socket(void **state)
{
    struct cli cli;

    (void)state;
    assert_int_equal(parse(&cli, "run --control /x/y"), 0);
    assert_string_equal(cli.control, "/x/y");
    assert_int_equal(parse(&cli, "x.lua --control=s"), 0);
    assert_string_equal(cli.control, "s");
    assert_int_equal(parse(&cli, "proxy :1 a:1 --control s"), 0);
    assert_refused("init --control s", "`--control` does not go with `init`");
    assert_refused("run --control x/",
                   "--control: expected the path of a unix socket's file, of at most 95 bytes, got \"x/\"");
    assert_refused("run --control=", "got \"\"");
    assert_refused(
        "run --control /a/very/long/path/that/is/longer/than/what/fits/into/the/address/of/a/unix/socket/and/a/little/more",
        "of at most 95 bytes");
}

static void wrong_values_are_shown(void **state)
{
    (void)state;
    assert_refused("x.lua -p 80a", "--port: expected a number from 1 to 65535, got \"80a\"");
    assert_refused("x.lua -p 0", "got \"0\"");
    assert_refused("x.lua -p 65536", "got \"65536\"");
    assert_refused("x.lua -p 99999999999999999999", "--port: expected");
    assert_refused("--reactors -1", "--reactors: expected a number from 0 to 256, got \"-1\"");
    assert_refused("--log-level loud", "--log-level: expected debug, info, warn or error, got \"loud\"");
    assert_refused("run -c", "`--config` wants a value: FILE");
    assert_refused("--help=x", "`--help` takes no value");
}

static void what_does_not_go_together_is_refused(void **state)
{
    (void)state;
    assert_refused("run -p 80", "`--port` does not go with `run`");
    assert_refused("x.lua -c y", "`--config` does not go with `SCRIPT.lua`");
    assert_refused("init --reactors 1", "`--reactors` does not go with `init`");
    assert_refused("run check", "`run` does not take `check`");
    assert_refused("-t run", "`check` does not take `run`");
    assert_refused("proxy --tcp --http :8080 127.0.0.1:3000", "`proxy` takes `--tcp` or `--http`, not both");
    assert_refused("init a b", "`init` does not take `b`");
    assert_refused("check a.lua", "a configuration is given with -c a.lua");
    assert_refused("run -V", "one command at a time");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_is_the_default),
        cmocka_unit_test(commands_are_found),
        cmocka_unit_test(values_are_taken_in_every_spelling),
        cmocka_unit_test(proxy_takes_where_to_listen_and_targets),
        cmocka_unit_test(proxy_listens_on_8080_for_a_target_that_stands_alone),
        cmocka_unit_test(proxy_takes_no_more_targets_than_an_upstream_has_servers),
        cmocka_unit_test(help_is_for_all_or_for_one_command),
        cmocka_unit_test(unknown_words_bring_the_nearest_known),
        cmocka_unit_test(commands_for_a_running_server_are_found),
        cmocka_unit_test(what_is_asked_of_a_server_has_flags_of_its_own),
        cmocka_unit_test(close_wants_the_number_of_a_connection),
        cmocka_unit_test(servers_takes_nothing_or_one_server_and_what_is_to_be_with_it),
        cmocka_unit_test(servers_take_the_path_of_their_control_socket),
        cmocka_unit_test(wrong_values_are_shown),
        cmocka_unit_test(what_does_not_go_together_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
