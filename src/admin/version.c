/* Asks the kernel by trying (uring/probe.h, and a ring of its own for the set-up flags). */
#include "admin/version.h"

#include <stdio.h>
#include <sys/utsname.h>

#include "script/modules.h"
#include "uring/probe.h"
#include "uring/ring.h"

#ifndef ZERG_LIBURING_VERSION
#define ZERG_LIBURING_VERSION "(version not recorded)" /* the library itself cannot say before 2.4 */
#endif

enum { EXPLANATION_BYTES = 1024 };

static const char *yes_or_no(bool value)
{
    return value ? "yes" : "no";
}

static void print_ring_flags(void)
{
    struct ring_options options = {.sq_entries = 8, .cq_entries = 16, .sq_cpu = -1};
    struct ring *ring;

    if (ring_open(&ring, &options) < 0)
        return;
    printf("  ring flags            %s\n", ring_flags_text(ring));
    ring_close(ring);
}

static void print_features(void)
{
    struct probe probe;
    char explanation[EXPLANATION_BYTES];
    int status = probe_run(&probe);

    if (status < 0) {
        printf("  io_uring              not usable here: %s\n",
               probe_explain(status, explanation, sizeof(explanation)));
        return;
    }
    print_ring_flags();
    printf("  deferred task work    %s\n", yes_or_no(probe.defer_taskrun));
    printf("  registered ring       %s\n", yes_or_no(probe.registered_ring));
    printf("  doorbell by MSG_RING  %s\n", yes_or_no(probe.doorbell));
    printf("  incremental buffers   %s\n", yes_or_no(probe.incremental));
}

void version_print(void)
{
    struct utsname name;

    printf("zerg " ZERG_VERSION "\n");
    printf("  liburing              " ZERG_LIBURING_VERSION "\n");
    printf("  LuaJIT                %s\n", modules_luajit_version());
    if (uname(&name) == 0)
        printf("  kernel                %s %s\n", name.sysname, name.release);
    print_features();
}
