/* reload: a thread that does not come back, as a script never returns, and a reactor that does not turn. The thread is real, and
 * held by the test; the clock is the test's. The reactor is an inbox that the test looks into. */
#include "admin/reload.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "core/config.h"
#include "core/engine.h"
#include "core/reactor.h"
#include "core/version.h"
#include "script/config.h"
#include "script/runtime.h"

static const char plain[] = "return { reactors = 1, listeners = { { path = 'one', handler = 'handler.lua' } } }\n";
/* Reading it ends when somebody opens the other end of the pipe. */
static const char held[] = "io.open('pipe'):close() error('let go')\n";

struct fixture {
    struct config_request request;
    struct engine engine;
    struct reactor reactor;
    struct version current;
    struct reload reload;
    char directory[32];
};

struct waiting {
    struct reload_waiter waiter;
    uint32_t answers;
    uint32_t version;
    char problem[512];
};

static atomic_bool holds_load;
static atomic_bool holds_unload;
static atomic_uint loads;
static atomic_uint unloads;
static struct runtime *loaded;     /* what a part has after load(); NULL: nothing */
static const char *load_problem;   /* NULL: it can be loaded */
static pthread_t unloading_thread; /* the last one */

static void await_change(const atomic_bool *flag)
{
    while (atomic_load(flag))
        (void)poll(NULL, 0, 1);
}

static int load(struct version_part *part)
{
    atomic_fetch_add(&loads, 1);
    await_change(&holds_load);
    part->app_data = loaded;
    if (!load_problem)
        return 0;
    part->problem = strdup(load_problem);
    return -EINVAL;
}

static void unload(struct version_part *part)
{
    unloading_thread = pthread_self();
    await_change(&holds_unload);
    part->app_data = NULL;
    atomic_fetch_add(&unloads, 1);
}

static const struct reactor_app app = {.load = load, .unload = unload, .free_config = config_free};

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int ends;

static void on_end(void *context)
{
    (*(int *)context)++;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_int_equal(log_open("/dev/null", LOG_DEBUG, LOG_TEXT), 0);
    memcpy(f->directory, "/tmp/zerg-reload-XXXXXX", sizeof("/tmp/zerg-reload-XXXXXX"));
    assert_non_null(mkdtemp(f->directory));
    assert_int_equal(chdir(f->directory), 0);
    write_file("zerg.lua", plain);
    write_file("handler.lua", "return function() end\n");
    assert_int_equal(mkfifo("pipe", 0600), 0);
    f->request = (struct config_request){.path = "zerg.lua", .reactors = CONFIG_REACTORS_AS_GIVEN};
    f->engine = (struct engine){.app = &app, .reactors = &f->reactor, .reactor_count = 1, .version = &f->current};
    f->engine.control_eventfd = eventfd(0, EFD_CLOEXEC);
    f->current.number = 1;
    f->engine.last_number = 1;
    f->reactor.engine = &f->engine;
    assert_int_equal(inbox_open(&f->reactor.inbox, 0), 0);
    list_init(&f->engine.versions);
    assert_int_equal(config_load(&f->request, &f->engine.config), 0);
    ends = 0;
    reload_init(&f->reload, &f->engine, &f->request, on_end, &ends);
    atomic_store(&loads, 0);
    atomic_store(&unloads, 0);
    atomic_store(&holds_load, false);
    atomic_store(&holds_unload, false);
    loaded = NULL;
    load_problem = NULL;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    static const char *const files[] = {"zerg.lua", "handler.lua", "pipe"};
    struct fixture *f = *state;

    reload_deinit(&f->reload);
    assert_true(list_is_empty(&f->engine.versions));
    config_free(f->engine.config);
    close(f->engine.control_eventfd);
    inbox_close(&f->reactor.inbox);
    free(f->engine.sockets);
    for (size_t i = 0; i < COUNT_OF(files); i++)
        unlink(files[i]);
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(rmdir(f->directory), 0); /* no socket's file is left */
    log_close();
    free(f);
    return 0;
}

static void on_done(struct reload_waiter *waiter, uint32_t version, const char *problem)
{
    struct waiting *waiting = CONTAINER_OF(waiter, struct waiting, waiter);

    waiting->version = version;
    waiting->answers++;
    snprintf(waiting->problem, sizeof(waiting->problem), "%s", problem ? problem : "");
}

static void begin(struct fixture *f, struct waiting *waiting, enum reload_kind kind)
{
    *waiting = (struct waiting){.waiter = {.kind = kind, .on_done = on_done}};
    reload_begin(&f->reload, &waiting->waiter);
}

static uint64_t deadline_ms(const struct fixture *f)
{
    return f->reload.began_ms + START_MS_MAX;
}

/* Until the thread has done its part, which is looked at then. */
static void await_thread(struct fixture *f)
{
    while (!atomic_load(&f->reload.is_done))
        (void)poll(NULL, 0, 1);
    reload_look(&f->reload, clock_now_ms());
}

static void let_go_of_reading(void)
{
    FILE *pipe = fopen("pipe", "w"); /* waits for the reader */

    assert_non_null(pipe);
    fclose(pipe);
}

static void begin_held_read(struct fixture *f, struct waiting *waiting, enum reload_kind kind)
{
    write_file("zerg.lua", held);
    begin(f, waiting, kind);
    assert_int_equal(f->reload.stage, RELOAD_READ);
}

static void end_held_read(struct fixture *f)
{
    let_go_of_reading();
    await_thread(f);
    assert_int_equal(f->reload.stage, RELOAD_IDLE);
}

/* As far as to the scripts. */
static void begin_held_load(struct fixture *f, struct waiting *waiting)
{
    atomic_store(&holds_load, true);
    begin(f, waiting, RELOAD_SWITCH);
    await_thread(f);
    assert_int_equal(f->reload.stage, RELOAD_LOAD);
    while (atomic_load(&loads) == 0)
        (void)poll(NULL, 0, 1);
}

static void a_thread_has_until_its_deadline(void **state)
{
    struct fixture *f = *state;
    struct waiting waiting;

    assert_int_equal(reload_left_ms(&f->reload, clock_now_ms()), -1);
    begin_held_read(f, &waiting, RELOAD_CHECK);
    assert_int_equal(reload_left_ms(&f->reload, f->reload.began_ms), START_MS_MAX);
    reload_look(&f->reload, deadline_ms(f) - 1);
    assert_int_equal(waiting.answers, 0);
    assert_true(reload_is_busy(&f->reload));
    end_held_read(f);
    assert_int_equal(waiting.answers, 1);
    assert_non_null(strstr(waiting.problem, "let go"));
}

static void who_waits_for_one_that_is_stuck_is_told(void **state)
{
    struct fixture *f = *state;
    struct waiting asked, asking;

    begin_held_read(f, &asked, RELOAD_CHECK);
    begin(f, &asking, RELOAD_SWITCH);
    assert_int_equal(reload_left_ms(&f->reload, deadline_ms(f) + 5), 0);
    reload_look(&f->reload, deadline_ms(f) + 5);
    assert_int_equal(asked.answers, 1);
    assert_int_equal(asking.answers, 1);
    assert_non_null(strstr(asked.problem, "a script that is being checked has not returned for 60 s"));
    assert_non_null(strstr(asked.problem, "`zerg upgrade`"));
    assert_string_equal(asked.problem, asking.problem);
    assert_int_equal(ends, 1);
    assert_false(reload_is_busy(&f->reload)); /* the service manager is told that all is over */
    assert_false(reload_is_busy(&f->reload));
    assert_int_equal(reload_left_ms(&f->reload, deadline_ms(f) + 5), -1);
    end_held_read(f);
    assert_int_equal(asked.answers, 1);
}

static void further_ones_are_refused_at_once(void **state)
{
    struct fixture *f = *state;
    struct waiting stuck, refused;

    begin_held_read(f, &stuck, RELOAD_SWITCH);
    reload_look(&f->reload, deadline_ms(f));
    assert_non_null(strstr(stuck.problem, "the configuration that is being read has not returned"));
    begin(f, &refused, RELOAD_CHECK);
    assert_int_equal(refused.answers, 1);
    assert_non_null(strstr(refused.problem, "the configuration that is being read has not returned"));
    reload_begin(&f->reload, NULL);
    end_held_read(f); /* and the last one was not kept for later */
}

static void one_that_returns_after_all_is_dropped_and_the_next_works(void **state)
{
    struct fixture *f = *state;
    struct waiting stuck, next;

    begin_held_read(f, &stuck, RELOAD_CHECK);
    reload_look(&f->reload, deadline_ms(f));
    end_held_read(f);
    write_file("zerg.lua", plain);
    begin(f, &next, RELOAD_CHECK);
    await_thread(f);
    assert_int_equal(next.answers, 1);
    assert_string_equal(next.problem, "");
}

static void a_script_that_is_stuck_gives_new_addresses_back(void **state)
{
    struct fixture *f = *state;
    struct waiting stuck;

    begin_held_load(f, &stuck);
    assert_int_equal(access("one", F_OK), 0);
    reload_look(&f->reload, deadline_ms(f));
    assert_non_null(strstr(stuck.problem, "a script that is being loaded has not returned for 60 s"));
    assert_int_equal(access("one", F_OK), -1);
    atomic_store(&holds_load, false);
    await_thread(f);
    assert_int_equal(f->reload.stage, RELOAD_IDLE);
    assert_true(list_is_empty(&f->engine.versions));
}

static void the_server_can_end_with_one_that_is_stuck(void **state)
{
    struct fixture *f = *state;
    struct waiting stuck;

    begin_held_load(f, &stuck);
    reload_look(&f->reload, deadline_ms(f));
    reload_forbid(&f->reload, "the server is shutting down");
    assert_false(reload_join(&f->reload, 0));
    atomic_store(&holds_load, false);
    assert_true(reload_join(&f->reload, STOP_MS_MAX));
    assert_int_equal(stuck.answers, 1);
}

/* ---- what was loaded in vain ---- */

static struct runtime runtime; /* of no files */

/* A script fails, and a finalizer of it does not return. */
static void begin_held_drop(struct fixture *f, struct waiting *waiting)
{
    loaded = &runtime;
    load_problem = "it is broken";
    atomic_store(&holds_unload, true);
    begin(f, waiting, RELOAD_SWITCH);
    await_thread(f);
    await_thread(f);
    assert_int_equal(f->reload.stage, RELOAD_DROP);
}

static void end_held_drop(struct fixture *f)
{
    atomic_store(&holds_unload, false);
    await_thread(f);
    assert_int_equal(atomic_load(&unloads), 1);
    assert_true(list_is_empty(&f->engine.versions));
}

static void what_was_loaded_in_vain_is_ended_by_a_thread(void **state)
{
    struct fixture *f = *state;
    struct waiting waiting;

    begin_held_drop(f, &waiting);
    assert_int_equal(waiting.answers, 1); /* who asked does not wait for that */
    assert_string_equal(waiting.problem, "it is broken");
    assert_int_equal(access("one", F_OK), -1);
    assert_false(reload_is_busy(&f->reload));
    assert_int_equal(reload_left_ms(&f->reload, f->reload.began_ms), START_MS_MAX);
    end_held_drop(f);
    assert_false(pthread_equal(unloading_thread, pthread_self()));
    assert_int_equal(f->reload.stage, RELOAD_IDLE);
}

static void the_next_one_waits_for_the_finalizers(void **state)
{
    struct fixture *f = *state;
    struct waiting failed, next;

    begin_held_drop(f, &failed);
    begin(f, &next, RELOAD_CHECK);
    assert_true(reload_is_busy(&f->reload));
    assert_int_equal(next.answers, 0);
    end_held_drop(f);
    await_thread(f);
    assert_int_equal(next.answers, 1);
    assert_string_equal(next.problem, "");
}

static void a_finalizer_that_does_not_return_holds_nobody_up(void **state)
{
    struct fixture *f = *state;
    struct waiting failed, asking, refused;

    begin_held_drop(f, &failed);
    begin(f, &asking, RELOAD_SWITCH);
    reload_look(&f->reload, deadline_ms(f));
    assert_non_null(strstr(asking.problem, "a finalizer of a script that could not be used has not returned for 60 s"));
    assert_false(reload_is_busy(&f->reload));
    begin(f, &refused, RELOAD_CHECK);
    assert_int_equal(refused.answers, 1);
    assert_false(reload_join(&f->reload, 0)); /* the server ends without it */
    end_held_drop(f);
    assert_int_equal(f->reload.stage, RELOAD_IDLE);
}

static void the_end_waits_for_what_was_loaded_and_for_its_finalizers(void **state)
{
    struct fixture *f = *state;
    struct waiting waiting;

    loaded = &runtime;
    begin_held_load(f, &waiting);
    reload_forbid(&f->reload, "the server is shutting down");
    atomic_store(&holds_load, false);
    assert_true(reload_join(&f->reload, STOP_MS_MAX));
    assert_int_equal(waiting.answers, 1);
    assert_int_equal(atomic_load(&unloads), 1);
    assert_false(pthread_equal(unloading_thread, pthread_self()));
    assert_int_equal(f->reload.stage, RELOAD_IDLE);
}

/* ---- a reactor that does not turn ---- */

/* As far as to the reactors. */
static struct version *begin_start(struct fixture *f, struct waiting *waiting)
{
    begin(f, waiting, RELOAD_SWITCH);
    await_thread(f);
    await_thread(f);
    assert_int_equal(f->reload.stage, RELOAD_START);
    return f->reload.version;
}

static struct version *begin_switch(struct fixture *f, struct waiting *waiting)
{
    struct version *version = begin_start(f, waiting);

    atomic_store(&version->parts[0].state, PART_READY);
    reload_look(&f->reload, clock_now_ms());
    assert_int_equal(f->reload.stage, RELOAD_SWITCHING);
    return version;
}

/* The reactor turns at last: it carries out as many orders, and its part comes to that state. */
static void turn(struct fixture *f, struct version *version, uint32_t orders, enum part_state to)
{
    uint32_t count = 0;

    for (struct inbox_message *next, *message = inbox_take(&f->reactor.inbox); message; message = next) {
        next = message->next;
        count++;
        version_on_message_done(version);
    }
    assert_int_equal(count, orders);
    atomic_store(&version->parts[0].state, to);
}

static void a_reactor_that_takes_no_order_fails_the_reload(void **state)
{
    struct fixture *f = *state;
    struct waiting waiting, next;
    struct version *version = begin_start(f, &waiting);
    uint64_t began_ms = f->reload.began_ms;

    assert_int_equal(reload_left_ms(&f->reload, began_ms), ORDER_MS_MAX);
    reload_look(&f->reload, began_ms + ORDER_MS_MAX - 1);
    assert_true(reload_is_busy(&f->reload));
    reload_look(&f->reload, began_ms + ORDER_MS_MAX);
    assert_int_equal(waiting.answers, 1);
    assert_int_equal(waiting.version, 0);
    assert_non_null(strstr(waiting.problem, "reactor 0 is held by a script that does not park"));
    assert_false(reload_is_busy(&f->reload)); /* an upgrade is possible */
    begin(f, &next, RELOAD_CHECK);
    await_thread(f);
    assert_string_equal(next.problem, ""); /* and another one, before it turns */
    turn(f, version, 2, PART_ENDED);
    engine_collect(&f->engine);
}

static void a_hook_that_holds_its_reactor_fails_the_reload(void **state)
{
    struct fixture *f = *state;
    struct waiting waiting;
    struct version *version = begin_start(f, &waiting);
    uint64_t late_ms = f->reload.began_ms + START_MS_MAX + 2 * ORDER_MS_MAX;

    turn(f, version, 1, PART_STARTING);
    reload_look(&f->reload, f->reload.began_ms + START_MS_MAX); /* which is the part's own limit */
    assert_int_equal(reload_left_ms(&f->reload, late_ms - 1), 1);
    assert_int_equal(waiting.answers, 0);
    reload_look(&f->reload, late_ms);
    assert_int_equal(waiting.answers, 1);
    assert_non_null(strstr(waiting.problem, "reactor 0 is held"));
    turn(f, version, 1, PART_ENDED);
    engine_collect(&f->engine);
}

static void a_reactor_that_does_not_switch_is_not_waited_for(void **state)
{
    struct fixture *f = *state;
    struct waiting waiting;
    struct version *version = begin_switch(f, &waiting);
    uint64_t began_ms = f->reload.began_ms;

    assert_int_equal(reload_left_ms(&f->reload, began_ms), ORDER_MS_MAX);
    reload_look(&f->reload, began_ms + ORDER_MS_MAX - 1);
    assert_int_equal(waiting.answers, 0);
    reload_look(&f->reload, began_ms + ORDER_MS_MAX);
    assert_int_equal(waiting.answers, 1);
    assert_int_equal(waiting.version, 2); /* it has not failed */
    assert_non_null(strstr(waiting.problem, "reactor 0 is held by a script that has not parked for 5 s"));
    assert_false(reload_is_busy(&f->reload));
    assert_ptr_equal(f->engine.version, version);
    turn(f, version, 2, PART_CURRENT);
    version->is_over = true;
    turn(f, version, 0, PART_ENDED);
    f->engine.version = &f->current;
    engine_collect(&f->engine);
}

static void one_that_switches_in_time_is_no_problem(void **state)
{
    struct fixture *f = *state;
    struct waiting waiting;
    struct version *version = begin_switch(f, &waiting);

    turn(f, version, 2, PART_CURRENT);
    reload_look(&f->reload, f->reload.began_ms + 1);
    assert_int_equal(waiting.version, 2);
    assert_string_equal(waiting.problem, "");
    version->is_over = true;
    turn(f, version, 0, PART_ENDED);
    f->engine.version = &f->current;
    engine_collect(&f->engine);
}

#define RELOAD_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RELOAD_TEST(a_thread_has_until_its_deadline),
        RELOAD_TEST(who_waits_for_one_that_is_stuck_is_told),
        RELOAD_TEST(further_ones_are_refused_at_once),
        RELOAD_TEST(one_that_returns_after_all_is_dropped_and_the_next_works),
        RELOAD_TEST(a_script_that_is_stuck_gives_new_addresses_back),
        RELOAD_TEST(the_server_can_end_with_one_that_is_stuck),
        RELOAD_TEST(what_was_loaded_in_vain_is_ended_by_a_thread),
        RELOAD_TEST(the_next_one_waits_for_the_finalizers),
        RELOAD_TEST(a_finalizer_that_does_not_return_holds_nobody_up),
        RELOAD_TEST(the_end_waits_for_what_was_loaded_and_for_its_finalizers),
        RELOAD_TEST(a_reactor_that_takes_no_order_fails_the_reload),
        RELOAD_TEST(a_hook_that_holds_its_reactor_fails_the_reload),
        RELOAD_TEST(a_reactor_that_does_not_switch_is_not_waited_for),
        RELOAD_TEST(one_that_switches_in_time_is_no_problem),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
