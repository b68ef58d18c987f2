/* Writing heads: each function writes at a place that has room, and returns the place behind what it wrote. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { HTTP_NUMBER_BYTES_MAX = 20 };

static inline char *http_put(char *at, const void *text, size_t len)
{
    memcpy(at, text, len);
    return at + len;
}

/* A literal. */
#define HTTP_PUT(at, text) http_put(at, text, sizeof(text) - 1)

static inline char *http_put_text(char *at, const char *text)
{
    return http_put(at, text, strlen(text));
}

/* In decimal, at most HTTP_NUMBER_BYTES_MAX. */
static inline char *http_put_number(char *at, uint64_t number)
{
    char digits[HTTP_NUMBER_BYTES_MAX];
    uint32_t count = 0;

    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (count > 0)
        *at++ = digits[--count];
    return at;
}

/* In lower-case hex: `digits` of them, or for 0 as few as there are. */
static inline char *http_put_hex(char *at, uint64_t number, uint32_t digits)
{
    if (digits == 0)
        digits = number == 0 ? 1 : (67 - (uint32_t)__builtin_clzll(number)) / 4;
    while (digits > 0)
        *at++ = "0123456789abcdef"[number >> (4 * --digits) & 15];
    return at;
}
