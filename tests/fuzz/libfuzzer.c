/* What libFuzzer calls, for the entry that the build names. Built with FUZZ_CANARY, it tells the entry of one byte more
 * than there is. If a run does not find that, it would not have found anything else either. */
#include <stddef.h>
#include <stdint.h>

#include "entries.h"

#ifndef FUZZ_ENTRY
#define FUZZ_ENTRY fuzz_proxy_protocol
#endif

enum {
#ifdef FUZZ_CANARY
    PLANTED_BYTES = 1,
#else
    PLANTED_BYTES = 0,
#endif
};

/* NOLINTNEXTLINE(readability-identifier-naming): the name is libFuzzer's. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FUZZ_ENTRY(data, size + PLANTED_BYTES);
    return 0;
}
