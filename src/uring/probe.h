/* What this kernel's io_uring can do, found by trying: opening a ring, and self-tests on a throw-away ring
 * with socket pairs (multishot receive with its end of stream, incremental buffers at growing offsets and
 * at end of stream, MSG_RING towards a DEFER_TASKRUN ring). Run once at start. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "base/macros.h"

struct probe {
    bool incremental;     /* IOU_PBUF_RING_INC works, offsets and end of stream included (6.12) */
    bool doorbell;        /* MSG_RING wakes a sleeping DEFER_TASKRUN ring (5.18 and newer) */
    bool defer_taskrun;   /* SINGLE_ISSUER | DEFER_TASKRUN accepted (6.1) */
    bool registered_ring; /* registered ring fd (5.18) */
};

/* Fills probe. 0, or a negative errno when zerg cannot run on this kernel at all; probe_explain() says why. */
MUST_CHECK int probe_run(struct probe *probe);
/* What to tell the operator about an error of probe_run() or ring_open(): -EPERM with
 * kernel.io_uring_disabled (which it reads) and how to set it, -EPERM or -ENOSYS from a container's seccomp
 * profile and how to allow io_uring there, -ENOMEM and RLIMIT_MEMLOCK, an old kernel. Writes one paragraph
 * to out, returns out. */
const char *probe_explain(int error, char *out, size_t out_bytes);
