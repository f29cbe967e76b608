/* When an endpoint that failed is asked again. */
#include "services/payd/breaker.h"

#include "libcommon/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct breaker fresh(void)
{
    return (struct breaker){.min_ms = 100, .max_ms = 1000};
}

static void the_pause_doubles_up_to_a_bound(void **state)
{
    (void)state;
    static const int64_t pauses[] = {100, 200, 400, 800, 1000, 1000, 1000};
    struct breaker breaker = fresh();
    int64_t now = 5000;
    assert_int_equal(breaker_state(&breaker, now), BREAKER_CLOSED);
    for (size_t i = 0; i < ARRAY_LEN(pauses); i++) {
        breaker_failed(&breaker, now, 0);
        assert_int_equal(breaker_state(&breaker, now + pauses[i] - 1), BREAKER_OPEN);
        assert_int_equal(breaker_state(&breaker, now + pauses[i]), BREAKER_HALF_OPEN);
        now += pauses[i];
    }
    breaker_answered(&breaker);
    assert_int_equal(breaker_state(&breaker, now), BREAKER_CLOSED);
    breaker_failed(&breaker, now, 0);
    assert_int_equal(breaker_state(&breaker, now + 100), BREAKER_HALF_OPEN);
}

static void what_it_asked_for_is_honoured_within_reason(void **state)
{
    (void)state;
    struct breaker breaker = fresh();
    breaker_failed(&breaker, 0, 7000);
    assert_int_equal(breaker_state(&breaker, 6999), BREAKER_OPEN);
    assert_int_equal(breaker_state(&breaker, 7000), BREAKER_HALF_OPEN);
    breaker_failed(&breaker, 0, INT64_MAX);
    assert_int_equal(breaker_state(&breaker, breaker_wait_max - 1), BREAKER_OPEN);
    assert_int_equal(breaker_state(&breaker, breaker_wait_max), BREAKER_HALF_OPEN);
    breaker_failed(&breaker, 0, 1);
    assert_int_equal(breaker_state(&breaker, 399), BREAKER_OPEN);
}

static void answers_alone_do_not_end_doubts(void **state)
{
    (void)state;
    struct breaker breaker = fresh();
    for (int i = 0; i < 3; i++) {
        breaker_doubted(&breaker, 0);
        breaker_answered(&breaker);
    }
    assert_int_equal(breaker_state(&breaker, 399), BREAKER_OPEN);
    assert_int_equal(breaker_state(&breaker, 400), BREAKER_HALF_OPEN);
    breaker_trusted(&breaker);
    assert_int_equal(breaker_state(&breaker, 0), BREAKER_CLOSED);
}

static void a_century_of_failures_overflows_nothing(void **state)
{
    (void)state;
    struct breaker breaker = {.min_ms = 60000, .max_ms = 600000, .failures = INT64_MAX / 2};
    breaker_failed(&breaker, 0, 0);
    assert_int_equal(breaker.until, 600000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_pause_doubles_up_to_a_bound),
        cmocka_unit_test(what_it_asked_for_is_honoured_within_reason),
        cmocka_unit_test(answers_alone_do_not_end_doubts),
        cmocka_unit_test(a_century_of_failures_overflows_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
