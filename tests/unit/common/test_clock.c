/* Written time, both ways, against libc's calendar. */
#include "libcommon/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static int64_t fixed_mono(void *ctx)
{
    return *(int64_t *)ctx;
}

static void test_injected(void **state)
{
    int64_t now = 1790000000123;
    struct clock clock = {.mono_ns = fixed_mono, .wall_ms = fixed_mono, .ctx = &now};

    (void)state;
    assert_int_equal(clock_mono_ms(&clock), 1790000);
    assert_int_equal(clock_wall_s(&clock), 1790000000);
    assert_true(clock_mono_ns(&clock_system) > 0);
    assert_true(clock_wall_s(&clock_system) > 1700000000);
}

/* Every 37 hours and some seconds over nine centuries. */
static void test_same_calendar_as_libc(void **state)
{
    (void)state;
    for (int64_t at = -11676096000; at < 16725225600; at += 37 * 3600 + 59) {
        time_t seconds = at;
        struct tm tm;
        char expected[64];
        char day[64];
        char text[32];
        int64_t back;
        gmtime_r(&seconds, &tm);
        strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%SZ", &tm);
        strftime(day, sizeof(day), "%Y-%m-%d", &tm);
        clock_rfc3339(at, text);
        assert_string_equal(text, expected);
        assert_int_equal(clock_parse_rfc3339(text, &back), 0);
        assert_int_equal(back, at);
        clock_day(at, text);
        assert_string_equal(text, day);
    }
}

static void test_out_of_range(void **state)
{
    char text[32];

    (void)state;
    clock_rfc3339(INT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59Z");
    clock_rfc3339(INT64_MIN, text);
    assert_string_equal(text, "0000-01-01T00:00:00Z");
}

static void test_parse(void **state)
{
    static const struct {
        const char *text;
        int result;
        int64_t unix_s;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0, 0},
        {"1970-01-01t00:00:00z", 0, 0},
        {"1970-01-01T01:00:00+01:00", 0, 0},
        {"1969-12-31T23:30:00-00:30", 0, 0},
        {"2026-11-21T10:00:00.999999Z", 0, 1795255200},
        {"2024-02-29T00:00:00Z", 0, 1709164800},
        {"2016-12-31T23:59:60Z", 0, 1483228800},
        {"2023-02-29T00:00:00Z", -1, 0},
        {"1900-02-29T00:00:00Z", -1, 0},
        {"2026-13-01T00:00:00Z", -1, 0},
        {"2026-00-01T00:00:00Z", -1, 0},
        {"2026-04-31T00:00:00Z", -1, 0},
        {"2026-01-01T24:00:00Z", -1, 0},
        {"2026-01-01T00:60:00Z", -1, 0},
        {"2026-01-01T00:00:61Z", -1, 0},
        {"2026-01-01T00:00:00", -1, 0},
        {"2026-01-01T00:00:00.Z", -1, 0},
        {"2026-01-01T00:00:00Zx", -1, 0},
        {"2026-01-01T00:00:00+1:00", -1, 0},
        {"2026-01-01T00:00:00+24:00", -1, 0},
        {"2026-01-01 00:00:00Z", -1, 0},
        {"2026-01-01", -1, 0},
        {"26-01-01T00:00:00Z", -1, 0},
        {"", -1, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t unix_s = 0;
        if (clock_parse_rfc3339(cases[i].text, &unix_s) != cases[i].result ||
            unix_s != cases[i].unix_s)
            fail_msg("%s: %lld", cases[i].text, (long long)unix_s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_injected),
        cmocka_unit_test(test_same_calendar_as_libc),
        cmocka_unit_test(test_out_of_range),
        cmocka_unit_test(test_parse),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
