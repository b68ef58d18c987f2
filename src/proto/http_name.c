/* See http_name.h. Names are found by a perfect hash: one slot to look at, then one comparison. That no two names
 * share a slot is seen by the compiler, which warns of a slot that is set twice. */
#include "proto/http_name.h"

#include <string.h>

#include "base/assert.h"
#include "proto/http_scan.h"

enum {
    NAME_BYTES_MAX = 24, /* of a known one, with its NUL */
    SLOTS = 128,
};

#define SLOT(first, late, len) ((3 * (first) + 24 * (late) + 23 * (len)) % SLOTS)

struct known_name {
    uint8_t len;
    char text[NAME_BYTES_MAX];
};

static const struct known_name known_names[HTTP_NAMES] = {
#define ROW(name, spelling, first, late, traits) [HTTP_NAME_##name] = {sizeof(spelling) - 1, spelling},
    HTTP_KNOWN_NAMES(ROW)
#undef ROW
};

const uint8_t http_name_trait_sets[HTTP_NAMES] = {
#define ROW(name, spelling, first, late, traits) [HTTP_NAME_##name] = (traits),
    HTTP_KNOWN_NAMES(ROW)
#undef ROW
};

static const uint8_t name_by_slot[SLOTS] = {
#define ROW(name, spelling, first, late, traits) [SLOT(first, late, (int)sizeof(spelling) - 1)] = HTTP_NAME_##name,
    HTTP_KNOWN_NAMES(ROW)
#undef ROW
};

struct known_method {
    uint8_t len;
    char text[8];
};

#define METHOD(text)           \
    {                          \
        sizeof(text) - 1, text \
    }

static const struct known_method methods[HTTP_METHODS] = {
    [HTTP_GET] = METHOD("GET"),         [HTTP_HEAD] = METHOD("HEAD"),     [HTTP_POST] = METHOD("POST"),
    [HTTP_PUT] = METHOD("PUT"),         [HTTP_DELETE] = METHOD("DELETE"), [HTTP_CONNECT] = METHOD("CONNECT"),
    [HTTP_OPTIONS] = METHOD("OPTIONS"), [HTTP_TRACE] = METHOD("TRACE"),   [HTTP_PATCH] = METHOD("PATCH"),
};

enum http_method http_method_find(const uint8_t *method, size_t len)
{
    for (int i = HTTP_METHOD_OTHER + 1; i < HTTP_METHODS; i++) {
        if (methods[i].len == len && memcmp(method, methods[i].text, len) == 0)
            return (enum http_method)i;
    }
    return HTTP_METHOD_OTHER;
}

/* Setting the bit by which cases differ makes no two other characters of a token equal to a letter, a digit or a
 * hyphen. */
static inline uint64_t difference8(const uint8_t *name, const char *text)
{
    uint64_t word;
    uint64_t expected;

    memcpy(&word, name, sizeof(word));
    memcpy(&expected, text, sizeof(expected));
    return (word | 0x2020202020202020) ^ expected;
}

static inline uint32_t difference4(const uint8_t *name, const char *text)
{
    uint32_t word;
    uint32_t expected;

    memcpy(&word, name, sizeof(word));
    memcpy(&expected, text, sizeof(expected));
    return (word | 0x20202020) ^ expected;
}

/* Whether the two, of that length, differ in nothing but case. The last word may overlap the one before. */
static bool is_same(const uint8_t *name, const char *text, size_t len)
{
    uint64_t differs = 0;

    if (len < 4) {
        for (size_t i = 0; i < len; i++)
            differs |= (uint8_t)((name[i] | ' ') ^ text[i]);
        return !differs;
    }
    if (len < 8)
        return !(difference4(name, text) | difference4(name + len - 4, text + len - 4));
    for (size_t i = 0; i + 8 < len; i += 8)
        differs |= difference8(name + i, text + i);
    return !(differs | difference8(name + len - 8, text + len - 8));
}

enum http_name http_name_find(const uint8_t *name, size_t len)
{
    const struct known_name *known;
    uint8_t index;

    if (len < 2 || len >= NAME_BYTES_MAX)
        return HTTP_NAME_OTHER;
    index = name_by_slot[SLOT((name[0] | ' '), (name[len - 2] | ' '), (int)len)];
    known = &known_names[index];
    return known->len == len && is_same(name, known->text, len) ? (enum http_name)index : HTTP_NAME_OTHER;
}

const char *http_name_text(enum http_name name)
{
    return name == HTTP_NAME_OTHER ? NULL : known_names[name].text;
}

const char *http_method_text(enum http_method method)
{
    return method == HTTP_METHOD_OTHER ? NULL : methods[method].text;
}

bool http_name_is_valid(const char *name, size_t len)
{
    const uint8_t *bytes = (const uint8_t *)name;

    return len > 0 && len <= UINT16_MAX && http_scan(HTTP_IN_TOKEN, bytes, 0, (uint32_t)len) == len;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

bool http_value_is_valid(const char *value, size_t len)
{
    const uint8_t *bytes = (const uint8_t *)value;

    if (len > UINT16_MAX || (len > 0 && (is_blank(value[0]) || is_blank(value[len - 1]))))
        return false;
    return http_scan(HTTP_IN_VALUE, bytes, 0, (uint32_t)len) == len;
}
