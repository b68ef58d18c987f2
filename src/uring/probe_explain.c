/* Words for an operator whose machine does not let zerg use io_uring: what is in the way, and how to get it out. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "uring/probe.h"

enum { KERNEL_MAJOR_MIN = 6, KERNEL_MINOR_MIN = 1 };

#define CONTAINER_HINT                                                                                       \
    "In a container the default seccomp profile of Docker and Podman forbids it: start the container with "  \
    "`--security-opt seccomp=unconfined`, or with a profile that allows io_uring_setup, io_uring_enter and " \
    "io_uring_register. Under systemd look at SystemCallFilter= of the unit."

static const char *explain_forbidden(int error, const char *release, char *out, size_t out_bytes);
static long read_disabled(void);
static bool kernel_is_old(const char *release);

const char *probe_explain(int error, char *out, size_t out_bytes)
{
    struct utsname kernel;
    const char *release = uname(&kernel) == 0 ? kernel.release : "of unknown version";

    switch (error) {
    case -EPERM:
    case -EACCES:
    case -ENOSYS: return explain_forbidden(error, release, out, out_bytes);
    case -EINVAL:
    case -EOPNOTSUPP:
        snprintf(out, out_bytes,
                 "io_uring of this kernel (%s) lacks what zerg needs (multishot receives into provided buffers): "
                 "Linux %d.%d or newer is required.",
                 release, KERNEL_MAJOR_MIN, KERNEL_MINOR_MIN);
        return out;
    case -ENOMEM:
        snprintf(
            out, out_bytes,
            "the kernel has no memory for an io_uring of this size: lower ring_entries in zerg.lua, give the container "
            "more memory, or raise RLIMIT_MEMLOCK (`ulimit -l`, LimitMEMLOCK= of the systemd unit).");
        return out;
    case -EMFILE:
    case -ENFILE:
        snprintf(
            out, out_bytes,
            "no file descriptor left for an io_uring: raise the limit of open files (`ulimit -n`, LimitNOFILE= of the "
            "systemd unit, `sysctl fs.file-max`).");
        return out;
    default:
        snprintf(out, out_bytes, "io_uring could not be set up: %s (kernel %s).", strerror(-error), release);
        return out;
    }
}

static const char *explain_forbidden(int error, const char *release, char *out, size_t out_bytes)
{
    long disabled = read_disabled();

    if (kernel_is_old(release))
        snprintf(out, out_bytes, "this kernel (%s) is too old: zerg needs io_uring of Linux %d.%d or newer.", release,
                 KERNEL_MAJOR_MIN, KERNEL_MINOR_MIN);
    else if (disabled == 2)
        snprintf(out, out_bytes,
                 "io_uring is switched off on this machine (kernel.io_uring_disabled = 2): as root run "
                 "`sysctl kernel.io_uring_disabled=0`, and put that line into /etc/sysctl.d/ to keep it.");
    else if (disabled == 1)
        snprintf(out, out_bytes,
                 "io_uring is kept from ordinary users on this machine (kernel.io_uring_disabled = 1): as root run "
                 "`sysctl kernel.io_uring_disabled=0`, or make zerg's group the one of kernel.io_uring_group.");
    else if (error == -ENOSYS)
        snprintf(
            out, out_bytes,
            "the system call io_uring_setup is not available (kernel %s): the kernel was built without io_uring, or a "
            "sandbox hides it. " CONTAINER_HINT,
            release);
    else
        snprintf(out, out_bytes, "io_uring is forbidden to this process by a security profile. " CONTAINER_HINT);
    return out;
}

/* kernel.io_uring_disabled (6.6): 0 to 2; -1 when the kernel has no such setting. */
static long read_disabled(void)
{
    char text[16] = "";
    FILE *file = fopen("/proc/sys/kernel/io_uring_disabled", "re");
    long value = -1;

    if (!file)
        return -1;
    if (fgets(text, sizeof(text), file))
        value = strtol(text, NULL, 10);
    fclose(file);
    return value;
}

static bool kernel_is_old(const char *release)
{
    char *end;
    long major = strtol(release, &end, 10);
    long minor = *end == '.' ? strtol(end + 1, NULL, 10) : 0;

    if (major <= 0)
        return false; /* not a number: we do not know */
    return major < KERNEL_MAJOR_MIN || (major == KERNEL_MAJOR_MIN && minor < KERNEL_MINOR_MIN);
}
