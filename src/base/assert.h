/* Assertions that stay on in release builds: they state what the programmer promised, never what the wire,
 * the kernel or a script may do. A failed one prints the place and a native back-trace and aborts. */
#pragma once

#include "base/macros.h"

#define assert(cond) (LIKELY(cond) ? (void)0 : assert_failed(#cond, __FILE__, __LINE__, __func__))

/* For checks that cost: only in builds with -DZERG_DEBUG (the sanitizer builds have it). */
#ifdef ZERG_DEBUG
#define debug_assert(cond) assert(cond)
#else
#define debug_assert(cond) ((void)(0 && (cond)))
#endif

#define static_assert _Static_assert

/* For a failure of the kernel's after which no thread can go on: prints the message and a back-trace on stderr, then aborts. */
NORETURN void fatal(const char *format, ...) PRINTF_LIKE(1, 2);
/* Prints the failed condition and a back-trace on stderr, then aborts. */
NORETURN void assert_failed(const char *cond, const char *file, int line, const char *func);
