/* inquiry: what becomes of a request while a reactor is asked. There is no thread: the test takes calls out of the inboxes and
 * answers them, or does not. Clients are at the other end of a socket pair. */
#include "admin/inquiry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "admin/control.h"
#include "admin/service.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "core/reactor_inbox.h"

enum { REACTORS = 2 };

struct asking {
    struct service service;
    struct reactor reactors[REACTORS];
    char directory[32];
    int client;
    struct control_request *request; /* of the command that came last */
    uint32_t freed;                  /* questions that were freed, */
    uint32_t lost;                   /* by on_lost */
    uint32_t more;                   /* how often it is to be asked again, of the next reactor */
    uint32_t ran;                    /* calls that a reactor ran */
    bool is_asked_at_once;           /* by the command, reactor 0 */
    uint64_t look_in_run_ms;         /* what time the control thread looks at it meanwhile; 0: it does not */
};

struct question {
    struct inquiry inquiry;
    struct asking *asking;
};

static struct question *send_question(struct asking *a, uint32_t reactor);

static void hear(struct control_request *request, const struct control_words *words)
{
    struct asking *a = CONTAINER_OF((struct service *)control_context(request), struct asking, service);

    (void)words;
    a->request = request;
    if (a->is_asked_at_once)
        send_question(a, 0);
}

static const struct control_command commands[] = {{"ask", "ask", hear}, {0}};

static void connect_client(struct asking *a)
{
    char path[64];
    struct addr addr;

    snprintf(path, sizeof(path), "%s/s", a->directory);
    a->client = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(addr_parse_unix(&addr, path), 0);
    assert_int_equal(connect(a->client, &addr.sa, addr.len), 0);
}

static int setup(void **state)
{
    struct asking *a = aligned_alloc(CACHE_LINE_BYTES, (sizeof(*a) + CACHE_LINE_BYTES - 1) & ~(CACHE_LINE_BYTES - 1UL));
    char path[64];
    char error[CONTROL_ERROR_MAX];
    struct control_socket_options options = {.path = path, .owner = geteuid(), .group = getegid()};

    assert_non_null(a);
    memset(a, 0, sizeof(*a));
    assert_int_equal(log_open("/dev/null", LOG_DEBUG, LOG_TEXT), 0);
    snprintf(a->directory, sizeof(a->directory), "/tmp/test_inquiry.XXXXXX");
    assert_non_null(mkdtemp(a->directory));
    snprintf(path, sizeof(path), "%s/s", a->directory);
    a->service.engine.reactors = a->reactors;
    a->service.engine.reactor_count = REACTORS;
    a->service.engine.control_eventfd = -1;
    list_init(&a->service.inquiries);
    loop_init(&a->service.loop);
    control_init(&a->service.control, &a->service.loop, commands, &a->service);
    assert_int_equal(control_prepare(&a->service.control, &options, error), 0);
    assert_int_equal(control_publish(&a->service.control, error), 0);
    for (uint32_t i = 0; i < REACTORS; i++) {
        a->reactors[i].index = i;
        a->reactors[i].engine = &a->service.engine;
        assert_int_equal(inbox_open(&a->reactors[i].inbox, i), 0);
    }
    connect_client(a);
    *state = a;
    return 0;
}

static int teardown(void **state)
{
    struct asking *a = *state;

    for (uint32_t i = 0; i < REACTORS; i++) { /* first: what is in there is about to be freed */
        reactor_inbox_drop(&a->reactors[i]);
        inbox_close(&a->reactors[i].inbox);
    }
    inquiry_lose_all(&a->service);
    control_close(&a->service.control);
    if (a->client >= 0)
        close(a->client);
    rmdir(a->directory);
    log_close();
    free(a);
    return 0;
}

/* ---- both sides ---- */

static struct control_request *new_request(struct asking *a)
{
    a->request = NULL;
    assert_int_equal(write(a->client, "ask\n", 4), 4);
    for (int i = 0; i < 10 && !a->request; i++)
        assert_int_equal(loop_turn(&a->service.loop, 1000), 0);
    assert_non_null(a->request);
    return a->request;
}

static void assert_told(const struct asking *a, const char *text)
{
    char reply[512];
    ssize_t count = recv(a->client, reply, sizeof(reply) - 1, MSG_DONTWAIT);

    assert_true(count > 0);
    reply[count] = '\0';
    if (!strstr(reply, text))
        fail_msg("%s, not %s", reply, text);
}

static void assert_told_nothing(const struct asking *a)
{
    char byte;

    assert_int_equal(recv(a->client, &byte, 1, MSG_DONTWAIT | MSG_PEEK), -1);
}

static void run(struct reactor_call *call, struct reactor *reactor)
{
    struct asking *a = ((struct question *)call)->asking;

    (void)reactor;
    a->ran++;
    if (a->look_in_run_ms > 0)
        inquiry_look(&a->service, a->look_in_run_ms);
}

static void free_question(struct inquiry *inquiry)
{
    ((struct question *)inquiry)->asking->freed++;
    free(inquiry);
}

static void on_lost(struct inquiry *inquiry)
{
    ((struct question *)inquiry)->asking->lost++;
    free_question(inquiry);
}

static void on_answer(struct inquiry *inquiry)
{
    struct asking *a = ((struct question *)inquiry)->asking;

    if (a->more > 0) {
        a->more--;
        inquiry_send(&a->service, inquiry, inquiry->reactor + 1);
        return;
    }
    if (inquiry->request && inquiry->call.is_lost)
        control_fail(inquiry->request, "lost");
    else if (inquiry->request)
        control_ok(inquiry->request, NULL);
    free_question(inquiry);
}

static struct question *send_question(struct asking *a, uint32_t reactor)
{
    struct question *question = calloc(1, sizeof(*question));

    assert_non_null(question);
    question->asking = a;
    question->inquiry.call.run = run;
    question->inquiry.request = a->request;
    question->inquiry.on_answer = on_answer;
    question->inquiry.on_lost = on_lost;
    inquiry_send(&a->service, &question->inquiry, reactor);
    return question;
}

static struct question *ask(struct asking *a, uint32_t reactor)
{
    new_request(a);
    return send_question(a, reactor);
}

static void leave(struct asking *a)
{
    close(a->client);
    a->client = -1;
    for (int i = 0; i < 5; i++)
        assert_int_equal(loop_turn(&a->service.loop, 0), 0);
}

/* The reactor does what it was told. */
static void turn(struct asking *a, uint32_t reactor)
{
    reactor_inbox_drain(&a->reactors[reactor]);
}

static int look(struct asking *a)
{
    return inquiry_look(&a->service, clock_now_ms());
}

/* ---- tests ---- */

static void an_answer_goes_to_the_request(void **state)
{
    struct asking *a = *state;
    int timeout;

    assert_int_equal(look(a), -1);
    ask(a, 1);
    timeout = look(a);
    assert_true(timeout > INQUIRY_MS_MAX - 1000 && timeout <= INQUIRY_MS_MAX);
    assert_told_nothing(a);
    turn(a, 0);
    look(a);
    assert_told_nothing(a);
    turn(a, 1);
    assert_int_equal(look(a), -1);
    assert_told(a, "{\"ok\":true}");
    assert_int_equal(a->freed, 1);
}

static void a_reactor_that_is_late_fails_the_request_and_frees_it_when_it_answers(void **state)
{
    struct asking *a = *state;
    struct question *question = ask(a, 0);

    assert_int_equal(inquiry_look(&a->service, question->inquiry.until_ms - 1), 1);
    assert_told_nothing(a);
    assert_int_equal(inquiry_look(&a->service, question->inquiry.until_ms), -1);
    assert_told(a, "does not answer: a handler has not parked for 5 s; this was not run, and will not be");
    assert_int_equal(a->freed, 0);
    turn(a, 0);
    look(a);
    assert_told_nothing(a);
    assert_int_equal(a->freed, 1);
    assert_int_equal(a->ran, 0);
}

static void one_that_has_begun_when_its_time_is_over_may_take_effect(void **state)
{
    struct asking *a = *state;

    a->look_in_run_ms = ask(a, 0)->inquiry.until_ms;
    turn(a, 0);
    assert_told(a, "has begun with this, but not ended within 5 s: it may still take effect");
    look(a);
    assert_told_nothing(a);
    assert_int_equal(a->ran, 1);
    assert_int_equal(a->freed, 1);
}

static void one_whose_client_has_gone_is_not_run(void **state)
{
    struct asking *a = *state;

    ask(a, 0);
    leave(a);
    assert_int_equal(look(a), -1);
    assert_true(list_is_empty(&a->service.control.requests));
    turn(a, 0);
    look(a);
    assert_int_equal(a->ran, 0);
    assert_int_equal(a->freed, 1);
}

static void one_whose_client_has_gone_while_it_runs_is_run_to_its_end(void **state)
{
    struct asking *a = *state;

    ask(a, 0);
    leave(a);
    a->look_in_run_ms = 1;
    turn(a, 0);
    assert_int_equal(look(a), -1);
    assert_int_equal(a->ran, 1);
    assert_int_equal(a->freed, 1);
}

static void what_is_asked_behind_one_whose_client_has_gone_is_given_up_at_once_too(void **state)
{
    struct asking *a = *state;

    a->is_asked_at_once = true;
    assert_int_equal(write(a->client, "ask\nask\n", 8), 8);
    leave(a);
    assert_int_equal(look(a), 0);
    assert_int_equal(look(a), -1);
    assert_int_equal(a->service.control.client_count, 0);
    turn(a, 0);
    look(a);
    assert_int_equal(a->ran, 0);
    assert_int_equal(a->freed, 2);
}

static void a_reactor_has_so_many_before_it_and_others_go_on(void **state)
{
    struct asking *a = *state;

    for (uint32_t i = 0; i < INQUIRIES_MAX; i++) {
        ask(a, 0);
        leave(a);
        look(a);
        connect_client(a);
    }
    ask(a, 0);
    assert_told(a, "reactor 0 does not answer, and 32 requests wait for it already: this was not run, and will not be");
    assert_int_equal(a->lost, 1);
    ask(a, 1);
    turn(a, 1);
    look(a);
    assert_told(a, "{\"ok\":true}");
    turn(a, 0);
    look(a);
    assert_int_equal(a->freed, INQUIRIES_MAX + 2);
    ask(a, 0);
    turn(a, 0);
    look(a);
    assert_told(a, "{\"ok\":true}");
}

static void one_that_goes_on_to_a_reactor_with_too_many_fails(void **state)
{
    struct asking *a = *state;

    for (uint32_t i = 0; i < INQUIRIES_MAX; i++) {
        ask(a, 1);
        leave(a);
        look(a);
        connect_client(a);
    }
    ask(a, 0);
    turn(a, 0);
    a->more = 1;
    look(a);
    assert_told(a, "reactor 1 does not answer");
    assert_int_equal(a->freed, 1);
}

static void one_that_goes_on_to_another_reactor_has_a_time_there_too(void **state)
{
    struct asking *a = *state;
    struct question *question = ask(a, 0);

    a->more = 1;
    turn(a, 0);
    assert_true(look(a) > 0);
    assert_int_equal(a->freed, 0);
    assert_int_equal(inquiry_look(&a->service, question->inquiry.until_ms), -1);
    assert_told(a, "does not answer");
    turn(a, 1);
    look(a);
    assert_int_equal(a->freed, 1);
}

static void a_reactor_that_has_ended_loses_what_it_is_asked(void **state)
{
    struct asking *a = *state;

    ask(a, 1);
    atomic_store(&a->reactors[1].has_ended, true);
    assert_int_equal(look(a), -1);
    assert_told(a, "lost");
    ask(a, 1);
    assert_int_equal(look(a), -1);
    assert_told(a, "lost");
    assert_int_equal(a->freed, 2);
}

static void one_that_has_answered_before_it_ended_has_answered(void **state)
{
    struct asking *a = *state;

    ask(a, 1);
    turn(a, 1);
    atomic_store(&a->reactors[1].has_ended, true);
    look(a);
    assert_told(a, "{\"ok\":true}");
}

static void one_that_goes_on_to_a_reactor_that_has_ended_is_looked_at_at_once(void **state)
{
    struct asking *a = *state;

    ask(a, 0);
    a->more = 1;
    atomic_store(&a->reactors[1].has_ended, true);
    turn(a, 0);
    assert_int_equal(look(a), 0);
    assert_int_equal(look(a), -1);
    assert_told(a, "lost");
}

static void several_are_answered_as_they_are_done(void **state)
{
    struct asking *a = *state;

    int first = a->client;

    ask(a, 0);
    connect_client(a);
    ask(a, 1);
    turn(a, 1);
    assert_true(look(a) > 0);
    assert_told(a, "{\"ok\":true}");
    turn(a, 0);
    close(first);
    assert_int_equal(look(a), -1); /* its client has gone */
    assert_int_equal(a->freed, 2);
}

static void at_the_end_all_are_lost_and_their_requests_left_to_others(void **state)
{
    struct asking *a = *state;

    ask(a, 0);
    (void)!inbox_take(&a->reactors[0].inbox);
    inquiry_lose_all(&a->service);
    assert_int_equal(a->lost, 1);
    assert_told_nothing(a);
    control_close(&a->service.control);
    assert_told(a, "the server has ended");
}

static void a_reactor_is_named_by_its_number(void **state)
{
    static const char *const wrong[] = {"2", "-1", "", "x", "1x", " 1", "4294967296", "18446744073709551617"};
    struct asking *a = *state;

    assert_int_equal(inquiry_reactor(new_request(a), "1"), 1);
    control_ok(a->request, NULL);
    assert_told(a, "true");
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        assert_true(inquiry_reactor(new_request(a), wrong[i]) < 0);
        assert_told(a, "expected a reactor from 0 to 1, got ");
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_answer_goes_to_the_request),
        TEST(a_reactor_that_is_late_fails_the_request_and_frees_it_when_it_answers),
        TEST(one_that_has_begun_when_its_time_is_over_may_take_effect),
        TEST(one_whose_client_has_gone_is_not_run),
        TEST(one_whose_client_has_gone_while_it_runs_is_run_to_its_end),
        TEST(what_is_asked_behind_one_whose_client_has_gone_is_given_up_at_once_too),
        TEST(a_reactor_has_so_many_before_it_and_others_go_on),
        TEST(one_that_goes_on_to_a_reactor_with_too_many_fails),
        TEST(one_that_goes_on_to_another_reactor_has_a_time_there_too),
        TEST(a_reactor_that_has_ended_loses_what_it_is_asked),
        TEST(one_that_has_answered_before_it_ended_has_answered),
        TEST(one_that_goes_on_to_a_reactor_that_has_ended_is_looked_at_at_once),
        TEST(several_are_answered_as_they_are_done),
        TEST(at_the_end_all_are_lost_and_their_requests_left_to_others),
        TEST(a_reactor_is_named_by_its_number),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
