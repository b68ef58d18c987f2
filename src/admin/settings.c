/* See settings.h. */
#include "admin/settings.h"

#include <stdio.h>
#include <string.h>

#include "core/config.h"

struct differences {
    char *out;
    size_t out_bytes;
    bool is_any;
};

static void note(struct differences *differences, const char *key, bool is_same)
{
    size_t used = strlen(differences->out);

    if (is_same)
        return;
    snprintf(differences->out + used, differences->out_bytes - used, "%s%s", differences->is_any ? ", " : "", key);
    differences->is_any = true;
}

static bool is_same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static void compare_reactors(struct differences *out, const struct reactor_config *a, const struct reactor_config *b)
{
    note(out, "reactor.ring_entries", a->ring_entries == b->ring_entries);
    note(out, "reactor.recv_buffer_size", a->recv_buffer_size == b->recv_buffer_size);
    note(out, "reactor.buffer_ring_entries", a->buffer_ring_entries == b->buffer_ring_entries);
    note(out, "reactor.incremental", a->incremental == b->incremental);
    note(out, "reactor.batch_cqes", a->batch_cqes == b->batch_cqes);
    note(out, "reactor.cq_timeout", a->cq_timeout_ms == b->cq_timeout_ms);
    note(out, "reactor.max_connections", a->max_connections == b->max_connections);
    note(out, "reactor.sqpoll", a->sqpoll == b->sqpoll);
    note(out, "reactor.sq_cpu", a->sq_cpu == b->sq_cpu);
    note(out, "reactor.sq_idle", a->sq_idle_ms == b->sq_idle_ms);
}

/* Of what is in force a part follows from the number of reactors. When that changes too, what the files say counts: whoever undoes
 * one of the two is not to be told of the other only then. */
static bool is_same_accept(const struct config *started, const struct config *next)
{
    if (started->reactors == next->reactors)
        return started->accept == next->accept;
    return started->accept_given == next->accept_given;
}

bool settings_need_restart(const struct config *started, const struct config *next, char *out, size_t out_bytes)
{
    struct differences differences = {.out = out, .out_bytes = out_bytes};

    out[0] = '\0';
    note(&differences, "reactors", started->reactors == next->reactors);
    note(&differences, "accept", is_same_accept(started, next));
    note(&differences, "pin_cpus", started->pin_cpus == next->pin_cpus);
    note(&differences, "acceptor.ring_entries", started->acceptor_ring_entries == next->acceptor_ring_entries);
    compare_reactors(&differences, &started->reactor, &next->reactor);
    note(&differences, "user", is_same_text(started->user, next->user));
    note(&differences, "group", is_same_text(started->group, next->group));
    note(&differences, "control",
         started->has_control == next->has_control && is_same_text(started->control, next->control));
    return differences.is_any;
}
