/* When a loop counts as stuck, as turning again, and as beyond hope. */
#include "services/proxy/watchdog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct watchdog_config rules = {.stuck = 1000, .abort = 3000};

static void a_loop_that_turns_or_sleeps_is_fine(void **state)
{
    struct watched watched = {0};
    (void)state;
    for (int64_t i = 1; i < 100; i++)
        assert_int_equal(watchdog_look(&watched, i, 900, &rules), WATCHDOG_FINE);
    for (int64_t i = 1; i < 100; i++)
        assert_int_equal(watchdog_look(&watched, 0, 900, &rules), WATCHDOG_FINE);
}

static void stuck_and_again(void **state)
{
    struct watched watched = {0};
    (void)state;
    assert_int_equal(watchdog_look(&watched, 7, 500, &rules), WATCHDOG_FINE);
    assert_int_equal(watchdog_look(&watched, 7, 500, &rules), WATCHDOG_FINE);
    assert_int_equal(watchdog_look(&watched, 7, 500, &rules), WATCHDOG_STUCK);
    assert_int_equal(watchdog_look(&watched, 7, 500, &rules), WATCHDOG_FINE);
    assert_true(watched.stuck);
    assert_int_equal(watchdog_look(&watched, 8, 500, &rules), WATCHDOG_RECOVERED);
    assert_false(watched.stuck);
    assert_int_equal(watchdog_look(&watched, 8, 500, &rules), WATCHDOG_FINE);
}

static void beyond_hope(void **state)
{
    struct watched watched = {0};
    const struct watchdog_config never = {.stuck = 1000, .abort = 0};
    (void)state;
    assert_int_equal(watchdog_look(&watched, 7, 1000, &rules), WATCHDOG_FINE);
    assert_int_equal(watchdog_look(&watched, 7, 1000, &rules), WATCHDOG_STUCK);
    assert_int_equal(watchdog_look(&watched, 7, 1000, &rules), WATCHDOG_FINE);
    assert_int_equal(watchdog_look(&watched, 7, 1000, &rules), WATCHDOG_HOPELESS);
    assert_int_equal(watchdog_look(&watched, 7, 1000000, &never), WATCHDOG_FINE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_loop_that_turns_or_sleeps_is_fine),
        cmocka_unit_test(stuck_and_again),
        cmocka_unit_test(beyond_hope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
