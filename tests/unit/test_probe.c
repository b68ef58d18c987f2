/* The self-tests on the kernel we run on, and the words for each way in which io_uring may be unavailable. */
#include "uring/probe.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include <cmocka.h>

static bool kernel_is_at_least(long major, long minor)
{
    struct utsname kernel;
    char *end;

    assert_int_equal(uname(&kernel), 0);
    long have_major = strtol(kernel.release, &end, 10);
    long have_minor = strtol(end + 1, NULL, 10);
    return have_major > major || (have_major == major && have_minor >= minor);
}

static void finds_what_this_kernel_has(void **state)
{
    struct probe probe;

    (void)state;
    assert_int_equal(probe_run(&probe), 0);
    if (kernel_is_at_least(6, 1)) {
        assert_true(probe.defer_taskrun);
        assert_true(probe.registered_ring);
    }
    if (kernel_is_at_least(6, 18)) { /* 6.12 has incremental buffers, later fixes make them right */
        assert_true(probe.incremental);
        assert_true(probe.doorbell);
    }
}

static void explains_what_to_do(void **state)
{
    char out[1024];

    (void)state;
    assert_non_null(strstr(probe_explain(-ENOMEM, out, sizeof(out)), "ring_entries"));
    assert_non_null(strstr(probe_explain(-EMFILE, out, sizeof(out)), "ulimit -n"));
    assert_non_null(strstr(probe_explain(-EOPNOTSUPP, out, sizeof(out)), "6.1 or newer"));
    assert_non_null(strstr(probe_explain(-EIO, out, sizeof(out)), "error"));
    if (kernel_is_at_least(6, 1)) {
        probe_explain(-EPERM, out, sizeof(out));
        assert_true(strstr(out, "seccomp=unconfined") || strstr(out, "kernel.io_uring_disabled"));
        probe_explain(-ENOSYS, out, sizeof(out));
        assert_true(strstr(out, "seccomp=unconfined") || strstr(out, "kernel.io_uring_disabled"));
    }
}

static void explanations_are_cut_to_the_space_there_is(void **state)
{
    char out[8];

    (void)state;
    memset(out, 'x', sizeof(out));
    probe_explain(-ENOMEM, out, sizeof(out));
    assert_int_equal(strlen(out), sizeof(out) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_this_kernel_has),
        cmocka_unit_test(explains_what_to_do),
        cmocka_unit_test(explanations_are_cut_to_the_space_there_is),
    };

    return cmocka_run_group_tests_name("probe", tests, NULL, NULL);
}
