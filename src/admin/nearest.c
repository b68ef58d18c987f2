/* Edit distance over short words (optimal string alignment), as lua/zerg/config/nearest.lua has it for keys. */
#include "admin/nearest.h"

#include <stdbool.h>
#include <string.h>

#include "base/assert.h"

enum { WORD_MAX = 31 };

static size_t min_of(size_t left, size_t right)
{
    return left < right ? left : right;
}

static size_t distance(const char *left, const char *right)
{
    size_t rows[WORD_MAX + 1][WORD_MAX + 1];
    size_t left_len = strlen(left);
    size_t right_len = strlen(right);

    assert(left_len <= WORD_MAX && right_len <= WORD_MAX);
    for (size_t j = 0; j <= right_len; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= left_len; i++) {
        rows[i][0] = i;
        for (size_t j = 1; j <= right_len; j++) {
            size_t change = left[i - 1] == right[j - 1] ? 0 : 1;
            bool swapped = i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1];
            size_t best = min_of(rows[i - 1][j - 1] + change, min_of(rows[i - 1][j], rows[i][j - 1]) + 1);

            rows[i][j] = swapped ? min_of(best, rows[i - 2][j - 2] + 1) : best;
        }
    }
    return rows[left_len][right_len];
}

const char *nearest_of(const char *word, const char *const words[])
{
    const char *found = NULL;
    size_t least = WORD_MAX;

    if (strlen(word) > WORD_MAX)
        return NULL;
    for (; *words; words++) {
        size_t longer = strlen(word) > strlen(*words) ? strlen(word) : strlen(*words);
        size_t edits = distance(word, *words);

        if (edits < least && edits <= (longer < 6 ? 1 : longer / 3)) {
            found = *words;
            least = edits;
        }
    }
    return found;
}
