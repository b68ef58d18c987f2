/* loop: who is called when, and sources that come and go while others are called. Pipes stand for everything. */
#include "admin/loop.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { PIPES = 3 };

struct piped {
    struct loop_source source; /* first */
    int write_fd;
    unsigned calls;
    short said;
    void (*then)(struct piped *self);
};

static struct loop loop;
static struct piped pipes[PIPES];

static void on_ready(struct loop_source *source, short ready)
{
    struct piped *self = (struct piped *)source;

    self->calls++;
    self->said = ready;
    if (self->then)
        self->then(self);
}

static void open_pipe(struct piped *self)
{
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    *self = (struct piped){.source = {.fd = fds[0], .events = POLLIN, .on_ready = on_ready}, .write_fd = fds[1]};
}

static int setup(void **state)
{
    (void)state;
    loop_init(&loop);
    for (size_t i = 0; i < PIPES; i++) {
        open_pipe(&pipes[i]);
        assert_int_equal(loop_add(&loop, &pipes[i].source), 0);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < PIPES; i++) {
        close(pipes[i].source.fd);
        close(pipes[i].write_fd);
    }
    return 0;
}

static void make_ready(struct piped *self)
{
    assert_int_equal(write(self->write_fd, "x", 1), 1);
}

static void turn(void)
{
    assert_int_equal(loop_turn(&loop, 0), 0);
}

static void who_is_ready_is_called_and_nobody_else(void **state)
{
    (void)state;
    turn();
    assert_int_equal(pipes[1].calls, 0);
    make_ready(&pipes[1]);
    turn();
    assert_int_equal(pipes[0].calls, 0);
    assert_int_equal(pipes[1].calls, 1);
    assert_int_equal(pipes[1].said, POLLIN);
    assert_int_equal(pipes[2].calls, 0);
    turn(); /* nobody has read: it still is */
    assert_int_equal(pipes[1].calls, 2);
}

static void without_events_only_the_end_of_the_other_side_is_told(void **state)
{
    (void)state;
    pipes[0].source.events = 0;
    make_ready(&pipes[0]);
    turn();
    assert_int_equal(pipes[0].calls, 0);
    close(pipes[0].write_fd);
    turn();
    assert_int_equal(pipes[0].said, POLLHUP);
    pipes[0].write_fd = dup(pipes[1].write_fd);
}

static void remove_first_and_last(struct piped *self)
{
    (void)self;
    loop_remove(&loop, &pipes[0].source);
    loop_remove(&loop, &pipes[2].source);
}

static void a_removed_source_is_not_called_though_it_was_ready(void **state)
{
    (void)state;
    pipes[1].then = remove_first_and_last;
    pipes[0].then = NULL;
    make_ready(&pipes[1]);
    make_ready(&pipes[2]);
    turn();
    assert_int_equal(pipes[1].calls, 1);
    assert_int_equal(pipes[2].calls, 0);
    loop_remove(&loop, &pipes[2].source); /* once more does no harm */
}

static struct piped *short_lived;

static void free_self(struct piped *self)
{
    loop_remove(&loop, &self->source);
    close(self->source.fd);
    close(self->write_fd);
    free(self);
    short_lived = NULL;
}

static void a_source_may_free_itself(void **state)
{
    (void)state;
    short_lived = malloc(sizeof(*short_lived));
    assert_non_null(short_lived);
    open_pipe(short_lived);
    short_lived->then = free_self;
    assert_int_equal(loop_add(&loop, &short_lived->source), 0);
    make_ready(short_lived);
    turn();
    assert_null(short_lived);
    turn();
}

/* Takes the last pipe out and puts it in again. */
static void put_in_anew(struct piped *self)
{
    (void)self;
    loop_remove(&loop, &pipes[2].source);
    assert_int_equal(loop_add(&loop, &pipes[2].source), 0);
}

static void what_was_ready_before_a_source_was_added_is_not_told_to_it(void **state)
{
    (void)state;
    pipes[0].then = put_in_anew;
    make_ready(&pipes[0]);
    make_ready(&pipes[2]);
    turn();
    assert_int_equal(pipes[2].calls, 0);
    pipes[0].then = NULL;
    turn();
    assert_int_equal(pipes[2].calls, 1);
}

static void there_is_room_for_so_many_only(void **state)
{
    struct piped more[LOOP_SOURCES_MAX];

    (void)state;
    for (size_t i = 0; i < LOOP_SOURCES_MAX - PIPES; i++) {
        more[i] = pipes[0];
        assert_int_equal(loop_add(&loop, &more[i].source), 0);
    }
    more[LOOP_SOURCES_MAX - 1] = pipes[0];
    assert_int_equal(loop_add(&loop, &more[LOOP_SOURCES_MAX - 1].source), -ENOSPC);
    loop_remove(&loop, &more[0].source);
    assert_int_equal(loop_add(&loop, &more[LOOP_SOURCES_MAX - 1].source), 0);
}

static void an_empty_loop_waits_as_long_as_it_is_told(void **state)
{
    (void)state;
    loop_init(&loop);
    assert_int_equal(loop_turn(&loop, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_is_ready_is_called_and_nobody_else, setup, teardown),
        cmocka_unit_test_setup_teardown(without_events_only_the_end_of_the_other_side_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_removed_source_is_not_called_though_it_was_ready, setup, teardown),
        cmocka_unit_test_setup_teardown(a_source_may_free_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_ready_before_a_source_was_added_is_not_told_to_it, setup, teardown),
        cmocka_unit_test_setup_teardown(there_is_room_for_so_many_only, setup, teardown),
        cmocka_unit_test(an_empty_loop_waits_as_long_as_it_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
