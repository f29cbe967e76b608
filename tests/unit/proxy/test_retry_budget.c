/* Retries are a bounded share of requests, whatever fails; and the waits between them grow, with
 * jitter. */
#include "libcommon/mem.h"
#include "services/proxy/retry.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* All of `requests` fail and want a retry. */
static int64_t storm(struct retry_budget *budget, int64_t requests, int64_t percent)
{
    int64_t retries = 0;
    for (int64_t i = 0; i < requests; i++) {
        retry_budget_earn(budget, percent);
        retries += retry_budget_spend(budget, percent);
    }
    return retries;
}

static void test_share(void **state)
{
    static const int64_t percents[] = {0, 1, 20, 50, 100};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(percents); i++) {
        struct retry_budget budget = {0};
        int64_t most = percents[i] ? 10000 * percents[i] / 100 + RETRY_BUDGET_BURST : 0;
        int64_t retries = storm(&budget, 10000, percents[i]);
        assert_true(retries <= most);
        assert_true(retries >= 10000 * percents[i] / 100 - 1);
    }
}

static void test_refills(void **state)
{
    struct retry_budget budget = {0};
    (void)state;
    storm(&budget, 1000, 20);
    for (int i = 0; i < 10000; i++)
        retry_budget_earn(&budget, 20);
    int64_t burst = 0;
    while (retry_budget_spend(&budget, 20))
        burst++;
    assert_int_equal(burst, RETRY_BUDGET_BURST);
}

struct crowd {
    struct retry_budget budget;
    pthread_barrier_t start;
    atomic_int_fast64_t retries;
};

static void *rush(void *arg)
{
    struct crowd *crowd = arg;
    pthread_barrier_wait(&crowd->start);
    atomic_fetch_add(&crowd->retries, storm(&crowd->budget, 10000, 20));
    return NULL;
}

static void test_threads(void **state)
{
    struct crowd crowd = {.retries = 0};
    pthread_t threads[4];
    (void)state;
    pthread_barrier_init(&crowd.start, NULL, ARRAY_LEN(threads));
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, rush, &crowd), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_true(atomic_load(&crowd.retries) <= 8000 + RETRY_BUDGET_BURST);
    pthread_barrier_destroy(&crowd.start);
}

static void test_delays(void **state)
{
    static const struct retry_config rules = {.base = 25, .max = 300};
    static const int64_t full[] = {25, 50, 100, 200, 300, 300, 300};
    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(full); i++) {
        int64_t least = INT64_MAX, most = 0;
        for (uint64_t random = 0; random < 1000; random++) {
            int64_t delay = retry_delay_ms(&rules, i, random);
            least = delay < least ? delay : least;
            most = delay > most ? delay : most;
        }
        assert_int_equal(most, full[i]);
        assert_int_equal(least, full[i] - full[i] / 2);
    }
    assert_int_equal(retry_delay_ms(&(struct retry_config){.base = 0, .max = 0}, 3, 99), 0);
}

static void test_retry_after(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } cases[] = {{"0", 0},
                 {"1", 1},
                 {"120", 120},
                 {"", -1},
                 {"-1", -1},
                 {"1.5", -1},
                 {" 1", -1},
                 {"Fri, 31 Dec 1999 23:59:59 GMT", -1},
                 {"99999999999999999999", -1}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        AUTO_FREE char *copy = mem_strdup(cases[i].text);
        if (retry_after_s(h2o_iovec_init(copy, strlen(copy))) != cases[i].seconds)
            fail_msg("%s", cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_share), cmocka_unit_test(test_refills),
                                       cmocka_unit_test(test_threads),
                                       cmocka_unit_test(test_delays),
                                       cmocka_unit_test(test_retry_after)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
