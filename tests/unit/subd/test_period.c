/* Periods at their edges, and how long a lease may be spent. */
#include "services/subd/period.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void periods(void **unused)
{
    (void)unused;

    static const struct {
        int64_t start, expiry, seconds, now, from, to;
    } rows[] = {
        {1000, 4000, 1000, 1000, 1000, 2000}, {1000, 4000, 1000, 1999, 1000, 2000},
        {1000, 4000, 1000, 2000, 2000, 3000}, {1000, 4000, 1000, 3999, 3000, 4000},
        {1000, 4000, 1000, 4000, 3000, 4000}, /* over: the last one */
        {1000, 4000, 1000, 9000, 3000, 4000}, {1000, 4000, 1000, 10, 1000, 2000}, /* not begun */
        {1000, 3500, 1000, 3200, 3000, 3500},                     /* the last one is cut off */
        {1000, 2000, 5000, 1500, 1000, 2000}, {0, 0, 0, 5, 0, 0}, /* never paid */
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct period got = period_at(rows[i].start, rows[i].expiry, rows[i].seconds, rows[i].now);
        assert_int_equal(got.start, rows[i].from);
        assert_int_equal(got.end, rows[i].to);
    }
}

static void lease_times(void **unused)
{
    (void)unused;
    const int64_t midnight = INT64_C(20000) * 86400;
    static const int64_t max = 60000;
    struct period period = {.start = midnight - 1000, .end = midnight + 1000};
    assert_int_equal(period_lease_ms(&period, midnight + 1000, (midnight - 500) * 1000, max), max);
    assert_int_equal(period_lease_ms(&period, midnight + 1000, (midnight - 10) * 1000, max), 10000);
    assert_int_equal(period_lease_ms(&period, midnight + 1000, midnight * 1000, max), max);
    assert_int_equal(period_lease_ms(&period, midnight + 1000, (midnight + 995) * 1000, max), 5000);
    assert_int_equal(period_lease_ms(&period, midnight + 3, (midnight + 1) * 1000 + 1, max), 1999);
    assert_int_equal(period_lease_ms(&period, midnight + 3, (midnight + 3) * 1000, max), 0);
    assert_int_equal(period_lease_ms(&period, midnight + 3, (midnight + 9) * 1000, max), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(periods),
        cmocka_unit_test(lease_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
