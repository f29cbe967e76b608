/* Ejection: too many failures within the window, a time that grows and has jitter, a bounded share
 * of the pool, and a slow start after it. */
#include "libcommon/log.h"
#include "libcommon/mem.h"
#include "services/proxy/pool.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct passive_config rules = {
    .failures = 3, .window = 1000, .eject = 10000, .max_ejected = 50};

static void test_window(void **state)
{
    static const struct {
        int64_t at[4];
        bool full;
    } cases[] = {
        {{1, 2, 3}, true},
        {{1, 500, 1000}, true},
        {{1, 500, 1001}, false},       /* the window of the first one is over */
        {{1, 1001, 1500, 2000}, true}, /* it began again */
        {{1, 1001, 2001, 3001}, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct eject eject = {0};
        bool full = false;
        for (size_t j = 0; j < 4 && cases[i].at[j]; j++)
            full = eject_failed(&eject, &rules, cases[i].at[j]);
        if (full != cases[i].full)
            fail_msg("case %zu", i);
    }
}

static void test_off(void **state)
{
    static const struct passive_config off = {.failures = 0, .window = 1000, .eject = 1000};
    struct eject eject = {0};
    (void)state;
    for (int i = 0; i < 100; i++)
        assert_false(eject_failed(&eject, &off, i));
}

static void test_time_grows(void **state)
{
    struct eject eject = {0};
    int64_t now_ms = 1000;
    (void)state;
    for (int64_t times = 1; times <= 20; times++) {
        int64_t nominal = rules.eject * (times < 10 ? times : 10);
        int64_t until =
            eject_start(&eject, &rules, now_ms, (uint64_t)times * 0x9e3779b97f4a7c15ULL);
        assert_true(until - now_ms >= nominal && until - now_ms <= nominal + nominal / 4);
        assert_true(eject_active(&eject, until - 1));
        assert_false(eject_active(&eject, until));
        now_ms = until + 5000; /* less than rules.eject: it counts as the same trouble */
    }
    /* Good for long enough, it begins again. */
    now_ms += 20 * rules.eject;
    assert_true(eject_start(&eject, &rules, now_ms, 0) - now_ms == rules.eject);
}

static void test_jitter(void **state)
{
    struct eject a = {0}, b = {0};
    (void)state;
    assert_int_not_equal(eject_start(&a, &rules, 0, 17), eject_start(&b, &rules, 0, 1234));
}

static void test_share(void **state)
{
    static const struct {
        unsigned count;
        int64_t percent;
        unsigned most;
    } cases[] = {{1, 50, 0}, {2, 50, 1},  {3, 50, 1},  {4, 50, 2},   {10, 10, 1},
                 {10, 0, 0}, {3, 100, 3}, {1, 100, 1}, {100, 33, 33}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct passive_config share = {.max_ejected = cases[i].percent};
        unsigned out = 0;
        while (out <= cases[i].count && eject_allowed(&share, cases[i].count, out))
            out++;
        if (out != cases[i].most)
            fail_msg("%u of %u", out, cases[i].count);
    }
}

enum { BACKENDS = 10 };

struct fixture {
    struct backend backends[BACKENDS];
    struct member members[BACKENDS];
    struct pool_config config;
    struct pool pool;
    pthread_barrier_t start;
};

static void setup(struct fixture *fixture)
{
    memset(fixture, 0, sizeof(*fixture));
    fixture->config.passive = rules;
    fixture->config.slow_start = 10000;
    fixture->pool = (struct pool){
        .name = "pool", .config = &fixture->config, .members = fixture->members, .count = BACKENDS};
    for (size_t i = 0; i < BACKENDS; i++)
        fixture->members[i] = (struct member){.backend = &fixture->backends[i], .weight = 1};
}

static void fail_once(struct fixture *fixture, size_t backend, int64_t now_ms)
{
    fitness_report(&fixture->backends[backend], &fixture->pool, 0, FITNESS_BROKE, now_ms, 0, NULL);
}

static unsigned out_at(const struct fixture *fixture, int64_t now_ms)
{
    unsigned out = 0;
    for (size_t i = 0; i < BACKENDS; i++)
        out += !fitness_usable(&fixture->backends[i], &fixture->pool, now_ms);
    return out;
}

static void *fail_all(void *arg)
{
    struct fixture *fixture = arg;
    pthread_barrier_wait(&fixture->start);
    for (int round = 0; round < 200; round++)
        for (size_t i = 0; i < BACKENDS; i++)
            fail_once(fixture, i, 1000);
    return NULL;
}

/* Everything fails, and all threads see it at once: never more than half is out. */
static void test_bound_holds_across_threads(void **state)
{
    struct fixture fixture;
    pthread_t threads[4];
    (void)state;
    setup(&fixture);
    pthread_barrier_init(&fixture.start, NULL, ARRAY_LEN(threads));
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fail_all, &fixture), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(out_at(&fixture, 1001), BACKENDS / 2);
    pthread_barrier_destroy(&fixture.start);
}

static void test_slow_start(void **state)
{
    struct fixture fixture;
    const struct backend *backend = &fixture.backends[0];
    int64_t last = 0;
    (void)state;
    setup(&fixture);
    assert_int_equal(fitness_weight(backend, &fixture.pool, 3, 5), 3 * FITNESS_SCALE);
    for (int i = 0; i < 3; i++)
        fail_once(&fixture, 0, 1000);
    assert_false(fitness_usable(backend, &fixture.pool, 10999));
    assert_true(fitness_usable(backend, &fixture.pool, 11000));
    for (int64_t now_ms = 11000; now_ms <= 21000; now_ms += 500) {
        int64_t weight = fitness_weight(backend, &fixture.pool, 3, now_ms);
        assert_true(weight >= last && weight >= 15 && weight <= 3 * FITNESS_SCALE);
        if (now_ms == 16000)
            assert_int_equal(weight, 150);
        last = weight;
    }
    assert_int_equal(last, 3 * FITNESS_SCALE);
}

static void test_health(void **state)
{
    /* g and b: a good and a bad check; U and D: it must be up, or down. */
    static const char *const ways[] = {"U", "bbUbD", "bbgbbUbD", "bbbDgDgU", "bbbDgbDgDgU"};
    static const struct health_config health = {.rise = 2, .fall = 3};
    struct fixture fixture;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        setup(&fixture);
        for (const char *c = ways[i]; *c; c++) {
            if (*c == 'g' || *c == 'b')
                fitness_checked(&fixture.backends[0], &fixture.pool, &health, *c == 'g', 1000,
                                NULL);
            else if (fitness_usable(&fixture.backends[0], &fixture.pool, 1000) != (*c == 'U'))
                fail_msg("%s at %s", ways[i], c);
        }
    }
    assert_true(fitness_weight(&fixture.backends[0], &fixture.pool, 1, 1000) < FITNESS_SCALE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_window),     cmocka_unit_test(test_off),
        cmocka_unit_test(test_time_grows), cmocka_unit_test(test_jitter),
        cmocka_unit_test(test_share),      cmocka_unit_test(test_bound_holds_across_threads),
        cmocka_unit_test(test_slow_start), cmocka_unit_test(test_health)};
    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
