/* The watchdog with reactors that only pretend: when it looks, what it reports, and that it sleeps while nothing turns. */
#include "admin/watchdog.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "core/engine.h"
#include "core/reactor.h"
#include "script/host.h"
#include "script/stall.h"

enum { REACTORS = 2, STALL_MS = 1000, LOOK_MS = STALL_MS / 4, CODE = 0x5000 };

static char log_path[] = "/tmp/zerg-watchdog-XXXXXX";

struct dog_fixture {
    struct engine engine;
    struct reactor reactors[REACTORS];
    struct host hosts[REACTORS];
    struct watchdog watchdog;
    uint64_t now_ms;
};

static int setup(void **state)
{
    struct dog_fixture *f = calloc(1, sizeof(*f));
    int fd;

    assert_non_null(f);
    memcpy(log_path, "/tmp/zerg-watchdog-XXXXXX", sizeof(log_path));
    fd = mkstemp(log_path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(log_open(log_path, LOG_DEBUG, LOG_TEXT), 0);
    assert_int_equal(stall_install_signal(), 0);
    f->engine = (struct engine){.reactors = f->reactors, .reactor_count = REACTORS, .control_eventfd = -1};
    for (uint32_t i = 0; i < REACTORS; i++) {
        f->reactors[i].index = i;
        f->reactors[i].thread = pthread_self(); /* signals do nothing here: no runtime is current */
        f->reactors[i].app_data = &f->hosts[i];
        stall_init(&f->hosts[i].stall);
    }
    assert_int_equal(watchdog_init(&f->watchdog, &f->engine, STALL_MS), 0);
    f->now_ms = 5000;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct dog_fixture *f = *state;

    watchdog_deinit(&f->watchdog);
    for (uint32_t i = 0; i < REACTORS; i++)
        stall_deinit(&f->hosts[i].stall);
    log_close();
    unlink(log_path);
    free(f);
    return 0;
}

static uint32_t reports(const char *text)
{
    FILE *file = fopen(log_path, "r");
    char line[1024];
    uint32_t count = 0;

    assert_non_null(file);
    while (fgets(line, sizeof(line), file))
        count += strstr(line, "is held by a handler") && strstr(line, text);
    fclose(file);
    return count;
}

static int look_after(struct dog_fixture *f, uint64_t ms)
{
    f->now_ms += ms;
    return watchdog_look(&f->watchdog, f->now_ms);
}

/* Begins or ends a turn. */
static void half_turn(struct dog_fixture *f, uint32_t index)
{
    atomic_fetch_add(&f->reactors[index].pulse.turns, 1);
}

static void turn(struct dog_fixture *f, uint32_t index)
{
    half_turn(f, index);
    half_turn(f, index);
}

/* Begins or ends a resume. */
static void resume(struct dog_fixture *f, uint32_t index)
{
    atomic_fetch_add(&f->reactors[index].pulse.resumes, 1);
}

/* As the signal does. */
static void signal_finds(struct dog_fixture *f, uint32_t index, uintptr_t pc)
{
    f->hosts[index].stall.words[0] = pc;
    atomic_store(&f->hosts[index].stall.word_count, 1);
}

static void it_sleeps_while_no_reactor_turns(void **state)
{
    struct dog_fixture *f = *state;

    assert_int_equal(look_after(f, 0), -1);
    assert_true(atomic_load(&f->engine.watchdog_sleeps)); /* a reactor that turns will wake it */
}

static void it_looks_regularly_while_one_turns(void **state)
{
    struct dog_fixture *f = *state;

    turn(f, 1);
    assert_int_equal(look_after(f, 0), LOOK_MS);
    turn(f, 1);
    assert_int_equal(look_after(f, LOOK_MS), LOOK_MS);
    assert_int_equal(look_after(f, LOOK_MS), -1);
}

/* The reactor wakes it when it begins to turn, and not again before it runs a script. */
static void it_does_not_sleep_in_the_middle_of_a_turn(void **state)
{
    struct dog_fixture *f = *state;

    half_turn(f, 1);
    for (int i = 0; i < 10; i++)
        assert_int_equal(look_after(f, LOOK_MS), LOOK_MS);
    half_turn(f, 1);
    assert_int_equal(look_after(f, LOOK_MS), LOOK_MS);
    assert_int_equal(look_after(f, LOOK_MS), -1);
}

static void short_resumes_are_not_reported(void **state)
{
    struct dog_fixture *f = *state;

    for (int i = 0; i < 100; i++) { /* in a resume at every look, but never in the same */
        resume(f, 0);
        (void)look_after(f, LOOK_MS);
        resume(f, 0);
        resume(f, 0);
        (void)look_after(f, LOOK_MS);
        resume(f, 0);
    }
    assert_int_equal(reports(""), 0);
}

static void a_long_resume_is_reported_once_with_its_place(void **state)
{
    struct dog_fixture *f = *state;

    resume(f, 1);
    assert_int_equal(look_after(f, 0), LOOK_MS);
    assert_int_equal(look_after(f, STALL_MS - 1), LOOK_MS);
    stall_add_trace(&f->hosts[1].stall, NULL, CODE, 16, "handlers/slow.lua:7");
    int soon = look_after(f, 1); /* asks */
    assert_true(soon > 0 && soon < LOOK_MS);
    assert_int_equal(reports(""), 0);
    signal_finds(f, 1, CODE); /* what the signal finds */
    assert_int_equal(look_after(f, (uint64_t)soon), soon);
    assert_int_equal(reports("reactor 1"), 1);
    assert_int_equal(reports("handlers/slow.lua:7"), 1);
    for (int i = 0; i < 20; i++)
        (void)look_after(f, LOOK_MS);
    assert_int_equal(reports(""), 1);
}

static void the_next_long_resume_is_reported_again(void **state)
{
    struct dog_fixture *f = *state;

    stall_add_trace(&f->hosts[0].stall, NULL, CODE, 16, "a.lua:1");
    for (int i = 0; i < 2; i++) {
        resume(f, 0);
        for (int looks = 0; looks < 10; looks++) {
            (void)look_after(f, LOOK_MS);
            signal_finds(f, 0, CODE);
        }
        resume(f, 0);
        (void)look_after(f, LOOK_MS);
    }
    assert_int_equal(reports("a.lua:1"), 2);
}

static void a_place_that_cannot_be_found_is_said_to_be_so(void **state)
{
    struct dog_fixture *f = *state;

    resume(f, 0);
    (void)look_after(f, 0);
    for (int i = 0; i < 100; i++)
        (void)look_after(f, STALL_MS);
    assert_int_equal(reports("could not be found"), 1);
}

static void it_can_be_turned_off(void **state)
{
    struct dog_fixture *f = *state;

    f->watchdog.stall_ms = 0;
    resume(f, 0);
    assert_int_equal(look_after(f, 0), -1);
    assert_int_equal(look_after(f, 100 * STALL_MS), -1);
    assert_int_equal(reports(""), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_sleeps_while_no_reactor_turns),
        TEST(it_looks_regularly_while_one_turns),
        TEST(it_does_not_sleep_in_the_middle_of_a_turn),
        TEST(short_resumes_are_not_reported),
        TEST(a_long_resume_is_reported_once_with_its_place),
        TEST(the_next_long_resume_is_reported_again),
        TEST(a_place_that_cannot_be_found_is_said_to_be_so),
        TEST(it_can_be_turned_off),
    };

    return cmocka_run_group_tests_name("watchdog", tests, NULL, NULL);
}
