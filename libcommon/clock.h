/* Time as a thing that is handed in: production code holds clock_system, a test holds one that it
 * moves. */
#ifndef LIBCOMMON_CLOCK_H
#define LIBCOMMON_CLOCK_H

#include <stdint.h>

struct clock {
    int64_t (*mono_ns)(void *ctx); /* CLOCK_MONOTONIC: durations and deadlines */
    int64_t (*wall_ms)(void *ctx); /* Unix time in milliseconds: what the world sees */
    void *ctx;
};

extern const struct clock clock_system;

int64_t clock_mono_ns(const struct clock *clock);
int64_t clock_mono_ms(const struct clock *clock);
int64_t clock_wall_ms(const struct clock *clock);
int64_t clock_wall_s(const struct clock *clock);

/* RFC 3339 in UTC, "2026-11-21T10:00:00Z"; out holds at least 21 bytes. */
void clock_rfc3339(int64_t unix_s, char out[32]);
/* "2026-11-21" in UTC. */
void clock_day(int64_t unix_s, char out[11]);
/* Parses RFC 3339 (fraction and offset allowed); -1 where it is not one. */
int clock_parse_rfc3339(const char *text, int64_t *unix_s) __attribute__((warn_unused_result));

#endif
