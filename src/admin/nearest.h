/* "Did you mean": the known word nearest to one that an operator typed. */
#pragma once

#include <stddef.h>

/* The word of `words` (ended by NULL) with the fewest edits to `word`, a swap of neighbours counting once; NULL when
 * none is near enough to be what was meant. */
const char *nearest_of(const char *word, const char *const words[]);
