/* Character classes of HTTP/1 and the loops that run over them: how far a name, a value, a path, a query goes. Sixteen
 * bytes at a time where SSE2 is (every x86-64 has it), one at a time elsewhere and near the end of what is there; both
 * find the same. A scan never looks at a byte from `end` on. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum http_class {
    HTTP_IN_TOKEN = 1,  /* tchar (RFC 9110 section 5.6.2): methods, field names */
    HTTP_IN_VALUE = 2,  /* tab, space, visible ASCII and all from 0x80 on: field values, reason phrases */
    HTTP_IN_PATH = 4,   /* visible ASCII but " # < > ? \ */
    HTTP_IN_QUERY = 8,  /* visible ASCII but " # < > */
    HTTP_IN_HOST = 16,  /* letters, digits and - . _ ~ */
    HTTP_IN_DIGIT = 32, /* 0 to 9 */
    HTTP_IN_HEX = 64,
};

/* A set of enum http_class for each byte. */
extern const uint8_t http_classes[256];

static inline bool http_is(uint8_t byte, enum http_class class)
{
    return http_classes[byte] & class;
}

/* Of a digit of HTTP_IN_HEX. */
static inline uint8_t http_hex_value(uint8_t digit)
{
    return http_is(digit, HTTP_IN_DIGIT) ? (uint8_t)(digit - '0') : (uint8_t)((digit | ' ') - 'a' + 10);
}

/* The first byte from `at` on that is not of this class, or `end`. */
static inline uint32_t http_scan_scalar(enum http_class class, const uint8_t *data, uint32_t at, uint32_t end)
{
    while (at < end && http_is(data[at], class))
        at++;
    return at;
}

#ifdef __SSE2__

enum { HTTP_BLOCK_BYTES = 16 };

/* Comparing bytes as unsigned ones: SSE2 has only the signed comparison. */
static inline __m128i http_at_most(__m128i bytes, char bound)
{
    return _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(bound)), bytes);
}

static inline __m128i http_equal(__m128i bytes, char other)
{
    return _mm_cmpeq_epi8(bytes, _mm_set1_epi8(other));
}

/* These give a bit for each byte that a scan may have to stop at, in its place. Those of names stop at the rare
 * characters of tokens too: the scan then looks that byte up. */
static inline uint32_t http_name_stops(__m128i bytes)
{
    __m128i letters =
        http_at_most(_mm_sub_epi8(_mm_or_si128(bytes, _mm_set1_epi8(' ')), _mm_set1_epi8('a')), 'z' - 'a');

    return ~(uint32_t)_mm_movemask_epi8(_mm_or_si128(letters, http_equal(bytes, '-'))) & 0xffff;
}

static inline uint32_t http_value_stops(__m128i bytes)
{
    __m128i controls = _mm_andnot_si128(http_equal(bytes, '\t'), http_at_most(bytes, 0x1f));

    return (uint32_t)_mm_movemask_epi8(_mm_or_si128(controls, http_equal(bytes, 0x7f)));
}

static inline __m128i http_not_query(__m128i bytes)
{
    __m128i printable = http_at_most(_mm_sub_epi8(bytes, _mm_set1_epi8('!')), '~' - '!');
    __m128i marks = _mm_or_si128(http_equal(bytes, '"'), http_equal(bytes, '#'));
    __m128i brackets = http_equal(_mm_or_si128(bytes, _mm_set1_epi8(2)), '>'); /* < and > differ in that bit */

    return _mm_or_si128(_mm_andnot_si128(printable, _mm_set1_epi8(-1)), _mm_or_si128(marks, brackets));
}

static inline uint32_t http_query_stops(__m128i bytes)
{
    return (uint32_t)_mm_movemask_epi8(http_not_query(bytes));
}

static inline uint32_t http_path_stops(__m128i bytes)
{
    __m128i more = _mm_or_si128(http_equal(bytes, '?'), http_equal(bytes, '\\'));

    return (uint32_t)_mm_movemask_epi8(_mm_or_si128(http_not_query(bytes), more));
}

static inline uint32_t http_stops(enum http_class class, const uint8_t *data)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)data);

    switch (class) {
    case HTTP_IN_TOKEN: return http_name_stops(bytes);
    case HTTP_IN_VALUE: return http_value_stops(bytes);
    case HTTP_IN_PATH: return http_path_stops(bytes);
    case HTTP_IN_QUERY: return http_query_stops(bytes);
    default: return 1; /* for short things: looked up */
    }
}

/* The same as http_scan_scalar(). `class` is a constant at every call, so that only its case is left of the switch. */
static inline __attribute__((always_inline)) uint32_t http_scan(enum http_class class, const uint8_t *data, uint32_t at,
                                                                uint32_t end)
{
    while (end - at >= HTTP_BLOCK_BYTES) {
        uint32_t stops = http_stops(class, data + at);

        if (stops == 0) {
            at += HTTP_BLOCK_BYTES;
            continue;
        }
        at += (uint32_t)__builtin_ctz(stops);
        if (!http_is(data[at], class))
            return at;
        at++;
    }
    return http_scan_scalar(class, data, at, end);
}

#else

static inline uint32_t http_scan(enum http_class class, const uint8_t *data, uint32_t at, uint32_t end)
{
    return http_scan_scalar(class, data, at, end);
}

#endif
