/* An accept group of two listeners on the fake ring: for tests of accepting. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/accept.h"
#include "core/config.h"
#include "core/engine.h"
#include "core/listen_socket.h"
#include "core/timer.h"

enum { TAKEN_MAX = 256 };

struct accept_fixture {
    struct listener_config configs[2];
    struct config config;
    struct listen_socket sockets[2];
    struct version *version;
    struct engine engine;
    struct timer_wheel timers;
    struct ring *ring;
    struct accept_group group;
    uint32_t room; /* sockets that are taken before there is no more room */
    int taken[TAKEN_MAX];
    uint32_t taken_count;
};

/* Of a test: *state is the fixture. */
int accepting_setup(void **state);
/* Stops it in any state, and sees that nothing is left. */
int accepting_teardown(void **state);
/* Takes what is accepted, of a group in the fixture, as long as there is room. */
bool accepting_take(struct accept_group *group, struct listen_socket *socket, int fd);

/* The kernel lets go of every accept that is to be cancelled; the ring is empty then. */
void answer_cancels(struct accept_fixture *f);
/* A socket comes in on a listener. Returns its descriptor. */
int arrive(struct accept_fixture *f, uint32_t source);
void accept_error(struct accept_fixture *f, uint32_t source, int error);
/* Operations in the ring. */
uint32_t accepts(const struct accept_fixture *f);
uint32_t cancels(const struct accept_fixture *f);
