/* See transfer.h. */
#include "script/transfer.h"

#include "base/assert.h"
#include "base/slab.h"
#include "core/conn.h"
#include "proxy/pump.h"
#include "script/api.h"
#include "script/filtering.h"
#include "script/pending.h"
#include "script/runtime.h"
#include "script/script_conn.h"
#include "script/task.h"

enum { TRANSFERS_PER_BLOCK = 16 };

struct transfer {
    struct pending pending;
    struct script_conn *from; /* borrowed until it has ended: then the transfer is over */
    struct script_conn *to;
    uint64_t left;
    uint64_t moved;
    int result;         /* ZERG_PARK until it is over */
    const char *reason; /* of ZERG_END; static */
};

void transfer_init_slab(struct slab *slab)
{
    slab_init(slab, sizeof(struct transfer), TRANSFERS_PER_BLOCK, 0);
}

/* It is over: the connections know it no more. That `to` was full stops the receiving of `from` no longer, so that its end is
 * seen; and nobody waits for its bytes, whose time-out may come to another reader, or to nobody. */
static void settle(struct transfer *transfer, int result)
{
    conn_stop_awaiting(transfer->from->conn);
    conn_on_consumed(transfer->from->conn);
    if (transfer->from->filtering)
        filtering_count(transfer->from, transfer->moved);
    transfer->result = result;
    transfer->from->transfer = NULL;
    transfer->to->inflow = NULL;
}

static void drop(struct pending *pending)
{
    struct transfer *transfer = CONTAINER_OF(pending, struct transfer, pending);
    struct runtime *runtime = pending->task->runtime;

    pending->task->relay_moved = (double)transfer->moved;
    pending_end(pending);
    if (transfer->result == ZERG_PARK)
        settle(transfer, ZERG_CANCELED);
    slab_free(&runtime->transfer_slab, transfer);
}

/* One of the two says no more. */
static int end_by(struct transfer *transfer, const struct conn *ended)
{
    const char *reason = close_reason_text(ended->reason);

    transfer->reason = reason ? reason : close_reason_text(CLOSE_LOCAL); /* shut down by the script, it is open still */
    return ZERG_END;
}

/* Moves what is there and fits. Its result then. */
static int move(struct transfer *transfer)
{
    struct conn *from = transfer->from->conn;
    struct conn *to = transfer->to->conn;
    int64_t moved;

    if (!conn_is_writable(to))
        return end_by(transfer, to);
    moved = pump_move(from, to, transfer->left);
    if (moved < 0) {
        conn_kill(to, CLOSE_NO_MEMORY); /* bytes are missing in what it gets */
        return ZERG_NO_MEMORY;
    }
    transfer->left -= (uint64_t)moved;
    transfer->moved += (uint64_t)moved;
    if (transfer->left == 0)
        return ZERG_OK;
    return conn_ended(from) && !from->in.first ? end_by(transfer, from) : ZERG_PARK;
}

/* For bytes, and the read time-out counts from here; or for room, and it does not: that `to` is slow is not the fault of `from`. */
static void await(const struct transfer *transfer)
{
    struct conn *from = transfer->from->conn;
    const struct conn *to = transfer->to->conn;

    if (to->out.staged < to->write_buffer_max)
        conn_await_input(from, 1);
    else
        conn_stop_awaiting(from);
}

static void advance(struct transfer *transfer)
{
    int result = move(transfer);

    if (transfer->result != ZERG_PARK) /* on_end came from within */
        return;
    if (result == ZERG_PARK) {
        await(transfer);
        return;
    }
    settle(transfer, result);
    pending_wake(&transfer->pending);
}

void transfer_move(struct transfer *transfer)
{
    advance(transfer);
}

void transfer_on_room(struct transfer *transfer)
{
    if (pump_is_due(transfer->from->conn, transfer->to->conn))
        advance(transfer);
}

void transfer_on_end(struct transfer *transfer, const struct conn *ended)
{
    settle(transfer, end_by(transfer, ended));
    pending_wake(&transfer->pending);
}

bool transfer_is_of(const struct transfer *transfer, const struct task *task)
{
    return transfer->pending.task == task;
}

/* As a reader of `from`, so that another one is refused and the read time-out comes to us. */
static int park(struct task *task, struct transfer *transfer)
{
    int rc = task_park_reading(task, transfer->from);

    assert(!transfer->from->reader);
    if (rc == ZERG_PARK) {
        transfer->from->reader = task;
        await(transfer);
    }
    return rc;
}

int transfer_begin(struct task *task, struct script_conn *from, struct script_conn *to, uint64_t bytes)
{
    struct runtime *runtime = task->runtime;
    struct transfer *transfer;

    assert(!from->transfer && !to->inflow);
    transfer = slab_new(&runtime->transfer_slab);
    if (!transfer)
        return ZERG_NO_MEMORY;
    *transfer = (struct transfer){.from = from, .to = to, .left = bytes, .result = ZERG_PARK};
    pending_begin(&transfer->pending, task, drop);
    input_end_borrow(&from->conn->in);
    from->transfer = transfer;
    to->inflow = transfer;
    advance(transfer);
    return transfer_finish(task);
}

int transfer_finish(struct task *task)
{
    struct pending *pending = pending_of(task, drop);
    struct transfer *transfer;
    int result;

    if (!pending)
        return ZERG_END;
    transfer = CONTAINER_OF(pending, struct transfer, pending);
    if (transfer->result == ZERG_PARK)
        return park(task, transfer);
    result = transfer->result;
    if (result == ZERG_END)
        pending_set_reason(task->runtime, transfer->reason);
    drop(pending);
    return result;
}
