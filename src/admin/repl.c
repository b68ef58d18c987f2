/* See repl.h. */
#include "admin/repl.h"

#include <errno.h>
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <editline/readline.h>

#include "admin/client.h"
#include "admin/repl_history.h"

static const char prompt[] = "> ";
static const char more_prompt[] = ">> ";

struct repl {
    struct client *client; /* borrowed */
    char reactor[16];
    bool is_terminal;
    bool has_failed;  /* some chunk did */
    char *chunk;      /* owned: the lines so far, NULL: none */
    char *unfinished; /* owned: why it is not a chunk yet, NULL: it has not been tried */
};

/* ---- Control-C ---- */

static bool is_interrupted; /* the line that was read last */

static int interrupt_line(int count, int key)
{
    (void)count;
    (void)key;
    is_interrupted = true;
    rl_done = 1; /* readline() gives NULL */
    return 0;
}

/* Control-C is a key while a line is typed, and no signal, from whose handler the line editor could not be left. At other
 * times it ends the program, so `before` is to be put back. */
static int take_control_c(struct termios *before)
{
    struct termios changed;

    if (tcgetattr(STDIN_FILENO, before) < 0)
        return -errno;
    changed = *before;
    changed.c_cc[VINTR] = _POSIX_VDISABLE;
    return tcsetattr(STDIN_FILENO, TCSADRAIN, &changed) < 0 ? -errno : 0;
}

/* ---- lines ---- */

/* A line without its newline, the caller's; NULL at the end of the input. */
static char *read_typed(const struct repl *repl)
{
    struct termios before;
    int rc = take_control_c(&before); /* on failure it ends the program */
    char *line;

    is_interrupted = false;
    line = readline(repl->chunk ? more_prompt : prompt);
    if (rc == 0)
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &before);

    if (line && line[0] != '\0')
        repl_history_add(line);
    return line;
}

static char *read_piped(void)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t len = getline(&line, &size, stdin);

    if (len < 0) {
        free(line);
        return NULL;
    }
    if (len > 0 && line[len - 1] == '\n')
        line[len - 1] = '\0';
    return line;
}

static void drop_chunk(struct repl *repl)
{
    free(repl->chunk);
    free(repl->unfinished);
    repl->chunk = NULL;
    repl->unfinished = NULL;
}

/* Takes the line over. */
static int append(struct repl *repl, char *line)
{
    char *longer = NULL;

    if (!repl->chunk) {
        repl->chunk = line;
        return 0;
    }
    if (asprintf(&longer, "%s\n%s", repl->chunk, line) < 0)
        longer = NULL;
    free(line);
    if (!longer)
        return -ENOMEM;
    free(repl->chunk);
    repl->chunk = longer;
    return 0;
}

/* ---- chunks ---- */

static void print_results(const struct client_reply *reply)
{
    const char *output = json_string_value(json_object_get(reply->json, "output"));
    const json_t *value;
    size_t index;

    if (output)
        fputs(output, stdout);
    json_array_foreach(json_object_get(reply->json, "values"), index, value)
    {
        if (json_is_string(value))
            puts(json_string_value(value));
    }
    fflush(stdout); /* before what stderr gets next */
}

static void say_failed(struct repl *repl, const char *error)
{
    repl->has_failed = true;
    fprintf(stderr, "%s\n", error);
}

/* Tries the lines so far as a chunk; they stay when they are none yet. 0, or a negative errno: the server has gone. */
static int evaluate(struct repl *repl)
{
    const char *words[] = {"eval", repl->reactor, repl->chunk};
    struct client_reply reply;
    int rc = client_ask(repl->client, words, COUNT_OF(words), &reply);

    free(repl->unfinished);
    repl->unfinished = NULL;
    if (rc == -EMSGSIZE || rc == -EINVAL) { /* it was not sent, and client_ask() said why */
        repl->has_failed = true;
        drop_chunk(repl);
        return 0;
    }
    if (rc < 0)
        return rc;
    if (client_reply_is_ok(&reply))
        print_results(&reply);
    else if (json_is_true(json_object_get(reply.json, "unfinished")))
        repl->unfinished = strdup(client_reply_error(&reply));
    else
        say_failed(repl, client_reply_error(&reply));
    client_reply_free(&reply);
    if (!repl->unfinished)
        drop_chunk(repl);
    return 0;
}

/* Control-D, Control-C, or the end of the file. True when that is the end of all, and not only of what nobody wants to
 * finish. */
static bool ends_at_end(struct repl *repl)
{
    bool gives_up_chunk = repl->is_terminal && (repl->chunk || is_interrupted);

    if (repl->is_terminal)
        putchar('\n');
    else if (repl->unfinished)
        say_failed(repl, repl->unfinished);
    drop_chunk(repl);
    return !gives_up_chunk;
}

static int read_and_evaluate(struct repl *repl)
{
    int rc = 0;

    while (rc == 0) {
        char *line = repl->is_terminal ? read_typed(repl) : read_piped();

        if (!line && ends_at_end(repl))
            return 0;
        if (!line)
            continue;
        if (!repl->chunk && line[strspn(line, " \t\r")] == '\0') {
            free(line);
            continue;
        }
        rc = append(repl, line);
        if (rc == 0)
            rc = evaluate(repl);
    }
    return rc;
}

/* Has the server refuse a reactor that it does not have before anything is typed: an empty chunk does nothing. Every server
 * has reactor 0. */
static int find_reactor(struct client *client, const char *reactor)
{
    const char *words[] = {"eval", reactor, ""};
    struct client_reply reply;
    int rc = client_ask(client, words, COUNT_OF(words), &reply);

    if (rc < 0)
        return rc;
    if (!client_reply_is_ok(&reply)) {
        fprintf(stderr, "zerg: %s\n", client_reply_error(&reply));
        rc = -ECANCELED;
    }
    client_reply_free(&reply);
    return rc;
}

int repl_run(struct client *client, int reactor)
{
    struct repl repl = {.client = client, .is_terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)};
    int rc = 0;

    snprintf(repl.reactor, sizeof(repl.reactor), "%d", reactor);
    if (reactor > 0)
        rc = find_reactor(client, repl.reactor);
    if (rc < 0)
        return rc;
    if (repl.is_terminal) {
        setlocale(LC_CTYPE, "");      /* for the line editor: what a character is */
        rl_bind_key('\t', rl_insert); /* not names of files */
        rl_add_defun("interrupt-line", interrupt_line, '\003');
        repl_history_load();
        printf("Lua in reactor %d of the server at %s; Control-D ends.\n", reactor, client->path);
    }
    rc = read_and_evaluate(&repl);
    drop_chunk(&repl);
    if (rc == 0 && repl.has_failed && !repl.is_terminal)
        rc = -ECANCELED;
    return rc;
}
