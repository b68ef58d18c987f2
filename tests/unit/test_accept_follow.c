/* Which sockets are accepted from when another version becomes current: listeners that come and go, and sockets of several
 * descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "accepting.h"
#include "fake_ring.h"
#include "uring/op.h"
#include "versions.h"

/* One with the first, the second or no listener of the two. */
static struct version *version_with(struct accept_fixture *f, bool has_first, bool has_second)
{
    struct version *version = version_by_hand(&f->engine, &f->config, f->sockets);

    if (!has_second)
        version_by_hand_remove(version, 1);
    if (!has_first)
        version_by_hand_remove(version, 0);
    return version;
}

static void follow(struct accept_fixture *f, bool has_first, bool has_second)
{
    struct version *version = version_with(f, has_first, has_second);

    assert_int_equal(accept_reserve(&f->group, version), 0);
    accept_follow(&f->group, version);
    version_by_hand_free(version);
}

static uint32_t groups(const struct accept_fixture *f, uint32_t socket)
{
    return atomic_load(&f->sockets[socket].groups);
}

static void a_removed_listener_is_left_when_the_kernel_has_let_go(void **state)
{
    struct accept_fixture *f = *state;

    accept_settle(&f->group);
    assert_int_equal(groups(f, 0), 1);
    follow(f, false, true);
    accept_settle(&f->group);
    assert_int_equal(cancels(f), 1);
    assert_int_equal(groups(f, 0), 1);
    int late = arrive(f, 0); /* it was on its way: a reactor decides */
    assert_int_equal(f->taken[0], late);
    answer_cancels(f);
    assert_int_equal(groups(f, 0), 1);
    accept_settle(&f->group);
    assert_int_equal(groups(f, 0), 0);
    assert_int_equal(groups(f, 1), 1);
    assert_int_equal(accepts(f), 0);
    accept_resume(&f->group); /* a place that is free is nobody's */
}

static void one_that_was_not_armed_is_left_at_once(void **state)
{
    struct accept_fixture *f = *state;

    follow(f, true, false);
    accept_settle(&f->group);
    assert_int_equal(groups(f, 1), 0);
    assert_int_equal(accepts(f), 1);
    assert_int_equal(cancels(f), 0);
}

static void held_sockets_are_handed_over_before_it_is_left(void **state)
{
    struct accept_fixture *f = *state;

    f->room = 0;
    accept_settle(&f->group);
    int held = arrive(f, 0);
    follow(f, false, true);
    accept_settle(&f->group);
    answer_cancels(f);
    accept_settle(&f->group);
    assert_int_equal(groups(f, 0), 1);
    f->room = 1;
    accept_resume(&f->group);
    assert_int_equal(f->taken[0], held);
    accept_settle(&f->group);
    assert_int_equal(groups(f, 0), 0);
}

static void one_that_comes_back_while_it_is_being_left_stays(void **state)
{
    struct accept_fixture *f = *state;

    accept_settle(&f->group);
    follow(f, false, true);
    accept_settle(&f->group); /* the cancel is under way */
    follow(f, true, true);
    accept_settle(&f->group);
    assert_int_equal(cancels(f), 1);
    answer_cancels(f);
    accept_settle(&f->group);
    assert_int_equal(accepts(f), 1);
    assert_int_equal(groups(f, 0), 1);
    assert_int_equal(f->group.source_count, 2);
}

/* As another process had them, which had more reactors. */
static void first_has_descriptors(struct accept_fixture *f, uint32_t count)
{
    int *fds = calloc(count, sizeof(*fds));

    assert_non_null(fds);
    free(f->sockets[0].fds);
    f->sockets[0].fds = fds;
    f->sockets[0].fd_count = count;
    for (uint32_t i = 0; i < count; i++)
        fds[i] = VERSION_SOCKET_FD + 10 + (int)i;
}

static void every_descriptor_of_a_socket_is_some_groups(void **state)
{
    struct accept_fixture *f = *state;
    struct accept_group second = {.engine = &f->engine, .ring = f->ring, .timers = &f->timers, .take = accepting_take};

    follow(f, false, false);
    accept_settle(&f->group);
    first_has_descriptors(f, 5);
    accept_init(&f->group, 0, 2);
    accept_init(&second, 1, 2);
    follow(f, true, false);
    assert_int_equal(accept_reserve(&second, f->version), 0);
    accept_follow(&second, f->version);
    assert_int_equal(groups(f, 0), 5);
    assert_int_equal(second.sources[1].fd, VERSION_SOCKET_FD + 13);
    accept_settle(&f->group);
    assert_int_equal(accepts(f), 3);
    assert_non_null(fake_ring_find(f->ring, FAKE_ACCEPT, VERSION_SOCKET_FD + 14));
    for (uint32_t i = 0; i < 3; i++)
        (void)arrive(f, i);
    assert_int_equal(atomic_load(&f->sockets[0].open), 3);
    accept_deinit(&second);
}

static void a_socket_of_several_is_left_when_all_are(void **state)
{
    struct accept_fixture *f = *state;

    follow(f, false, true);
    accept_settle(&f->group);
    first_has_descriptors(f, 3);
    follow(f, true, true);
    accept_settle(&f->group);
    follow(f, false, true);
    accept_settle(&f->group);
    assert_int_equal(cancels(f), 3);
    answer_cancels(f);
    accept_settle(&f->group);
    assert_int_equal(groups(f, 0), 0);
    follow(f, true, true); /* and comes back, to their places */
    accept_settle(&f->group);
    assert_int_equal(accepts(f), 3);
    assert_int_equal(f->group.source_count, 4);
}

static void places_are_used_again(void **state)
{
    struct accept_fixture *f = *state;

    accept_settle(&f->group);
    for (int i = 0; i < 20; i++) {
        follow(f, false, true);
        accept_settle(&f->group);
        answer_cancels(f);
        accept_settle(&f->group);
        fake_ring_forget(f->ring);
        follow(f, true, true);
        accept_settle(&f->group);
        assert_int_equal(accepts(f), 1);
        assert_int_equal(fake_ring_find(f->ring, FAKE_ACCEPT, VERSION_SOCKET_FD)->user_data, op_pack(OP_ACCEPT, 0, 0));
        fake_ring_forget(f->ring);
    }
    assert_int_equal(f->group.source_count, 2);
    assert_true(f->group.source_capacity <= 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, accepting_setup, accepting_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_removed_listener_is_left_when_the_kernel_has_let_go),
        TEST(one_that_was_not_armed_is_left_at_once),
        TEST(held_sockets_are_handed_over_before_it_is_left),
        TEST(one_that_comes_back_while_it_is_being_left_stays),
        TEST(every_descriptor_of_a_socket_is_some_groups),
        TEST(a_socket_of_several_is_left_when_all_are),
        TEST(places_are_used_again),
    };

    return cmocka_run_group_tests_name("accept_follow", tests, NULL, NULL);
}
