/* See human.h. */
#include "admin/human.h"

#include <stdio.h>

#include "base/assert.h"

enum { MINUTE = 60, HOUR = 60 * MINUTE, DAY = 24 * HOUR, SECONDS_MAX = 20000 * DAY };

static const char units[] = " KMGTPE";

const char *human_age(double seconds, char *out)
{
    long whole;

    if (!(seconds > 0)) /* no number, too */
        seconds = 0;
    whole = seconds < SECONDS_MAX ? (long)seconds : SECONDS_MAX;
    if (seconds < 9.95)
        snprintf(out, HUMAN_TEXT_MAX, "%.1fs", seconds);
    else if (whole < MINUTE)
        snprintf(out, HUMAN_TEXT_MAX, "%lds", whole);
    else if (whole < HOUR)
        snprintf(out, HUMAN_TEXT_MAX, "%ldm%02lds", whole / MINUTE, whole % MINUTE);
    else if (whole < DAY)
        snprintf(out, HUMAN_TEXT_MAX, "%ldh%02ldm", whole / HOUR, whole % HOUR / MINUTE);
    else
        snprintf(out, HUMAN_TEXT_MAX, "%ldd%02ldh", whole / DAY, whole % DAY / HOUR);
    return out;
}

const char *human_size(double bytes, char *out)
{
    size_t unit = 0;

    if (!(bytes > 0))
        bytes = 0;
    /* 1023.6 K would be rounded to 1024K. */
    while (bytes >= (unit == 0 ? 1024 : 1023.5) && unit < sizeof(units) - 2) {
        bytes /= 1024;
        unit++;
    }
    if (unit == 0)
        snprintf(out, HUMAN_TEXT_MAX, "%.0f", bytes);
    else
        snprintf(out, HUMAN_TEXT_MAX, bytes < 9.95 ? "%.1f%c" : "%.0f%c", bytes, units[unit]);
    return out;
}
