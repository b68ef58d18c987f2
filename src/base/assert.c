/* The end of the program when a promise was broken: says which, where and how we came there. It writes to stderr
 * directly, because the log may be what is broken. Static functions show as offsets (addr2line names them). */
#include "base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#if __has_include(<execinfo.h>)
#include <execinfo.h>

static void print_backtrace(void)
{
    enum { FRAMES_MAX = 64 };
    void *frames[FRAMES_MAX];

    backtrace_symbols_fd(frames, backtrace(frames, FRAMES_MAX), STDERR_FILENO);
}
#else /* musl has none: a debugger on the core file must do */
static void print_backtrace(void)
{
}
#endif

void fatal(const char *format, ...)
{
    va_list arguments;

    dprintf(STDERR_FILENO, "zerg: ");
    va_start(arguments, format);
    vdprintf(STDERR_FILENO, format, arguments);
    va_end(arguments);
    dprintf(STDERR_FILENO, "\n");
    print_backtrace();
    abort();
}

void assert_failed(const char *cond, const char *file, int line, const char *func)
{
    dprintf(STDERR_FILENO, "zerg: assertion failed: %s (%s:%d, %s)\n", cond, file, line, func);
    print_backtrace();
    abort();
}
