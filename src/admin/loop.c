/* See loop.h. */
#include "admin/loop.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>

#include "base/assert.h"

void loop_init(struct loop *loop)
{
    *loop = (struct loop){.sources = {NULL}};
}

static struct loop_source **find(struct loop *loop, const struct loop_source *source)
{
    for (size_t i = 0; i < COUNT_OF(loop->sources); i++) {
        if (loop->sources[i] == source)
            return &loop->sources[i];
    }
    return NULL;
}

int loop_add(struct loop *loop, struct loop_source *source)
{
    struct loop_source **place = find(loop, NULL);

    assert(source->fd >= 0 && source->on_ready && !find(loop, source));
    if (!place)
        return -ENOSPC;
    source->ready = 0; /* what was ready a moment ago under the same place or descriptor is not this source's */
    *place = source;
    return 0;
}

void loop_remove(struct loop *loop, struct loop_source *source)
{
    struct loop_source **place = find(loop, source);

    if (place)
        *place = NULL;
}

/* A source may remove itself and others, and be freed by that: it is looked up again for each call. */
static void call_ready(struct loop *loop)
{
    for (size_t i = 0; i < COUNT_OF(loop->sources); i++) {
        struct loop_source *source = loop->sources[i];
        short ready = source ? source->ready : 0;

        if (ready == 0)
            continue;
        source->ready = 0;
        source->on_ready(source, ready);
    }
}

int loop_turn(struct loop *loop, int timeout_ms)
{
    struct pollfd fds[LOOP_SOURCES_MAX];

    for (size_t i = 0; i < COUNT_OF(fds); i++) {
        const struct loop_source *source = loop->sources[i];

        fds[i] = (struct pollfd){.fd = source ? source->fd : -1, .events = source ? source->events : (short)0};
    }
    if (poll(fds, COUNT_OF(fds), timeout_ms) < 0)
        return errno == EINTR ? 0 : -errno;
    for (size_t i = 0; i < COUNT_OF(fds); i++) {
        if (loop->sources[i])
            loop->sources[i]->ready = fds[i].revents;
    }
    call_ready(loop);
    return 0;
}
