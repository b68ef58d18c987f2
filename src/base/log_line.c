/* Whatever a peer makes us log, it can neither forge an entry nor steer a terminal: control bytes and bytes that are no
 * UTF-8 are escaped, and the lines of a message after the first are indented. */
#include "base/log_line.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/clock.h"

/* What is being built. `room` leaves space for the ending of a line that had to be cut. */
struct line {
    char *text;
    size_t len;
    size_t room;
};

enum { ENDING_BYTES_MAX = sizeof("...\"}\n") - 1, STAMP_BYTES_MAX = sizeof("2026-11-22T18:00:00.123Z") };

static const char *const level_names[LOG_LEVEL_COUNT] = {"debug", "info", "warn", "error"};

/* All of it or nothing: an escape is never cut in two. */
static bool put(struct line *line, const char *bytes, size_t len)
{
    if (len > line->room - line->len)
        return false;
    memcpy(line->text + line->len, bytes, len);
    line->len += len;
    return true;
}

static bool put_text(struct line *line, const char *text)
{
    return put(line, text, strlen(text));
}

/* Length of the well-formed UTF-8 sequence at bytes that is more than one byte long and no control character; else 0.
 * Over-long forms and surrogates are not told apart: no reader of logs trips over them. */
static size_t utf8_sequence(const unsigned char *bytes, size_t len)
{
    size_t want = bytes[0] >= 0xf0 ? 4 : bytes[0] >= 0xe0 ? 3 : 2;
    bool is_c1_control = bytes[0] == 0xc2 && len > 1 && bytes[1] < 0xa0;

    if (bytes[0] < 0xc2 || bytes[0] > 0xf4 || want > len || is_c1_control)
        return 0;
    for (size_t i = 1; i < want; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
    }
    return want;
}

static bool put_text_byte(struct line *line, unsigned char byte)
{
    char escaped[sizeof("\\xff")];

    if (byte == '\n')
        return put_text(line, "\n    ");
    if ((byte >= ' ' && byte < 0x7f) || byte == '\t')
        return put(line, (const char *)&byte, 1);
    snprintf(escaped, sizeof(escaped), "\\x%02x", byte);
    return put_text(line, escaped);
}

static bool put_json_byte(struct line *line, unsigned char byte)
{
    char escaped[sizeof("\\u00ff")];

    switch (byte) {
    case '"': return put_text(line, "\\\"");
    case '\\': return put_text(line, "\\\\");
    case '\n': return put_text(line, "\\n");
    case '\t': return put_text(line, "\\t");
    case '\r': return put_text(line, "\\r");
    default: break;
    }
    if (byte >= ' ' && byte < 0x7f)
        return put(line, (const char *)&byte, 1);
    if (byte >= 0x80)
        return put_text(line, "\\ufffd"); /* JSON has no way to show a byte that is no character */
    snprintf(escaped, sizeof(escaped), "\\u%04x", byte);
    return put_text(line, escaped);
}

static void put_message(struct line *line, enum log_format format, const struct log_entry *entry)
{
    const unsigned char *bytes = (const unsigned char *)entry->message;
    size_t len = entry->message_len;
    bool fits = true;

    while (len > 0 && bytes[len - 1] == '\n')
        len--;
    for (size_t i = 0, step; fits && i < len; i += step) {
        step = utf8_sequence(bytes + i, len - i);
        if (step > 0) {
            fits = put(line, entry->message + i, step);
            continue;
        }
        step = 1;
        fits = format == LOG_JSON ? put_json_byte(line, bytes[i]) : put_text_byte(line, bytes[i]);
    }
    if (!fits) {
        line->room += sizeof("...") - 1;
        put_text(line, "...");
    }
}

static void format_stamp(char *out, uint64_t wall_ns)
{
    time_t seconds = (time_t)(wall_ns / NS_PER_S);
    unsigned millis = (unsigned)(wall_ns / NS_PER_MS % MS_PER_S);
    struct tm utc;
    size_t len;

    gmtime_r(&seconds, &utc);
    len = strftime(out, STAMP_BYTES_MAX, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out + len, STAMP_BYTES_MAX - len, ".%03uZ", millis % 1000);
}

static void format_text(struct line *line, const char *stamp, const struct log_entry *entry)
{
    char head[STAMP_BYTES_MAX + sizeof(" error ")];

    snprintf(head, sizeof(head), "%s %-5s ", stamp, log_level_name(entry->level));
    put_text(line, head);
    if (entry->thread) {
        put_text(line, "[");
        put_text(line, entry->thread);
        put_text(line, "] ");
    }
    put_message(line, LOG_TEXT, entry);
    line->room = LOG_LINE_BYTES_MAX;
    put_text(line, "\n");
}

static void format_json(struct line *line, const char *stamp, const struct log_entry *entry)
{
    put_text(line, "{\"time\":\"");
    put_text(line, stamp);
    put_text(line, "\",\"level\":\"");
    put_text(line, log_level_name(entry->level));
    if (entry->thread) {
        put_text(line, "\",\"thread\":\"");
        put_text(line, entry->thread);
    }
    put_text(line, "\",\"message\":\"");
    put_message(line, LOG_JSON, entry);
    line->room = LOG_LINE_BYTES_MAX;
    put_text(line, "\"}\n");
}

size_t log_line_format(char *out, enum log_format format, const struct log_entry *entry)
{
    struct line line = {.text = out, .room = LOG_LINE_BYTES_MAX - ENDING_BYTES_MAX};
    char stamp[STAMP_BYTES_MAX];

    format_stamp(stamp, entry->wall_ns);
    if (format == LOG_JSON)
        format_json(&line, stamp, entry);
    else
        format_text(&line, stamp, entry);
    assert(line.len <= LOG_LINE_BYTES_MAX && out[line.len - 1] == '\n');
    return line.len;
}

const char *log_level_name(enum log_level level)
{
    assert(level >= LOG_DEBUG && level < LOG_LEVEL_COUNT);
    return level_names[level];
}
