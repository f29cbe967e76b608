/* Who is refused for how long, and what the audit log is told, with a clock that the test moves. */
#include "services/adminsvc/failures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define T0 1795000000000

static int64_t sum_of(struct failures *failures, int64_t now, bool all)
{
    static struct failures_sum sums[8192];
    size_t count = failures_take(failures, now, all, sums, 8192);
    int64_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += sums[i].count;
    return total;
}

static void blocked_after_so_many(void **state)
{
    struct failures *failures = failures_new(3);
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(failures_blocked(failures, "a", T0 + i), 0);
        assert_int_equal(failures_note(failures, "a", T0 + i), i == 0);
    }
    assert_int_equal(failures_blocked(failures, "a", T0 + 1000), 59000);
    assert_int_equal(failures_blocked(failures, "b", T0 + 1000), 0);
    assert_int_equal(failures_blocked(failures, "a", T0 + 59999), 1);
    assert_int_equal(failures_blocked(failures, "a", T0 + 60000), 0);
    assert_true(failures_note(failures, "a", T0 + 60000));
    failures_free(&failures);
    assert_null(failures);
}

static void summed_by_window(void **state)
{
    struct failures *failures = failures_new(3);
    struct failures_sum sum;
    (void)state;
    for (int i = 0; i < 50; i++)
        failures_note(failures, "a", T0 + i);
    assert_int_equal(failures_take(failures, T0 + 59999, false, &sum, 1), 0);
    assert_int_equal(failures_take(failures, T0 + 60000, false, &sum, 1), 1);
    assert_int_equal(sum.count, 49);
    assert_int_equal(sum.since_ms, T0);
    assert_string_equal(sum.client, "a");
    assert_int_equal(failures_take(failures, T0 + 60000, true, &sum, 1), 0);
    failures_put_back(failures, &sum);
    assert_int_equal(sum_of(failures, T0 + 60001, true), 49);
    failures_free(&failures);
}

/* Each failure is told of exactly once, whatever the number of clients and however often the sums
 * are taken; memory and rows stay bounded. */
static void nothing_is_lost(void **state)
{
    struct failures *failures = failures_new(10);
    int64_t told = 0, at_once = 0, now = T0;
    (void)state;
    for (int i = 0; i < 200000; i++) {
        char client[32];
        snprintf(client, sizeof(client), "10.%d.%d.1", i % 97, i % 8191);
        at_once += failures_note(failures, client, now) ? 1 : 0;
        if (i % 1000 == 0)
            told += sum_of(failures, now, false);
        now += 1;
    }
    assert_true(at_once <= FAILURES_AT_ONCE * (200000 / FAILURES_WINDOW_MS + 2));
    told += sum_of(failures, now, true);
    assert_int_equal(told + at_once, 200000);
    failures_free(&failures);
}

/* Many addresses fill the table: one more client must still be able to come in. */
static void full_table_blocks_nobody_new(void **state)
{
    struct failures *failures = failures_new(1);
    (void)state;
    for (int i = 0; i < 100000; i++) {
        char client[32];
        snprintf(client, sizeof(client), "c%d", i);
        failures_note(failures, client, T0);
    }
    assert_int_equal(failures_blocked(failures, "newcomer", T0), 0);
    failures_free(&failures);
}

static void clock_that_goes_back(void **state)
{
    struct failures *failures = failures_new(1);
    (void)state;
    failures_note(failures, "a", T0);
    assert_int_equal(failures_blocked(failures, "a", T0 - 3600000), 0);
    failures_note(failures, "a", T0 - 3600000);
    assert_int_equal(failures_blocked(failures, "a", T0 - 3600000), 60000);
    failures_free(&failures);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocked_after_so_many), cmocka_unit_test(summed_by_window),
        cmocka_unit_test(nothing_is_lost),       cmocka_unit_test(full_table_blocks_nobody_new),
        cmocka_unit_test(clock_that_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
