/* The rate: bursts, refills, waiting times, and that threads together get no more than one would.
 */
#include "libcommon/mem.h"
#include "services/proxy/gcra.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SECOND 1000000000LL

static int64_t take_all(struct gcra *gcra, int64_t rate, int64_t burst, int64_t now_ns)
{
    int64_t n = 0, retry_ns;
    while (n < 100000 && gcra_take(gcra, rate, burst, now_ns, &retry_ns))
        n++;
    return n;
}

static void test_burst(void **state)
{
    static const struct {
        int64_t rate, burst, after_ns, first, second;
    } cases[] = {
        {10, 5, SECOND / 10, 5, 1}, {10, 5, SECOND, 5, 5},     {10, 1, SECOND / 20, 1, 0},
        {10, 0, SECOND / 10, 1, 1}, {1, 3, 2 * SECOND, 3, 2},  {50, 100, SECOND, 100, 50},
        {3, 1, SECOND / 3, 1, 1},   {0, 0, 0, 100000, 100000}, {50, 100, 60 * SECOND, 100, 100},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct gcra gcra = {0};
        int64_t start = 1000 * SECOND;
        assert_int_equal(take_all(&gcra, cases[i].rate, cases[i].burst, start), cases[i].first);
        assert_int_equal(take_all(&gcra, cases[i].rate, cases[i].burst, start + cases[i].after_ns),
                         cases[i].second);
    }
}

static void test_retry(void **state)
{
    struct gcra gcra = {0};
    int64_t now_ns = SECOND, retry_ns = 0;
    (void)state;
    take_all(&gcra, 4, 2, now_ns);
    assert_false(gcra_take(&gcra, 4, 2, now_ns, &retry_ns));
    assert_int_equal(retry_ns, SECOND / 4);
    assert_false(gcra_take(&gcra, 4, 2, now_ns + retry_ns - 1, &retry_ns));
    assert_true(gcra_take(&gcra, 4, 2, now_ns + SECOND / 4, &retry_ns));
}

/* Over an hour at every pace it is rate * time + burst. */
static void test_long_run(void **state)
{
    struct gcra gcra = {0};
    int64_t passed = 0, retry_ns, start = SECOND;
    (void)state;
    for (int64_t at = 0; at < 3600 * SECOND; at += 7 * SECOND / 1000)
        passed += gcra_take(&gcra, 20, 10, start + at, &retry_ns);
    assert_in_range(passed, 20 * 3600, 20 * 3600 + 10);
}

static void test_extremes(void **state)
{
    struct gcra gcra = {0};
    int64_t retry_ns;
    (void)state;
    assert_true(gcra_take(&gcra, INT64_MAX, INT64_MAX, SECOND, &retry_ns));
    assert_true(gcra_take(&gcra, 1, INT64_MAX, SECOND, &retry_ns));
}

static void *hammer(void *arg)
{
    return (void *)(size_t)take_all(arg, 1000, 50000, SECOND);
}

static void test_threads(void **state)
{
    struct gcra gcra = {0};
    pthread_t threads[4];
    size_t total = 0;
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, &gcra), 0);
    for (int i = 0; i < 4; i++) {
        void *n;
        pthread_join(threads[i], &n);
        total += (size_t)n;
    }
    assert_int_equal(total, 50000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_burst),    cmocka_unit_test(test_retry),
        cmocka_unit_test(test_long_run), cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
