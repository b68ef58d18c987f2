/* The classes of all bytes. Of what RFC 3986 forbids in a target, what browsers send nevertheless ({ | } [ ] ^ ` and,
 * in a query, \) is let through; so are all of RFC 9110's obs-text in values, and nothing else. */
#include "proto/http_scan.h"

enum {
    ALL_OF_TEXT = HTTP_IN_VALUE | HTTP_IN_PATH | HTTP_IN_QUERY,
    MARK = HTTP_IN_TOKEN | ALL_OF_TEXT, /* a character of tokens and targets, */
    LETTER = MARK | HTTP_IN_HOST,       /* and of hosts */
    DIGIT = LETTER | HTTP_IN_DIGIT | HTTP_IN_HEX,
};

const uint8_t http_classes[256] = {
    ['\t'] = HTTP_IN_VALUE,
    [' '] = HTTP_IN_VALUE,
    ['!'] = MARK,
    ['"'] = HTTP_IN_VALUE,
    ['#'] = HTTP_IN_TOKEN | HTTP_IN_VALUE,
    ['$'] = MARK,
    ['%'] = MARK,
    ['&'] = MARK,
    ['\''] = MARK,
    ['('] = ALL_OF_TEXT,
    [')'] = ALL_OF_TEXT,
    ['*'] = MARK,
    ['+'] = MARK,
    [','] = ALL_OF_TEXT,
    ['-'] = LETTER,
    ['.'] = LETTER,
    ['/'] = ALL_OF_TEXT,
    ['0' ... '9'] = DIGIT,
    [':'] = ALL_OF_TEXT,
    [';'] = ALL_OF_TEXT,
    ['<'] = HTTP_IN_VALUE,
    ['='] = ALL_OF_TEXT,
    ['>'] = HTTP_IN_VALUE,
    ['?'] = HTTP_IN_VALUE | HTTP_IN_QUERY,
    ['@'] = ALL_OF_TEXT,
    ['A' ... 'F'] = LETTER | HTTP_IN_HEX,
    ['G' ... 'Z'] = LETTER,
    ['['] = ALL_OF_TEXT,
    ['\\'] = HTTP_IN_VALUE | HTTP_IN_QUERY,
    [']'] = ALL_OF_TEXT,
    ['^'] = MARK,
    ['_'] = LETTER,
    ['`'] = MARK,
    ['a' ... 'f'] = LETTER | HTTP_IN_HEX,
    ['g' ... 'z'] = LETTER,
    ['{'] = ALL_OF_TEXT,
    ['|'] = MARK,
    ['}'] = ALL_OF_TEXT,
    ['~'] = LETTER,
    [0x80 ... 0xff] = HTTP_IN_VALUE,
};
