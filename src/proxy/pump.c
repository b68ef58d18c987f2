/* See pump.h. */
#include "proxy/pump.h"

#include <errno.h>

#include "base/limits.h"
#include "core/conn.h"
#include "core/reactor.h"
#include "uring/bufring.h"

/* Whether so many buffers are held that what is queued now may not hold one more. The buffer of a piece that a plain ring
 * just gave is held already; in an incremental ring it may be once it is full. */
static bool buffers_are_scarce(const struct bufring *bufs)
{
    uint32_t held = bufring_held(bufs) + bufring_is_incremental(bufs);

    return held * RELAY_SHARE_OF_ALL > bufring_entries(bufs);
}

static bool is_copied(const struct conn *to, const struct lease *lease)
{
    if (lease->len <= RELAY_COPY_BYTES || to->out.views >= SEND_PIECES_MAX)
        return true;
    return !lease->chunk && buffers_are_scarce(to->reactor->bufs);
}

/* Takes over the lease. 0 or a negative errno. */
static int stage_piece(struct conn *to, struct lease *lease)
{
    int rc;

    if (!is_copied(to, lease))
        return conn_write_lease(to, lease);
    rc = conn_write(to, lease->data, lease->len);
    lease_free(lease);
    return rc;
}

/* The first unread piece, but no more of it than limit; NULL without memory. */
static struct lease *take_piece(struct input *in, uint64_t limit)
{
    struct lease *piece;

    if (LIKELY(in->first->len <= limit))
        return input_shift(in);
    piece = lease_clone(in->first, 0, (uint32_t)limit);
    if (piece)
        input_skip(in, piece->len);
    return piece;
}

static int64_t move(struct conn *from, struct conn *to, uint64_t limit, uint32_t staged_max)
{
    uint64_t moved = 0;

    while (from->in.first && moved < limit && to->out.staged < staged_max) {
        struct lease *piece = take_piece(&from->in, limit - moved);
        uint32_t len = piece ? piece->len : 0;

        if (!piece || stage_piece(to, piece) < 0)
            return -ENOMEM;
        moved += len;
    }
    conn_mark_dirty(from); /* it may hold no buffer any more */
    return (int64_t)moved;
}

/* Receiving on `from` pauses or goes on. */
static void regulate(struct conn *from, const struct conn *to)
{
    if (to->out.staged >= to->write_buffer_max)
        conn_pause_input(from);
    else
        conn_on_consumed(from);
}

int64_t pump_move(struct conn *from, struct conn *to, uint64_t limit)
{
    int64_t moved = move(from, to, limit, to->write_buffer_max);

    regulate(from, to);
    return moved;
}

int64_t pump_move_whole(struct conn *from, struct conn *to, uint64_t bytes)
{
    int64_t moved = move(from, to, bytes, UINT32_MAX);

    regulate(from, to);
    return moved;
}

int64_t pump_move_rest(struct conn *from, struct conn *to)
{
    return move(from, to, UINT64_MAX, UINT32_MAX);
}

bool pump_is_due(const struct conn *from, const struct conn *to)
{
    return (from->in.first || from->is_paused) && to->out.staged <= to->write_buffer_max / 2;
}

int pump_pass(const struct lease *lease, uint32_t offset, uint32_t len, struct conn *to)
{
    struct lease *part = lease_clone(lease, offset, len);

    return part ? stage_piece(to, part) : -ENOMEM;
}
