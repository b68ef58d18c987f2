/* A request of the control socket as words, and words as a request. Words are separated by blanks; one that is written as a
 * JSON string ("...") may have blanks in it, and everything else but NUL. No sockets. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/macros.h"

struct control_words {
    uint32_t count;
    char *word[CONTROL_WORDS_MAX]; /* borrowed from the line that was split */
};

/* Splits a line in place. NULL, or what is wrong with it. */
MUST_CHECK const char *control_words_split(struct control_words *words, char *line);
/* Puts words together to a line, without its newline. NULL without memory, or for a word that is no UTF-8; owned by the
 * caller. */
MUST_CHECK char *control_words_join(const char *const words[], size_t count);
/* Whether a word is a number of digits alone, at most max; *out is only set then. */
bool control_word_is_number(const char *word, uint64_t max, uint64_t *out);
