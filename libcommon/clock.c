/* Owns the reading of time and its two written forms. Dates are computed here, not by libc's
 * gmtime, because the proleptic Gregorian calendar in UTC needs neither a lock nor a time zone. */
#include "libcommon/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define DAY_S 86400

static int64_t system_mono_ns(void *ctx)
{
    struct timespec now;

    (void)ctx;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t system_wall_ms(void *ctx)
{
    struct timespec now;

    (void)ctx;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

const struct clock clock_system = {.mono_ns = system_mono_ns, .wall_ms = system_wall_ms};

int64_t clock_mono_ns(const struct clock *clock)
{
    return clock->mono_ns(clock->ctx);
}

int64_t clock_mono_ms(const struct clock *clock)
{
    return clock_mono_ns(clock) / 1000000;
}

int64_t clock_wall_ms(const struct clock *clock)
{
    return clock->wall_ms(clock->ctx);
}

int64_t clock_wall_s(const struct clock *clock)
{
    return clock_wall_ms(clock) / 1000;
}

struct date {
    int64_t year;
    unsigned month; /* from 1 */
    unsigned day;   /* from 1 */
};

/* Howard Hinnant, "chrono-compatible low-level date algorithms": days_from_civil and back. */
static int64_t days_of(struct date date)
{
    int64_t y = date.month <= 2 ? date.year - 1 : date.year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400;
    int64_t doy = (153 * ((int64_t)date.month + (date.month > 2 ? -3 : 9)) + 2) / 5 + date.day - 1;
    int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;

    return era * 146097 + doe - 719468;
}

static struct date date_of(int64_t days)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    unsigned month = (unsigned)(mp < 10 ? mp + 3 : mp - 9);

    return (struct date){.year = yoe + era * 400 + (month <= 2 ? 1 : 0),
                         .month = month,
                         .day = (unsigned)(doy - (153 * mp + 2) / 5 + 1)};
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0 ? 1 : 0);
}

/* The written forms have four digits of year: what is outside is clamped, never overflows. */
static int64_t writable(int64_t unix_s)
{
    static const int64_t first = -62167219200; /* 0000-01-01T00:00:00Z */
    static const int64_t last = 253402300799;  /* 9999-12-31T23:59:59Z */

    return unix_s < first ? first : unix_s > last ? last : unix_s;
}

void clock_rfc3339(int64_t unix_s, char out[32])
{
    int64_t at = writable(unix_s);
    int64_t days = floor_div(at, DAY_S);
    int second = (int)(at - days * DAY_S);

    clock_day(at, out);
    snprintf(out + 10, 22, "T%02d:%02d:%02dZ", second / 3600, second / 60 % 60, second % 60);
}

void clock_day(int64_t unix_s, char out[11])
{
    struct date date = date_of(floor_div(writable(unix_s), DAY_S));
    char text[40];

    snprintf(text, sizeof(text), "%04d-%02u-%02u", (int)date.year, date.month, date.day);
    memcpy(out, text, 10);
    out[10] = '\0';
}

/* `count` digits as a number, then the character `end` (0: none). */
static bool digits(const char **at, unsigned count, char end, unsigned *out)
{
    *out = 0;
    for (unsigned i = 0; i < count; i++) {
        char c = *(*at);
        if (c < '0' || c > '9')
            return false;
        *out = *out * 10 + (unsigned)(c - '0');
        (*at)++;
    }
    if (end == '\0')
        return true;
    return *(*at)++ == end;
}

static bool valid_date(struct date date)
{
    static const unsigned lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (date.year % 4 == 0 && date.year % 100 != 0) || date.year % 400 == 0;

    if (date.month < 1 || date.month > 12)
        return false;
    return date.day >= 1 &&
           date.day <= lengths[date.month - 1] + (date.month == 2 && leap ? 1U : 0U);
}

/* "Z" or "+hh:mm" up to the end of the text, in seconds. */
static bool parse_offset(const char *at, int64_t *seconds)
{
    unsigned hour;
    unsigned minute;
    char sign = *at++;

    *seconds = 0;
    if (sign == 'Z' || sign == 'z')
        return *at == '\0';
    if (sign != '+' && sign != '-')
        return false;
    if (!digits(&at, 2, ':', &hour) || !digits(&at, 2, '\0', &minute) || *at != '\0')
        return false;
    if (hour > 23 || minute > 59)
        return false;
    *seconds = (int64_t)(hour * 3600 + minute * 60) * (sign == '-' ? -1 : 1);
    return true;
}

static bool skip_fraction(const char **at)
{
    if (**at != '.')
        return true;
    (*at)++;
    if (**at < '0' || **at > '9')
        return false;
    while (**at >= '0' && **at <= '9')
        (*at)++;
    return true;
}

static bool parse_day(const char **at, struct date *date)
{
    unsigned year;

    if (!digits(at, 4, '-', &year) || !digits(at, 2, '-', &date->month) ||
        !digits(at, 2, '\0', &date->day))
        return false;
    date->year = year;
    return valid_date(*date);
}

int clock_parse_rfc3339(const char *text, int64_t *unix_s)
{
    const char *at = text;
    struct date date;
    unsigned hour;
    unsigned minute;
    unsigned second;
    int64_t offset;

    if (!parse_day(&at, &date) || (*at != 'T' && *at != 't'))
        return -1;
    at++;
    if (!digits(&at, 2, ':', &hour) || !digits(&at, 2, ':', &minute) ||
        !digits(&at, 2, '\0', &second) || !skip_fraction(&at) || !parse_offset(at, &offset))
        return -1;
    if (hour > 23 || minute > 59 || second > 60)
        return -1;
    *unix_s = days_of(date) * DAY_S + (int64_t)(hour * 3600 + minute * 60 + second) - offset;
    return 0;
}
