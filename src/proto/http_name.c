/* See http_name.h. Names are found by a perfect hash: one slot to look at, then one comparison. That no two names share a
 * slot is seen by the compiler, which warns of a slot that is set twice. */
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
    uint8_t traits;
    char text[NAME_BYTES_MAX];
};

static const struct known_name known_names[HTTP_NAMES] = {
#define ROW(name, spelling, first, late, traits) [HTTP_NAME_##name] = {sizeof(spelling) - 1, (traits), spelling},
    HTTP_KNOWN_NAMES(ROW)
#undef ROW
};

static const uint8_t name_by_slot[SLOTS] = {
#define ROW(name, spelling, first, late, traits) [SLOT(first, late, (int)sizeof(spelling) - 1)] = HTTP_NAME_##name,
    HTTP_KNOWN_NAMES(ROW)
#undef ROW
};

static const char *const methods[HTTP_METHODS] = {
    [HTTP_GET] = "GET",         [HTTP_HEAD] = "HEAD",     [HTTP_POST] = "POST",
    [HTTP_PUT] = "PUT",         [HTTP_DELETE] = "DELETE", [HTTP_CONNECT] = "CONNECT",
    [HTTP_OPTIONS] = "OPTIONS", [HTTP_TRACE] = "TRACE",   [HTTP_PATCH] = "PATCH",
};

enum http_method http_method_find(const uint8_t *method, size_t len)
{
    for (int i = HTTP_METHOD_OTHER + 1; i < HTTP_METHODS; i++) {
        if (method[0] == (uint8_t)methods[i][0] && strlen(methods[i]) == len && memcmp(method, methods[i], len) == 0)
            return (enum http_method)i;
    }
    return HTTP_METHOD_OTHER;
}

static uint64_t load(const void *at, size_t bytes)
{
    uint64_t word = 0;

    memcpy(&word, at, bytes);
    return word;
}

/* Whether two words of `bytes` characters, at this place of both, differ by more than case. Setting the bit by which
 * cases differ makes no two other characters of a token equal to a letter, a digit or a hyphen. */
static uint64_t difference(const uint8_t *name, const char *text, size_t at, size_t bytes)
{
    return (load(name + at, bytes) | load("        ", bytes)) ^ load(text + at, bytes);
}

static bool is_same(const uint8_t *name, const char *text, size_t len)
{
    uint64_t differs = 0;

    if (len < 4) {
        for (size_t i = 0; i < len; i++)
            differs |= difference(name, text, i, 1);
        return !differs;
    }
    if (len < 8)
        return !(difference(name, text, 0, 4) | difference(name, text, len - 4, 4));
    for (size_t i = 0; i + 8 < len; i += 8)
        differs |= difference(name, text, i, 8);
    return !(differs | difference(name, text, len - 8, 8));
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

uint8_t http_name_traits(enum http_name name)
{
    return known_names[name].traits;
}

const char *http_name_text(enum http_name name)
{
    return name == HTTP_NAME_OTHER ? NULL : known_names[name].text;
}

const char *http_method_text(enum http_method method)
{
    return methods[method];
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
