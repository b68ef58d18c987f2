/* user_data of every SQE: operation kind, slot and generation of its owner. A completion whose generation is not the
 * slot's present one belongs to somebody who is gone and must be dropped. */
#pragma once

#include <stdint.h>

enum op_kind {
    OP_NONE,          /* completion of no interest */
    OP_ACCEPT,        /* slot: listener index */
    OP_RECV,          /* slot: connection */
    OP_SEND,          /* slot: connection */
    OP_CANCEL,        /* slot: connection whose operation was to be cancelled */
    OP_CANCEL_ACCEPT, /* slot: listener whose accept was to be cancelled */
    OP_CLOSE,         /* slot: connection */
    OP_CONNECT,       /* slot: connection */
    OP_WATCH,         /* slot: of the watch table */
    OP_DOORBELL,      /* MSG_RING from another ring: look into the inbox */
    OP_EVENTFD,       /* read of the inbox's eventfd: look into the inbox */
    OP_RUNG, /* our own MSG_RING failed (slot: the receiver's inbox); one that is delivered does not complete here */
    OP_KIND_COUNT,
};

enum { OP_GENERATION_MASK = 0xffffff };

static inline uint64_t op_pack(enum op_kind kind, uint32_t slot, uint32_t generation)
{
    return (uint64_t)kind << 56 | (uint64_t)(generation & OP_GENERATION_MASK) << 32 | slot;
}

static inline enum op_kind op_kind(uint64_t user_data)
{
    return (enum op_kind)(user_data >> 56);
}

static inline uint32_t op_generation(uint64_t user_data)
{
    return (uint32_t)(user_data >> 32) & OP_GENERATION_MASK;
}

static inline uint32_t op_slot(uint64_t user_data)
{
    return (uint32_t)user_data;
}
