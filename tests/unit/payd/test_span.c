/* How long a range an endpoint is asked for. */
#include "services/payd/span.h"

#include "libcommon/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Asks a provider with this bound for so many blocks; how many of them it was asked in vain. */
static int64_t play(struct span *span, int64_t bound, int64_t wanted, int64_t questions)
{
    int64_t refused = 0;
    for (int64_t i = 0; i < questions; i++) {
        int64_t blocks = span_most(span) < wanted ? span_most(span) : wanted;
        assert_true(blocks >= 1);
        if (blocks > bound) {
            span_refused(span, blocks);
            refused++;
        } else {
            span_answered(span, blocks);
        }
    }
    return refused;
}

static void nothing_is_bounded_before_a_refusal(void **state)
{
    (void)state;
    struct span span = {0};
    assert_int_equal(play(&span, INT64_MAX, 2000, 10), 0);
    assert_int_equal(span_most(&span), INT64_MAX);
}

static void a_bound_is_found_and_kept_to(void **state)
{
    (void)state;
    static const int64_t bounds[] = {1, 2, 3, 10, 25, 500, 999, 1999};
    for (size_t i = 0; i < ARRAY_LEN(bounds); i++) {
        struct span span = {0};
        play(&span, bounds[i], 2000, 200);
        int64_t most = span_most(&span);
        assert_true(most <= bounds[i] + bounds[i] / 8 + 1);
        assert_true(most >= (bounds[i] + 1) / 2);
        /* From here on a question in vain is the exception. */
        assert_true(play(&span, bounds[i], 2000, 640) <= 640 / 32);
    }
}

static void a_bound_that_is_gone_is_forgotten(void **state)
{
    (void)state;
    struct span span = {0};
    play(&span, 100, 2000, 50);
    assert_true(span_most(&span) <= 100);
    assert_int_equal(play(&span, INT64_MAX, 2000, 200), 0);
    assert_true(span_most(&span) >= 2000);
}

static void one_block_is_the_least(void **state)
{
    (void)state;
    struct span span = {0};
    for (int i = 0; i < 5; i++)
        span_refused(&span, 1);
    assert_int_equal(span_most(&span), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_bounded_before_a_refusal),
        cmocka_unit_test(a_bound_is_found_and_kept_to),
        cmocka_unit_test(a_bound_that_is_gone_is_forgotten),
        cmocka_unit_test(one_block_is_the_least),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
