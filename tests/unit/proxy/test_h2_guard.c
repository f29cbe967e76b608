#include "services/proxy/h2_guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static unsigned takes(struct h2_guard *guard, enum h2_cost cost, int64_t now_us)
{
    unsigned count = 0;
    while (count < 100000 && h2_guard_take(guard, cost, now_us))
        count++;
    return count;
}

static void test_burst_and_rate(void **state)
{
    static const struct {
        enum h2_cost cost;
        unsigned burst, per_second;
    } cases[] = {{H2_COST_RESET, 200, 20},
                 {H2_COST_SETTINGS, 20, 1},
                 {H2_COST_PING, 200, 20},
                 {H2_COST_EMPTY, 100, 10},
                 {H2_COST_CONTROL, 2000, 200}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct h2_guard guard = {{0}};
        int64_t now_us = 50 * 1000000;
        assert_int_equal(takes(&guard, cases[i].cost, now_us), cases[i].burst);
        assert_int_equal(takes(&guard, cases[i].cost, now_us + 1000000), cases[i].per_second);
        assert_int_equal(takes(&guard, cases[i].cost, now_us + 3600LL * 1000000), cases[i].burst);
    }
}

static void test_kinds_are_apart(void **state)
{
    struct h2_guard guard = {{0}};
    (void)state;
    takes(&guard, H2_COST_PING, 1);
    assert_int_equal(takes(&guard, H2_COST_RESET, 1), 200);
}

static void test_credit_never_exceeds_the_burst(void **state)
{
    struct h2_guard guard = {{0}};
    (void)state;
    h2_guard_credit(&guard, H2_COST_CONTROL, 1000000);
    assert_int_equal(takes(&guard, H2_COST_CONTROL, 1), 2000);
    h2_guard_credit(&guard, H2_COST_CONTROL, 4);
    assert_int_equal(takes(&guard, H2_COST_CONTROL, 1), 4);
}

static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i < H2_COSTS; i++)
        assert_non_null(h2_guard_name((enum h2_cost)i));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_burst_and_rate), cmocka_unit_test(test_kinds_are_apart),
        cmocka_unit_test(test_credit_never_exceeds_the_burst), cmocka_unit_test(test_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
