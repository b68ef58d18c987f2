/* HTTP status lines. Whatever the bytes: a verdict never changes with bytes that follow, and a status is three digits. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "entries.h"
#include "proto/http_status.h"

/* In memory of exactly that size, so that a read past it is seen. */
static enum parse_outcome parse_copy(uint16_t *status, const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len);
    enum parse_outcome outcome;

    assert(copy);
    if (len > 0)
        memcpy(copy, data, len);
    outcome = http_status_parse(status, copy, len);
    free(copy);
    return outcome;
}

void fuzz_http_status(const uint8_t *data, size_t size)
{
    size_t longest = size < HTTP_STATUS_LINE_BYTES_MAX ? size : HTTP_STATUS_LINE_BYTES_MAX;
    enum parse_outcome verdict = PARSE_MORE;
    uint16_t status = 0;
    uint16_t whole = 0;
    enum parse_outcome outcome = http_status_parse(&whole, data, size);

    for (size_t len = 0; len <= longest; len++) {
        enum parse_outcome now = parse_copy(&status, data, len);

        assert(verdict == PARSE_MORE || now == verdict);
        verdict = now;
    }
    assert(verdict == outcome && status == whole);
    assert(whole <= 999);
    assert(longest < HTTP_STATUS_LINE_BYTES_MAX || outcome != PARSE_MORE);
}
