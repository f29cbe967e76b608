/* The window against a list of moments. */
#include "services/quoted/tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void bound(void **state)
{
    struct tally tally;
    (void)state;
    tally_init(&tally);
    for (int i = 0; i < 5; i++)
        assert_true(tally_add(&tally, 1000, 600, 5));
    assert_false(tally_add(&tally, 1000, 600, 5));
    tally_take_back(&tally, 1000);
    assert_true(tally_add(&tally, 1060, 600, 5));
    assert_false(tally_add(&tally, 1599, 600, 5)); /* the first are not older than the window */
    assert_true(tally_add(&tally, 1680, 600, 5));
    assert_int_equal(tally_count(&tally, 1680, 600), 1);
    assert_int_equal(tally_count(&tally, 1680, 7200), 6); /* a reload that makes it longer */
    assert_int_equal(tally_count(&tally, 1680 + 365 * 86400, 86400), 0);
    assert_false(tally_add(&tally, 1680 + 365 * 86400, 86400, 0));
    tally_take_back(&tally, 1680 + 365 * 86400); /* of nothing */
    assert_int_equal(tally_count(&tally, 1680 + 365 * 86400, 86400), 0);
    tally_destroy(&tally);
}

/* What counts is never younger than the window, and never older than it and two minutes. */
static void model(void **state)
{
    static int64_t moments[20000];
    struct tally tally;
    int64_t now = 12345;
    size_t count = 0;
    unsigned seed = 7;
    (void)state;
    tally_init(&tally);
    for (; count < sizeof(moments) / sizeof(moments[0]); count++) {
        now += rand_r(&seed) % 1000 == 0 ? rand_r(&seed) % 200000 : rand_r(&seed) % 40;
        assert_true(tally_add(&tally, now, 700, INT64_MAX));
        moments[count] = now;
        int64_t least = 0, most = 0;
        for (size_t i = count + 1; i-- > 0 && moments[i] > now - 900;) {
            least += moments[i] > now - 700;
            most += moments[i] > now - 840;
        }
        int64_t sum = tally_count(&tally, now, 700);
        assert_true(sum >= least && sum <= most);
    }
    tally_destroy(&tally);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bound), cmocka_unit_test(model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
