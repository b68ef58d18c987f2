/* See ask.h. */
#include "admin/ask.h"

#include <stdio.h>
#include <string.h>

#include "admin/cli.h"
#include "admin/client.h"
#include "admin/repl.h"
#include "admin/report.h"
#include "base/assert.h"

struct question {
    const char *request; /* its first word; NULL: no question */
    /* Says what came of it. 0, or a negative errno when that could not be printed. */
    int (*say)(const struct cli *cli, const json_t *reply);
};

static int say_version(const struct cli *cli, const json_t *reply)
{
    (void)cli;
    printf("version %.0f serves now\n", json_number_value(json_object_get(reply, "version")));
    return 0;
}

static int say_successor(const struct cli *cli, const json_t *reply)
{
    (void)cli;
    printf("process %.0f serves now\n", json_number_value(json_object_get(reply, "pid")));
    return 0;
}

static int say_stopped(const struct cli *cli, const json_t *reply)
{
    (void)cli;
    (void)reply;
    puts("stopped");
    return 0;
}

static int say_closed(const struct cli *cli, const json_t *reply)
{
    (void)reply;
    printf("closed %s\n", cli->words[0]);
    return 0;
}

static int say_status(const struct cli *cli, const json_t *reply)
{
    (void)cli;
    return report_status(reply, stdout);
}

static int say_connections(const struct cli *cli, const json_t *reply)
{
    (void)cli;
    return report_connections(reply, stdout);
}

static int say_servers(const struct cli *cli, const json_t *reply)
{
    if (cli->word_count == 0)
        return report_servers(reply, stdout);
    for (uint32_t i = 0; i < cli->word_count; i++)
        printf("%s%s", cli->words[i], i + 1 < cli->word_count ? " " : "\n");
    return 0;
}

static const struct question questions[CLI_COMMAND_COUNT] = {
    [CLI_RELOAD] = {"reload", say_version},   [CLI_STOP] = {"stop", say_stopped},
    [CLI_STATUS] = {"status", say_status},    [CLI_UPGRADE] = {"upgrade", say_successor},
    [CLI_CLOSE] = {"close", say_closed},      [CLI_CONNECTIONS] = {"connections", say_connections},
    [CLI_SERVERS] = {"servers", say_servers},
};

/* The request's words. Returns how many. */
static size_t put_words(const struct cli *cli, const char *words[])
{
    size_t count = 0;

    words[count++] = questions[cli->command].request;
    if (cli->command == CLI_SERVERS && cli->word_count > 0)
        words[0] = "server"; /* one of them */
    if (cli->is_now)
        words[count++] = "now";
    for (uint32_t i = 0; i < cli->word_count; i++)
        words[count++] = cli->words[i];
    return count;
}

static enum ask_outcome say(const struct cli *cli, const struct client_reply *reply)
{
    if (cli->wants_json)
        puts(reply->text);
    if (!client_reply_is_ok(reply)) {
        fprintf(stderr, "zerg: %s\n", client_reply_error(reply));
        return ASK_FAILED;
    }
    if (cli->wants_json || questions[cli->command].say(cli, reply->json) == 0)
        return ASK_DONE;
    fputs("zerg: not enough memory to show the answer\n", stderr);
    return ASK_FAILED;
}

static enum ask_outcome ask(const struct cli *cli, struct client *client)
{
    const char *words[CLI_WORDS_MAX + 2];
    struct client_reply reply;
    enum ask_outcome outcome;

    if (client_ask(client, words, put_words(cli, words), &reply) < 0)
        return ASK_FAILED;
    outcome = say(cli, &reply);
    client_reply_free(&reply);
    return outcome;
}

enum ask_outcome ask_run(const struct cli *cli, const char *path)
{
    enum ask_outcome outcome;
    struct client client;

    assert(cli->command == CLI_REPL || questions[cli->command].request);
    if (client_open(&client, path) < 0)
        return ASK_NOBODY;
    if (cli->command == CLI_REPL)
        outcome = repl_run(&client, cli->reactor) == 0 ? ASK_DONE : ASK_FAILED;
    else
        outcome = ask(cli, &client);
    client_close(&client);
    return outcome;
}
