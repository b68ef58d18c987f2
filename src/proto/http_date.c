/* The calendar is reckoned here: gmtime_r(3) takes a lock, and nothing in this folder has a clock. Days are counted from
 * the 1st of March of the year 0, so that a leap day is the last of its year (Hinnant, "chrono-compatible low-level
 * date algorithms"). */
#include "proto/http_date.h"

#include <string.h>

enum {
    DAY_S = 24 * 60 * 60,
    DAYS_TO_1970 = 719468, /* from that 1st of March */
    ERA_DAYS = 146097,     /* 400 years, after which the calendar repeats itself */
    DAY_NAME_OF_1970 = 4,  /* a Thursday */
};
#define LAST_S 253402300799 /* 31 Dec 9999 23:59:59 */

static void write_two(char *out, int64_t number)
{
    out[0] = (char)('0' + number / 10);
    out[1] = (char)('0' + number % 10);
}

static void write_day(char *out, int64_t days)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int64_t era = (days + DAYS_TO_1970) / ERA_DAYS;
    int64_t day_of_era = (days + DAYS_TO_1970) % ERA_DAYS;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t from_march = (5 * day_of_year + 2) / 153;
    int64_t month = (from_march + 2) % 12; /* 0 is January */
    int64_t year = era * 400 + year_of_era + (month < 2);

    write_two(out, day_of_year - (153 * from_march + 2) / 5 + 1);
    memcpy(out + 3, names + 3 * month, 3);
    write_two(out + 7, year / 100);
    write_two(out + 9, year % 100);
}

void http_date_format(char out[HTTP_DATE_BYTES], int64_t unix_s)
{
    static const char day_names[] = "SunMonTueWedThuFriSat";
    int64_t now = unix_s < 0 ? 0 : unix_s > LAST_S ? LAST_S : unix_s;
    int64_t days = now / DAY_S;
    int64_t second = now % DAY_S;

    memcpy(out, "Day, dd Mon yyyy hh:mm:ss GMT", HTTP_DATE_BYTES);
    memcpy(out, day_names + 3 * ((days + DAY_NAME_OF_1970) % 7), 3);
    write_day(out + 5, days);
    write_two(out + 17, second / 3600);
    write_two(out + 20, second / 60 % 60);
    write_two(out + 23, second % 60);
}
