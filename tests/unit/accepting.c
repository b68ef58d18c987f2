/* See accepting.h. */
#include "accepting.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "fake_ring.h"
#include "uring/op.h"
#include "versions.h"

bool accepting_take(struct accept_group *group, struct listen_socket *socket, int fd)
{
    struct accept_fixture *f = CONTAINER_OF(group, struct accept_fixture, group);

    (void)socket;
    if (f->taken_count >= f->room)
        return false;
    f->taken[f->taken_count++] = fd;
    return true;
}

int accepting_setup(void **state)
{
    const struct ring_options options = {.sq_entries = 8, .cq_entries = 16};
    struct accept_fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_int_equal(log_open("/dev/null", LOG_DEBUG, LOG_TEXT), 0);
    for (int i = 0; i < 2; i++) {
        f->configs[i].name = (char *)(i == 0 ? "first" : "second");
    }
    f->config = (struct config){.listeners = f->configs, .listener_count = 2};
    f->engine = (struct engine){.control_eventfd = -1};
    f->version = version_by_hand(&f->engine, &f->config, f->sockets);
    assert_int_equal(ring_open(&f->ring, &options), 0);
    timer_wheel_init(&f->timers, 1000);
    f->room = TAKEN_MAX;
    f->group.engine = &f->engine;
    f->group.ring = f->ring;
    f->group.timers = &f->timers;
    f->group.take = accepting_take;
    accept_init(&f->group, 0, 1);
    assert_int_equal(accept_reserve(&f->group, f->version), 0);
    accept_follow(&f->group, f->version);
    *state = f;
    return 0;
}

void answer_cancels(struct accept_fixture *f)
{
    for (uint32_t i = 0; i < fake_ring_queued(f->ring); i++) {
        const struct fake_sqe *sqe = fake_ring_sqe(f->ring, i);
        struct completion ended = {.user_data = sqe->target_user_data, .result = -ECANCELED};
        struct completion done = {.user_data = sqe->user_data};

        if (sqe->kind != FAKE_CANCEL)
            continue;
        accept_on_completion(&f->group, &ended);
        accept_on_cancel(&f->group, &done);
    }
    fake_ring_forget(f->ring);
}

int accepting_teardown(void **state)
{
    struct accept_fixture *f = *state;

    accept_stop(&f->group, ACCEPT_DROP_REST);
    fake_ring_forget(f->ring);
    accept_settle(&f->group);
    answer_cancels(f);
    assert_true(accept_is_stopped(&f->group));
    accept_deinit(&f->group);
    version_by_hand_free(f->version);
    timer_wheel_deinit(&f->timers);
    ring_close(f->ring);
    for (uint32_t i = 0; i < f->taken_count; i++)
        close(f->taken[i]);
    log_close();
    free(f);
    return 0;
}

int arrive(struct accept_fixture *f, uint32_t source)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    struct completion completion = {.user_data = op_pack(OP_ACCEPT, source, 0), .result = fd, .flags = COMPLETION_MORE};

    assert_true(fd >= 0);
    accept_on_completion(&f->group, &completion);
    return fd;
}

void accept_error(struct accept_fixture *f, uint32_t source, int error)
{
    struct completion completion = {.user_data = op_pack(OP_ACCEPT, source, 0), .result = error};

    accept_on_completion(&f->group, &completion);
}

uint32_t accepts(const struct accept_fixture *f)
{
    return fake_ring_count(f->ring, FAKE_ACCEPT);
}

uint32_t cancels(const struct accept_fixture *f)
{
    return fake_ring_count(f->ring, FAKE_CANCEL);
}
