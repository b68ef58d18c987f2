/* See control_words.h. */
#include "admin/control_words.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

/* ---- splitting ---- */

/* Replaces the JSON string at `text` by what it means, which is never longer. Returns what follows it, NULL when it is none. */
static char *decode(char *text)
{
    size_t flags = JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK;
    json_error_t end; /* with these flags its position is where the value ended, also when there was no error */
    json_t *value = json_loads(text, flags, &end);
    char *rest = text;

    if (!value)
        return NULL;
    assert(json_is_string(value) && (size_t)end.position <= strlen(text) &&
           json_string_length(value) < (size_t)end.position);
    rest += end.position;
    memcpy(text, json_string_value(value), json_string_length(value));
    text[json_string_length(value)] = '\0'; /* where its last quotation mark was, or before */
    json_decref(value);
    return rest;
}

const char *control_words_split(struct control_words *words, char *line)
{
    *words = (struct control_words){.count = 0};
    for (char *at = line + strspn(line, " "); *at != '\0'; at += strspn(at, " ")) {
        char *end = at + strcspn(at, " ");

        if (words->count == CONTROL_WORDS_MAX)
            return "too many words";
        words->word[words->count++] = at;
        if (*at == '"')
            end = decode(at);
        if (!end)
            return "a word that begins with \" must be a JSON string";
        if (*end != ' ' && *end != '\0')
            return "a blank must follow a JSON string";
        at = *end == '\0' ? end : end + 1;
        *end = '\0';
    }
    return NULL;
}

/* ---- joining ---- */

static bool needs_quotes(const char *word)
{
    if (word[0] == '\0' || word[0] == '"')
        return true;
    for (; *word != '\0'; word++) {
        if ((unsigned char)*word <= ' ')
            return true;
    }
    return false;
}

static int put_word(FILE *line, const char *word)
{
    json_t *value;
    int rc;

    if (!needs_quotes(word))
        return fputs(word, line) < 0 ? -1 : 0;
    value = json_string(word);
    rc = value ? json_dumpf(value, line, JSON_ENCODE_ANY) : -1;
    json_decref(value);
    return rc;
}

char *control_words_join(const char *const words[], size_t count)
{
    char *text = NULL;
    size_t len = 0;
    FILE *line = open_memstream(&text, &len);
    int rc = 0;

    if (!line)
        return NULL;
    for (size_t i = 0; i < count && rc == 0; i++) {
        if (i > 0)
            fputc(' ', line);
        rc = put_word(line, words[i]);
    }
    if (fclose(line) == 0 && rc == 0)
        return text;
    free(text);
    return NULL;
}

/* ---- what they mean ---- */

bool control_word_is_number(const char *word, uint64_t max, uint64_t *out)
{
    unsigned long long number;

    if (*word == '\0' || word[strspn(word, "0123456789")] != '\0')
        return false; /* strtoull() takes signs and blanks, too */
    errno = 0;
    number = strtoull(word, NULL, 10);
    if (errno != 0 || number > max)
        return false;
    *out = number;
    return true;
}
