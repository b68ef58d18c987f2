/* control: requests and replies over real unix sockets in a directory of the test's own, with commands that only the test has.
 * Client and server take turns on one thread. */
#include "admin/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/limits.h"

enum { TEXT_BYTES = 4096, LATER_MAX = CONTROL_CLIENTS_MAX };

struct fixture {
    char directory[32];
    struct loop loop;
    struct control control;
    struct control_request *later[LATER_MAX]; /* `wait` leaves them here */
    unsigned later_count;
    unsigned chats;
};

static char text[TEXT_BYTES];

/* ---- commands ---- */

static void run_echo(struct control_request *request, const struct control_words *words)
{
    json_t *list = json_array();

    for (uint32_t i = 1; i < words->count; i++)
        json_array_append_new(list, control_text(words->word[i]));
    control_ok(request, json_pack("{s:o}", "words", list));
}

static void run_fail(struct control_request *request, const struct control_words *words)
{
    if (words->count != 2)
        control_misused(request);
    else
        control_fail(request, "because of %s\nand more", words->word[1]);
}

static void run_wait(struct control_request *request, const struct control_words *words)
{
    struct fixture *f = control_context(request);

    (void)words;
    assert_true(f->later_count < LATER_MAX);
    f->later[f->later_count++] = request;
}

/* Says more than anybody who does not read may have waiting. */
static void run_chat(struct control_request *request, const struct control_words *words)
{
    char line[1024];
    struct fixture *f = control_context(request);

    (void)words;
    memset(line, 'x', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    for (int i = 0; i < 4 * CONTROL_WAITING_BYTES / (int)sizeof(line); i++)
        control_progress(request, "%s", line);
    f->chats++;
    control_ok(request, NULL);
}

static void run_large(struct control_request *request, const struct control_words *words)
{
    size_t len = 8 * (size_t)CONTROL_WAITING_BYTES;
    char *large = malloc(len + 1);

    (void)words;
    assert_non_null(large);
    memset(large, 'y', len);
    large[len] = '\0';
    control_ok(request, json_pack("{s:s}", "text", large));
    free(large);
}

static const struct control_command commands[] = {
    {"echo", "echo [WORD...]", run_echo},
    {"fail", "fail WORD", run_fail},
    {"wait", "wait", run_wait},
    {"chat", "chat", run_chat},
    {"large", "large", run_large},
    {"help", "help", control_help},
    {NULL, NULL, NULL},
};

/* ---- fixture ---- */

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct control_socket_options options = {.path = "s", .owner = geteuid(), .group = getegid()};
    char error[CONTROL_ERROR_MAX];

    assert_non_null(f);
    snprintf(f->directory, sizeof(f->directory), "/tmp/zerg-test-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
    assert_int_equal(chdir(f->directory), 0);
    loop_init(&f->loop);
    control_init(&f->control, &f->loop, commands, f);
    assert_int_equal(control_prepare(&f->control, &options, error), 0);
    assert_int_equal(control_publish(&f->control, error), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    control_close(&f->control);
    assert_int_equal(f->control.client_count, 0);
    assert_true(list_is_empty(&f->control.requests));
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(rmdir(f->directory), 0);
    free(f);
    return 0;
}

static void turn(struct fixture *f)
{
    for (int i = 0; i < 20; i++)
        assert_int_equal(loop_turn(&f->loop, 0), 0);
}

static int dial(struct fixture *f)
{
    struct addr addr;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(addr_parse_unix(&addr, "s"), 0);
    assert_int_equal(connect(fd, &addr.sa, addr.len), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    turn(f);
    return fd;
}

static void tell(struct fixture *f, int fd, const char *bytes, size_t len)
{
    assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
    turn(f);
}

/* What came since the last look, as text; NULL: the end of the stream. */
static const char *heard(int fd)
{
    ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

    if (n == 0)
        return NULL;
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static const char *ask(struct fixture *f, int fd, const char *line)
{
    tell(f, fd, line, strlen(line));
    return heard(fd);
}

/* ---- requests ---- */

static void a_line_is_answered_by_a_line(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);

    assert_string_equal(ask(f, fd, "echo a  \"b c\"\n"), "{\"ok\":true,\"words\":[\"a\",\"b c\"]}\n");
    assert_string_equal(ask(f, fd, "fail X\r\n"), "{\"ok\":false,\"error\":\"because of X\\nand more\"}\n");
    assert_string_equal(ask(f, fd, "fail\n"), "{\"ok\":false,\"error\":\"usage: fail WORD\"}\n");
    close(fd);
    turn(f);
    assert_int_equal(f->control.client_count, 0);
}

static void a_line_may_come_in_pieces_and_several_in_one(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);
    const char *line = "echo one\n";

    for (; line[1] != '\0'; line++)
        tell(f, fd, line, 1);
    assert_string_equal(heard(fd), "");
    assert_string_equal(ask(f, fd, "\necho 2\necho 3\nech"),
                        "{\"ok\":true,\"words\":[\"one\"]}\n{\"ok\":true,\"words\":[\"2\"]}\n"
                        "{\"ok\":true,\"words\":[\"3\"]}\n");
    assert_string_equal(ask(f, fd, "o\n"), "{\"ok\":true,\"words\":[]}\n");
    close(fd);
}

static void unknown_commands_bring_the_nearest_known(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);

    assert_string_equal(ask(f, fd, "ehco\n"),
                        "{\"ok\":false,\"error\":\"unknown command `ehco`: did you mean `echo`?\"}\n");
    assert_string_equal(ask(f, fd, "reformat\n"),
                        "{\"ok\":false,\"error\":\"unknown command `reformat`: `help` lists them\"}\n");
    assert_non_null(strstr(ask(f, fd, "\n"), "an empty request"));
    assert_non_null(strstr(ask(f, fd, "help\n"), "{\"ok\":true,\"commands\":[\"echo [WORD...]\",\"fail WORD\","));
    assert_string_equal(ask(f, fd, "help me\n"), "{\"ok\":false,\"error\":\"usage: help\"}\n");
    close(fd);
}

static void garbage_is_an_error_and_the_next_line_is_served(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);

    tell(f, fd, "ec\0ho\n", 6);
    assert_non_null(strstr(heard(fd), "NUL bytes"));
    assert_string_equal(ask(f, fd, "\xff\xfe\x80\n"),
                        "{\"ok\":false,\"error\":\"unknown command `???`: `help` lists them\"}\n");
    assert_non_null(strstr(ask(f, fd, "echo \"half\n"), "must be a JSON string"));
    assert_string_equal(ask(f, fd, "echo \xff\n"), "{\"ok\":true,\"words\":[\"?\"]}\n");
    close(fd);
}

static void a_line_that_is_too_long_ends_the_connection(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);
    char *large = malloc(CONTROL_REQUEST_BYTES_MAX);

    assert_non_null(large);
    memset(large, 'a', CONTROL_REQUEST_BYTES_MAX);
    memcpy(large, "echo ", 5);
    large[CONTROL_REQUEST_BYTES_MAX - 1] = '\n'; /* as long as it may be */
    tell(f, fd, large, CONTROL_REQUEST_BYTES_MAX);
    assert_non_null(strstr(heard(fd), "{\"ok\":true"));
    while (*heard(fd) != '\0')
        continue;
    large[CONTROL_REQUEST_BYTES_MAX - 1] = 'a';
    tell(f, fd, large, CONTROL_REQUEST_BYTES_MAX);
    assert_string_equal(heard(fd), "{\"ok\":false,\"error\":\"the request is too long\"}\n");
    assert_null(heard(fd));
    free(large);
    close(fd);
}

/* ---- answering later ---- */

static void an_answer_may_come_later_and_others_are_not_kept_waiting(void **state)
{
    struct fixture *f = *state;
    int slow = dial(f);
    int quick = dial(f);

    assert_string_equal(ask(f, slow, "wait\necho after\n"), "");
    assert_string_equal(ask(f, quick, "echo x\n"), "{\"ok\":true,\"words\":[\"x\"]}\n");
    control_progress(f->later[0], "%d left", 3);
    assert_string_equal(heard(slow), "{\"progress\":\"3 left\"}\n");
    control_ok(f->later[0], NULL);
    assert_string_equal(heard(slow), "{\"ok\":true}\n{\"ok\":true,\"words\":[\"after\"]}\n");
    close(slow);
    close(quick);
}

static void a_request_outlives_its_client(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);

    tell(f, fd, "wait\n", 5);
    close(fd);
    turn(f);
    assert_int_equal(f->control.client_count, 0);
    assert_false(list_is_empty(&f->control.requests));
    control_progress(f->later[0], "nobody hears it");
    control_fail(f->later[0], "nor this");
}

static void requests_of_a_client_that_left_at_once_are_run_in_order(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);

    assert_int_equal(send(fd, "wait\nwait\necho x\nwait", 21, 0), 21);
    close(fd);
    turn(f);
    assert_int_equal(f->later_count, 1); /* the second one waits for the first */
    assert_int_equal(f->control.client_count, 1);
    assert_int_equal(loop_turn(&f->loop, 1), 0); /* which has nothing to do meanwhile */
    control_ok(f->later[0], NULL);
    assert_int_equal(f->later_count, 2);
    assert_int_equal(f->control.client_count, 1);
    control_fail(f->later[1], "nobody hears it");
    assert_int_equal(f->later_count, 2); /* half a line is none */
    assert_int_equal(f->control.client_count, 0);
}

static void requests_behind_an_answer_that_cannot_be_written_are_run(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);

    assert_int_equal(send(fd, "echo x\necho y\nchat\nwait\n", 24, 0), 24);
    close(fd);
    turn(f);
    assert_int_equal(f->chats, 1);
    assert_int_equal(f->later_count, 1);
    assert_int_equal(f->control.client_count, 0); /* it asked for no more */
    control_ok(f->later[0], NULL);
}

static void what_is_left_of_a_client_that_has_gone_is_not_run_once_the_server_has_ended(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);

    assert_int_equal(send(fd, "wait\nwait\nwait\n", 15, 0), 15);
    close(fd);
    turn(f);
    control_close(&f->control);
    assert_int_equal(f->later_count, 1);
}

static void a_client_that_says_no_more_gets_its_answers(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);

    tell(f, fd, "wait\necho x\n", 12);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    turn(f);
    assert_int_equal(f->control.client_count, 1);
    control_ok(f->later[0], NULL);
    turn(f);
    assert_string_equal(heard(fd), "{\"ok\":true}\n{\"ok\":true,\"words\":[\"x\"]}\n");
    assert_null(heard(fd));
    close(fd);
}

static void half_a_line_at_the_end_is_not_run(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);

    tell(f, fd, "wait", 4);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    turn(f);
    assert_int_equal(f->later_count, 0);
    assert_string_equal(heard(fd), "{\"ok\":false,\"error\":\"the request does not end with a newline\"}\n");
    assert_null(heard(fd));
    close(fd);
}

/* ---- clients that do not read, and too many ---- */

static void who_does_not_read_is_given_up_at_last(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);

    tell(f, fd, "chat\n", 5);
    assert_int_equal(f->chats, 1);
    assert_int_equal(f->control.client_count, 0);
    close(fd);
}

static void requests_wait_for_a_client_that_does_not_read(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);
    size_t bytes = 0;
    ssize_t n;

    tell(f, fd, "large\nwait\n", 11);
    assert_int_equal(f->later_count, 0);
    while ((n = recv(fd, text, sizeof(text), 0)) > 0) {
        bytes += (size_t)n;
        assert_int_equal(loop_turn(&f->loop, 0), 0);
    }
    assert_int_equal(bytes, 8 * CONTROL_WAITING_BYTES + strlen("{\"ok\":true,\"text\":\"\"}\n"));
    assert_int_equal(f->later_count, 1);
    control_ok(f->later[0], NULL);
    assert_string_equal(heard(fd), "{\"ok\":true}\n");
    close(fd);
}

static void the_end_does_not_wait_for_ever(void **state)
{
    struct fixture *f = *state;
    uint64_t begun_ms = clock_now_ms();
    int fd = dial(f);
    int second = dial(f);

    tell(f, fd, "large\n", 6);
    tell(f, second, "large\n", 6);
    control_close(&f->control);
    assert_true(clock_now_ms() - begun_ms >= CONTROL_FLUSH_MS);
    assert_true(clock_now_ms() - begun_ms < 10 * CONTROL_FLUSH_MS);
    close(fd);
    close(second);
}

static void dial_all(struct fixture *f, int *fds)
{
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        fds[i] = dial(f);
}

static void close_all(struct fixture *f, const int *fds)
{
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        close(fds[i]);
    turn(f);
}

static void when_there_are_too_many_clients_who_is_idle_longest_makes_room(void **state)
{
    struct fixture *f = *state;
    int fds[CONTROL_CLIENTS_MAX];
    int extra;

    dial_all(f, fds);
    tell(f, fds[1], "half a li", 9);                   /* which is no request yet */
    assert_string_equal(ask(f, fds[2], "wait\n"), ""); /* which is under way */
    assert_non_null(strstr(ask(f, fds[0], "echo x\n"), "true"));
    extra = dial(f);
    assert_non_null(strstr(ask(f, extra, "echo x\n"), "true"));
    assert_non_null(strstr(heard(fds[1]), "this one, which has been idle longest, makes room"));
    assert_null(heard(fds[1]));
    close(fds[1]);
    fds[1] = dial(f);
    assert_non_null(strstr(heard(fds[3]), "makes room"));
    assert_int_equal(f->control.client_count, CONTROL_CLIENTS_MAX);
    control_ok(f->later[0], NULL);
    assert_string_equal(heard(fds[2]), "{\"ok\":true}\n");
    close(extra);
    close_all(f, fds);
}

static void who_was_answered_has_been_idle_since_then(void **state)
{
    struct fixture *f = *state;
    int fds[CONTROL_CLIENTS_MAX];
    int extra;

    dial_all(f, fds);
    tell(f, fds[0], "wait\n", 5);
    for (size_t i = 1; i < CONTROL_CLIENTS_MAX; i++)
        assert_non_null(strstr(ask(f, fds[i], "echo x\n"), "true"));
    control_ok(f->later[0], NULL);
    extra = dial(f);
    assert_string_equal(heard(fds[0]), "{\"ok\":true}\n");
    assert_string_equal(heard(fds[0]), "");
    assert_non_null(strstr(heard(fds[1]), "makes room"));
    close(extra);
    close_all(f, fds);
}

static void when_all_clients_are_busy_one_more_is_told(void **state)
{
    struct fixture *f = *state;
    int fds[CONTROL_CLIENTS_MAX];
    struct addr addr;
    int extra = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    dial_all(f, fds);
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        tell(f, fds[i], "wait\n", 5);
    assert_int_equal(addr_parse_unix(&addr, "s"), 0);
    assert_int_equal(connect(extra, &addr.sa, addr.len), 0);
    tell(f, extra, "echo x\n", 7); /* before it is accepted */
    assert_string_equal(heard(extra), "{\"ok\":false,\"error\":\"too many clients of the control socket\"}\n");
    assert_null(heard(extra));
    close(extra);
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        control_ok(f->later[i], NULL);
    close_all(f, fds);
}

static void without_descriptors_accepting_pauses(void **state)
{
    struct fixture *f = *state;
    uint64_t now_ms = clock_now_ms();
    int fd;

    assert_int_equal(control_look(&f->control, now_ms), -1);
    f->control.listening.events = 0; /* as after EMFILE */
    f->control.accept_from_ms = now_ms + 1000;
    assert_int_equal(control_look(&f->control, now_ms), 1000);
    fd = dial(f);
    assert_int_equal(f->control.client_count, 0);
    assert_int_equal(control_look(&f->control, now_ms + 1000), -1);
    turn(f);
    assert_int_equal(f->control.client_count, 1);
    close(fd);
}

static void a_stopped_socket_answers_what_was_asked_before(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);

    tell(f, fd, "wait\n", 5);
    control_stop(&f->control);
    assert_int_equal(access("s", F_OK), -1);
    control_ok(f->later[0], NULL);
    control_close(&f->control);
    assert_string_equal(heard(fd), "{\"ok\":true}\n");
    assert_null(heard(fd));
    close(fd);
}

static void what_was_not_answered_fails_at_the_end(void **state)
{
    struct fixture *f = *state;
    int fd = dial(f);

    tell(f, fd, "wait\necho x\n", 12);
    control_close(&f->control);
    assert_string_equal(heard(fd), "{\"ok\":false,\"error\":\"the server has ended\"}\n"
                                   "{\"ok\":false,\"error\":\"the server has ended\"}\n");
    assert_null(heard(fd));
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_is_answered_by_a_line, setup, teardown),
        cmocka_unit_test_setup_teardown(a_line_may_come_in_pieces_and_several_in_one, setup, teardown),
        cmocka_unit_test_setup_teardown(unknown_commands_bring_the_nearest_known, setup, teardown),
        cmocka_unit_test_setup_teardown(garbage_is_an_error_and_the_next_line_is_served, setup, teardown),
        cmocka_unit_test_setup_teardown(a_line_that_is_too_long_ends_the_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_may_come_later_and_others_are_not_kept_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(a_request_outlives_its_client, setup, teardown),
        cmocka_unit_test_setup_teardown(requests_of_a_client_that_left_at_once_are_run_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(requests_behind_an_answer_that_cannot_be_written_are_run, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_left_of_a_client_that_has_gone_is_not_run_once_the_server_has_ended,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_client_that_says_no_more_gets_its_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(half_a_line_at_the_end_is_not_run, setup, teardown),
        cmocka_unit_test_setup_teardown(who_does_not_read_is_given_up_at_last, setup, teardown),
        cmocka_unit_test_setup_teardown(requests_wait_for_a_client_that_does_not_read, setup, teardown),
        cmocka_unit_test_setup_teardown(the_end_does_not_wait_for_ever, setup, teardown),
        cmocka_unit_test_setup_teardown(when_there_are_too_many_clients_who_is_idle_longest_makes_room, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_was_answered_has_been_idle_since_then, setup, teardown),
        cmocka_unit_test_setup_teardown(when_all_clients_are_busy_one_more_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(without_descriptors_accepting_pauses, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stopped_socket_answers_what_was_asked_before, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_not_answered_fails_at_the_end, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
